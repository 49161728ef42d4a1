"""Overrides at work: what they keep off, and each of their ends, with the records of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from promoter.application.explain import DecisionExplainer
from promoter.application.history import describe_overrides
from promoter.application.responses.registry import AliasResponse
from promoter.application.snapshots import RegistrySnapshot
from promoter.application.status import (
    BLOCKED,
    DRIFT,
    OUT_OF_SYNC,
    OVERRIDE,
    SYNCED,
    AliasRow,
    build_alias_rows,
    find_waiting_items,
    load_alias_history,
)
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.observed import TrainingRun
from tests.support.app import App
from tests.support.remembered import numbers

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, at_least: 0.5}]
guards: [{metric: live, at_least: 0.5, for: 1}]
"""
ROTATING = "m: {aliases: {champion: {version: 2, policy: p, rotation: commit}}}"
PLAIN = "m: {aliases: {champion: {version: 2, policy: p}}}"


@pytest.fixture
def watched_app(app: App) -> App:
    """Git says v2, which serves; v1 did before."""
    for auc in (0.6, 0.7):
        app.mlflow.version("m", auc=auc)
    app.mlflow.place("m", "champion", 1)
    app.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=POLICY)
    app.converge()
    app.commit(PLAIN, p=POLICY)
    app.converge()
    assert app.aliases() == {"champion": 2}
    return app


def override(app: App, version: int = 1, hours: int = 24) -> int:
    """Alice could not wait for git."""
    at, held = app.time.now(), app.aliases().get("champion")
    until = at + timedelta(hours=hours)
    begin = NewAuditRecord(
        at, RecordKind.OVERRIDE, "m", "champion", held, version, actor="alice", reason="bad recall", until=until
    )
    return app.ledger.record_override(begin)


def ends(app: App) -> list[tuple[int | None, str | None]]:
    """Which overrides ended, and why."""
    return [(each.intent, each.fact.reason) for each in app.records() if each.fact.kind is RecordKind.OVERRIDE and each.intent]


def view(app: App) -> RegistrySnapshot:
    """A survey of everything."""
    assert app.revisions.declaration_in_force
    return app.planner(app.revisions.declaration_in_force)


def row(app: App) -> AliasRow:
    """What the page and the API tell of the champion."""
    return build_alias_rows(view(app).models["m"], {}, app.time.now())[0]


def test_while_it_stands_the_registry_follows_it_and_a_steady_state_writes_nothing(watched_app: App) -> None:
    """Gated by readiness, in the name of who asked for it; git's word is not settled anew."""
    override(watched_app)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 1}
    fact = watched_app.records()[-1].fact
    assert (fact.cause, fact.actor, fact.verdict, fact.policy, fact.revision) == ("override", "alice", "pass", None, None)
    assert fact.reason == "override until 2026-11-24 12:00 UTC: bad recall"
    assert numbers(watched_app.ledger.read_last_applied()) == {"m": {"champion": 2}}
    count = len(watched_app.records())
    watched_app.converge()
    watched_app.another().converge()
    assert len(watched_app.records()) == count


@pytest.mark.parametrize("on_drift", ["revert", "report"])
def test_an_alias_that_is_moved_by_hand_comes_back_to_it(watched_app: App, on_drift: str) -> None:
    """Seen, recorded, and put back: a person has said what is to serve."""
    watched_app.commit(PLAIN.replace("{aliases", f"{{on_drift: {on_drift}, aliases"), p=POLICY)
    override(watched_app)
    watched_app.converge()
    watched_app.mlflow.place("m", "champion", 2)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 1}
    assert watched_app.moves()[-2:] == [(1, 2), (2, 1)]
    assert [span.version for span in load_alias_history(watched_app.ledger, "m", "champion")] == [1, 2, 1, 2, 1]


def test_rotation_and_guards_keep_off(watched_app: App) -> None:
    """A better candidate, a broken guard, a later commit: the override stands."""
    watched_app.commit(ROTATING, p=POLICY)
    override(watched_app)
    watched_app.mlflow.version("m", auc=0.9)
    run = watched_app.mlflow.all_runs["m-1"]
    watched_app.mlflow.all_runs["m-1"] = TrainingRun(run.run_id, run.status, {**run.metrics, "live": 0.1})
    commits = len(watched_app.git.history)
    watched_app.converge()
    assert (watched_app.aliases(), len(watched_app.git.history)) == ({"champion": 1}, commits)
    watched_app.commit(PLAIN.replace("version: 2", "version: 3"), p=POLICY)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 1}


