"""A replay on the terminal and in Markdown: whole, narrow, and without what would steer a terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from promoter.adapters.ledger import SqlLedger
from promoter.adapters.yaml import YamlDocuments
from promoter.application.markdown.report import render_report_markdown
from promoter.application.replay import PolicyReplayer, ReplayRequest
from promoter.cli import replay
from promoter.cli.render import render_report_text
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.replay.chart import render_replay_chart
from promoter.domain.replay.report import ReplayReport
from tests.support.fakes.registry import START, FakeClock, FakeRegistry

POLICY = b"""version: 1
candidates: {from: any}
rules: [{metric: auc, beats: champion, by: 0.05, order: highest}, {tag: "state", one_of: [good]}, {loads: true}]
"""
EXPECTED = """\
**champion replayed from 2026-11-22 12:00 to 2026-11-23 12:00 UTC: 1 alias, 2 versions judged.**

Evidence of 4 judgements: 4 as of now (MLflow).

### Who would hold the alias now

| MODEL@ALIAS | NOW | UNDER | WOULD BE | MOVES | TURNED DOWN | WOULD HAVE BLOCKED |
| --- | --- | --- | --- | --- | --- | --- |
| a\\|b@&#8203;champion | v3 | champion | v2 | 1 | 1 | 1 of 2 promotions |

### a\\|b@&#8203;champion under champion

| VERSION | SINCE | UNTIL | REPLACED BY | EVIDENCE | WHY |
| --- | --- | --- | --- | --- | --- |
| v1 | 2026-11-22 12:00 | 2026-11-22 18:00 | v2 | - | held it when the replay began, to judge by who holds it now |
| v2 | 2026-11-22 18:00 | now | none | as of now | metric auc beats champion by 0.05: 0.6, at least 0.55 (champion v1 has 0.5)\
; tag state one_of [good]: good, one of [good]; loads: not replayed |

### Past promotions that it would have blocked

| AT | MODEL@ALIAS | FROM | TO | BY | UNDER | EVIDENCE | RULES THAT DID NOT PASS |
| --- | --- | --- | --- | --- | --- | --- | --- |
| 2026-11-23 01:00 | a\\|b@&#8203;champion | v2 | v3 | unknown | champion | as of now | \
tag state one_of [good] is fail (saw &lt;b>\\\\x1b[31m, \
expected one of [good]) |

### Versions turned down, by rule

| UNDER | RULE | FAIL | PENDING | ERROR |
| --- | --- | --- | --- | --- |
| champion | tag state one_of [good] | 1 | 0 | 0 |
"""


@pytest.fixture
def report(tmp_path: Path) -> ReplayReport:
    """Of the last day."""
    return replayed(tmp_path, days=1)


def replayed(tmp_path: Path, days: int) -> ReplayReport:
    """A better version that was promoted, and one whose tag is hostile; all within the last 30 hours."""
    registry, ledger, model = FakeRegistry(), SqlLedger.open(f"sqlite:///{tmp_path / 'promoter.db'}"), "a|b"
    for auc, state, ago in ((0.5, "good", 30), (0.6, "good", 18), (0.7, "<b>\x1b[31m", 12)):
        number = registry.version(model, {"state": state}, auc=auc)
        seen = registry.models[model]
        made = replace(seen.versions[number], created_at=START - timedelta(hours=ago))
        registry.models[model] = replace(seen, versions={**seen.versions, number: made})
    registry.place(model, "champion", 3)
    moves = ((23, None, 1), (17, 1, 2), (11, 2, 3))
    ledger.record_observed_moves(
        NewAuditRecord(START - timedelta(hours=h), RecordKind.OBSERVED, model, "champion", a, b) for h, a, b in moves
    )
    files = {"registry.yaml": b"version: 1\nmodels: {a|b: {aliases: {champion: {policy: champion}}}}\n"}
    declaration = YamlDocuments().parse_declaration({**files, "policies/champion.yaml": POLICY}, None)
    found = PolicyReplayer(registry, ledger, FakeClock())(declaration, ReplayRequest("champion", START - timedelta(days=days)))
    ledger.close_connections()
    return found


def test_markdown(report: ReplayReport) -> None:
    """The whole of it, up to the notes: what comes from outside is escaped."""
    told = render_report_markdown(replay.build_replay_report(report))
    assert told.partition("\n- ")[0].rstrip() + "\n" == EXPECTED
    assert "\n- Not replayed: `loads` of champion is taken as passing for 2 versions; the ledger cannot tell.\n" in told


@pytest.mark.parametrize("width", [60, 80, 160])
def test_text(width: int, report: ReplayReport) -> None:
    """It fits the terminal, says the same, and steers nothing."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    render_report_text(console, replay.build_replay_report(report))
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, told.splitlines())) <= width
    assert "\x1b" not in told
    words = " ".join(told.split())
    assert "Past promotions that it would have blocked" in words
    assert ("VERSION SPAN" in words) == (width < 130)


def test_what_is_too_much_is_left_out_and_told(report: ReplayReport, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are shown."""
    monkeypatch.setattr(replay, "MAX_ROWS", 1)
    monkeypatch.setattr(replay, "_MIN_SPAN_ROWS", 1)
    told = render_report_markdown(replay.build_replay_report(report))
    assert "| v1 |" not in told
    assert "1 earlier span is left out: --format json has them all." in told


def test_the_picture_begins_where_there_is_something_to_see(tmp_path: Path) -> None:
    """However long ago was asked for: a year with one day at its end would show a line."""
    (tmp_path / "day").mkdir()
    for folder, days in ((tmp_path / "day", 1), (tmp_path, 365)):
        bars = re.findall(
            r'<rect class="bar[^"]*" x="([0-9.]+)"[^>]* width="([0-9.]+)"', render_replay_chart(replayed(folder, days))
        )
        assert len(bars) == 5
        assert min(float(left) for left, _ in bars) < 230
        assert sum(float(width) for _, width in bars[:3]) > 700
