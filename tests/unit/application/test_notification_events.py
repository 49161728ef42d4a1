"""Telling: the events of what Promoter really records, from a commit to a rollback."""

from __future__ import annotations

from pathlib import Path

import pytest

from promoter.application.ports.outbox import EventOutbox
from promoter.domain.notifications import EventBuilder
from tests.support.app import POLICY, App
from tests.support.fakes.registry import FakeRegistry, FakeRepository
from tests.unit.application.test_overrides import override
from tests.unit.application.test_replaced_versions import register_anew

ONE = "m: {aliases: {champion: {version: %d, policy: p%s}}}"
HOLD = ", hold: {reason: bad recall, by: alice}"


@pytest.fixture
def app(tmp_path: Path) -> App:
    """v1 is the champion, and git says so; v2 is better than v1, v3 is worse."""
    made = App(tmp_path, FakeRegistry(), FakeRepository())
    for auc in (0.8, 0.9, 0.7):
        made.mlflow.version("m", auc=auc)
    made.mlflow.place("m", "champion", 1)
    made.commit(ONE % (1, ""), p=POLICY)
    made.converge()
    return made


def told(app: App) -> list[str]:
    """What was told so far, a line each."""
    outbox: EventOutbox = app.event_outbox
    teller = EventBuilder(outbox.read_ledger_name())
    page = outbox.read_source_entries(0, 1_000)
    events = [event for entry in page.entries for event in teller.build_events(entry, page.find_context(entry))]
    assert len({event.id for event in events}) == len(events)
    return [
        f"{event.type.short_name} {event.data.get('from')}->{event.data.get('to', event.data.get('version'))}"
        for event in events
    ]


def test_what_was_there_is_no_news(app: App) -> None:
    """The first look finds the champion where git has it."""
    assert told(app) == []


def test_a_commit_and_one_that_is_blocked(app: App) -> None:
    """The same decision is told once, however often it is looked at."""
    app.commit(ONE % (2, ""))
    app.converge()
    app.commit(ONE % (3, ""))
    for _ in range(3):
        app.time.pass_time(minutes=1)
        app.converge()
    assert told(app) == ["changed 1->2", "blocked None->3"]


def test_drift_is_told_and_put_back(app: App) -> None:
    """Both moves are moves; putting back is no rollback, under a hold either."""
    app.commit(ONE % (1, HOLD))
    app.converge()
    app.mlflow.place("m", "champion", 3)
    app.converge()
    assert told(app) == ["changed 1->3", "drifted 1->3", "changed 3->1"]


def test_a_rollback_by_commit(app: App) -> None:
    """A lower version under a hold: that one was here before, or never was."""
    app.commit(ONE % (2, ""))
    app.converge()
    app.commit(ONE % (1, HOLD))
    app.converge()
    record = app.records()[-1]
    assert record.fact.hold == "bad recall"
    assert told(app) == ["changed 1->2", "changed 2->1", "rolled-back 2->1"]
    app.commit(ONE % (2, ""))
    app.converge()
    assert told(app)[3:] == ["changed 1->2", "rolled-back 1->2"], "a return, whatever its number"
    assert app.records()[-1].fact.hold is None


def test_a_return_to_a_higher_number(app: App) -> None:
    """v3 was put there, then v1, then v3 again without a hold: an earlier holder is back, whatever its number."""
    free = "m: {aliases: {champion: %d}}"
    for version in (3, 1):
        app.commit(free % version)
        app.converge()
    assert told(app) == ["changed 1->3", "changed 3->1", "rolled-back 3->1"]
    app.commit(free % 2)
    app.converge()
    app.commit(free % 3)
    app.converge()
    assert told(app)[3:] == ["changed 1->2", "changed 2->3", "rolled-back 2->3"]


def test_what_somebody_put_there_is_no_earlier_holder(app: App) -> None:
    """v2 stood there for a moment, past git: when git comes to v2 later, nothing returns."""
    app.mlflow.place("m", "champion", 2)
    app.converge()
    assert told(app) == ["changed 1->2", "drifted 1->2", "changed 2->1"]
    app.commit(ONE % (2, ""))
    app.converge()
    assert told(app)[3:] == ["changed 1->2"]


def test_another_version_of_that_number_is_no_earlier_holder(app: App) -> None:
    """The model was registered anew: its v1 never stood there, though the number did."""
    free = "m: {aliases: {champion: %d}}"
    register_anew(app, 0.8, 0.9)
    for version in (2, 1):
        app.commit(free % version)
        app.converge()
    assert told(app)[-1] == "changed 2->1"
    app.commit(free % 2)
    app.converge()
    assert told(app)[-1] == "rolled-back 1->2", "of the new ones, v2 stood there before"


def test_a_revert_in_git(app: App) -> None:
    """A person's `git revert` brings the earlier holder back, without a hold, also to a higher number."""
    better = app.mlflow.version("m", auc=0.99)
    for version in (better, 2, better):
        app.commit(
            ONE.replace("policy: p", "policy: free") % (version, ""),
            free=b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n",
        )
        app.converge()
    assert told(app) == ["changed 1->4", "changed 4->2", "changed 2->4", "rolled-back 2->4"]
    assert app.records()[-1].fact.policy is None, "readiness alone let it return"


def test_a_rollback_by_override(app: App) -> None:
    """A person could not wait for git; what comes back when it is over is a move like any other."""
    app.commit(ONE % (2, ""))
    app.converge()
    override(app)
    app.converge()
    assert told(app) == ["changed 1->2", "override-started 2->1", "changed 2->1", "rolled-back 2->1"]
    app.time.pass_time(hours=25)
    app.converge()
    assert told(app)[4:] == ["override-ended 2->1", "changed 1->2"]
