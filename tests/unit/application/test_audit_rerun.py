"""Rerun from a real ledger: every decision that Promoter records comes out the same, and what was meddled with is told."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta

import pytest

from promoter.application.audit_rerun import DecisionRerunner
from promoter.domain.approvals import ApprovalSubject, SigningKey, build_approval_tag_key
from promoter.domain.audit import RecordedDecision
from promoter.domain.decision import Verdict
from promoter.domain.errors import PermanentError
from promoter.domain.evidence import Evidence
from promoter.domain.ledger.checkpoints import LifecycleEventType
from promoter.domain.ledger.rerun import DecisionRerun, RerunOutcome
from tests.support.app import App

WATCHED = b"""version: 1
candidates: {from: any, rank: {metric: auc, order: highest}}
rules: [{metric: auc, beats: champion}, {tag: approved_by, present: true}]
guards: [{metric: live, at_least: 0.85}]
limits: {max_per_day: 10}
"""
APPROVED = b"version: 1\nrules: [{metric: auc, at_least: 0.5}, {approval: {from: [alice]}}]\n"
APPROVERS = b"version: 1\napprovers: {alice: {key: 'ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='}}\n"
MODELS = "m: {aliases: {champion: {version: 1, policy: p, rotation: commit}}}"


@pytest.fixture
def busy(app: App) -> App:
    """Every purpose but a copy's: candidates with and without rank, a rotation, a guard that breaks, a return under a hold."""
    app.mlflow.version("m", {"approved_by": "risk"}, auc=0.8, live=0.9)
    app.mlflow.place("m", "champion", 1)
    app.git.push({"approvers.yaml": APPROVERS}, "Approvers")
    app.commit(MODELS, p=WATCHED)
    app.converge()
    app.mlflow.version("m", auc=0.9, live=0.9)
    app.mlflow.version("m", live=0.9)
    app.time.pass_time(minutes=5)
    app.converge()
    app.mlflow.tag("m", 2, approved_by="risk")
    app.time.pass_time(minutes=5)
    app.converge()
    assert app.aliases() == {"champion": 2}
    app.mlflow.all_runs["m-2"].metrics["live"] = 0.5  # type: ignore[index]
    app.time.pass_time(minutes=5)
    app.converge()
    assert app.aliases() == {"champion": 1}
    return app


def rerunner(app: App) -> DecisionRerunner:
    """On the app's ledger and nothing else."""
    return DecisionRerunner(app.ledger, app.documents)


def by_purpose(app: App) -> dict[str, RecordedDecision]:
    """The last decision of each."""
    return {str(each.purpose): each for each in app.ledger.iterate_decisions()}


def alter(app: App, table: str, row: str, statement: str, *given: object) -> None:
    """As somebody does who writes into the database past Promoter."""
    raw = sqlite3.connect(app.folder / "promoter.db")
    for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,)).fetchall():
        raw.execute(f"DROP TRIGGER {name}")
    changed = raw.execute(f"{statement} WHERE {row} = ?", given).rowcount
    raw.commit()
    raw.close()
    assert changed == 1


def test_every_decision_comes_out_the_same(busy: App) -> None:
    """Of every purpose, from the ledger alone: the registry and git are not asked again."""
    found = list(rerunner(busy.another()).rerun_all_decisions())
    assert {each.recorded.purpose for each in found} == {"gate", "candidate", "guard", "readiness"}
    assert {each.ending for each in found} == {RerunOutcome.SAME}
    assert any(each.decision and each.decision.findings[-1].rule.startswith("rank ") for each in found)
    assert {each.recorded.tree["verdict"] for each in found} >= {"pass", "pending", "fail"}
    assert [each.recorded.id for each in found] == sorted(each.recorded.id for each in found)


