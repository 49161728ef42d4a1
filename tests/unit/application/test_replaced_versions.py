"""What a ledger remembers of a version counts for that version only: gates, guards, overrides, rollbacks, soak, old ledgers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from promoter.adapters.ledger import SqlLedger
from promoter.application.ports import RegistryServer
from promoter.application.registry_binding import RegistryBinding
from promoter.application.status import BLOCKED, build_alias_rows, find_waiting_items
from promoter.application.work_items import WorkItem, WorkKind
from promoter.domain.audit import AuditRecord, NewAuditRecord, RecordKind
from promoter.domain.decision import Verdict
from promoter.domain.errors import PermanentError
from promoter.domain.identity import UNIDENTIFIED, RememberedVersion
from promoter.domain.ledger.checkpoints import LifecycleEventType
from promoter.domain.notifications import EventBuilder, EventType
from promoter.domain.observed import ObservedModel
from promoter.domain.policy.guards import GuardCheck
from tests.support.app import App
from tests.support.fakes.registry import START
from tests.support.rollbacks import POLICY, ROTATING, back

FLOOR = b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"
GATED = "m: {aliases: {champion: {version: 1, policy: p}}}"


def register_anew(app: App, *aucs: float) -> None:
    """Delete the model, and register another under its name, with these versions, a minute later."""
    app.time.pass_time(minutes=1)
    app.mlflow.models["m"] = ObservedModel("m", created_at=app.time.now())
    for auc in aucs:
        number = app.mlflow.version("m", auc=auc)
        seen = app.mlflow.models["m"]
        made = replace(seen.versions[number], created_at=app.time.now())
        app.mlflow.models["m"] = replace(seen, versions={**seen.versions, number: made})


def replaced(app: App) -> list[AuditRecord]:
    """The records that a number stands for another version now."""
    return [each for each in app.records() if each.fact.kind is RecordKind.REPLACED]


@pytest.fixture
def settled(app: App) -> App:
    """v1 is the champion, by git's word and its policy's."""
    app.mlflow.version("m", auc=0.9)
    app.commit(GATED, p=FLOOR)
    app.converge()
    assert app.aliases() == {"champion": 1}
    return app


def test_another_version_of_a_number_is_a_new_decision(settled: App) -> None:
    """It is blocked by the policy, told once, and shown with the reason, however often one looks."""
    register_anew(settled, 0.1)
    watch = settled.converge()
    settled.converge()
    assert settled.aliases() == {}
    (record,) = replaced(settled)
    assert (record.fact.from_version, record.fact.to_version, record.fact.cause) == (1, 1, "replaced")
    assert record.fact.from_identity != record.fact.to_identity
    (row,) = build_alias_rows(watch.snapshots["m"], {}, settled.time.now())
    assert row.status == BLOCKED
    assert "v1 is another one" in row.detail
    (item,) = find_waiting_items(watch.snapshots["m"], settled.time.now())
    assert "v1 is another one" in item.note
    (event,) = EventBuilder("ledger").build_events(record)
    assert (event.type, event.type.short_name) == (EventType.REPLACED, "replaced")
    assert "v1 is another one" in event.summary_line


def test_what_passes_its_policy_is_carried_out_and_recorded(settled: App) -> None:
    """By the policy's verdict, with the identity of the new version; then a move of the alias is drift again."""
    register_anew(settled, 0.8)
    settled.converge()
    moved = settled.records()[-1].fact
    assert (settled.aliases(), moved.cause, moved.verdict, moved.policy) == ({"champion": 1}, "commit", "pass", "p")
    assert moved.to_identity == settled.mlflow.models["m"].find_identity(1)
    settled.mlflow.place("m", "champion", None)
    settled.converge()
    assert settled.records()[-1].fact.cause == "drift"


def test_an_alias_that_somebody_set_on_it_is_never_agreed_on(settled: App) -> None:
    """The alias is at the number that git says, and the plan still blocks it; history has a span for each of the two."""
    register_anew(settled, 0.1)
    settled.mlflow.place("m", "champion", 1)
    watch = settled.converge()
    settled.converge()
    assert watch.snapshots["m"].compared.differences[0].identity_key[:4] == ("m", "champion", 1, 1)
    assert settled.ledger.read_last_applied()["m"]["champion"].identity != settled.mlflow.models["m"].find_identity(1)
    assert settled.moves() == [(None, 1), (1, 1)]
    assert len(replaced(settled)) == 1


