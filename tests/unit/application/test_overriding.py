"""Overrides at work: what they keep off, and each of their ends, with the records of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from promoter.application.explain import DecisionExplainer
from promoter.application.planner import RegistrySnapshot
from promoter.application.status import (
    BLOCKED,
    DRIFT,
    DUE,
    IN_STEP,
    OVERRIDE,
    AliasRow,
    build_alias_rows,
    find_waiting_items,
    load_alias_history,
)
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.observed import TrainingRun
from tests.unit.application.conftest import Office

POLICY = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, at_least: 0.5}]
guards: [{metric: live, at_least: 0.5, for: 1}]
"""
ROTATING = "m: {aliases: {champion: {version: 2, policy: p, rotation: commit}}}"
PLAIN = "m: {aliases: {champion: {version: 2, policy: p}}}"


@pytest.fixture
def served(office: Office) -> Office:
    """Git says v2, which serves; v1 did before."""
    for auc in (0.6, 0.7):
        office.mlflow.version("m", auc=auc)
    office.mlflow.place("m", "champion", 1)
    office.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=POLICY)
    office.converge()
    office.commit(PLAIN, p=POLICY)
    office.converge()
    assert office.aliases() == {"champion": 2}
    return office


def override(office: Office, version: int = 1, hours: int = 24) -> int:
    """Alice could not wait for git."""
    at, held = office.time.now(), office.aliases().get("champion")
    until = at + timedelta(hours=hours)
    begin = NewAuditRecord(
        at, RecordKind.OVERRIDE, "m", "champion", held, version, actor="alice", reason="bad recall", until=until
    )
    return office.ledger.record_override(begin)


def ends(office: Office) -> list[tuple[int | None, str | None]]:
    """Which overrides ended, and why."""
    return [
        (each.intent, each.fact.reason) for each in office.records() if each.fact.kind is RecordKind.OVERRIDE and each.intent
    ]


def view(office: Office) -> RegistrySnapshot:
    """A survey of everything."""
    assert office.revisions.declaration_in_force
    return office.planner(office.revisions.declaration_in_force)


def row(office: Office) -> AliasRow:
    """What the page and the API tell of the champion."""
    return build_alias_rows(view(office).models["m"], {}, office.time.now())[0]


def test_while_it_stands_the_registry_follows_it_and_a_steady_state_writes_nothing(served: Office) -> None:
    """Gated by readiness, in the name of who asked for it; git's word is not settled anew."""
    override(served)
    served.converge()
    assert served.aliases() == {"champion": 1}
    fact = served.records()[-1].fact
    assert (fact.cause, fact.actor, fact.verdict, fact.policy, fact.revision) == ("override", "alice", "pass", None, None)
    assert fact.reason == "override until 2026-11-24T12:00:00Z: bad recall"
    assert served.ledger.read_last_applied() == {"m": {"champion": 2}}
    count = len(served.records())
    served.converge()
    served.another().converge()
    assert len(served.records()) == count


@pytest.mark.parametrize("on_drift", ["revert", "report"])
def test_an_alias_that_is_moved_by_hand_comes_back_to_it(served: Office, on_drift: str) -> None:
    """Seen, recorded, and put back: a person has said what is to serve."""
    served.commit(PLAIN.replace("{aliases", f"{{on_drift: {on_drift}, aliases"), p=POLICY)
    override(served)
    served.converge()
    served.mlflow.place("m", "champion", 2)
    served.converge()
    assert served.aliases() == {"champion": 1}
    assert served.moves()[-2:] == [(1, 2), (2, 1)]
    assert [span.version for span in load_alias_history(served.ledger, "m", "champion")] == [1, 2, 1, 2, 1]


def test_rotation_and_guards_keep_off(served: Office) -> None:
    """A better candidate, a broken guard, a later commit: the override stands."""
    served.commit(ROTATING, p=POLICY)
    override(served)
    served.mlflow.version("m", auc=0.9)
    run = served.mlflow.all_runs["m-1"]
    served.mlflow.all_runs["m-1"] = TrainingRun(run.run_id, run.status, {**run.metrics, "live": 0.1})
    commits = len(served.git.history)
    served.converge()
    assert (served.aliases(), len(served.git.history)) == ({"champion": 1}, commits)
    served.commit(PLAIN.replace("version: 2", "version: 3"), p=POLICY)
    served.converge()
    assert served.aliases() == {"champion": 1}