def test_a_merge_that_says_the_same_settles_it(watched_app: App) -> None:
    """From then on git alone holds it; nothing moves, and the agreement is on the revision that brought it."""
    number = override(watched_app)
    watched_app.converge()
    merged = watched_app.commit(
        PLAIN.replace("version: 2", "version: 1, hold: {reason: r, by: alice}, quarantine: [2]"), p=POLICY
    )
    moves = watched_app.moves()
    watched_app.converge()
    assert (watched_app.aliases(), watched_app.moves()) == ({"champion": 1}, moves)
    assert ends(watched_app) == [(number, "decided: git says the same")]
    assert (numbers(watched_app.ledger.read_last_applied()), watched_app.ledger.last_applied_revision("m", "champion")) == (
        {"m": {"champion": 1}},
        merged,
    )
    watched_app.mlflow.place("m", "champion", 2)
    watched_app.converge()
    assert watched_app.records()[-1].fact.cause == "drift"


def test_a_merge_does_not_settle_what_the_registry_never_came_to(watched_app: App) -> None:
    """The version was not ready under the override: what git says is a decision then, with its gate."""
    number = override(watched_app)
    watched_app.mlflow.unfit.add(("m", 1))
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 2}
    watched_app.commit(PLAIN.replace("version: 2", "version: 1, hold: {reason: r, by: alice}"), p=POLICY)
    watched_app.converge()
    assert ends(watched_app) == [(number, "decided: git says the same")]
    assert (watched_app.aliases(), row(watched_app).status) == ({"champion": 2}, BLOCKED)
    watched_app.mlflow.unfit.clear()
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 1}
    assert (watched_app.records()[-1].fact.cause, watched_app.records()[-1].fact.verdict) == ("commit", "pass")


def test_one_that_was_declined_is_over(watched_app: App) -> None:
    """Git's word returns, as drift."""
    number = override(watched_app)
    watched_app.converge()
    watched_app.ledger.end_override(number, watched_app.time.now(), "declined: closed unmerged")
    watched_app.converge()
    assert (watched_app.aliases(), watched_app.records()[-1].fact.cause) == ({"champion": 2}, "drift")


def test_one_that_expires_is_over(watched_app: App) -> None:
    """Without a word from anybody git's counts again, and the end is recorded once."""
    number = override(watched_app, hours=2)
    watched_app.converge()
    watched_app.time.pass_time(hours=2)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 2}
    assert (watched_app.records()[-1].fact.cause, watched_app.records()[-1].fact.reason) == (
        "drift",
        "the override of alice ended (nobody decided), v2 returned",
    )
    watched_app.converge()
    reason = "expired: nobody decided in time, and git's word counts again; v2 returns, the version that was rolled back"
    assert ends(watched_app) == [(number, reason)]


def test_one_that_expires_while_git_has_moved_on_leaves_a_decision(watched_app: App) -> None:
    """Another version that git says by then is gated like any other."""
    override(watched_app, hours=2)
    watched_app.mlflow.version("m", auc=0.1)
    watched_app.commit(PLAIN.replace("version: 2", "version: 3"), p=POLICY)
    watched_app.converge()
    watched_app.time.pass_time(hours=2)
    watched_app.converge()
    assert (watched_app.aliases(), row(watched_app).status) == ({"champion": 1}, BLOCKED)


def test_one_whose_alias_git_forgets_is_void(watched_app: App) -> None:
    """Nothing stands in for what is not said."""
    number = override(watched_app)
    watched_app.converge()
    watched_app.commit("m: {aliases: {shadow: 1}}", p=POLICY)
    watched_app.converge()
    assert ends(watched_app) == [(number, "void: git says nothing of the alias any more")]
    assert watched_app.aliases() == {"champion": 1, "shadow": 1}


def test_the_newest_of_two_counts_and_the_older_never_comes_back(watched_app: App) -> None:
    """Also where git comes to say what the newer one said."""
    watched_app.mlflow.version("m", auc=0.8)
    first = override(watched_app)
    second = override(watched_app, 3)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 3}
    assert ends(watched_app) == [(first, f"replaced by the override of record {second}")]
    watched_app.commit(PLAIN.replace("version: 2", "version: 3"), p=POLICY)
    watched_app.converge()
    assert ends(watched_app)[1:] == [(second, "decided: git says the same")]
    assert watched_app.aliases() == {"champion": 3}