def test_an_ungated_alias_gets_it_as_a_new_decision(app: App) -> None:
    """A reviewed commit is enough for it, as for any version: but it is told, and not taken for drift."""
    app.mlflow.version("m", auc=0.9)
    app.commit("m: {aliases: {shadow: 1}}")
    app.converge()
    register_anew(app, 0.1)
    app.converge()
    last = app.records()[-1].fact
    assert (app.aliases(), last.cause, len(replaced(app))) == ({"shadow": 1}, "commit", 1)
    assert "v1 is another one" in (last.reason or "")


def test_a_replacement_between_plan_and_write_stops_the_write(settled: App) -> None:
    """The model is deleted and registered anew behind the plan: the recheck sees another version, and nothing is written."""
    settled.mlflow.version("m", auc=0.8)
    settled.commit("m: {aliases: {champion: {version: 2, policy: p}}}")
    observations = []

    def meddle(call: str) -> None:
        if call == "observe":
            observations.append(call)
            if len(observations) == 2:
                register_anew(settled, 0.9, 0.1)

    settled.mlflow.on = meddle
    settled.look()
    settled.mlflow.on = lambda _call: None
    assert settled.aliases() == {}
    assert settled.outcomes().count("failed") == 1


def test_a_hold_brings_no_other_version_back(app: App) -> None:
    """v1 held the alias before, so that readiness would let it return under a hold; another v1 has to pass the policy."""
    for auc in (0.9, 0.8):
        app.mlflow.version("m", auc=auc)
    app.commit(GATED, p=FLOOR)
    app.converge()
    app.commit("m: {aliases: {champion: {version: 2, policy: p}}}")
    app.converge()
    register_anew(app, 0.1, 0.9)
    app.converge()
    assert app.aliases() == {"champion": 2}
    app.commit('m: {aliases: {champion: {version: 1, policy: p, hold: {reason: "r", by: b}}}}')
    app.converge()
    assert app.aliases() == {"champion": 2}
    assert app.ledger.list_recent_decisions(limit=1)[0].tree["policy"] == "p"


def test_a_rollback_passes_another_version_over(watched_app: App) -> None:
    """v1 and v2 held the alias in good standing; the model was registered anew: neither number returns by itself."""
    register_anew(watched_app, 0.6, 0.7, 0.8)
    watched_app.converge()
    with pytest.raises(PermanentError, match="v2 is another one than the one that held champion"):
        back(watched_app, now=True)


def test_an_override_of_another_version_is_void(watched_app: App) -> None:
    """The version that stood in for git is another one now: what git says counts again, and the record says why."""
    watched_app.git.protected = True
    back(watched_app, now=True)
    assert watched_app.aliases() == {"champion": 2}
    register_anew(watched_app, 0.6, 0.7, 0.8)
    watched_app.converge()
    ended = [each for each in watched_app.records() if each.fact.kind is RecordKind.OVERRIDE and each.intent]
    assert ["another version" in (each.fact.reason or "") for each in ended] == [True]
    assert watched_app.ledger.find_open_overrides() == []


def test_soak_counts_for_one_version(app: App) -> None:
    """The old v1 held challenger for a day; the new one has just come there, under the same number."""
    soak = b"version: 1\nrules: [{soak: {alias: challenger, at_least: 24h}}]\n"
    app.mlflow.version("m")
    app.mlflow.place("m", "challenger", 1)
    app.commit("m: {aliases: {challenger: {}, champion: {version: 1, policy: p}}}", p=soak)
    app.converge()
    register_anew(app, 0.9)
    app.mlflow.place("m", "challenger", 1)
    app.time.pass_time(hours=25)
    app.converge()
    assert app.aliases() == {"challenger": 1}
    app.time.pass_time(hours=25)
    app.converge()
    assert app.aliases() == {"challenger": 1, "champion": 1}


