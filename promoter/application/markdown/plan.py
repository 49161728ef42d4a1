"""A plan: a table of changes, what is blocked, and the decisions."""

from __future__ import annotations

from promoter.application.markdown.decision import decision_markdown
from promoter.application.markdown.text import cell, code, inline, table, version
from promoter.domain.plan import Change, Plan
from promoter.domain.verdict import Verdict


def plan_markdown(plan: Plan) -> str:
    """The whole of it."""
    lines = [f"**{plan_summary(plan)}**", ""]
    if plan.changes:
        lines += [*table(["model", "alias", "from", "to", "cause", "verdict"], [_row(plan, each) for each in plan.changes]), ""]
    lines += [
        f"- blocked: {code(each.model + ('@' + each.alias if each.alias else ''))}: {inline(each.reason)}"
        for each in plan.blocked
    ]
    lines += [f"- drift (reported only): {code(f'{each.model}@{each.alias}')}" for each in plan.reported]
    lines += [f"- refused: {inline(plan.refused)}"] if plan.refused else []
    for change in plan.changes:
        if change.decision:
            lines += ["", *decision_markdown(change.decision)]
    return "\n".join(lines).rstrip() + "\n"


def plan_summary(plan: Plan) -> str:
    """One line: how many changes, how many blocked."""
    if not (plan.changes or plan.blocked):
        whose = f"git says at {plan.revision[:10]}" if plan.revision else "the files say (not committed)"
        return f"Nothing to do: the registry is as {whose}."
    blocked = len(plan.blocked)
    allowed = sum(change.allowed for change in plan.changes)
    what = f"at {plan.revision[:10]}" if plan.revision else "of files that are not committed"
    return f"Plan {what}: {allowed} to change, {blocked} blocked. Digest {plan.digest[:12]}."


def change_state(plan: Plan, change: Change) -> str:
    """What becomes of a change, in words."""
    verdict = change.verdict
    if plan.refused:
        return "refused"
    if verdict is None:
        return "not gated" if change.allowed else "blocked"
    if change.allowed:
        return verdict.value if verdict is Verdict.PASS else f"would block: {verdict.value}"
    return f"blocked: {verdict.value}"


def _row(plan: Plan, change: Change) -> list[str]:
    what = change.difference
    move = [version(what.from_version), version(what.to_version)]
    return [cell(what.model), cell(what.alias), *move, what.cause.value, change_state(plan, change)]
