"""Evaluation: a policy's rules on one version's evidence, the limits of the alias, and the readiness of a version."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC

from promoter.domain.decision import (
    AppliedWaiver,
    Decision,
    DecisionBasis,
    DecisionPurpose,
    RuleFinding,
    Verdict,
    combine_all_of,
)
from promoter.domain.evidence import Evidence
from promoter.domain.observed import LoadingResult, ReadinessCheck
from promoter.domain.policy.document import Policy
from promoter.domain.policy.rules.base import BaseRule, RuleContext
from promoter.domain.policy.rules.review import build_approving_origin

READY_STATUS = "READY"
PENDING_STATUS = "PENDING_REGISTRATION"
_READINESS_RULE = "ready"
_READINESS_EXPECTED = "a READY version whose MLmodel file can be fetched and names a flavor, and whose artifact loads"


def check_readiness(checked: ReadinessCheck) -> RuleFinding:
    """Judge a readiness check. FAIL is certain: no version, failed registration, no `MLmodel` file, no flavor, or no loading.

    PENDING is a registration under way, ERROR an `MLmodel` file that cannot be read now. Where the model cannot be tried (a
    library that is not installed, no time, no memory), the file is enough, and the value names the reason.
    """
    if checked.status == PENDING_STATUS:
        return _build_readiness_finding(Verdict.PENDING, "registration under way")
    if checked.status != READY_STATUS:
        return _build_readiness_finding(
            Verdict.FAIL, "no such version" if checked.status is None else f"status {checked.status}"
        )
    if checked.flaw is not None:
        return _build_readiness_finding(Verdict.FAIL if checked.certain else Verdict.ERROR, checked.flaw)
    return _judge_loading(checked)


def _judge_loading(checked: ReadinessCheck) -> RuleFinding:
    named, loading = ", ".join(checked.flavors), checked.loading
    if loading is None:
        return _build_readiness_finding(Verdict.ERROR, f"{named}; nobody tried whether it loads")
    if loading.outcome == "failed":
        return _build_readiness_finding(Verdict.FAIL, f"{named}; does not load: {loading.detail}")
    loading_note = "loads" if loading.outcome == "loaded" else f"not loaded here: {loading.detail}"
    return _build_readiness_finding(Verdict.PASS, f"{named}; {loading_note}")


def _build_readiness_finding(verdict: Verdict, value: str) -> RuleFinding:
    return RuleFinding(_READINESS_RULE, verdict, value, _READINESS_EXPECTED)


def evaluate_policy(policy: Policy, model: str, alias: str | None, evidence: Evidence) -> Decision:
    """Evaluate every rule, so that a decision shows everything that is missing and not only the first."""
    document, past = policy.document, evidence.past
    findings = [
        _apply_waiver(policy, model, evidence, rule, _evaluate_rule(rule, evidence, policy.rule_context))
        for rule in document.rules
    ]
    if past is not None:
        findings += document.limits.evaluate_limits(past, evidence.at)
        findings += [freeze.evaluate_freeze(past, evidence.at) for freeze in document.freeze]
    return Decision(
        model=model,
        alias=alias,
        version=evidence.candidate.version,
        policy=policy.name,
        policy_digest=policy.digest,
        verdict=combine_all_of(finding.verdict for finding in findings),
        findings=tuple(findings),
        at=evidence.at,
        evidence=evidence,
        enforcement=document.enforcement,
        basis=None if policy.source is None else DecisionBasis(policy.source, policy.approvers_source),
        identity=evidence.candidate.identity,
    )


def evaluate_readiness(model: str, alias: str | None, evidence: Evidence) -> Decision:
    """Decide whether a version may return under a hold: by its readiness, whatever any policy says.

    A waiver lets it pass whatever became of its artifact. A version that is not registered, or whose registration failed, is
    none that served.
    """
    checked = evidence.candidate.checked or ReadinessCheck(None)
    finding = check_readiness(checked)
    if evidence.artifact_waiver and checked.status == READY_STATUS and finding.verdict is not Verdict.PASS:
        finding = replace(finding, verdict=Verdict.PASS, waived=AppliedWaiver(finding.verdict, evidence.artifact_waiver))
    return Decision(
        model=model,
        alias=alias,
        version=evidence.candidate.version,
        policy=None,
        policy_digest=None,
        verdict=finding.verdict,
        findings=(finding,),
        at=evidence.at,
        evidence=evidence,
        gate=True,
        purpose=DecisionPurpose.READINESS,
        identity=evidence.candidate.identity,
    )


def hinges_on_loading(policy: Policy, decision: Decision) -> bool:
    """Return whether the artifact decides: everything else is known, and nobody tried yet whether it loads."""
    evidence = decision.evidence
    if (
        decision.verdict is not Verdict.PENDING
        or not policy.needed_evidence.loading
        or evidence is None
        or evidence.candidate.loading
    ):
        return False
    for outcome in ("loaded", "failed"):
        supposed = replace(evidence, candidate=replace(evidence.candidate, loading=LoadingResult(outcome, "supposed")))
        decided = evaluate_policy(policy, decision.model, decision.alias, supposed)
        if decided.verdict is Verdict.PASS or hinges_on_review(policy, decided):
            return True
    return False


def hinges_on_review(policy: Policy, decision: Decision) -> bool:
    """Return whether only people are waited for: it is pending, and would pass with every review that its rules ask for."""
    return decision.verdict is Verdict.PENDING and _suppose_reviews(policy, decision) is Verdict.PASS


def lacks_only_reviews(policy: Policy, decision: Decision) -> bool:
    """Return whether it fails for reviews that nobody can give any more: with them, no other rule would fail."""
    return decision.verdict is Verdict.FAIL and _suppose_reviews(policy, decision) in (Verdict.PASS, Verdict.PENDING)


def _suppose_reviews(policy: Policy, decision: Decision) -> Verdict | None:
    """Return the verdict that it would have with every review that its rules ask for; None where they ask for none."""
    evidence = decision.evidence
    if not policy.needed_evidence.review or evidence is None:
        return None
    supposed = replace(evidence, origin=build_approving_origin(policy.document.rules))
    # A rank that is missing is a finding of rotation's own, and none of the policy's: it is not supposed away.
    own = evaluate_policy(policy, decision.model, decision.alias, evidence).findings
    others = decision.findings[len(own) :]
    found = (*evaluate_policy(policy, decision.model, decision.alias, supposed).findings, *others)
    return combine_all_of(finding.verdict for finding in found)


def compute_rank_value(policy: Policy, evidence: Evidence) -> float | None:
    """Return the candidate's place in the rank, where higher is better; None where it cannot be ranked."""
    rank, metric = policy.document.candidate_rank, policy.rank_metric
    if rank is None or metric is None:
        return float(evidence.candidate.version)
    measured = evidence.candidate.find_measurement(metric)
    if measured is None or not math.isfinite(measured.value):
        return None
    return measured.value if rank.order == "highest" else -measured.value


