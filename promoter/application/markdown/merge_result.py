"""What came of a merge, as the one closing comment on its pull request: what moved, what did not, why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from promoter.application.markdown.plan import (
    STATE_MARK,
    code_span,
    inline_text,
    render_commit,
    render_findings_markdown,
    render_link,
    render_table,
    table_cell,
)
from promoter.domain.audit import AliasKey
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.fields import format_utc
from promoter.domain.links import NO_PAGES, PageAddresses, build_page_link
from promoter.domain.merge_result import AliasOutcome, AliasResult, MergeResult
from promoter.domain.text import format_count, plural, version_label

RESULT_MARKER = "<!-- promoter:result -->"
"""The beginning of the comment, which distinguishes it from others of the same account."""
MAX_COMMENT_LENGTH = 60_000
"""The number of characters of the comment. GitHub takes 65,536."""
MAX_TABLE_ROWS = 100
"""The number of rows of the table that are shown."""
MAX_TABLE_LENGTH = 40_000
"""The number of characters of the table's cells."""
MAX_REASON_LENGTH = 200
"""The number of characters of a reason in the table; the whole of it stands below."""
MAX_DETAILED = 20
"""The number of aliases that did not move whose reasons are shown in full."""
_WORD = {
    AliasOutcome.MOVED: "moved",
    AliasOutcome.HELD: "was there already",
    AliasOutcome.DUE: "is being carried out",
    AliasOutcome.WAITING: "**waits**",
    AliasOutcome.BLOCKED: "**not moved**",
    AliasOutcome.OVERTAKEN: "overtaken",
}

Remedies = Mapping[AliasKey, Sequence[str]]
"""What a person can do about each alias that its policy keeps back."""


def render_merge_result_markdown(result: MergeResult, remedies: Remedies, pages: PageAddresses = NO_PAGES) -> str:
    """Write the comment. The same result gives the same text. `pages`: where people find Promoter's page, and commits."""
    blocks = [_render_title(result)]
    if result.refused:
        blocks += _render_refusal(result, pages)
    elif not result.aliases:
        blocks.append(["It is in force, and moves no alias by itself."])
    else:
        blocks.append(_render_moves(result, pages.promoter))
        left = [each for each in result.open_aliases if each.outcome is not AliasOutcome.DUE]
        for each in left[:MAX_DETAILED]:
            blocks.append(_render_open_alias(result, each, remedies.get(each.statement.key, ()), pages))
        if len(left) > MAX_DETAILED:
            blocks.append([f"{len(left) - MAX_DETAILED} more did not move; `promoter plan` shows why."])
    return _join_blocks(blocks)


def _join_blocks(blocks: Sequence[Sequence[str]]) -> str:
    text, left = RESULT_MARKER, 0
    for block in blocks:
        more = ("\n" if text == RESULT_MARKER else "\n\n") + "\n".join(block)
        if len(text) + len(more) > MAX_COMMENT_LENGTH:
            left += 1
        else:
            text += more
    return text + (f"\n\n{left} {plural(left, 'part is', 'parts are')} left out.\n" if left else "\n")


def _render_title(result: MergeResult) -> list[str]:
    left = len(result.open_aliases)
    if result.refused:
        words = "refused"
    elif left:
        yet = " yet" if result.state is CommitStatusState.PENDING else ""
        count = "" if left == len(result.aliases) else f"{left} of {len(result.aliases)} changes "
        words = f"{count}not carried out{yet}"
    else:
        words = "carried out"
    whose = inline_text(result.folder.reader)
    return [f"### {STATE_MARK[result.state]} {whose[0].upper()}{whose[1:]}: {words}"]


def _render_refusal(result: MergeResult, pages: PageAddresses) -> list[list[str]]:
    faults = (result.refused or "").splitlines()
    if result.is_superseded:
        later = f" {render_commit(result.in_force, pages)}, a later commit, is in force." if result.in_force else ""
        return [[f"Commit {render_commit(result.revision, pages)} was not carried out: its files cannot be used.{later}"]]
    stays = f"Revision {render_commit(result.in_force, pages)}, the last good one, stays in force." if result.in_force else ""
    why = [
        f"Commit {render_commit(result.revision, pages)} is not in force, and nothing of it is carried out. {stays}".rstrip(),
        "",
    ]
    shown = [f"- {inline_text(each)}" for each in faults[:MAX_TABLE_ROWS]]
    shown += [f"- {len(faults) - MAX_TABLE_ROWS} more"] if len(faults) > MAX_TABLE_ROWS else []
    return [
        [*why, *shown],
        ["What to do: mend it by another commit on this branch, or revert this one."],
        ["If nobody does anything, no alias moves by it, and no later commit counts until the branch's head can be used."],
    ]