def test_a_record_leads_to_the_decision_behind_it(busy: App) -> None:
    """By its number; what has none behind it is refused, in words."""
    behind = next(each for each in busy.records() if each.decision)
    assert rerunner(busy).rerun_decision(behind.id).recorded.id == behind.decision
    without = next(each for each in busy.records() if not each.decision)
    for number in (without.id, 10_000):
        with pytest.raises(PermanentError, match=f"entry {number} is no decision"):
            rerunner(busy).rerun_decision(number)


def test_what_a_decision_stood_on_is_kept(busy: App) -> None:
    """The texts of policy and approvers byte by byte, the cause, the tool; of the tags, when they were first seen."""
    decisions = by_purpose(busy)
    gate = decisions["gate"]
    assert busy.ledger.find_blob_text(str(gate.tree["policy_digest"])) == WATCHED.decode()
    assert busy.ledger.find_blob_text(str(gate.approvers)) == APPROVERS.decode()
    assert (gate.trigger, gate.gate, bool(gate.tool)) == ("test", True, True)
    evidence = Evidence.from_json(gate.evidence or {})
    assert evidence.candidate.run is not None
    assert evidence.candidate.run.run_id == "m-2"
    assert dict(evidence.candidate.seen) == {"approved_by": gate.at}
    readiness = Evidence.from_json(decisions["readiness"].evidence or {}).candidate
    assert readiness.checked is not None
    assert (readiness.checked.status, readiness.tags) == ("READY", {"approved_by": "risk"})
    assert (decisions["readiness"].gate, decisions["guard"].gate, decisions["candidate"].gate) == (True, False, False)


def test_a_gate_is_recorded_beside_the_same_words_of_a_candidate(busy: App) -> None:
    """That a change of git's waits for it is a fact of its own."""
    told = [(each.purpose, each.tree["verdict"]) for each in busy.ledger.iterate_decisions() if each.tree["version"] == 2]
    assert told == [("candidate", "pending"), ("candidate", "pass"), ("gate", "pass"), ("guard", "fail")]


def test_an_approval_is_checked_again_by_its_signature(app: App) -> None:
    """Signature, key and moment are all in what is kept: nobody's file and no clock is asked."""
    signer = SigningKey.from_seed(b"alice".ljust(32))
    approvers = f"version: 1\napprovers: {{alice: {{key: '{signer.public_key}'}}}}\n".encode()
    app.mlflow.version("m", auc=0.8)
    app.git.push({"approvers.yaml": approvers}, "Approvers")
    app.commit("m: {aliases: {champion: {version: 1, policy: p}}}", p=APPROVED)
    app.converge()
    (pending,) = app.ledger.iterate_decisions()
    policy = app.documents.parse_declaration(app.git.read_sources(app.git.head), None).policies["p"]
    subject = ApprovalSubject.from_evidence(
        Evidence.from_json(pending.evidence or {}), "p", policy.digest, policy.rule_context.used
    )
    value = signer.sign_approval(subject, "alice", app.time.now()).to_tag_value()
    app.mlflow.tag("m", 1, **{build_approval_tag_key("p", "alice"): value})
    app.converge()
    assert app.aliases() == {"champion": 1}
    assert [each.ending for each in rerunner(app).rerun_all_decisions()] == [RerunOutcome.SAME] * 2
    passed = by_purpose(app)["gate"]
    assert (passed.evidence or {})["candidate"]["tags"] == {build_approval_tag_key("p", "alice"): value}
    other = SigningKey.from_seed(b"eve".ljust(32)).public_key
    alter(
        app,
        "contents",
        "kind",
        "UPDATE contents SET body = ?",
        approvers.decode().replace(signer.public_key, other),
        "approvers",
    )
    assert ending(app, passed.id)[1].startswith("the text of approvers.yaml was altered")


def ending(app: App, number: int) -> tuple[RerunOutcome, str]:
    """How its rerun ends, and why."""
    found: DecisionRerun = rerunner(app).rerun_decision(number)
    return found.ending, found.why


