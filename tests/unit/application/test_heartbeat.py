"""When somebody watched, and between which moments others moved an alias."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from promoter.application.controller import Heartbeat
from promoter.domain.audit import NewAuditRecord
from promoter.domain.errors import TransientError
from promoter.domain.fields import format_utc
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
    others = (LifecycleEventType.OPENED, LifecycleEventType.REGISTRY, LifecycleEventType.REPOSITORY)
    told = [each for each in watched.ledger.find_lifecycle_events() if each.event not in others]
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


class OtherHost:
    """The port `HostSystem`, of a host with these processes."""

    def __init__(self, name: str, own: int, *alive: int) -> None:
        self.host_name, self.process_id, self._alive = name, own, {own, *alive}

    def is_alive(self, process: int) -> bool:
        """As the port says."""
        return process in self._alive


def start_on(app: App, name: str, own: int, *alive: int) -> Heartbeat:
    """Start a daemon there, on the ledger of that app."""
    heartbeat = Heartbeat(app.ledger, app.time, app.planner, OtherHost(name, own, *alive))
    heartbeat.record_start()
    return heartbeat


def test_a_daemon_knows_who_else_works_on_the_ledger(app: App) -> None:
    """With host, process and start; not itself, nor who has stopped, died on the same host, or been silent for long."""
    one = start_on(app, "alpha", 1)
    started = app.time.now()
    app.time.pass_time(minutes=50)
    one.record_heartbeat()
    start_on(app, "beta", 1).record_stop()
    start_on(app, "gamma", 7)
    app.time.pass_time(minutes=80)
    one.record_heartbeat()
    found = start_on(app, "gamma", 8, 1).find_others()
    assert [(each.host, each.process, each.since, each.last_seen_at) for each in found] == [
        ("alpha", 1, started, app.time.now())
    ]
    app.time.pass_time(minutes=41)
    assert [each.host for each in start_on(app, "gamma", 9, 7, 8).find_others()] == ["alpha", "gamma"]
    app.time.pass_time(minutes=80)
    assert [each.process for each in start_on(app, "beta", 1).find_others()] == [9]


def test_daemons_of_older_promoters_and_strange_facts_are_no_fault(app: App) -> None:
    """Whoever recorded neither host nor process is somebody; facts of another shape are passed over."""
    events = [{"run": "old", "tool": "1"}, {"run": 5}, {"run": "odd", "host": 7, "process": "x", "since": "yesterday"}]
    for facts in events:
        app.ledger.record_lifecycle_event(LifecycleEvent(app.time.now(), LifecycleEventType.STARTED, facts))
    found = start_on(app, "alpha", 1).find_others()
    assert [(each.run, each.host, each.process, each.since) for each in found] == [
        ("old", "", 0, app.time.now()),
        ("odd", "", 0, app.time.now()),
    ]


@pytest.fixture
def every_level() -> Iterator[None]:
    """Whatever a command of an earlier test has set: lines of every level are logged."""
    before = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("every_level")
def test_the_start_names_the_others_and_says_that_it_is_fine(app: App) -> None:
    """In one log line for each, and in none where there is nobody."""
    with capture_logs() as logs:
        start_on(app, "alpha", 3)
        assert not logs
        start_on(app, "beta", 4)
    (line,) = logs
    assert "which is fine" in line["event"]
    assert (line["host"], line["process"], line["since"]) == ("alpha", 3, format_utc(app.time.now()))
