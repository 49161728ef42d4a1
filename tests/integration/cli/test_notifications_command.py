"""`promoter notifications`: what has not arrived, put back, and a test; words in 80 columns, Markdown, JSON, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from promoter.__main__ import main
from promoter.adapters.ledger import SqlLedger
from promoter.application.responses.operations import UndeliveredResponse
from promoter.domain.notifications import DeliveryAttempt, DeliveryState
from tests.support.http_receiver import Server, plain, serving

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
WAITING = DeliveryAttempt(
    "serving", DeliveryState.WAITING, NOW, 7, "led/7/changed", 3, NOW, NOW + timedelta(minutes=5), "status 503"
)
DEAD = replace(
    WAITING, channel="team", state=DeliveryState.DEAD, event="led/7/rolled-back", due=None, attempts=36, detail="[bold]no"
)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    """One event waits, one is dead, one was delivered."""
    opened = SqlLedger.open(f"sqlite:///{tmp_path / 'promoter.db'}")
    opened.outbox.record_delivery_attempts(
        [WAITING, replace(WAITING, event="led/6/changed", state=DeliveryState.DELIVERED), DEAD]
    )
    yield opened
    opened.close_connections()


@pytest.fixture
def server() -> Iterator[Server]:
    """It takes everything."""
    with serving() as found:
        yield found


@pytest.fixture
def run(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    given = {"name": "serving", "url": server.url, "secret": "hunter2", "networks": ["127.0.0.1/32"]}
    monkeypatch.setenv("PROMOTER_NOTIFICATIONS", json.dumps([given]))
    monkeypatch.setenv("PROMOTER_DATABASE_URL", f"sqlite:///{tmp_path / 'promoter.db'}")
    monkeypatch.setenv("COLUMNS", "80")

    def ran(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["promoter", "notifications", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        assert "hunter2" not in told.out + told.err
        return int(ended.value.code or 0), told.out, told.err

    return ran


@pytest.mark.usefixtures("ledger")
def test_the_list(run: Run) -> None:
    """What waits and what is dead, in 80 columns."""
    code, out, _ = run("list")
    assert code == 0
    assert out == (
        "ID  CHANNEL  EVENT          STATE    TRIES  NEXT                 REASON\n"
        "1   serving  7/changed      waiting  3      2026-11-23 18:35:00  status 503\n"
        "3   team     7/rolled-back  dead     36     -                    [bold]no\n"
    )
    assert max(map(len, out.splitlines())) <= 80
    assert [line.split()[0] for line in run("list", "--dead")[1].splitlines()] == ["ID", "3"]
    assert [line.split()[0] for line in run("list", "--channel", "serving")[1].splitlines()] == ["ID", "1"]
    told = json.loads(run("list", "--format", "json")[1])
    assert told["schema"] == 1
    rows = [replace(WAITING, id=1), replace(DEAD, id=3)]
    assert told == UndeliveredResponse.from_values(notifications=rows).to_json()
    assert "| 3 | team | 7/rolled-back | dead | 36 | - | \\[bold]no |" in run("list", "--format", "markdown")[1]


def test_a_list_of_nothing(run: Run, tmp_path: Path) -> None:
    """In words."""
    SqlLedger.open(f"sqlite:///{tmp_path / 'promoter.db'}").close_connections()
    assert run("list") == (0, "Nothing waits, and nothing was given up.\n", "")
    assert run("list", "--dead") == (0, "Nothing was given up.\n", "")


def test_a_retry(run: Run, ledger: SqlLedger) -> None:
    """By its number, or all that is dead."""
    assert run("retry", "3") == (0, "put back: 1\n", "")
    assert ledger.outbox.count_undelivered_events() == {("serving", "waiting"): 1, ("team", "waiting"): 1}
    assert run("retry", "--all") == (0, "put back: 0\n", "")
    assert run("retry", "99")[::2] == (
        1,
        "promoter: notifications: there is no event with the number 99 (`promoter notifications list` shows which there are)\n",
    )
    assert "has reached serving by now" in run("retry", "2")[2]
    for wrong in ((), ("3", "--all")):
        code, _, err = run("retry", *wrong)
        assert code == 1
        assert "either an ID, or --all" in err


@pytest.mark.usefixtures("ledger")
def test_a_test(run: Run, server: Server) -> None:
    """It arrives signed, as an event of its own kind; or one is told why not."""
    code, out, _ = run("test", "serving")
    (came,) = server.came
    assert (code, json.loads(came.body)["type"]) == (0, "dev.promoter.test")
    assert out == f"arrived: dev.promoter.test {came.headers['webhook-id']}\n"
    server.say(plain(401))
    assert run("test", "serving")[::2] == (1, f"promoter: serving: http://127.0.0.1:{server.port} answered with status 401\n")
    assert "no channel is called nobody (the settings name: serving)" in run("test", "nobody")[2]
