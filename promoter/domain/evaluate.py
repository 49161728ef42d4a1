"""One evaluation: a policy's rules on one version's evidence, and the limits of the alias."""

from __future__ import annotations

import math
from dataclasses import replace

from promoter.domain.evidence import Evidence
from promoter.domain.observed import Checked, Loading
from promoter.domain.policy import Policy, answers_to
from promoter.domain.readiness import ready
from promoter.domain.review import Origin, Review
from promoter.domain.rules import ReviewRule
from promoter.domain.rules.base import BaseRule, Setting
from promoter.domain.verdict import Basis, Decision, Finding, Purpose, Verdict, Waived, all_of


def evaluate(policy: Policy, model: str, alias: str | None, evidence: Evidence) -> Decision:
    """Every rule is evaluated, so that a decision tells all that is missing, not the first."""
    document, past = policy.document, evidence.past
    findings = [_waived(policy, model, evidence, rule, _finding(rule, evidence, policy.setting)) for rule in document.rules]
    if past is not None:
        findings += document.limits.findings(past, evidence.at)
        findings += [freeze.finding(past, evidence.at) for freeze in document.freeze]
    return Decision(
        model=model,
        alias=alias,
        version=evidence.candidate.version,
        policy=policy.name,
        policy_digest=policy.digest,
        verdict=all_of(finding.verdict for finding in findings),
        findings=tuple(findings),
        at=evidence.at,
        evidence=evidence,
        enforcement=document.enforcement,
        basis=None if policy.source is None else Basis(policy.source, policy.approvers_source),
    )


def readied(model: str, alias: str | None, evidence: Evidence) -> Decision:
    """Whether a version may return under a hold: no policy is asked, only whether it could serve."""
    finding = ready(evidence.candidate.checked or Checked(None))
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
        purpose=Purpose.READINESS,
    )


def hinges_on_loading(policy: Policy, decision: Decision) -> bool:
    """Whether it is for the artifact to say: everything else is known, and it is not tried yet whether it loads."""
    evidence = decision.evidence
    if decision.verdict is not Verdict.PENDING or not policy.need.loading or evidence is None or evidence.candidate.loading:
        return False
    for outcome in ("loaded", "failed"):
        supposed = replace(evidence, candidate=replace(evidence.candidate, loading=Loading(outcome, "supposed")))
        decided = evaluate(policy, decision.model, decision.alias, supposed)
        if decided.verdict is Verdict.PASS or hinges_on_review(policy, decided):
            return True
    return False


def hinges_on_review(policy: Policy, decision: Decision) -> bool:
    """Whether only people are waited for: it is pending, and would pass if every review that its rules ask for were there."""
    evidence = decision.evidence
    if decision.verdict is not Verdict.PENDING or not policy.need.review or evidence is None:
        return False
    supposed = replace(evidence, origin=_reviewed(policy))
    # A rank that is missing is a finding of rotation's own, and none of the policy's: it is not supposed away.
    own = evaluate(policy, decision.model, decision.alias, evidence).findings
    others = decision.findings[len(own) :]
    found = (*evaluate(policy, decision.model, decision.alias, supposed).findings, *others)
    return all_of(finding.verdict for finding in found) is Verdict.PASS


def _reviewed(policy: Policy) -> Origin:
    """A pull request that satisfies every review rule there is: enough accounts, each in every team and under every name."""
    rules = [each for rule in policy.document.rules for each in rule.every_rule() if isinstance(each, ReviewRule)]
    names = {name for rule in rules for name in rule.review.from_ if "/" not in name}
    names |= {f"reviewer-{number}" for number in range(max((rule.review.at_least for rule in rules), default=0))}
    teams = {team: frozenset(names) for team in policy.need.teams}
    return Origin(1, "", "", reviews=tuple(Review(name) for name in sorted(names)), teams=teams)


def rank_value(policy: Policy, evidence: Evidence) -> float | None:
    """The candidate's place in the rank, higher is better; None where it cannot be ranked."""
    rank, metric = policy.document.rank, policy.rank_metric
    if rank is None or metric is None:
        return float(evidence.candidate.version)
    measured = evidence.candidate.measured(metric)
    if measured is None or not math.isfinite(measured.value):
        return None
    return measured.value if rank.order == "highest" else -measured.value


def _finding(rule: BaseRule, evidence: Evidence, setting: Setting) -> Finding:
    try:
        return rule.evaluate(evidence, setting)
    except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
        # Fail closed: whatever evidence a rule was not written for is an error of that rule, never of the daemon.
        return Finding(str(rule), Verdict.ERROR, None, f"evidence that can be judged ({type(error).__name__})")


def _waived(policy: Policy, model: str, evidence: Evidence, rule: BaseRule, finding: Finding) -> Finding:
    if finding.verdict is Verdict.PASS:
        return finding
    for waiver in policy.document.waivers:
        meant = (waiver.model, waiver.version) == (model, evidence.candidate.version) and answers_to(rule, waiver.rule)
        if meant and waiver.in_force(evidence.at):
            return replace(finding, verdict=Verdict.PASS, waived=Waived(finding.verdict, str(waiver)))
    return finding