def test_a_merge_that_says_the_same_settles_it(served: Office) -> None:
    """From then on git alone holds it; nothing moves, and the agreement is on the revision that brought it."""
    number = override(served)
    served.converge()
    merged = served.commit(PLAIN.replace("version: 2", "version: 1, hold: {reason: r, by: alice}, quarantine: [2]"), p=POLICY)
    moves = served.moves()
    served.converge()
    assert (served.aliases(), served.moves()) == ({"champion": 1}, moves)
    assert ends(served) == [(number, "decided: git says the same")]
    assert (served.ledger.read_last_applied(), served.ledger.last_applied_revision("m", "champion")) == (
        {"m": {"champion": 1}},
        merged,
    )
    served.mlflow.place("m", "champion", 2)
    served.converge()
    assert served.records()[-1].fact.cause == "drift"


def test_a_merge_does_not_settle_what_the_registry_never_came_to(served: Office) -> None:
    """The version was not ready under the override: what git says is a decision then, with its gate."""
    number = override(served)
    served.mlflow.unfit.add(("m", 1))
    served.converge()
    assert served.aliases() == {"champion": 2}
    served.commit(PLAIN.replace("version: 2", "version: 1, hold: {reason: r, by: alice}"), p=POLICY)
    served.converge()
    assert ends(served) == [(number, "decided: git says the same")]
    assert (served.aliases(), row(served).status) == ({"champion": 2}, BLOCKED)
    served.mlflow.unfit.clear()
    served.converge()
    assert served.aliases() == {"champion": 1}
    assert (served.records()[-1].fact.cause, served.records()[-1].fact.verdict) == ("commit", "pass")


def test_one_that_was_declined_is_over(served: Office) -> None:
    """Git's word returns, as drift."""
    number = override(served)
    served.converge()
    served.ledger.end_override(number, served.time.now(), "declined: closed unmerged")
    served.converge()
    assert (served.aliases(), served.records()[-1].fact.cause) == ({"champion": 2}, "drift")


def test_one_that_expires_is_over(served: Office) -> None:
    """Without a word from anybody git's counts again, and the end is recorded once."""
    number = override(served, hours=2)
    served.converge()
    served.time.pass_time(hours=2)
    served.converge()
    assert served.aliases() == {"champion": 2}
    assert (served.records()[-1].fact.cause, served.records()[-1].fact.reason) == ("drift", "drift put back: git still says so")
    served.converge()
    assert ends(served) == [(number, "expired: nobody decided in time, and git's word counts again")]


def test_one_that_expires_while_git_has_moved_on_leaves_a_decision(served: Office) -> None:
    """Another version that git says by then is gated like any other."""
    override(served, hours=2)
    served.mlflow.version("m", auc=0.1)
    served.commit(PLAIN.replace("version: 2", "version: 3"), p=POLICY)
    served.converge()
    served.time.pass_time(hours=2)
    served.converge()
    assert (served.aliases(), row(served).status) == ({"champion": 1}, BLOCKED)


def test_one_whose_alias_git_forgets_is_void(served: Office) -> None:
    """Nothing stands in for what is not said."""
    number = override(served)
    served.converge()
    served.commit("m: {aliases: {shadow: 1}}", p=POLICY)
    served.converge()
    assert ends(served) == [(number, "void: git says nothing of the alias any more")]
    assert served.aliases() == {"champion": 1, "shadow": 1}


def test_the_newest_of_two_counts_and_the_older_never_comes_back(served: Office) -> None:
    """Also where git comes to say what the newer one said."""
    served.mlflow.version("m", auc=0.8)
    first = override(served)
    second = override(served, 3)
    served.converge()
    assert served.aliases() == {"champion": 3}
    assert ends(served) == [(first, f"replaced by the override of record {second}")]
    served.commit(PLAIN.replace("version: 2", "version: 3"), p=POLICY)
    served.converge()
    assert ends(served)[1:] == [(second, "decided: git says the same")]
    assert served.aliases() == {"champion": 3}


