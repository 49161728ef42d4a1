"""`promoter history` and `promoter state` on a real ledger: text and Markdown compared whole, JSON, exit codes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promoter.__main__ import main
from promoter.adapters.ledger import SqlLedger
from promoter.cli import history
from promoter.container import Container
from promoter.settings import Settings
from tests.support import ledger_week
from tests.support.fakes.registry import FakeClock

HERE = Path(__file__).parent / "history"
ALIAS = "fraud-detector@champion"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The ledger of a week, which nobody writes to any more."""
    url = f"sqlite:///{tmp_path_factory.mktemp('week') / 'promoter.db'}"
    ledger = SqlLedger.open(url)
    ledger_week.write(ledger)
    ledger.close_connections()
    return url


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program: exit code, output, errors. Hashes depend on the ledger's name, so that `#` stands for them."""

    def built() -> Container:
        clock = FakeClock()
        clock.at = ledger_week.NOW
        return Container(Settings(database_url=database_url), clock=clock)

    monkeypatch.setattr(history, "build_container", built)

    def ran(*words: str, columns: int = 80) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["promoter", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        out = re.sub(r"\b[0-9a-f]{64}\b", "#" * 64, told.out)
        return int(str(ended.value.code)), "".join(f"{line.rstrip()}\n" for line in out.splitlines()), told.err

    return ran


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("at", ["history", ALIAS, "--at", "2026-10-03T14:05Z"]),
        ("at-either", ["history", ALIAS, "--at", "2026-10-04T14:05:00+02:00"]),
        ("at-recovering", ["history", ALIAS, "--at", "2026-10-06T08:10Z"]),
        ("at-observed", ["history", ALIAS, "--at", "2026-10-05T14:05Z"]),
        ("at-before", ["history", ALIAS, "--at", "2026-10-01"]),
        ("at-absent", ["history", "churn@champion", "--at", "30 minutes ago"]),
        ("between", ["history", ALIAS, "--between", "2026-10-02", "2026-10-06"]),
        ("between-before", ["history", ALIAS, "--between", "2026-09-02", "2026-09-03"]),
        ("spans", ["history", ALIAS]),
        ("state", ["state", "--at", "2026-10-04"]),
        ("state-before", ["state", "--at", "2026-09-04"]),
        ("state-empty", ["state", "--at", "2026-10-04", "--model", "nobody"]),
    ],
)
def test_what_it_says_in_80_columns_and_in_markdown(run: Run, name: str, words: list[str]) -> None:
    """Whole; no line is longer, and the auditor's answer fits on one screen."""
    code, told, _ = run(*words)
    marked = run(*words, "--format", "markdown")[1]
    assert code == 0
    assert told == (HERE / f"{name}.txt").read_text()
    assert marked == (HERE / f"{name}.md").read_text()
    assert max(map(len, told.splitlines())) <= 80
    assert name != "at" or len(told.splitlines()) <= 24


def test_wide_tables_have_a_line_for_each(run: Run) -> None:
    """With the record's number, and the review."""
    state = run("state", "--at", "2026-10-04", columns=160)[1].splitlines()
    assert state[3].split() == ["MODEL@ALIAS", "VERSION", "SINCE", "BY", "COMMIT", "RECORD"]
    assert "v7 or v3" in state[5]
    spans = run("history", ALIAS, columns=200)[1].splitlines()
    assert len(spans) == 5
    assert "reviewed by alice, merged by carol" in spans[2]