@pytest.mark.parametrize(("later", "cause"), [(False, "drift"), (True, "commit")])
def test_an_old_ledger_has_no_identities(app: App, *, later: bool, cause: str) -> None:
    """What was registered after its records is another version; what was there before is put back as before."""
    app.mlflow.version("m", auc=0.9)
    app.ledger.record_last_applied({"m": {"champion": RememberedVersion(1)}}, None, app.time.now())
    if later:
        register_anew(app, 0.9)
    app.commit(GATED, p=FLOOR)
    app.converge()
    assert (app.aliases(), app.records()[-1].fact.cause) == ({"champion": 1}, cause)


def test_an_old_ledger_learns_the_identity_of_what_is_there(app: App) -> None:
    """At the first look, without another decision or record; after that, another version of the number is gated."""
    app.mlflow.version("m", auc=0.9)
    app.mlflow.place("m", "champion", 1)
    moved = NewAuditRecord(START, RecordKind.OBSERVED, "m", "champion", None, 1)
    app.ledger.record_observed_moves([moved])
    app.ledger.record_last_applied({"m": {"champion": RememberedVersion(1)}}, None, START)
    app.commit(GATED, p=FLOOR)
    app.converge()
    known = app.ledger.read_last_applied()["m"]["champion"]
    assert (known.number, known.identity, len(app.records())) == (1, app.mlflow.models["m"].find_identity(1), 1)
    # Registered at the very moment that the old records name: only the learned identity tells it apart.
    app.mlflow.models["m"] = ObservedModel("m", created_at=START - timedelta(days=1))
    app.mlflow.version("m", auc=0.1)
    app.converge()
    assert app.aliases() == {}
    assert len(replaced(app)) == 1


def test_an_old_ledger_never_learns_another_version(app: App) -> None:
    """The alias stands on a version that was registered after the record: it stays out of sync, look by look."""
    app.mlflow.version("m", auc=0.9)
    app.ledger.record_observed_moves([NewAuditRecord(START, RecordKind.OBSERVED, "m", "champion", None, 1)])
    app.ledger.record_last_applied({"m": {"champion": RememberedVersion(1)}}, None, START)
    register_anew(app, 0.1)
    app.mlflow.place("m", "champion", 1)
    app.commit(GATED, p=FLOOR)
    watch = app.converge()
    app.converge()
    assert app.ledger.read_last_applied()["m"]["champion"].identity is None
    assert [each.is_allowed for each in watch.snapshots["m"].changes] == [False]


def test_a_ledger_is_bound_once_and_held_to_its_registry(settled: App) -> None:
    """Another server is refused in words; a person's word is recorded, and what had no identity counts for nothing then."""
    ledger = cast("SqlLedger", settled.ledger)
    bound = ledger.find_last_lifecycle_event(LifecycleEventType.REGISTRY)
    assert bound is not None
    assert bound.facts == {"server": START.isoformat(), "address": "http://mlflow"}
    settled.mlflow.server = RegistryServer("http://other", START + timedelta(days=1))
    other = settled.another()
    other.revisions.refresh_head()
    with pytest.raises(PermanentError, match=r"about another registry \(http://mlflow, .*promoter registry accept"):
        other.model_reconciler.plan_all("test")
    with pytest.raises(PermanentError, match="about another registry"):
        other.model_reconciler.reconcile("m", "test")
    ledger.record_last_applied({"old": {"champion": RememberedVersion(3)}}, None, START)
    RegistryBinding(settled.mlflow, ledger, settled.time).accept("alice", "moved to the new server")
    accepted = ledger.find_last_lifecycle_event(LifecycleEventType.REGISTRY)
    assert accepted is not None
    assert (accepted.facts["actor"], accepted.facts["reason"]) == ("alice", "moved to the new server")
    assert ledger.read_last_applied()["old"]["champion"].identity == UNIDENTIFIED
    other.model_reconciler.plan_all("test")


def test_nothing_is_proposed_by_what_another_registry_has(settled: App) -> None:
    """Neither a pull request nor its plan: the daemon says that a person has to act."""
    settled.mlflow.server = RegistryServer("http://other", START + timedelta(days=1))
    watch = settled.another().build_controller(float)
    calls = len(settled.mlflow.calls)
    watch.run_work_item(WorkItem(WorkKind.PROPOSALS, "m"), "test")
    assert "about another registry" in str(watch.health.current_problems)
    assert len(settled.mlflow.calls) == calls


