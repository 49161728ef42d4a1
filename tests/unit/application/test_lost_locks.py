"""A run that was stopped for so long that its lock went to another one: what it does when it goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from promoter.application.ports import Sources
from promoter.domain.audit import ChangeOutcome, RecordKind
from promoter.domain.errors import TransientError
from tests.support.app import App

READS_OF_A_RECHECK = 2
"""The number of the `observe` that a change is rechecked with: the one before it makes the plan."""


def at_call(call: str, act: Callable[[], object], nth: int = 1) -> Callable[[str], None]:
    """Do something right before the nth call of that name."""
    seen = 0

    def meddle(name: str) -> None:
        nonlocal seen
        seen += name == call
        if name == call and seen == nth:
            act()

    return meddle


@pytest.fixture
def drifted(app: App) -> App:
    """A model whose champion git wants at v1, and that somebody has moved to v2."""
    app.mlflow.version("m", auc=0.8)
    app.mlflow.version("m", auc=0.9)
    app.commit("m: {aliases: {champion: 1}}")
    app.converge()
    app.mlflow.place("m", "champion", 2)
    return app


def lose(app: App, *, other: bool) -> Callable[[], None]:
    """Take the lock of `m` away; `other`: another run then does all that there is to do."""

    def act() -> None:
        app.mlflow.on = lambda _call: None
        app.keys.lost.add("m")
        if other:
            app.another().look()

    return act


def reconcile_stopped(app: App, call: str, nth: int, *, other: bool) -> None:
    """Reconcile with a stop right before that call, in which the lock is lost: the run gives up, to be tried again."""
    app.mlflow.on = at_call(call, lose(app, other=other), nth)
    with pytest.raises(TransientError, match="lock"):
        app.model_reconciler.reconcile("m", "test")
    app.mlflow.on = lambda _call: None


def list_observed(app: App) -> list[tuple[int | None, int | None]]:
    """From and to of each move that the ledger says somebody else made."""
    facts = [record.fact for record in app.records() if record.fact.kind is RecordKind.OBSERVED]
    return [(fact.from_version, fact.to_version) for fact in facts if fact.from_version is not None]


@pytest.mark.parametrize("nth", [1, READS_OF_A_RECHECK])
@pytest.mark.parametrize("other", [True, False])
def test_a_run_without_its_lock_writes_nothing(drifted: App, nth: int, *, other: bool) -> None:
    """Neither an alias nor a record; its intent is closed once, by the run that has the lock, and all is well afterwards."""
    drifted.revisions.refresh_head()
    before = len(drifted.mlflow.writes)
    reconcile_stopped(drifted, "observe", nth, other=other)
    assert len(drifted.mlflow.writes) == before + other
    drifted.look()
    assert drifted.aliases() == {"champion": 1}
    assert list_observed(drifted) == [(1, 2)]
    assert not drifted.ledger.find_open_intents()
    drifted.another().look()
    assert len(drifted.mlflow.writes) == before + 1


def test_a_write_that_was_found_is_closed_once(drifted: App) -> None:
    """Stopped after its write, the run finds that another one has closed the intent, and plans again."""
    drifted.revisions.refresh_head()
    reconcile_stopped(drifted, "aliases", 1, other=True)
    assert drifted.outcomes()[-2:] == ["intended", "recovered"]
    drifted.look()
    assert drifted.outcomes()[-2:] == ["intended", "recovered"]
    assert list_observed(drifted) == [(1, 2)]


def test_a_write_that_comes_late_is_recorded_as_promoters_own(drifted: App) -> None:
    """Stopped between its last check and its request, a run writes when it goes on: the ledger has it, and it is put right."""

    def overtake() -> None:
        lose(drifted, other=True)()  # it closes the intent as not written, and puts the drift back itself
        drifted.commit("m: {aliases: {champion: 2}}")
        drifted.another().look()

    drifted.revisions.refresh_head()
    drifted.mlflow.on = at_call("set_alias", overtake)
    with pytest.raises(TransientError, match="the lock of m was lost while champion was written"):
        drifted.model_reconciler.reconcile("m", "test")
    assert drifted.aliases() == {"champion": 1}
    last = drifted.records(alias="champion")[-1].fact
    assert (last.kind, last.outcome, last.from_version, last.to_version) == (RecordKind.CHANGE, ChangeOutcome.APPLIED, 2, 1)
    assert str(last.reason).startswith("written late: this run had lost its lock, and another one closed intent")
    drifted.look()
    assert drifted.aliases() == {"champion": 2}
    assert list_observed(drifted) == [(1, 2)]
    assert not drifted.ledger.find_open_intents()


def test_open_intents_of_a_run_that_goes_on_are_left_alone(drifted: App) -> None:
    """A run that lost its lock while it looked at intents which another run had opened since closes none of them."""
    drifted.revisions.refresh_head()
    intent = drifted.ledger.record_intent(drifted.records()[-1].fact, None)
    drifted.mlflow.on = at_call("observe", lambda: drifted.keys.lost.add("m"))
    with pytest.raises(TransientError, match="lost"):
        drifted.model_reconciler.reconcile("m", "test")
    assert [each.id for each in drifted.ledger.find_open_intents()] == [intent]


def test_an_older_revision_is_not_put_in_force_without_the_lock(drifted: App) -> None:
    """Stopped after its fetch, a run that lost its lock must not undo a newer revision that another one has carried out."""
    drifted.commit("m: {aliases: {champion: 1, shadow: 1}}")
    read_sources = drifted.git.read_sources

    def read_and_stop(revision: str) -> Sources:
        found = read_sources(revision)
        drifted.git.read_sources = read_sources  # type: ignore[method-assign]
        drifted.keys.lost.add("/revisions")
        drifted.commit("m: {aliases: {champion: 2, shadow: 1}}")
        drifted.another().look()
        return found

    drifted.git.read_sources = read_and_stop  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="lost"):
        drifted.revisions.refresh_head()
    drifted.model_reconciler.reconcile("m", "test")
    assert drifted.aliases() == {"champion": 2, "shadow": 1}


def test_a_fetch_that_brings_nothing_new_keeps_no_replica_waiting(drifted: App) -> None:
    """Nor does one that hangs and fails: the lock of all replicas is taken only once there is a revision to put in force."""

    def fail() -> str:
        raise TransientError("git", "no answer within 60 s")

    drifted.keys.taken.clear()
    drifted.revisions.refresh_head()
    assert drifted.keys.taken == []
    fetch_branch = drifted.git.fetch_branch
    drifted.git.fetch_branch = fail  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="no answer"):
        drifted.revisions.refresh_head()
    assert drifted.keys.taken == []
    drifted.git.fetch_branch = fetch_branch  # type: ignore[method-assign]
    drifted.commit("m: {aliases: {champion: 2}}")
    drifted.revisions.refresh_head()
    assert drifted.keys.taken == ["/revisions"]