def test_the_answer_as_json(run: Run) -> None:
    """With a version, times in UTC, and the whole record and decision."""
    told = _json(run, "history", ALIAS, "--at", "2026-10-03T16:05+02:00")
    assert list(told) == [
        "schema", "model", "alias", "at", "known", "version", "versions", "span", "doubt", "record", "decision", "gap", "notes",
    ]  # fmt: skip
    assert (told["schema"], told["at"], told["known"], told["version"]) == (1, "2026-10-03T14:05:00+00:00", "yes", 7)
    assert (told["span"]["since"], told["span"]["not_before"]) == ("2026-10-02T09:00:01+00:00", "2026-10-02T09:00:00+00:00")
    assert (told["record"]["outcome"], told["record"]["review"], told["record"]["revision"]) == (
        "applied",
        ledger_week.REVIEW,
        ledger_week.COMMIT,
    )
    assert [rule["verdict"] for rule in told["decision"]["rules"]] == ["pass"] * 3
    assert (told["doubt"], told["gap"], told["notes"]) == (None, None, [])

    either = _json(run, "history", ALIAS, "--at", "2026-10-04")
    assert (either["known"], either["version"], either["versions"]) == ("either", None, [7, 3])
    assert (either["doubt"]["from"], either["doubt"]["to"]) == ("2026-10-03T16:30:00+00:00", "2026-10-05T10:00:05+00:00")
    assert either["gap"]["to"] == "2026-10-05T10:00:00+00:00"
    assert either["notes"] == [either["doubt"]["note"], either["gap"]["note"]]

    unknown = _json(run, "history", ALIAS, "--at", "2026-01-01")
    assert (unknown["known"], unknown["version"], unknown["versions"], unknown["record"]) == ("no", None, [], None)


def test_a_time_and_the_registry_as_json(run: Run) -> None:
    """Spans are whole; each alias of the registry has the shape of a moment."""
    told = _json(run, "history", ALIAS, "--between", "2026-10-02", "2026-10-05")
    assert list(told) == ["schema", "model", "alias", "from", "to", "known_from", "spans", "doubts", "gaps", "notes"]
    assert [span["version"] for span in told["spans"]] == [6, 7]
    assert told["spans"][0]["since"] == "2026-10-01T08:00:01+00:00", "it began before the time that was asked for"
    assert [doubt["versions"] for doubt in told["doubts"]] == [[6, 7], [7, 3]]
    state = _json(run, "state", "--at", "2026-10-04")
    assert list(state) == ["schema", "at", "aliases", "gap", "notes"]
    assert [(each["model"], each["known"], each["versions"]) for each in state["aliases"]] == [
        ("churn", "yes", [2]),
        ("fraud-detector", "either", [7, 3]),
    ]
    assert [each["model"] for each in _json(run, "state", "--at", "2026-10-06T01:00Z")["aliases"]] == ["fraud-detector"]
    spans = _json(run, "history", ALIAS)
    assert list(spans) == ["schema", "model", "alias", "spans"]
    assert [span["version"] for span in spans["spans"]] == [6, 7, 3, 7]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["history", ALIAS, "--at", "2026-10-03T14:05"], "write `2026-10-03T14:05Z` for UTC"),
        (["history", ALIAS, "--at", ""], "is no moment"),
        (["history", ALIAS, "--at", "2026-12-01"], "is yet to come"),
        (["history", ALIAS, "--between", "2026-10-03", "2026-10-02"], "is not before"),
        (["history", ALIAS, "--at", "1d", "--between", "2026-10-03", "2026-10-02"], "--at goes without --between"),
        (["history", "fraud-detector", "--at", "1d"], "is not MODEL@ALIAS"),
        (["state", "--at", "3 moons ago"], "is no moment"),
        (["state"], "--at"),
        (
            ["history", "fraud-detector@champon"],
            "no record of an alias `champon` of `fraud-detector` (did you mean `champion`?)",
        ),
        (
            ["history", "fraud-detectr@champion", "--at", "now"],
            "no record of a model `fraud-detectr` (did you mean `fraud-detector`?)",
        ),
        (["history", "zzz@champion", "--between", "2026-10-03", "now"], "no record of a model `zzz` (it knows `churn`,"),
        (["history", "zzz@champion", "--format", "json"], "no record of a model `zzz`"),
    ],
)
def test_what_cannot_be_read_is_told_in_words(run: Run, words: list[str], expected: str) -> None:
    """With exit code 1, and nothing on standard output."""
    code, told, errors = run(*words)
    assert (code, told) == (1, "")
    assert expected in re.sub(r"\s+", " ", errors.replace("│", ""))
    assert "Traceback" not in errors


def _json(run: Run, *words: str) -> dict[str, Any]:
    code, told, _ = run(*words, "--format", "json")
    assert code == 0
    found: dict[str, Any] = json.loads(told)
    return found