def list_remedies(policy: Policy | None, decision: Decision) -> tuple[str, ...]:
    """Return what a person can do about each finding that keeps a version back, in the order of the policy.

    Without a policy, it is the readiness of a version that served: a person may put it back without the check.
    """
    if policy is None:
        checked = decision.evidence.candidate.checked if decision.evidence else None
        registered = checked is not None and checked.status == READY_STATUS and decision.verdict is not Verdict.PASS
        command = f"promoter rollback {decision.model}@{decision.alias} --to {decision.version} --without-artifact-check"
        return (f"run `{command} --reason TEXT`, if it serves all the same",) if registered else ()
    rules = {str(rule): rule for rule in policy.document.rules}
    found = []
    for finding in decision.unmet_findings:
        rule = rules.get(finding.rule)
        if rule is not None:
            found.append(rule.describe_remedy(finding, decision.model, decision.version))
        elif finding.verdict is Verdict.PENDING:  # a limit or a freeze
            found.append(f"wait: {finding.value}" if finding.rule.startswith("freeze ") else f"wait for {finding.expected}")
    return tuple(dict.fromkeys(each for each in found if each))


def _evaluate_rule(rule: BaseRule, evidence: Evidence, context: RuleContext) -> RuleFinding:
    try:
        return rule.evaluate(evidence, context)
    except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
        # Fail closed: whatever evidence a rule was not written for is an error of that rule, never of the daemon.
        return RuleFinding(str(rule), Verdict.ERROR, None, f"evidence that can be judged ({type(error).__name__})")


def _apply_waiver(policy: Policy, model: str, evidence: Evidence, rule: BaseRule, finding: RuleFinding) -> RuleFinding:
    if finding.verdict is Verdict.PASS:
        return finding
    candidate = evidence.candidate
    for waiver in policy.document.waivers:
        named = (waiver.model, waiver.version) == (model, candidate.version) and rule.is_named_by(waiver.rule)
        if not named or not waiver.is_in_force(evidence.at):
            continue
        if waiver.means_version(candidate):
            return replace(finding, verdict=Verdict.PASS, waived=AppliedWaiver(finding.verdict, str(waiver)))
        if candidate.created_at is not None:
            way_out = f"`registered: {candidate.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}` in it would mean this one"
            note = f"its waiver is for another v{candidate.version}; {way_out}"
            finding = replace(finding, expected=f"{finding.expected} ({note})")
    return finding
