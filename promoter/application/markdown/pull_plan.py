"""The plan of a pull request as the one comment on it. It has no times of evaluation: the same plan gives the same text."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence

from promoter.application.markdown.plan import (
    APART,
    build_change_row,
    code_span,
    inline_text,
    render_decision_markdown,
    render_findings_markdown,
    render_table,
    table_cell,
)
from promoter.domain.plan import Change, Plan
from promoter.domain.policy_diff import PolicyStep
from promoter.domain.pull_plan import PullPlan, PullState
from promoter.domain.text import escape_invisible, plural, version_label

COMMENT_MARKER = "<!-- promoter:plan -->"
"""The beginning of the comment, which distinguishes it from others of the same account."""
MAX_COMMENT_LENGTH = 65_536
"""The number of characters of a comment that GitHub takes."""
MAX_TABLE_ROWS = 100
"""The number of rows of a table, and of lines of a list, that are shown."""
_RESERVED_LENGTH = 300
_MARK = {PullState.SUCCESS: "✓", PullState.FAILURE: "✗", PullState.PENDING: "…"}

Block = list[str]
"""Lines that are shown together, or not at all."""


def render_pull_plan_markdown(found: PullPlan) -> str:
    """Write the comment, cut to what a forge takes, with a note on what is left out."""
    text = "\n".join(_render_header(found)) + "\n"
    left = 0
    for block in _render_blocks(found):
        more = "\n" + "\n".join(block) + "\n"
        if len(text) + len(more) > MAX_COMMENT_LENGTH - _RESERVED_LENGTH:
            left += 1
        else:
            text += more
    if left:
        command = "`promoter plan --base BASE --head HEAD`"
        text += f"\n{left} {plural(left, 'part is', 'parts are')} left out, since a comment has an end: {command} shows all.\n"
    return text


def render_withdrawn_markdown(found: PullPlan) -> str:
    """Write the comment of a pull request that no longer touches any file that Promoter reads."""
    title = f"### {_MARK[PullState.SUCCESS]} {_name_promoter(found)}: nothing to plan"
    return f"{COMMENT_MARKER}\n{title}\n\nIt no longer changes any file that {inline_text(found.reader)} reads.\n"


def _name_promoter(found: PullPlan) -> str:
    return f"Promoter of {code_span(str(found.folder))}" if found.folder.path else "Promoter"


def _render_header(found: PullPlan) -> Block:
    state = f"{_MARK[found.status_state]} {_name_promoter(found)}"
    title = f"### {state}: {found.status_state.value}, {inline_text(found.status_description)}"
    judged = "Planned as it would be merged, and judged by the policies of the branch that it is to be merged into."
    return [COMMENT_MARKER, title, "", f"{code_span(found.head[:10])} {judged[0].lower()}{judged[1:]}"]


def _render_blocks(found: PullPlan) -> Iterator[Block]:
    brought, plan = found.brought, found.plan
    yield from _render_list(
        "Faults", [f"{code_span(each.location or '-')}: {_render_fault(each.message, each.fix)}" for each in found.faults]
    )
    yield from _render_list("Conflicts", [code_span(path) for path in found.conflicts])
    if found.unjudged:
        yield [inline_text(found.unjudged)]
    if found.refusal_reason:
        yield [f"**Refused**: {inline_text(found.refusal_reason)}"]
    if plan and brought.changes:
        yield ["#### What it changes", "", *_render_changes(plan, brought.changes)]
    leaving = [f"{code_span(f'{each.model}@{each.alias}')}: {inline_text(each.description)}" for each in brought.unmanaged]
    yield from _render_list("No longer managed", leaving)
    lacking = [(f"{each.model}@{each.alias}" if each.alias else each.model, each.reason) for each in brought.lacking]
    yield from _render_list(
        "What the registry lacks", [f"{code_span(name)}: {inline_text(reason)}" for name, reason in lacking]
    )
    yield from _render_list("To know", [inline_text(each) for each in (*brought.gates, *brought.notes)])
    for change in brought.changes:
        yield from _render_decision(found, change)
    yield from _render_list("What it says besides", [inline_text(each) for each in brought.settings])
    for step in brought.policies:
        yield _render_policy(step)
    if plan and found.already_due_changes:
        yield _render_details("Due anyway, with or without it", _render_changes(plan, found.already_due_changes))


def _render_changes(plan: Plan, changes: Sequence[Change]) -> Block:
    rows = []
    for each in changes[:MAX_TABLE_ROWS]:
        *cells, _, state = build_change_row(plan, each)
        rows.append([*map(table_cell, cells), state])
    more = [f"{len(changes) - MAX_TABLE_ROWS} more are not shown."] if len(changes) > MAX_TABLE_ROWS else []
    return [*render_table(["model", "alias", "from", "to", "verdict"], rows), *(["", *more] if more else [])]


def _render_decision(found: PullPlan, change: Change) -> Iterator[Block]:
    what, decision = change.difference, change.decision
    later = found.brought.later.get((what.model, what.alias))
    lines = render_decision_markdown(decision) if decision else []
    if later is not None:
        under = f"Once merged, policy {code_span(later.policy or '-')} as this pull request has it judges it"
        lines += [*([""] if lines else []), f"{under}: **{later.verdict.value}**", "", *render_findings_markdown(later)]
    if lines:
        move = f"{version_label(what.from_version)} → {version_label(what.to_version)}"
        verdict = decision.verdict.value if decision else "not gated"
        yield _render_details(f"<code>{_escape_html(f'{what.model}@{what.alias}')}</code> {move}: {verdict}", lines)


def _render_policy(step: PolicyStep) -> Block:
    lines = [f"#### Policy {code_span(step.name)}: {inline_text(step.description)}", ""]
    if step.replay_error:
        lines.append(f"Its effect is not known: {inline_text(step.replay_error)}")
    elif step.replayed is not None:
        lines += ["Replayed over the last 30 days:", ""]
        lines += [
            f"- {code_span(f'{each.model}@{each.alias}')}: {inline_text('; '.join(each.description_parts))}"
            for each in step.replayed[:MAX_TABLE_ROWS]
        ]
    else:
        lines.append("It counts from the next change on.")
    return lines


def _render_list(heading: str, lines: Sequence[str]) -> Iterator[Block]:
    if not lines:
        return
    more = [f"- {len(lines) - MAX_TABLE_ROWS} more"] if len(lines) > MAX_TABLE_ROWS else []
    yield [f"#### {heading}", "", *(f"- {line}" for line in lines[:MAX_TABLE_ROWS]), *more]


def _render_details(summary: str, lines: Iterable[str]) -> Block:
    """Fold lines away. `summary` is HTML already; the empty lines make what is inside Markdown again."""
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"]


def _render_fault(message: str, fix: str | None) -> str:
    return inline_text(f"{message} ({fix})" if fix else message)


def _escape_html(text: str) -> str:
    return html.escape(escape_invisible(text)).replace("@", f"@{APART}")
