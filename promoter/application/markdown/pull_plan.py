"""The plan of a pull request as the one comment on it. No times of evaluation: the same plan reads the same."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence

from promoter.application.markdown.decision import decision_markdown, findings_markdown
from promoter.application.markdown.plan import change_state
from promoter.application.markdown.text import APART, cell, code, inline, table, version
from promoter.domain.plan import Change, Plan
from promoter.domain.pulls.plan import PullPlan, PullState
from promoter.domain.pulls.policies import PolicyStep
from promoter.domain.verdict import visible

MARKER = "<!-- promoter:plan -->"
"""What the comment begins with: it tells it from others of the same account."""
LIMIT = 65_536
"""Characters of a comment: GitHub takes no more."""
ROWS = 100
"""So many rows of a table, or lines of a list, are shown."""
_ROOM = 300
_MARK = {PullState.SUCCESS: "✓", PullState.FAILURE: "✗", PullState.PENDING: "…"}

Block = list[str]
"""Lines that are shown together, or not at all."""


def pull_plan_markdown(found: PullPlan) -> str:
    """The whole comment, cut to what a forge takes, with a note on what is left out."""
    text = "\n".join(_head(found)) + "\n"
    left = 0
    for block in _blocks(found):
        more = "\n" + "\n".join(block) + "\n"
        if len(text) + len(more) > LIMIT - _ROOM:
            left += 1
        else:
            text += more
    if left:
        command = "`promoter plan --base BASE --head HEAD`"
        text += f"\n{left} part{'s are' if left > 1 else ' is'} left out, since a comment has an end: {command} shows all.\n"
    return text


def withdrawn_markdown() -> str:
    """For a pull request that was planned once, and no longer touches any file that Promoter reads."""
    title = f"### {_MARK[PullState.SUCCESS]} Promoter: nothing to plan"
    return f"{MARKER}\n{title}\n\nIt no longer changes any file that Promoter reads.\n"


def _head(found: PullPlan) -> Block:
    title = f"### {_MARK[found.state]} Promoter: {found.state.value}, {inline(found.description)}"
    judged = "Planned as it would be merged, and judged by the policies of the branch that it is to be merged into."
    return [MARKER, title, "", f"{code(found.head[:10])} {judged[0].lower()}{judged[1:]}"]


def _blocks(found: PullPlan) -> Iterator[Block]:
    brought, plan = found.brought, found.plan
    yield from _listed("Faults", [f"{code(each.place or '-')}: {_fault(each.message, each.fix)}" for each in found.faults])
    yield from _listed("Conflicts", [code(path) for path in found.conflicts])
    if found.unjudged:
        yield [inline(found.unjudged)]
    if found.refused:
        yield [f"**Refused**: {inline(found.refused)}"]
    if plan and brought.changes:
        yield ["#### What it changes", "", *_changes(plan, brought.changes)]
    lacking = [(f"{each.model}@{each.alias}" if each.alias else each.model, each.reason) for each in brought.lacking]
    yield from _listed("What the registry lacks", [f"{code(name)}: {inline(reason)}" for name, reason in lacking])
    yield from _listed("To know", [inline(each) for each in (*brought.gates, *brought.notes)])
    for change in brought.changes:
        yield from _decision(found, change)
    yield from _listed("What it says besides", [inline(each) for each in brought.settings])
    for step in brought.policies:
        yield _policy(step)
    if plan and found.due:
        yield _folded("Due anyway, with or without it", _changes(plan, found.due))


def _changes(plan: Plan, changes: Sequence[Change]) -> Block:
    rows = []
    for each in changes[:ROWS]:
        what = each.difference
        move = [version(what.from_version), version(what.to_version)]
        rows.append([cell(what.model), cell(what.alias), *move, change_state(plan, each)])
    more = [f"{len(changes) - ROWS} more are not shown."] if len(changes) > ROWS else []
    return [*table(["model", "alias", "from", "to", "verdict"], rows), *(["", *more] if more else [])]


def _decision(found: PullPlan, change: Change) -> Iterator[Block]:
    what, decision = change.difference, change.decision
    later = found.brought.later.get((what.model, what.alias))
    lines = decision_markdown(decision) if decision else []
    if later is not None:
        under = f"Once merged, policy {code(later.policy or '-')} as this pull request has it judges it"
        lines += [*([""] if lines else []), f"{under}: **{later.verdict.value}**", "", *findings_markdown(later)]
    if lines:
        move = f"{version(what.from_version)} → {version(what.to_version)}"
        verdict = decision.verdict.value if decision else "not gated"
        yield _folded(f"<code>{_html(f'{what.model}@{what.alias}')}</code> {move}: {verdict}", lines)


def _policy(step: PolicyStep) -> Block:
    lines = [f"#### Policy {code(step.name)}: {inline(step.told)}", ""]
    if step.untold:
        lines.append(f"Its effect is not known: {inline(step.untold)}")
    elif step.replayed is not None:
        lines += ["Replayed over the last 30 days:", ""]
        lines += [f"- {code(f'{each.model}@{each.alias}')}: {inline('; '.join(each.told))}" for each in step.replayed[:ROWS]]
    else:
        lines.append("It counts from the next change on.")
    return lines


def _listed(heading: str, lines: Sequence[str]) -> Iterator[Block]:
    if not lines:
        return
    more = [f"- {len(lines) - ROWS} more"] if len(lines) > ROWS else []
    yield [f"#### {heading}", "", *(f"- {line}" for line in lines[:ROWS]), *more]


def _folded(summary: str, lines: Iterable[str]) -> Block:
    """`summary` is HTML already; the blank lines make what is inside Markdown again."""
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"]


def _fault(message: str, fix: str | None) -> str:
    return inline(f"{message} ({fix})" if fix else message)


def _html(text: str) -> str:
    return html.escape(visible(text)).replace("@", f"@{APART}")
