"""A plan: a table of changes, what is blocked, and the decisions."""

from __future__ import annotations

from promoter.application.markdown.decision import render_decision_markdown
from promoter.application.markdown.text import table_cell, code_span, inline_text, render_table, version_label
from promoter.domain.plan import Change, Plan
from promoter.domain.verdict import Verdict


def render_plan_markdown(plan: Plan) -> str:
    """The whole of it."""
    lines = [f"**{render_plan_summary(plan)}**", ""]
    if plan.changes:
        lines += [
            *render_table(
                ["model", "alias", "from", "to", "cause", "verdict"], [_render_change_row(plan, each) for each in plan.changes]
            ),
            "",
        ]
    lines += [
        f"- blocked: {code_span(each.model + ('@' + each.alias if each.alias else ''))}: {inline_text(each.reason)}"
        for each in plan.blocked
    ]
    lines += [f"- drift (reported only): {code_span(f'{each.model}@{each.alias}')}" for each in plan.reported]
    lines += [f"- refused: {inline_text(plan.refused)}"] if plan.refused else []
    for change in plan.changes:
        if change.decision:
            lines += ["", *render_decision_markdown(change.decision)]
    return "\n".join(lines).rstrip() + "\n"


def render_plan_summary(plan: Plan) -> str:
    """One line: how many changes, how many blocked."""
    if not (plan.changes or plan.blocked):
        whose = f"git says at {plan.revision[:10]}" if plan.revision else "the files say (not committed)"
        return f"Nothing to do: the registry is as {whose}."
    blocked = len(plan.blocked)
    allowed = sum(change.is_allowed for change in plan.changes)
    what = f"at {plan.revision[:10]}" if plan.revision else "of files that are not committed"
    return f"Plan {what}: {allowed} to change, {blocked} blocked. Digest {plan.digest[:12]}."


def describe_change_state(plan: Plan, change: Change) -> str:
    """What becomes of a change, in words."""
    verdict = change.gate_verdict
    if plan.refused:
        return "refused"
    if verdict is None:
        return "not gated" if change.is_allowed else "blocked"
    if change.is_allowed:
        return verdict.value if verdict is Verdict.PASS else f"would block: {verdict.value}"
    return f"blocked: {verdict.value}"


def _render_change_row(plan: Plan, change: Change) -> list[str]:
    what = change.difference
    move = [version_label(what.from_version), version_label(what.to_version)]
    return [table_cell(what.model), table_cell(what.alias), *move, what.cause.value, describe_change_state(plan, change)]
