"""When somebody watched, and between which moments others moved an alias."""

from __future__ import annotations

import pytest

from promoter.domain.audit import NewAuditRecord
from promoter.domain.errors import TransientError
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from tests.support.app import App

MODELS = "m: {on_drift: report, aliases: {champion: 1}}\nother: {on_drift: report, aliases: {champion: 1}}"


@pytest.fixture
def watched(app: App) -> App:
    """Two models in step, looked at a while ago."""
    for model in ("m", "other"):
        app.mlflow.version(model)
        app.mlflow.version(model)
    app.commit(MODELS)
    app.converge()
    app.time.pass_time(hours=5)
    return app


def last(app: App, model: str = "m") -> NewAuditRecord:
    """The newest record of the model."""
    return app.records(model)[-1].fact


def test_a_move_by_others_lies_between_the_last_two_looks(watched: App) -> None:
    """It happened after the survey that still saw it as it was, and before the look that did not."""
    watched.planner(watched.revisions.declaration_in_force)  # type: ignore[arg-type]
    before = watched.time.now()
    watched.time.pass_time(minutes=1)
    watched.mlflow.place("m", "champion", 2)
    watched.time.pass_time(minutes=1)
    watched.converge()
    found = last(watched)
    assert found.actor is None
    assert found.not_before is not None
    assert found.not_before <= before < found.at
    assert (found.at - found.not_before).total_seconds() < 180


def test_a_move_that_is_not_recorded_yet_moves_no_bound(watched: App) -> None:
    """A survey that sees it, and dies before the look that records it, must not claim that it was seen as before."""
    watched.planner(watched.revisions.declaration_in_force)  # type: ignore[arg-type]
    seen = watched.time.now()
    watched.time.pass_time(minutes=10)
    watched.mlflow.place("m", "champion", 2)
    for _ in range(3):
        watched.time.pass_time(minutes=10)
        watched.planner(watched.revisions.declaration_in_force)  # type: ignore[arg-type]
    assert watched.planner.observed_until is not None
    assert watched.planner.observed_until <= seen
    watched.converge()
    found = last(watched)
    assert found.not_before is not None
    assert found.not_before <= seen


def test_after_a_stop_the_ledger_knows_since_when_nobody_watched(watched: App) -> None:
    """What a run said last bounds what happened while nobody watched."""
    watched.planner(watched.revisions.declaration_in_force)  # type: ignore[arg-type]
    watched.heartbeat.record_stop()
    looked = watched.ledger.observed_until()
    watched.time.pass_time(days=3)
    watched.mlflow.place("m", "champion", 2)
    again = watched.another()
    again.time.pass_time(days=4)
    again.converge()
    assert looked is not None
    assert last(again).not_before == looked
    assert last(again).at > looked


def test_after_a_kill_the_last_record_is_what_is_known(watched: App) -> None:
    """No run said anything: the alias was there when it was last recorded."""
    recorded = last(watched).at
    watched.mlflow.place("m", "champion", 2)
    again = watched.another()
    again.time.pass_time(days=1)
    again.converge()
    assert last(again).not_before == recorded


def test_nothing_bounds_what_was_there_at_the_first_look(app: App) -> None:
    """Nobody knows since when; an alias that appears later did so after the look before."""
    app.mlflow.version("m")
    app.mlflow.place("m", "champion", 1)
    app.commit("m: {aliases: {champion: 1, shadow: {}}}")
    app.converge()
    (first,) = app.records("m", "champion")
    assert first.fact.not_before is None
    app.time.pass_time(hours=1)
    app.converge()
    app.mlflow.place("m", "shadow", 1)
    app.converge()
    (appeared,) = app.records("m", "shadow")
    assert appeared.fact.not_before is not None
    assert [first.fact.reason, appeared.fact.reason] == ["first seen", "moved outside Promoter"]


def test_a_run_tells_its_beginning_its_beats_and_its_end(watched: App) -> None:
    """Each under the run's name, with the tool's version and how far everything is recorded."""
    restarted = watched.another()
    restarted.heartbeat.record_start()
    restarted.converge()
    restarted.heartbeat.record_heartbeat()
    restarted.heartbeat.record_stop()
    told = [each for each in watched.ledger.find_lifecycle_events() if each.event is not LifecycleEventType.OPENED]
    assert [each.event for each in told] == [
        LifecycleEventType.STARTED,
        LifecycleEventType.WATCHING,
        LifecycleEventType.STOPPED,
    ]
    assert {each.facts["run"] for each in told} == {restarted.heartbeat.run}
    assert ["looked" in each.facts for each in told] == [False, True, True]


def test_a_ledger_that_is_away_keeps_nobody_from_watching(watched: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told in the log, and at the next beat."""

    def away(_: LifecycleEvent) -> int:
        raise TransientError("ledger", "gone")

    monkeypatch.setattr(watched.ledger, "record_lifecycle_event", away)
    watched.heartbeat.record_heartbeat()
