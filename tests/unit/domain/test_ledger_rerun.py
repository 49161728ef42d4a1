"""Rerun: a recorded decision comes out the same from its recorded evidence, and whatever is changed is reported."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from promoter.domain.audit import RecordedDecision
from promoter.domain.decision import Decision, DecisionPurpose
from promoter.domain.evidence import Evidence, MetricSeries, VersionEvidence
from promoter.domain.ledger.chain import encode_canonical
from promoter.domain.ledger.rerun import RerunDifference, compare_decision_trees, rerun_decision
from promoter.domain.observed import LoadingResult, MetricRef, ReadinessCheck, TrainingRun
from promoter.domain.policy.document import Policy, PolicyDocument
from promoter.domain.policy.evaluate import evaluate_policy, evaluate_readiness
from promoter.domain.rotation import add_rank_finding
from tests.support.strategies.plans import NOW
from tests.support.strategies.policies import evidences, policies

DOCUMENT = {
    "version": 1,
    "candidates": {"from": "any", "rank": {"metric": "auc", "order": "highest"}},
    "rules": [{"run": {"status": "FINISHED"}}, {"any_of": [{"metric": "p99", "at_most": 50}, {"tag": "x", "present": True}]}],
    "guards": [{"metric": "live", "at_least": 0.85, "for": 3}],
}
POLICY = Policy("champion", "d1", PolicyDocument.model_validate(DOCUMENT))
CANDIDATE = VersionEvidence(2, {"x": "y"}, "r", TrainingRun("r", "FINISHED", {"p99": 60.0, "live": 0.9}), NOW)


def stored(decision: Decision, purpose: DecisionPurpose) -> RecordedDecision:
    """As the ledger gives it back."""
    tree = json.loads(encode_canonical({"tree": decision.to_json()}))["tree"]
    assert decision.evidence is not None
    evidence = json.loads(json.dumps(decision.evidence.to_json()))
    return RecordedDecision(1, decision.at, None, tree, evidence, purpose=purpose.value)


def rerun(recorded: RecordedDecision, policy: Policy | None) -> tuple[RerunDifference, ...]:
    """What differs."""
    return compare_decision_trees(recorded.tree, rerun_decision(recorded, policy, Evidence.from_json(recorded.evidence or {})))


@given(policies(), evidences())
def test_any_decision_comes_out_the_same_from_its_stored_evidence(policy: Policy, evidence: Evidence) -> None:
    """Of every purpose, under policies of every rule kind; and what is stored of evidence is all of it."""
    assert Evidence.from_json(json.loads(json.dumps(evidence.to_json()))).to_json() == evidence.to_json()
    gate = evaluate_policy(policy, "m", "champion", evidence)
    made = {DecisionPurpose.GATE: gate, DecisionPurpose.COPY: gate, DecisionPurpose.CANDIDATE: add_rank_finding(policy, gate)}
    if policy.guard_policy:
        made[DecisionPurpose.GUARD] = evaluate_policy(policy.guard_policy, "m", "champion", evidence)
    for purpose, decision in made.items():
        assert rerun(stored(decision, purpose), policy) == ()


@pytest.mark.parametrize("outcome", ["loaded", "failed", "untried"])
@pytest.mark.parametrize(
    "checked",
    [
        ReadinessCheck(None),
        ReadinessCheck("PENDING_REGISTRATION"),
        ReadinessCheck("FAILED"),
        ReadinessCheck("READY", flaw="no", certain=True),
        ReadinessCheck("READY", flaw="who knows"),
        ReadinessCheck("READY", ("sklearn",)),
        None,
    ],
)
def test_readiness_comes_out_the_same(checked: ReadinessCheck | None, outcome: Any) -> None:
    """From what the check showed; without one, it never passes."""
    loading = LoadingResult(outcome, "so it is")
    if checked and checked.flavors:
        checked = replace(checked, loading=loading)
    decision = evaluate_readiness("m", None, Evidence(NOW, replace(CANDIDATE, checked=checked), model="m"))
    assert (decision.verdict == "pass") is bool(checked and checked.loading and outcome != "failed")
    assert rerun(stored(decision, DecisionPurpose.READINESS), None) == ()


def test_the_purpose_says_how_the_policy_is_applied() -> None:
    """A candidate without a rank has a finding more, a guard is judged by other rules: the wrong purpose shows."""
    evidence = Evidence(NOW, CANDIDATE, model="m")
    gate = evaluate_policy(POLICY, "m", "champion", evidence)
    candidate = add_rank_finding(POLICY, gate)
    assert len(candidate.findings) == len(gate.findings) + 1
    assert rerun(stored(candidate, DecisionPurpose.CANDIDATE), POLICY) == ()
    assert [each.field for each in rerun(stored(candidate, DecisionPurpose.GATE), POLICY)] == ["rules[3]", "verdict"]
    assert rerun(stored(gate, DecisionPurpose.GUARD), POLICY) != ()
    with pytest.raises(ValueError, match="the policy has no guards"):
        rerun_decision(stored(gate, DecisionPurpose.GUARD), POLICY.guard_policy, evidence)
    with pytest.raises(ValueError, match="no policy is known"):
        rerun_decision(stored(gate, DecisionPurpose.GATE), None, evidence)


def test_each_changed_field_is_reported() -> None:
    """Where it is, what was recorded and what comes out; a field or a rule that is only on one side, too."""
    evidence = Evidence(NOW, CANDIDATE, model="m")
    recorded = stored(evaluate_policy(POLICY, "m", "champion", evidence), DecisionPurpose.GATE)
    tree: dict[str, Any] = json.loads(json.dumps(recorded.tree))
    tree["rules"][1]["rules"][0] |= {"value": 59, "verdict": "pass"}
    tree["rules"][1]["rules"].pop()
    tree["version"] = True
    tree["author"] = "eve"
    assert {each.field: (each.recorded, each.now) for each in rerun(replace(recorded, tree=tree), POLICY)} == {
        "rules[2].rules[1].value": ("59", "60"),
        "rules[2].rules[1].verdict": ('"pass"', '"fail"'),
        "rules[2].rules[2]": (None, '{"expected": "present", "rule": "tag x present", "value": "y", "verdict": "pass"}'),
        "version": ("true", "2"),
        "author": ('"eve"', None),
    }


def test_any_change_of_the_evidence_that_a_rule_sees_is_reported() -> None:
    """The stored evidence decides, and nothing else does."""
    recorded = stored(evaluate_policy(POLICY, "m", "champion", Evidence(NOW, CANDIDATE, model="m")), DecisionPurpose.GATE)
    evidence: dict[str, Any] = json.loads(json.dumps(recorded.evidence))
    evidence["candidate"]["run"]["metrics"]["p99"] = 40.0
    found = rerun(replace(recorded, evidence=evidence), POLICY)
    assert {"rules[2].rules[1].value", "rules[2].rules[1].verdict", "rules[2].value"} == {each.field for each in found}


def test_evidence_from_before_it_was_complete_is_read() -> None:
    """As earlier versions of Promoter wrote it."""
    evidence = {
        "at": "2026-11-23T12:00:00Z",
        "candidate": {"version": 2, "tags": {"x": "y"}, "run_id": "r", "created_at": "2026-11-23T11:00:00Z", "witnessed": ["x"],
                      "run": {"run_id": "r", "status": "FINISHED", "metrics": {"auc": "NaN"}}},
        "holders": {"champion": None},
        "model": "m",
    }  # fmt: skip
    found = Evidence.from_json(evidence).candidate
    assert not found.seen
    assert found.checked is None
    assert found.witnessed == frozenset({"x"})


COMPARED = {**DOCUMENT, "rules": [{"metric": "auc", "beats": "champion", "confidence": 0.95}], "guards": []}


@pytest.mark.parametrize(
    ("end", "factor", "same"),
    [
        ("low", 1 + 1e-13, True),
        ("high", 1 - 1e-13, True),
        ("low", 1.001, False),
        ("high", 0.999, False),
        ("level", 1.01, False),
    ],
)
def test_an_interval_of_an_earlier_version(end: str, factor: float, same: bool) -> None:
    """The last digits of its ends may differ, since earlier versions had fewer right ones; anything more is reported."""
    policy = Policy("champion", "d1", PolicyDocument.model_validate(COMPARED))
    runs = [TrainingRun(name, "FINISHED", {"auc": values[-1]}) for name, values in (("r", [0.79]), ("h", [0.78]))]
    series = [
        MetricSeries(MetricRef("auc"), tuple(enumerate(values)))
        for values in ([0.71, 0.74, 0.75, 0.78, 0.79], [0.70, 0.72, 0.74, 0.76, 0.78])
    ]
    ours, holder = (
        VersionEvidence(2 - index, {}, run.run_id, run, NOW, series=(points,))
        for index, (run, points) in enumerate(zip(runs, series, strict=True))
    )
    recorded = stored(evaluate_policy(policy, "m", "champion", Evidence(NOW, ours, {"champion": holder})), DecisionPurpose.GATE)
    assert rerun(recorded, policy) == ()
    interval = recorded.tree["rules"][0]["interval"]
    interval[end] *= factor
    assert (rerun(recorded, policy) == ()) is same
