"""A decision as a nested list."""

from __future__ import annotations

from promoter.application.markdown.text import code, inline
from promoter.domain.verdict import Decision, Finding, Verdict

MARK = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.PENDING: "…", Verdict.ERROR: "!"}


def decision_markdown(decision: Decision, *, guards: bool = False) -> list[str]:
    """What was decided of what, and below it each rule. `guards`: it is what the guards say of a holder."""
    watched = " (would block: the policy only watches)" if decision.would_block and not guards else ""
    return [f"{_subject(decision, guards=guards)}: **{decision.verdict.value}**{watched}", "", *findings_markdown(decision)]


def findings_markdown(decision: Decision) -> list[str]:
    """The rules alone: the verdict, what was seen, and what was expected."""
    return [line for finding in decision.findings for line in _told(finding, 0)]


def _subject(decision: Decision, *, guards: bool) -> str:
    name = code(f"{decision.model}@{decision.alias}" if decision.alias else decision.model)
    under = f"policy {code(decision.policy)}" if decision.policy else "readiness"
    return f"{name} v{decision.version} under {'the guards of ' if guards and decision.policy else ''}{under}"


def _told(finding: Finding, depth: int) -> list[str]:
    seen = "nothing" if finding.value is None else finding.value
    told = f"{MARK[finding.verdict]} {finding.verdict.value}: {code(finding.rule)}, "
    told += inline("; ".join([f"saw {seen}, expected {finding.expected}", *finding.notes]))
    return [f"{'  ' * depth}- {told}", *(more for child in finding.children for more in _told(child, depth + 1))]
