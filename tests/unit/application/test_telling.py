"""Telling: the events of what Promoter really records, from a commit to a rollback."""

from __future__ import annotations

from pathlib import Path

import pytest

from promoter.application.ports.outbox import EventOutbox
from promoter.domain.notifications import EventBuilder
from tests.unit.application.conftest import POLICY, Office
from tests.unit.application.fakes import FakeRegistry, FakeRepository
from tests.unit.application.test_overriding import override

ONE = "m: {aliases: {champion: {version: %d, policy: p%s}}}"
HOLD = ", hold: {reason: bad recall, by: alice}"


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """v1 is the champion, and git says so; v2 is better than v1, v3 is worse."""
    made = Office(tmp_path, FakeRegistry(), FakeRepository())
    for auc in (0.8, 0.9, 0.7):
        made.mlflow.version("m", auc=auc)
    made.mlflow.place("m", "champion", 1)
    made.commit(ONE % (1, ""), p=POLICY)
    made.converge()
    return made


def told(office: Office) -> list[str]:
    """What was told so far, a line each."""
    outbox: EventOutbox = office.event_outbox
    teller = EventBuilder(outbox.read_ledger_name())
    events = [event for entry in outbox.read_source_entries(0, 1_000).entries for event in teller.build_events(entry)]
    assert len({event.id for event in events}) == len(events)
    return [
        f"{event.type.short_name} {event.data.get('from')}->{event.data.get('to', event.data.get('version'))}"
        for event in events
    ]


def test_what_was_there_is_no_news(office: Office) -> None:
    """The first look finds the champion where git has it."""
    assert told(office) == []


def test_a_commit_and_one_that_is_blocked(office: Office) -> None:
    """The same decision is told once, however often it is looked at."""
    office.commit(ONE % (2, ""))
    office.converge()
    office.commit(ONE % (3, ""))
    for _ in range(3):
        office.time.pass_time(minutes=1)
        office.converge()
    assert told(office) == ["changed 1->2", "blocked None->3"]


def test_drift_is_told_and_put_back(office: Office) -> None:
    """Both moves are moves; putting back is no rollback, under a hold either."""
    office.commit(ONE % (1, HOLD))
    office.converge()
    office.mlflow.place("m", "champion", 3)
    office.converge()
    assert told(office) == ["changed 1->3", "drifted 1->3", "changed 3->1"]


def test_a_rollback_by_commit(office: Office) -> None:
    """A lower version under a hold: that one was here before, or never was."""
    office.commit(ONE % (2, ""))
    office.converge()
    office.commit(ONE % (1, HOLD))
    office.converge()
    record = office.records()[-1]
    assert (record.fact.hold, record.to_json()["hold"]) == ("bad recall", "bad recall")
    assert told(office) == ["changed 1->2", "changed 2->1", "rolled-back 2->1"]
    office.commit(ONE % (2, ""))
    office.converge()
    assert told(office)[3:] == ["changed 1->2"]
    assert office.records()[-1].fact.hold is None


def test_a_rollback_by_override(office: Office) -> None:
    """A person could not wait for git; what comes back when it is over is a move like any other."""
    office.commit(ONE % (2, ""))
    office.converge()
    override(office)
    office.converge()
    assert told(office) == ["changed 1->2", "changed 2->1", "rolled-back 2->1"]
    office.time.pass_time(hours=25)
    office.converge()
    assert told(office)[3:] == ["changed 1->2"]
