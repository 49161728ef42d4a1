"""A decision as a nested list."""

from __future__ import annotations

from promoter.application.markdown.text import code_span, inline_text
from promoter.domain.verdict import Decision, RuleFinding, Verdict

MARK = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.PENDING: "…", Verdict.ERROR: "!"}


def render_decision_markdown(decision: Decision, *, guards: bool = False) -> list[str]:
    """What was decided of what, and below it each rule. `guards`: it is what the guards say of a holder."""
    watched = " (would block: the policy only watches)" if decision.would_block and not guards else ""
    return [
        f"{_render_subject(decision, guards=guards)}: **{decision.verdict.value}**{watched}",
        "",
        *render_findings_markdown(decision),
    ]


def render_findings_markdown(decision: Decision) -> list[str]:
    """The rules alone: the verdict, what was seen, and what was expected."""
    return [line for finding in decision.findings for line in _render_finding(finding, 0)]


def _render_subject(decision: Decision, *, guards: bool) -> str:
    name = code_span(f"{decision.model}@{decision.alias}" if decision.alias else decision.model)
    under = f"policy {code_span(decision.policy)}" if decision.policy else "readiness"
    return f"{name} v{decision.version} under {'the guards of ' if guards and decision.policy else ''}{under}"


def _render_finding(finding: RuleFinding, depth: int) -> list[str]:
    seen = "nothing" if finding.value is None else finding.value
    text = f"{MARK[finding.verdict]} {finding.verdict.value}: {code_span(finding.rule)}, "
    text += inline_text("; ".join([f"saw {seen}, expected {finding.expected}", *finding.extra_notes]))
    return [f"{'  ' * depth}- {text}", *(more for child in finding.children for more in _render_finding(child, depth + 1))]