def _render_moves(result: MergeResult, url: str | None) -> list[str]:
    if len(result.aliases) == 1:
        return [_render_single(result.aliases[0], url)]
    rows, size = [], 0
    for each in result.aliases[:MAX_TABLE_ROWS]:
        row = _build_row(each, url)
        size += sum(map(len, row))
        if size > MAX_TABLE_LENGTH:
            break
        rows.append(row)
    more = len(result.aliases) - len(rows)
    hidden = ["", f"{format_count(more, 'alias', 'aliases')} more."] if more > 0 else []
    return [*render_table(["model", "alias", "from", "to", "what came of it", "since"], rows), *hidden]


def _render_single(result: AliasResult, url: str | None) -> str:
    name, to = code_span(result.statement.name), version_label(result.statement.version)
    page = _render_page_link(result.statement.model, url)
    since = f" since {format_utc(result.at)}" if result.at else ""
    entry = f" Ledger entry {result.entry}." if result.entry else ""
    match result.outcome:
        case AliasOutcome.MOVED:
            return f"{name} moved from {version_label(result.held)} to {to}, where it is{since}.{entry}{page}"
        case AliasOutcome.HELD:
            return f"{name} is at {to}{since}: nothing had to move.{entry}{page}"
        case AliasOutcome.DUE:
            why = f": {inline_text(result.reason)}" if result.reason else "."
            return f"{name} is to move to {to}, and that is being carried out{why}{page}"
        case _:
            return f"{name} stays at {version_label(result.held)}, and has not moved to {to}.{page}"


def _render_page_link(model: str, url: str | None) -> str:
    link = build_page_link(url, model)
    return f" {render_link(inline_text(f'{model} in Promoter'), link)}" if link else ""


def _build_row(result: AliasResult, url: str | None) -> list[str]:
    statement, moved = result.statement, result.outcome is AliasOutcome.MOVED
    since = format_utc(result.at) if result.at else ""
    since += f", ledger entry {result.entry}" if result.entry else ""
    came_from = result.held if moved else statement.before
    return [
        render_link(table_cell(statement.model), build_page_link(url, statement.model)),
        table_cell(statement.alias),
        version_label(came_from),
        version_label(statement.version),
        _WORD[result.outcome] + ("" if moved or not result.reason else f": {table_cell(_shorten(result.reason))}"),
        since,
    ]


def _shorten(reason: str) -> str:
    return reason if len(reason) <= MAX_REASON_LENGTH else f"{reason[:MAX_REASON_LENGTH]}…"


def _render_open_alias(result: MergeResult, alias: AliasResult, remedies: Sequence[str], pages: PageAddresses) -> list[str]:
    """Say why an alias did not move, what to do, and what comes of it if nobody does anything."""
    statement, decision = alias.statement, alias.decision
    several = len(result.aliases) > 1
    lines = [f"#### {code_span(statement.name)}", ""] if several else []
    if decision is None:
        lines += [f"Why: {inline_text(alias.reason)}."]
    else:
        unmet = decision.unmet_findings
        under = f"policy {code_span(decision.policy)}" if decision.policy else "its readiness"
        yet = " yet" if alias.outcome is AliasOutcome.WAITING else ""
        lines += [f"Why: {under} does not let v{decision.version} pass{yet}.", ""]
        lines += render_findings_markdown(replace(decision, findings=unmet))
    if alias.outcome is AliasOutcome.OVERTAKEN:
        return lines
    next_look = "Promoter looks again at each poll, and moves the alias once nothing is in its way any more."
    stays = "nobody holds it" if alias.held is None else f"v{alias.held} goes on serving"
    return [
        *lines,
        "",
        *_render_remedies(result, alias, remedies, pages),
        "",
        f"If nobody does anything, {stays}, and git states {version_label(statement.version)} all the same. {next_look}",
    ]


def _render_remedies(result: MergeResult, alias: AliasResult, remedies: Sequence[str], pages: PageAddresses) -> list[str]:
    """List what to do: what is missing first, then the way back. Git's word is to be true again, one way or the other."""
    statement = alias.statement
    before = version_label(statement.before) if statement.before else "nothing"
    others = ", which takes its other changes back as well" if len(result.aliases) > 1 else ""
    revert = f"revert {render_commit(result.revision, pages)}{others}"
    back = f"or take it back: {revert}, so that git states {before} of the alias again"
    ways = [inline_text(each) for each in (*remedies, alias.remedy) if each]
    if not ways and alias.decision is not None and alias.outcome is AliasOutcome.BLOCKED:
        ways = ["state a version that passes, or change or waive the rule in its policy, by another commit"]
    if not ways:
        return [f"What to do: {back.removeprefix('or ')}."]
    return ["What to do:", "", *(f"- {each[0].upper()}{each[1:]}." for each in ways), f"- {back[0].upper()}{back[1:]}."]
