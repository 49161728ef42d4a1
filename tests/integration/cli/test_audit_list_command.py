"""`promoter audit list`: filters that are ands, pages that meet, and words that are refused. The API means the same by them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.domain.audit import NewAuditRecord, RecordKind
from tests.integration.cli.conftest import Run
from tests.support.fixtures.ledger import NOW
from tests.support.web_site import WebSite


def records(run: Run, *words: str) -> list[dict[str, Any]]:
    """Those that are listed."""
    code, out, err = run("list", "--format", "json", *words)
    assert (code, err) == (0, "")
    found: list[dict[str, Any]] = json.loads(out)["records"]
    return found


def moves(count: int) -> list[NewAuditRecord]:
    """So many moves by others, a minute apart."""
    return [
        NewAuditRecord(
            NOW + timedelta(minutes=number), RecordKind.OBSERVED, f"model-{number % 3}", "shadow", number or None, number + 1
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        (["--model", "fraud"], lambda each: each["model"] == "fraud"),
        (["--alias", "champion"], lambda each: each["alias"] == "champion"),
        (["--kind", "override"], lambda each: each["kind"] == "override"),
        (["--outcome", "failed"], lambda each: each["outcome"] == "failed"),
        (["--outcome", "observed"], lambda each: each["kind"] == "observed"),
        (["--outcome", "override"], lambda each: each["kind"] == "override" and not each["intent"]),
        (["--outcome", "override over"], lambda each: each["kind"] == "override" and each["intent"]),
        (["--actor", "alice"], lambda each: each["actor"] == "alice"),
        (
            ["--verdict", "pass", "--outcome", "intended"],
            lambda each: (each["verdict"], each["outcome"]) == ("pass", "intended"),
        ),
        (["--since", "2026-11-23T18:31:00Z"], lambda each: each["at"] >= "2026-11-23T18:31"),
        (["--until", "2026-11-23T18:31:00Z"], lambda each: each["at"] < "2026-11-23T18:31"),
    ],
)
def test_filters(run: Run, ledger_here: Path, words: list[str], holds: Any) -> None:
    """Those that match, all of them, and no other."""
    ledger = SqlLedger.open(f"sqlite:///{ledger_here / 'promoter.db'}")
    ledger.record_observed_moves(moves(4))
    ledger.close_connections()
    every, found = records(run), records(run, *words)
    assert found == [each for each in every if holds(each)]
    assert 0 < len(found) < len(every)


def test_pages_meet(run: Run, ledger_here: Path) -> None:
    """From the newest backwards and from the oldest on: every record once, also of those that come meanwhile."""
    every = [each["id"] for each in records(run)]
    back: list[int] = []
    cursor: list[str] = []
    for _ in range(10):
        _, out, _ = run("list", "--format", "json", "--limit", "4", *cursor)
        told = json.loads(out)
        back = [each["id"] for each in told["records"]] + back
        ledger = SqlLedger.open(f"sqlite:///{ledger_here / 'promoter.db'}")
        ledger.record_observed_moves(moves(1))
        ledger.close_connections()
        if told["next"]["before"] is None:
            break
        cursor = ["--before", str(told["next"]["before"])]
    assert back == every
    onward: list[int] = []
    after = 0
    while page := records(run, "--limit", "4", "--after", str(after)):
        onward += [each["id"] for each in page]
        after = onward[-1]
    assert onward[: len(every)] == every
    assert len(onward) > len(every)


def test_words_for_people(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that fits, and how to go on."""
    code, out, _ = run("list", "--limit", "3")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "There are more; older: --before" in out
    assert run("list", "--model", "nobody")[1] == "The ledger has no such record.\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("list")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--outcome", "done"], "`done` is none of intended, applied, failed, recovered"),
        (["--outcome", "observed", "--kind", "change"], "no record of kind change is `observed`"),
        (["--kind", "x"], "`x` is none of change, observed, override"),
        (["--verdict", "x"], "`x` is none of pass, fail, pending, error"),
        (["--since", "yesterday-ish"], "--since"),
        (["--since", "2026-11-23T18:31:00Z", "--until", "2026-11-23T18:31:00Z"], "it is not after --since"),
        (["--limit", "0"], "--limit"),
        (["--before", "-1"], "--before"),
    ],
)
def test_what_is_refused(run: Run, words: list[str], said: str) -> None:
    """In words."""
    code, out, err = run("list", *words)
    assert (code, out) == (1, "")
    assert said in " ".join(err.split())


def test_the_api_means_the_same(web_site: WebSite) -> None:
    """The same filters and cursors; without `before` from the oldest on. What is none of its words is 400."""
    web_site.ledger.record_observed_moves(moves(9))
    every = web_site.ask("/api/v1/audit").json["records"]
    assert [each["to"] for each in every] == list(range(1, 10))
    first = web_site.ask("/api/v1/audit?limit=4").json
    second = web_site.ask(f"/api/v1/audit?limit=4&after={first['next']['after']}").json
    assert [each["to"] for each in first["records"] + second["records"]] == list(range(1, 9))
    newest = web_site.ask(f"/api/v1/audit?limit=4&before={every[-1]['id'] + 1}").json
    assert [each["to"] for each in newest["records"]] == [6, 7, 8, 9]
    since = (NOW + timedelta(minutes=5)).isoformat().replace("+00:00", "Z")
    found = web_site.ask(f"/api/v1/audit?model=model-0&kind=observed&since={since}").json["records"]
    assert [each["to"] for each in found] == [7]
    for query in ("outcome=done", "kind=x", "verdict=x", "since=never", "limit=x", "after=-1", "since=1d&until=2d"):
        assert web_site.ask(f"/api/v1/audit?{query}").status == 400, query