def test_one_over_a_version_that_is_gone_is_told(served: Office) -> None:
    """The model is left as it is."""
    override(served)
    seen = served.mlflow.models["m"]
    served.mlflow.models["m"] = replace(seen, versions={2: seen.versions[2]})
    served.converge()
    assert (served.aliases(), row(served).status) == ({"champion": 2}, BLOCKED)
    assert "no version 1" in row(served).detail


def test_a_restart_in_the_middle_of_its_move_changes_nothing(served: Office) -> None:
    """The intent is closed by what is found, without settling it; then the override goes on."""
    override(served)
    write = served.mlflow.set_alias

    def killed(model: str, alias: str, version: int) -> None:
        write(model, alias, version)
        raise KeyboardInterrupt

    served.mlflow.set_alias = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        served.look()
    served.mlflow.set_alias = write  # type: ignore[method-assign]
    again = served.another()
    again.converge()
    assert (again.aliases(), again.outcomes()[-1]) == ({"champion": 1}, "recovered")
    assert (again.ledger.read_last_applied(), len(again.ledger.find_open_overrides())) == ({"m": {"champion": 2}}, 1)


def test_it_is_told_wherever_the_alias_is(served: Office) -> None:
    """Until when, by whom, why, and what git says meanwhile."""
    number = override(served)
    assert (row(served).status, row(served).detail) == (DUE, "to be v1")
    (waits,) = find_waiting_items(view(served).models["m"], served.time.now())
    assert (waits.held, waits.target) == (2, 1)
    served.converge()
    told = row(served)
    assert (told.status, told.held, told.stated) == (OVERRIDE, 1, 2)
    assert told.detail == "v1 until 2026-11-24 12:00 UTC, by alice: bad recall; git says v2"
    assert told.to_json()["override"] == {
        "id": number,
        "version": 1,
        "replaces": 2,
        "since": "2026-11-23T12:00:00+00:00",
        "until": "2026-11-24T12:00:00+00:00",
        "by": "alice",
        "reason": "bad recall",
    }
    assert find_waiting_items(view(served).models["m"], served.time.now()) == []
    assert served.revisions.declaration_in_force
    explainer = DecisionExplainer(served.registry, served.ledger, served.planner, served.clock)
    notes = explainer.explain_alias(served.revisions.declaration_in_force, "m", "champion").notes
    assert notes[:2] == (
        "the registry has v1, git says v2",
        "an override stands in for git: v1 until 2026-11-24 12:00 UTC, by alice: bad recall",
    )
    served.time.pass_time(hours=24)
    served.converge()
    assert (row(served).status, row(served).to_json()["override"]) == (IN_STEP, None)


def test_other_aliases_of_the_model_go_on(served: Office) -> None:
    """It stands in for one alias alone."""
    override(served)
    served.commit(PLAIN.replace("{champion", "{shadow: 2, champion"), p=POLICY)
    served.converge()
    assert served.aliases() == {"champion": 1, "shadow": 2}


def test_it_is_no_agreement_where_no_policy_gates_the_alias(served: Office) -> None:
    """What git and the registry agreed on stays what git said, so that its word returns as drift."""
    served.commit("m: {aliases: {champion: 2}}")
    served.converge()
    override(served, hours=2)
    served.converge()
    served.converge()
    assert (served.aliases(), served.ledger.read_last_applied()) == ({"champion": 1}, {"m": {"champion": 2}})
    served.time.pass_time(hours=2)
    served.converge()
    assert (served.aliases(), served.records()[-1].fact.cause) == ({"champion": 2}, "drift")


def test_its_end_is_recorded_also_where_nothing_moves(served: Office) -> None:
    """Drift is only reported: the alias stays, and nobody takes it for an override any more."""
    served.commit(PLAIN.replace("{aliases", "{on_drift: report, aliases"), p=POLICY)
    number = override(served, hours=2)
    served.converge()
    served.time.pass_time(hours=2)
    served.converge()
    assert (served.aliases(), row(served).status) == ({"champion": 1}, DRIFT)
    assert [each for each, _ in ends(served)] == [number]