def test_one_over_a_version_that_is_gone_is_told(watched_app: App) -> None:
    """The model is left as it is."""
    override(watched_app)
    seen = watched_app.mlflow.models["m"]
    watched_app.mlflow.models["m"] = replace(seen, versions={2: seen.versions[2]})
    watched_app.converge()
    assert (watched_app.aliases(), row(watched_app).status) == ({"champion": 2}, BLOCKED)
    assert "no version 1" in row(watched_app).detail


def test_a_restart_in_the_middle_of_its_move_changes_nothing(watched_app: App) -> None:
    """The intent is closed by what is found, without settling it; then the override goes on."""
    override(watched_app)
    write = watched_app.mlflow.set_alias

    def killed(model: str, alias: str, version: int) -> None:
        write(model, alias, version)
        raise KeyboardInterrupt

    watched_app.mlflow.set_alias = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        watched_app.look()
    watched_app.mlflow.set_alias = write  # type: ignore[method-assign]
    again = watched_app.another()
    again.converge()
    assert (again.aliases(), again.outcomes()[-1]) == ({"champion": 1}, "recovered")
    assert (numbers(again.ledger.read_last_applied()), len(again.ledger.find_open_overrides())) == ({"m": {"champion": 2}}, 1)


def test_it_is_told_wherever_the_alias_is(watched_app: App) -> None:
    """Until when, by whom, why, and what git says meanwhile."""
    number = override(watched_app)
    assert (row(watched_app).status, row(watched_app).detail) == (OUT_OF_SYNC, "to be v1")
    (waits,) = find_waiting_items(view(watched_app).models["m"], watched_app.time.now())
    assert (waits.held, waits.target) == (2, 1)
    watched_app.converge()
    told = row(watched_app)
    assert (told.status, told.held, told.stated) == (OVERRIDE, 1, 2)
    warning = "Unless git states v1 by 2026-11-24 12:00 UTC, v2 returns, the version that was rolled back"
    assert told.detail == f"v1 until 2026-11-24 12:00 UTC, by alice: bad recall; git says v2. {warning}"
    assert AliasResponse.from_value(told).to_json()["override"] == {
        "id": number,
        "version": 1,
        "replaces": 2,
        "since": "2026-11-23T12:00:00+00:00",
        "until": "2026-11-24T12:00:00+00:00",
        "by": "alice",
        "reason": "bad recall",
        "returns": 2,
        "then": "v2 returns, the version that was rolled back",
    }
    (waits,) = find_waiting_items(view(watched_app).models["m"], watched_app.time.now())
    assert (waits.status, waits.held, waits.target, waits.reason) == (OVERRIDE, 1, None, told.detail)
    assert watched_app.revisions.declaration_in_force
    explainer = DecisionExplainer(watched_app.registry, watched_app.ledger, watched_app.planner, watched_app.clock)
    explained = explainer.explain_alias(watched_app.revisions.declaration_in_force, "m", "champion")
    assert explained.subject == "v1 holds m@champion under an override until 2026-11-24 12:00 UTC; under its policy today"
    assert explained.notes[:3] == (
        "the registry has v1, git says v2",
        "an override stands in for git: v1 until 2026-11-24 12:00 UTC, by alice: bad recall",
        warning,
    )
    (note,) = describe_overrides(watched_app.ledger, "m", "champion", watched_app.time.now())
    assert note.startswith("v1 serves under an override until 2026-11-24 12:00 UTC, by alice: bad recall. Unless git states v1")
    assert note.endswith("by then, the override ends, and git counts again, which stated v2 last")
    watched_app.time.pass_time(hours=24)
    watched_app.converge()
    assert (row(watched_app).status, row(watched_app).override) == (SYNCED, None)


def test_other_aliases_of_the_model_go_on(watched_app: App) -> None:
    """It stands in for one alias alone."""
    override(watched_app)
    watched_app.commit(PLAIN.replace("{champion", "{shadow: 2, champion"), p=POLICY)
    watched_app.converge()
    assert watched_app.aliases() == {"champion": 1, "shadow": 2}