def test_what_was_meddled_with_is_told(busy: App) -> None:
    """A tree, a piece of evidence, a policy's text: none of them passes for what was decided."""
    decisions = by_purpose(busy)
    guard, gate = decisions["guard"], decisions["gate"]
    text = busy.ledger.find_blob_text(str(guard.evidence_digest)) or ""
    alter(
        busy,
        "contents",
        "digest",
        "UPDATE contents SET body = ?",
        text.replace('"live":0.5', '"live":0.6'),
        guard.evidence_digest,
    )
    assert ending(busy, guard.id)[1].startswith("its evidence was altered")
    body = json.dumps({**json.loads(_body(busy, gate.id)), "tree": {**gate.tree, "verdict": "fail"}})
    alter(busy, "decisions", "id", "UPDATE decisions SET body = ?", body, gate.id)
    found = rerunner(busy).rerun_decision(gate.id)
    assert [(each.field, each.recorded, each.now) for each in found.differences] == [("verdict", '"fail"', '"pass"')]
    assert found.ending is RerunOutcome.DIFFERENT
    alter(busy, "contents", "kind", "UPDATE contents SET body = body || '#'", "policy")
    assert ending(busy, gate.id) == (
        RerunOutcome.BROKEN,
        f"the text of policies/p.yaml was altered: it does not have the digest {gate.tree['policy_digest']}",
    )
    alter(busy, "contents", "kind", "DELETE FROM contents", "policy")
    assert "the text of policies/p.yaml is not there" in ending(busy, gate.id)[1]


def _body(app: App, number: int) -> str:
    raw = sqlite3.connect(app.folder / "promoter.db")
    body: str = raw.execute("SELECT body FROM decisions WHERE id = ?", (number,)).fetchone()[0]
    raw.close()
    return body


def test_a_policy_that_is_no_policy_any_more_is_told(busy: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later Promoter that does not take the text says so."""
    monkeypatch.setattr("promoter.adapters.yaml.load.POLICY_LIMIT", 10)
    end, why = ending(busy.another(), by_purpose(busy)["gate"].id)
    assert end is RerunOutcome.BROKEN
    assert why.startswith("this version of Promoter does not take its files: ")


def test_dropped_evidence_is_told(busy: App) -> None:
    """By whom and when; decisions that made no use of it, or are newer, come out the same; other gaps are no retention."""
    decisions = sorted(busy.ledger.iterate_decisions(), key=lambda each: each.id)
    cut = decisions[-1].at
    old, new = [each for each in decisions if each.at < cut], [each for each in decisions if each.at >= cut]
    assert busy.ledger.count_evidence_before(cut) == len(old)
    assert busy.ledger.drop_evidence_before(cut, "carol", cut + timedelta(days=1)) == len(old)
    assert old
    assert new
    endings = {each.recorded.id: each for each in rerunner(busy).rerun_all_decisions()}
    assert {endings[each.id].ending for each in new} == {RerunOutcome.SAME}
    assert {endings[each.id].ending for each in old} == {RerunOutcome.DROPPED}
    (milestone,) = [each for each in busy.ledger.find_lifecycle_events() if each.event is LifecycleEventType.RETENTION]
    assert (
        f"was dropped by carol on 2026-11-24 12:15:00 UTC (all from before 2026-11-23 12:15:00 UTC; entry {milestone.id})"
        in (endings[old[0].id].why)
    )
    alter(busy, "contents", "digest", "DELETE FROM contents", new[-1].evidence_digest)
    assert "no retention dropped it" in ending(busy, new[-1].id)[1]
    assert all(each.tree["verdict"] in set(Verdict) for each in busy.ledger.list_recent_decisions())


def test_a_decision_from_before_is_told_to_be_one(busy: App) -> None:
    """What an earlier Promoter recorded says neither purpose nor tool."""
    gate = by_purpose(busy)["gate"]
    body = {name: fact for name, fact in json.loads(_body(busy, gate.id)).items() if name not in ("purpose", "tool")}
    alter(busy, "decisions", "id", "UPDATE decisions SET body = ?", json.dumps(body), gate.id)
    assert ending(busy, gate.id)[0] is RerunOutcome.OLDER
