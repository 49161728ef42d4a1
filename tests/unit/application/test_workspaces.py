"""A ledger is about one workspace of one server: a Promoter of another one is refused, until a person accepts it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from promoter.application.ports import RegistryServer
from promoter.application.registry_binding import RegistryBinding, find_other_workspace, read_bound_workspace
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.errors import PermanentError
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.notifications import EventBuilder
from promoter.domain.observed import ObservedModel
from tests.support.app import App
from tests.support.fakes.registry import START

HERE = "http://mlflow"
STATED = "m: {aliases: {champion: 1}}"
FLOOR = b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"


def on(workspace: str | None) -> RegistryServer:
    """The server, as a Promoter sees it that works in that workspace."""
    return RegistryServer(HERE, START, workspace)


def bound(**facts: str) -> LifecycleEvent:
    """An entry that binds a ledger."""
    return LifecycleEvent(START, LifecycleEventType.REGISTRY, {"address": HERE, **facts})


def bindings(app: App) -> list[dict[str, object]]:
    """What the ledger has of its registry."""
    events = app.ledger.find_lifecycle_events()
    return [dict(each.facts) for each in events if each.event is LifecycleEventType.REGISTRY]


@pytest.fixture
def in_team_a(app: App) -> App:
    """A ledger of the workspace team-a, where v1 is the champion."""
    app.mlflow.server = on("team-a")
    app.mlflow.version("m")
    app.commit(STATED)
    app.converge()
    return app


@pytest.mark.parametrize(
    ("stated", "own", "other"),
    [
        ("team-a", "team-a", False),
        ("team-a", "team-b", True),
        ("team-a", "default", True),
        ("team-a", None, True),  # the server lost its workspaces: what it has is the default one's
        ("default", None, False),
        ("default", "default", False),
        (None, "default", False),  # workspaces were enabled: what was there lies in the default one
        (None, None, False),
        (None, "team-a", True),
    ],
)
def test_workspaces_are_compared(stated: str | None, own: str | None, *, other: bool) -> None:
    """A server without workspaces has what its default workspace has."""
    entry = bound(server=START.isoformat(), **({"workspace": stated} if stated else {}))
    found = find_other_workspace(on(own), entry)
    assert (found is not None) is other
    assert read_bound_workspace(entry) == stated
    if found:
        now = f"this Promoter works in workspace {own}" if own else f"{HERE} has no workspaces"
        assert found.startswith(f"this ledger is about workspace {stated or 'default'} of {HERE} (as of ")
        assert found.endswith(f"), and {now}")


def test_an_entry_that_tells_neither_server_nor_workspace_refuses_none() -> None:
    """Older Promoters wrote it where MLflow did not show when it was set up, as it does not in other workspaces."""
    assert find_other_workspace(on("team-a"), bound()) is None
    assert find_other_workspace(on("team-a"), None) is None


def test_a_ledger_is_bound_once_to_a_workspace(in_team_a: App) -> None:
    """A restart adds nothing; a check says where Promoter works, also before it was made."""
    stated = {"server": START.isoformat(), "address": HERE, "workspace": "team-a"}
    assert bindings(in_team_a) == [stated]
    again = in_team_a.another()
    assert again.registry_binding.workspace == "team-a"
    again.converge()
    assert bindings(again) == [stated]


@pytest.mark.parametrize("other", ["team-b", "default", None])
def test_another_workspace_is_refused(in_team_a: App, other: str | None) -> None:
    """Nothing is read from there, nothing moves; whoever accepts it goes on, and the first one is refused then."""
    app = in_team_a.another()
    app.mlflow.server = on(other)
    calls = len(app.mlflow.calls)
    watch = app.converge()
    assert "this ledger is about workspace team-a of http://mlflow" in watch.health.current_problems["ledger"]
    with pytest.raises(PermanentError, match=r"set MLFLOW_WORKSPACE to the workspace of this ledger, or .*registry accept"):
        app.registry_binding.require_own_registry(fresh=True)
    assert len(app.mlflow.calls) == calls
    app.registry_binding.accept("alice", "the models were moved")
    app.registry_binding.require_own_registry(fresh=True)
    app.mlflow.server = on("team-a")
    if other:
        with pytest.raises(PermanentError, match=f"about workspace {other} of"):
            app.registry_binding.require_own_registry(fresh=True)


def test_enabled_workspaces_change_nothing_in_the_default_one(app: App) -> None:
    """The ledger goes on, and says its workspace from then on; in another one it is refused."""
    app.mlflow.version("m")
    app.commit(STATED)
    app.converge()
    assert [each.get("workspace") for each in bindings(app)] == [None]
    app.mlflow.server = on("default")
    for _ in range(2):
        app.another().converge()
    assert [each.get("workspace") for each in bindings(app)] == [None, "default"]
    app.mlflow.server = on("team-a")
    with pytest.raises(PermanentError, match="about workspace default"):
        RegistryBinding(app.mlflow, app.ledger, app.time).require_own_registry()
    app.mlflow.server = on(None)
    RegistryBinding(app.mlflow, app.ledger, app.time).require_own_registry()


def test_a_workspace_binds_where_the_server_does_not_tell_its_age(app: App) -> None:
    """Whoever works in one workspace alone may not read the Default experiment, which lies in the default one."""
    app.mlflow.server = RegistryServer(HERE, None, "team-a")
    app.registry_binding.require_own_registry()
    assert bindings(app) == [{"address": HERE, "workspace": "team-a"}]
    app.mlflow.server = RegistryServer(HERE, None, "team-b")
    with pytest.raises(PermanentError, match="about workspace team-a"):
        RegistryBinding(app.mlflow, app.ledger, app.time).require_own_registry()


def test_a_ledger_from_before_workspaces_knows_its_models(app: App) -> None:
    """It was never bound, since older Promoters could not tell the server there: the models tell which workspace it was."""
    moved = NewAuditRecord(START, RecordKind.OBSERVED, "m", "champion", None, 1)
    app.mlflow.server = RegistryServer(HERE, START - timedelta(days=1), "team-a")
    facts = []
    for name in ("a", "b", "c"):
        app.mlflow.models[name] = ObservedModel(name, created_at=START)
        app.mlflow.version(name)
        facts.append(replace(moved, model=name, to_identity=app.mlflow.models[name].find_identity(1)))
    app.ledger.record_observed_moves(facts)
    kept = dict(app.mlflow.models)
    for name, model in kept.items():
        app.mlflow.models[name] = replace(model, created_at=START + timedelta(hours=1))
    with pytest.raises(PermanentError, match="about another registry than workspace team-a of http://mlflow: all 3 models"):
        app.registry_binding.require_own_registry()
    app.mlflow.models.update(kept)
    app.registry_binding.require_own_registry()
    assert [each["workspace"] for each in bindings(app)] == ["team-a"]


def test_records_name_the_workspace(in_team_a: App) -> None:
    """Of every kind, also after a person accepted another workspace; those from before keep what they said."""
    app = in_team_a
    assert {each.fact.workspace for each in app.records()} == {"team-a"}
    app.mlflow.place("m", "champion", None)
    app.converge()
    app.mlflow.server = on("team-b")
    app.registry_binding.accept("alice", "the models were moved")
    app.mlflow.place("m", "champion", None)
    app.time.pass_time(minutes=1)
    app.another().converge()
    named = [each.fact.workspace for each in app.records()]
    assert named == sorted(named)
    assert set(named) == {"team-a", "team-b"}


def test_events_name_the_workspace(in_team_a: App) -> None:
    """That of the ledger as of their entry, whatever they stand for; without workspaces there is no such field."""
    app = in_team_a
    app.commit("m: {aliases: {champion: {version: 1, policy: p}, shadow: {version: 1, policy: p}}}", p=FLOOR)
    app.converge()
    app.git.push({"registry.yaml": b"no: file\n"})
    app.converge()
    page = app.event_outbox.read_source_entries(0, 100)
    events = [each for entry in page.entries for each in EventBuilder("l").build_events(entry, page.find_context(entry))]
    assert {each.type.short_name for each in events} == {"changed", "blocked", "revision-refused"}
    assert {each.data["workspace"] for each in events} == {"team-a"}
    app.mlflow.server = on("team-b")
    app.registry_binding.accept("alice", "the models were moved")
    again = app.event_outbox.read_source_entries(0, 100)
    assert [again.find_context(each) for each in again.entries] == [page.find_context(each) for each in page.entries]


def test_a_server_without_workspaces_leaves_none(app: App) -> None:
    """Neither in the entry's own line nor in an event."""
    app.mlflow.version("m")
    app.commit(STATED)
    app.converge()
    assert not [each for each in app.ledger.iterate_entries() if b"workspace" in each.body]
    page = app.event_outbox.read_source_entries(0, 100)
    (event,) = [each for entry in page.entries for each in EventBuilder("l").build_events(entry, page.find_context(entry))]
    assert "workspace" not in event.data