def test_it_is_no_agreement_where_no_policy_gates_the_alias(watched_app: App) -> None:
    """What git and the registry agreed on stays what git said, so that its word returns as drift."""
    watched_app.commit("m: {aliases: {champion: 2}}")
    watched_app.converge()
    override(watched_app, hours=2)
    watched_app.converge()
    watched_app.converge()
    assert (watched_app.aliases(), numbers(watched_app.ledger.read_last_applied())) == ({"champion": 1}, {"m": {"champion": 2}})
    watched_app.time.pass_time(hours=2)
    watched_app.converge()
    assert (watched_app.aliases(), watched_app.records()[-1].fact.cause) == ({"champion": 2}, "drift")


def test_its_end_is_recorded_also_where_nothing_moves(watched_app: App) -> None:
    """Drift is only reported: the alias stays, and nobody takes it for an override any more."""
    watched_app.commit(PLAIN.replace("{aliases", "{on_drift: report, aliases"), p=POLICY)
    number = override(watched_app, hours=2)
    watched_app.converge()
    watched_app.time.pass_time(hours=2)
    watched_app.converge()
    assert (watched_app.aliases(), row(watched_app).status) == ({"champion": 1}, DRIFT)
    (end,) = ends(watched_app)
    assert end[0] == number
    assert str(end[1]).endswith("; v1 stays, and is shown as drift from v2, which git states (`on_drift: report`)")


def announced(app: App) -> list[LifecycleEvent]:
    """The announcements of ends that the ledger has."""
    return [each for each in app.ledger.find_lifecycle_events() if each.event is LifecycleEventType.OVERRIDE_EXPIRING]


def test_its_end_is_announced_an_hour_before_and_once(watched_app: App) -> None:
    """Not before; then with all that a person needs, and not again by a replica, a restart or a clock that jumps back."""
    number = override(watched_app, hours=24)
    watched_app.converge()
    watched_app.time.pass_time(hours=22, minutes=59)
    watched_app.converge()
    assert announced(watched_app) == []
    watched_app.time.pass_time(minutes=1)
    for each in (watched_app, watched_app, watched_app.another()):
        each.converge()
    watched_app.time.pass_time(hours=-3)
    watched_app.converge()
    watched_app.time.pass_time(hours=3)
    watched_app.another().converge()
    (event,) = announced(watched_app)
    assert event.facts == {
        "override": number,
        "model": "m",
        "alias": "champion",
        "version": 1,
        "replaces": 2,
        "until": "2026-11-24T12:00:00+00:00",
        "by": "alice",
        "reason": "bad recall",
        "then": "v2 returns, the version that was rolled back",
    }
    watched_app.time.pass_time(hours=1)
    watched_app.converge()
    assert (len(announced(watched_app)), watched_app.aliases()) == (1, {"champion": 2})


def test_one_that_lasts_no_longer_than_an_hour_is_announced_at_once(watched_app: App) -> None:
    """It might be over before the next look."""
    override(watched_app, hours=1)
    watched_app.converge()
    assert len(announced(watched_app)) == 1


def test_one_that_git_states_by_then_is_not_announced(watched_app: App) -> None:
    """A person has decided."""
    override(watched_app, hours=2)
    watched_app.converge()
    watched_app.commit(PLAIN.replace("version: 2", "version: 1, hold: {reason: r, by: alice}"), p=POLICY)
    watched_app.time.pass_time(hours=1, minutes=30)
    watched_app.converge()
    assert announced(watched_app) == []


def test_what_somebody_moved_by_hand_after_it_is_drift(watched_app: App) -> None:
    """The record does not blame the override for it."""
    override(watched_app, hours=2)
    watched_app.converge()
    watched_app.time.pass_time(hours=2)
    watched_app.converge()
    watched_app.mlflow.place("m", "champion", 1)
    watched_app.converge()
    assert watched_app.records()[-1].fact.reason == "drift put back: git still says so"


def test_a_stop_between_its_end_and_the_return_does_not_hide_why(watched_app: App) -> None:
    """The end is in the ledger; whoever goes on reads it there."""
    number = override(watched_app)
    watched_app.converge()
    watched_app.ledger.end_override(number, watched_app.time.now(), "declined: https://forge/1 was closed unmerged; v2 returns")
    watched_app.another().converge()
    reason = "the override of alice ended (https://forge/1 was closed unmerged), v2 returned"
    assert watched_app.records()[-1].fact.reason == reason
