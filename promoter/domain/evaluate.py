"""One evaluation: a policy's rules on one version's evidence."""

from __future__ import annotations

import math

from promoter.domain.evidence import Evidence
from promoter.domain.policy import Policy
from promoter.domain.rules.base import BaseRule, Setting
from promoter.domain.verdict import Decision, Finding, Verdict, all_of


def evaluate(policy: Policy, model: str, alias: str | None, evidence: Evidence) -> Decision:
    """Every rule is evaluated, so that a decision tells all that is missing, not the first."""
    document = policy.document
    findings = tuple(_finding(rule, evidence, document.setting) for rule in document.rules)
    return Decision(
        model=model,
        alias=alias,
        version=evidence.candidate.version,
        policy=policy.name,
        policy_digest=policy.digest,
        verdict=all_of(finding.verdict for finding in findings),
        findings=findings,
        at=evidence.at,
        evidence=evidence,
    )


def rank_value(policy: Policy, evidence: Evidence) -> float | None:
    """The candidate's place in the rank, higher is better; None where it cannot be ranked."""
    rank = policy.document.rank
    if rank is None:
        return float(evidence.candidate.version)
    value = evidence.candidate.metrics.get(rank.metric)
    if value is None or not math.isfinite(value):
        return None
    return value if rank.order == "highest" else -value


def _finding(rule: BaseRule, evidence: Evidence, setting: Setting) -> Finding:
    try:
        return rule.evaluate(evidence, setting)
    except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
        # Fail closed: whatever evidence a rule was not written for is an error of that rule, never of the daemon.
        return Finding(str(rule), Verdict.ERROR, None, f"evidence that can be judged ({type(error).__name__})")
