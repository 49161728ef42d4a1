"""The plan of a pull request as the one comment on it. It has no times of evaluation: the same plan gives the same text."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence

from promoter.application.markdown.comparison import render_metric_table, render_versions
from promoter.application.markdown.plan import (
    APART,
    STATE_MARK,
    build_change_row,
    code_span,
    describe_change_state,
    inline_text,
    render_commit,
    render_decision_markdown,
    render_details,
    render_findings_markdown,
    render_table,
    sort_changes,
    table_cell,
)
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.comparison import VersionComparison
from promoter.domain.links import NO_PAGES, PageAddresses
from promoter.domain.plan import Change, Plan
from promoter.domain.policy_diff import PolicyStep
from promoter.domain.pull_plan import PullPlan
from promoter.domain.text import escape_invisible, format_count, shorten_to_words, version_label

COMMENT_MARKER = "<!-- promoter:plan -->"
"""The beginning of the comment, which distinguishes it from others of the same account."""
MAX_COMMENT_LENGTH = 65_536
"""The number of characters of a comment that GitHub takes."""
MAX_TABLE_ROWS = 100
"""The number of rows of a table, and of lines of a list, that are shown."""
_RESERVED_LENGTH = 1_000
_TITLE_LENGTH = 300
_MAX_METRICS = 10
"""The number of metrics that are shown of a change that no policy judges."""
_SHOWS_ALL = "`promoter plan --base BASE --head HEAD` shows all."

Block = list[str]
"""Lines that are shown together, or not at all."""
NamedBlock = tuple[str, Block]
"""Lines, and what they show: in words, for the note on what is left out."""


def render_pull_plan_markdown(found: PullPlan, pages: PageAddresses = NO_PAGES) -> str:
    """Write the comment, cut to what a forge takes, with a note that names what is left out."""
    text = "\n".join(_render_header(found, pages)) + "\n"
    left: dict[str, int] = {}
    for name, block in _render_blocks(found, pages):
        more = "\n" + "\n".join(block) + "\n"
        if len(text) + len(more) > MAX_COMMENT_LENGTH - _RESERVED_LENGTH:
            left[name] = left.get(name, 0) + 1
        else:
            text += more
    if left:
        named = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in left.items())
        text += f"\nLeft out, since a comment has an end: {named}. {_SHOWS_ALL}\n"
    return text


def render_withdrawn_markdown(found: PullPlan) -> str:
    """Write the comment of a pull request that no longer touches any file that Promoter reads."""
    title = f"### {STATE_MARK[CommitStatusState.SUCCESS]} {_name_promoter(found)}: nothing to plan"
    return f"{COMMENT_MARKER}\n{title}\n\nIt no longer changes any file that {inline_text(found.folder.reader)} reads.\n"


def _name_promoter(found: PullPlan) -> str:
    return f"Promoter of {code_span(str(found.folder))}" if found.folder.path else "Promoter"


def _render_header(found: PullPlan, pages: PageAddresses) -> Block:
    state = f"{STATE_MARK[found.status_state]} {_name_promoter(found)}"
    title = f"### {state}: {found.status_state.value}, {inline_text(shorten_to_words(found.status_sentence, _TITLE_LENGTH))}"
    judged = "Planned as it would be merged, and judged by the policies of the branch that it is to be merged into."
    return [COMMENT_MARKER, title, "", f"{render_commit(found.head, pages)} {judged[0].lower()}{judged[1:]}"]


def _render_blocks(found: PullPlan, pages: PageAddresses) -> Iterator[NamedBlock]:
    brought, plan = found.brought, found.plan
    yield from _render_list(
        "Faults", [f"{code_span(each.location or '-')}: {_render_fault(each.message, each.fix)}" for each in found.faults]
    )
    yield from _render_list("Conflicts", [code_span(path) for path in found.conflicts])
    if found.unjudged:
        yield "why it cannot be judged", [inline_text(found.unjudged)]
    if found.refusal_reason:
        yield "why it is refused", [f"**Refused**: {inline_text(found.refusal_reason)}"]
    changes = sort_changes(brought.changes)
    if plan and changes:
        yield "the table of changes", ["#### What it changes", "", *_render_changes(plan, changes)]
    leaving = [f"{code_span(f'{each.model}@{each.alias}')}: {inline_text(each.description)}" for each in brought.unmanaged]
    yield from _render_list("No longer managed", leaving)
    lacking = [(f"{each.model}@{each.alias}" if each.alias else each.model, each.reason) for each in brought.lacking]
    yield from _render_list(
        "What the registry lacks", [f"{code_span(name)}: {inline_text(reason)}" for name, reason in lacking]
    )
    yield from _render_list("To know", [inline_text(each) for each in (*brought.gates, *brought.notes)])
    for change in changes:
        yield from _render_decision(found, change, pages)
    yield from _render_list("What it says besides", [inline_text(each) for each in brought.settings])
    for step in brought.policies:
        yield "what a changed policy would have done", _render_policy(step)
    if plan and found.already_due_changes:
        due = _render_changes(plan, sort_changes(found.already_due_changes))
        yield "what is due anyway", render_details("Due anyway, with or without it", due)


def _render_changes(plan: Plan, changes: Sequence[Change]) -> Block:
    rows = []
    for each in changes[:MAX_TABLE_ROWS]:
        *cells, _, state = build_change_row(plan, each)
        rows.append([*map(table_cell, cells), state])
    rest = Counter(describe_change_state(plan, each) for each in changes[MAX_TABLE_ROWS:])
    more = [f"Not shown: {', '.join(f'{count} {state}' for state, count in rest.items())}. {_SHOWS_ALL}"] if rest else []
    return [*render_table(["model", "alias", "from", "to", "verdict"], rows), *(["", *more] if more else [])]


def _render_decision(found: PullPlan, change: Change, pages: PageAddresses) -> Iterator[NamedBlock]:
    what, decision = change.difference, change.decision
    later = found.brought.later.get((what.model, what.alias))
    compared = found.comparisons.get((what.model, what.alias))
    lines = render_decision_markdown(decision) if decision else []
    if later is not None:
        under = f"Once merged, policy {code_span(later.policy or '-')} as this pull request has it judges it"
        lines += [*([""] if lines else []), f"{under}: **{later.verdict.value}**", "", *render_findings_markdown(later)]
    if compared is not None:
        lines += [*([""] if lines else []), *_render_comparison(what.model, compared, pages)]
    if lines:
        move = f"{version_label(what.from_version)} → {version_label(what.to_version)}"
        verdict = decision.verdict.value if decision else "not gated"
        title = f"<code>{_escape_html(f'{what.model}@{what.alias}')}</code> {move}: {verdict}"
        yield f"details of a change ({verdict})", render_details(title, lines)


def _render_comparison(model: str, compared: VersionComparison, pages: PageAddresses) -> Block:
    """Write where both versions come from, and the metrics: those that the policy reads, or else those that changed most."""
    lines = render_versions(model, compared, pages)
    others = compared.other_metrics
    if compared.metrics:
        lines += ["", *render_metric_table(compared, compared.metrics, directed=True)]
    elif others:
        lines += ["", *render_metric_table(compared, others[:_MAX_METRICS])]
        left = len(others) + compared.more - _MAX_METRICS
        lines += ["", f"Not shown: {format_count(left, 'metric')}, those that changed least."] if left > 0 else []
    return lines


def _render_policy(step: PolicyStep) -> Block:
    lines = [f"#### Policy {code_span(step.name)}: {inline_text(step.description)}", ""]
    if step.replay_error:
        lines.append(f"Its effect is not known: {inline_text(step.replay_error)}")
    elif step.replayed is not None:
        effects = sorted(step.replayed, key=lambda each: not each.has_differences)
        lines += ["Replayed over the last 30 days:", ""]
        lines += [
            f"- {code_span(f'{each.model}@{each.alias}')}: {inline_text('; '.join(each.description_parts))}"
            for each in effects[:MAX_TABLE_ROWS]
        ]
        more = len(effects) - MAX_TABLE_ROWS
        lines += [f"- and {format_count(more, 'more alias', 'more aliases')}. {_SHOWS_ALL}"] if more > 0 else []
    else:
        lines.append("It counts from the next change on.")
    return lines


def _render_list(heading: str, lines: Sequence[str]) -> Iterator[NamedBlock]:
    if not lines:
        return
    more = [f"- and {len(lines) - MAX_TABLE_ROWS} more. {_SHOWS_ALL}"] if len(lines) > MAX_TABLE_ROWS else []
    yield f"\u201c{heading}\u201d", [f"#### {heading}", "", *(f"- {line}" for line in lines[:MAX_TABLE_ROWS]), *more]


def _render_fault(message: str, fix: str | None) -> str:
    return inline_text(f"{message} ({fix})" if fix else message)


def _escape_html(text: str) -> str:
    return html.escape(escape_invisible(text)).replace("@", f"@{APART}")