def test_an_old_ledger_is_not_bound_to_a_younger_server(app: App) -> None:
    """It has records from before the server was set up."""
    app.ledger.record_observed_moves([NewAuditRecord(START, RecordKind.OBSERVED, "m", "champion", None, 1)])
    app.mlflow.server = RegistryServer("http://other", START + timedelta(seconds=1))
    with pytest.raises(PermanentError, match="it begins 2026"):
        RegistryBinding(app.mlflow, app.ledger, app.time).require_own_registry()


def test_models_tell_a_server_that_does_not(app: App) -> None:
    """Three models or more, all of them registered at other times than the ledger remembers, are another registry's."""
    app.mlflow.server = RegistryServer("http://mlflow", None)
    for name in ("a", "b", "c"):
        app.mlflow.version(name)
        app.mlflow.place(name, "champion", 1)
    app.commit("\n".join(f"{name}: {{aliases: {{champion: 1}}}}" for name in ("a", "b", "c")))
    app.converge()
    RegistryBinding(app.mlflow, app.ledger, app.time).require_own_registry()
    for name in ("a", "b"):
        app.mlflow.models[name] = replace(app.mlflow.models[name], created_at=START + timedelta(hours=1))
    RegistryBinding(app.mlflow, app.ledger, app.time).require_own_registry()
    app.mlflow.models["c"] = replace(app.mlflow.models["c"], created_at=START + timedelta(hours=1))
    with pytest.raises(PermanentError, match="all 3 models that both know"):
        RegistryBinding(app.mlflow, app.ledger, app.time).require_own_registry()


def test_guard_checks_know_their_version(settled: App) -> None:
    """Failures of the old v1 say nothing of the new one."""
    check = GuardCheck("m", "champion", 1, "metric live", Verdict.FAIL, settled.time.now(), "identity")
    settled.ledger.record_guard_checks([check])
    (found,) = settled.ledger.find_guard_checks({("m", "champion")})["m", "champion"]
    assert found == check
    assert not settled.mlflow.models["m"].still_has(found.checked_version)


def test_a_waiver_counts_for_one_version(app: App) -> None:
    """The waiver names v1, of which the ledger knows another: it counts again once it says which one is meant."""
    policy = b"version: 1\nrules: [{metric: auc, at_least: 0.95, name: auc}]\nwaivers:\n"
    waiver = "  - {model: m, version: 1, rule: auc, reason: r, by: ada, until: 2027-01-01T00:00:00Z"
    app.mlflow.version("m", auc=0.9)
    app.commit(GATED, p=policy + f"{waiver}}}\n".encode())
    app.converge()
    assert app.aliases() == {"champion": 1}
    register_anew(app, 0.1)
    app.converge()
    assert app.aliases() == {}
    (finding,) = app.ledger.list_recent_decisions(limit=1)[0].tree["rules"]
    registered = f"registered: {app.mlflow.models['m'].versions[1].created_at:%Y-%m-%dT%H:%M:%SZ}"
    assert registered in finding["expected"]
    app.commit(GATED, p=policy + f"{waiver}, {registered}}}\n".encode())
    app.converge()
    assert app.aliases() == {"champion": 1}


def test_a_proposal_of_another_version_is_made_anew(app: App) -> None:
    """The branch was for the v2 of before: its commit names the identity, and the new v2 gets a commit of its own."""
    app.mlflow.version("m", auc=0.6)
    app.mlflow.place("m", "champion", 1)
    app.commit(ROTATING.replace("rotation: commit", "rotation: pull-request"), p=POLICY)
    app.mlflow.version("m", auc=0.9)
    app.converge()
    app.propose()
    first = app.git.read_commit(app.git.list_branches("promoter/")["promoter/m/champion"])
    assert first.trailers["Promoter-Identity"] == app.mlflow.models["m"].find_identity(2)
    kept = app.mlflow.models["m"]
    app.time.pass_time(minutes=1)
    other = replace(kept.versions[2], created_at=app.time.now())
    app.mlflow.models["m"] = replace(kept, versions={1: kept.versions[1], 2: other})
    app.converge()
    app.propose()
    second = app.git.read_commit(app.git.list_branches("promoter/")["promoter/m/champion"])
    assert second.trailers["Promoter-Identity"] == app.mlflow.models["m"].find_identity(2)
    assert second.revision != first.revision
