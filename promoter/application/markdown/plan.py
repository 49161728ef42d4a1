"""Plans and decisions in Markdown. Words from outside stay visible, and nothing but words on a forge's page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from promoter.domain.commit_status import CommitStatusState
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.links import NO_PAGES, PageAddresses
from promoter.domain.plan import Change, Plan, UnmanagedAlias
from promoter.domain.text import escape_invisible, version_label

APART = "&#8203;"
"""A space without width: between `@` and a name, it keeps a forge from notifying anybody."""
_UNSAFE_IN_ADDRESS = re.compile(r"[^!#$%&'*+,./0-9:;=?@A-Z_a-z~-]")
"""What would end a link's address, or a cell of a table."""
_CODE = re.compile(r"(`[^`]+`)")
_MARKUP = re.compile(r"([\\`*~]|^\[|\](?=[(\[])|(?<!\w)_|_(?!\w))")
_REFERENCE = re.compile(
    r"@|#|!(?=\d)|&amp;(?=\d)|\b[A-Z][A-Z0-9]+-(?=\d)"
    r"|\b(?:issues|pulls?|merge_requests|work_items|discussions|epics)/(?=\d)"
)
"""What forges take for a person, a team, an issue or another pull request, and would notify, link or close."""
_COMMAND = re.compile(r"^(\s*)(?=/\w)")
"""What GitLab, and bots on other forges, take for a command at the beginning of a line: `/approve`."""


def inline_text(text: str) -> str:
    """Escape running text. What stands between backticks stays code; all else becomes neither markup nor a reference."""
    parts = _CODE.split(escape_invisible(text))
    escaped = "".join(part if index % 2 else _escape_markup(part) for index, part in enumerate(parts))
    return _COMMAND.sub(lambda match: match[0] + APART, escaped)


def table_cell(text: str) -> str:
    """Escape the text of a table's cell, on one line."""
    return inline_text(text.replace("\n", " ")).replace("|", "\\|")


def code_span(text: str) -> str:
    """Write any text as code, inside as many backticks as it takes."""
    shown = escape_invisible(text) or " "
    fence = "`" * (max((len(run) for run in re.findall(r"`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def render_table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Write the lines of a table. The cells are Markdown already."""
    return [_render_table_row(columns), _render_table_row("---" for _ in columns), *(_render_table_row(row) for row in rows)]


def render_link(text: str, address: str | None) -> str:
    """Write a link, or without an address the text alone. The text is Markdown already."""
    return f"[{text}]({_UNSAFE_IN_ADDRESS.sub(_quote_character, address)})" if address else text


def render_details(summary: str, lines: Iterable[str]) -> list[str]:
    """Fold lines away. `summary` is HTML already; the empty lines make what is inside Markdown again."""
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"]


def _quote_character(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))


def _escape_markup(text: str) -> str:
    text = _MARKUP.sub(r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
    return _REFERENCE.sub(lambda match: match[0] + APART, text)


def _render_table_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_GRAVITY = {Verdict.FAIL: 0, Verdict.ERROR: 1, Verdict.PENDING: 2, Verdict.PASS: 4}
_UNGATED = 3
MARK = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.PENDING: "…", Verdict.ERROR: "!"}
STATE_MARK = {CommitStatusState.SUCCESS: "✓", CommitStatusState.FAILURE: "✗", CommitStatusState.PENDING: "…"}


def render_decision_markdown(decision: Decision, *, guards: bool = False) -> list[str]:
    """Write the verdict on a version, and below it each rule. `guards`: the rules are guards of a holder."""
    watched = " (would block: the policy only watches)" if decision.would_block and not guards else ""
    return [
        f"{_render_subject(decision, guards=guards)}: **{decision.verdict.value}**{watched}",
        "",
        *render_findings_markdown(decision),
    ]


def render_findings_markdown(decision: Decision) -> list[str]:
    """List each rule with its verdict, the value seen, and what was expected; those that do not pass come first."""
    return [line for finding in sort_findings(decision.findings) for line in _render_finding(finding, 0)]


def sort_findings(findings: Iterable[RuleFinding]) -> list[RuleFinding]:
    """Return those that fail first, then errors, then pending ones, each in the order of the policy."""
    return sorted(findings, key=lambda each: _GRAVITY[each.verdict])


def _render_subject(decision: Decision, *, guards: bool) -> str:
    name = code_span(f"{decision.model}@{decision.alias}" if decision.alias else decision.model)
    under = f"policy {code_span(decision.policy)}" if decision.policy else "readiness"
    return f"{name} v{decision.version} under {'the guards of ' if guards and decision.policy else ''}{under}"


def _render_finding(finding: RuleFinding, depth: int) -> list[str]:
    value, expected = finding.shown_figures
    text = f"{MARK[finding.verdict]} {finding.verdict.value}: {code_span(finding.rule)}, "
    text += inline_text("; ".join([f"saw {value or 'nothing'}, expected {expected}", *finding.extra_notes]))
    return [f"{'  ' * depth}- {text}", *(more for child in finding.children for more in _render_finding(child, depth + 1))]


def sort_changes(changes: Iterable[Change]) -> list[Change]:
    """Return those first that are not allowed, by how grave it is, then those that no policy judges, then those that pass."""
    return sorted(changes, key=_rank_change)


def _rank_change(change: Change) -> tuple[bool, int]:
    verdict = change.gate_verdict
    return change.is_allowed, _UNGATED if verdict is None else _GRAVITY[verdict]


def render_commit(revision: str, pages: PageAddresses = NO_PAGES) -> str:
    """Write the beginning of a commit's id as code: as a link to its page, where the forge is known."""
    return render_link(code_span(revision[:10]), pages.link_commit(revision))


def render_plan_markdown(plan: Plan, pages: PageAddresses = NO_PAGES) -> str:
    """Write the summary, the changes, what blocks them, and each decision."""
    address = pages.link_commit(plan.revision)
    summary = render_plan_summary(plan)
    if address and plan.revision:
        summary = summary.replace(f"at {plan.revision[:10]}", f"at {render_link(plan.revision[:10], address)}", 1)
    lines = [f"**{summary}**", ""]
    if plan.changes:
        rows = (map(table_cell, build_change_row(plan, each)) for each in sort_changes(plan.changes))
        lines += [*render_table(["model", "alias", "from", "to", "cause", "verdict"], rows), ""]
    lines += [
        f"- blocked: {code_span(each.model + ('@' + each.alias if each.alias else ''))}: {inline_text(each.reason)}"
        for each in plan.blocked
    ]
    lines += [f"- drift (reported only): {code_span(f'{each.model}@{each.alias}')}" for each in plan.reported]
    lines += render_unmanaged_lines(plan.unmanaged)
    lines += [f"- refused: {inline_text(plan.refused)}"] if plan.refused else []
    lines += [f"- note: {inline_text(each)}" for each in plan.notes]
    for change in sort_changes(plan.changes):
        if change.decision:
            lines += ["", *render_decision_markdown(change.decision)]
    return "\n".join(lines).rstrip() + "\n"


def render_unmanaged_lines(unmanaged: Iterable[UnmanagedAlias]) -> list[str]:
    """List the aliases that git states nothing of any more."""
    return [
        f"- no longer managed: {code_span(f'{each.model}@{each.alias}')}: {inline_text(each.description)}" for each in unmanaged
    ]


def render_plan_summary(plan: Plan) -> str:
    """Count the changes and what is blocked, on one line."""
    if not (plan.changes or plan.blocked or plan.unmanaged):
        whose = f"git says at {plan.revision[:10]}" if plan.revision else "the files say (not committed)"
        return f"Nothing to do: the registry is as {whose}."
    blocked = len(plan.blocked)
    allowed = sum(change.is_allowed for change in plan.changes)
    what = f"at {plan.revision[:10]}" if plan.revision else "of files that are not committed"
    left = f", {len(plan.unmanaged)} no longer managed" if plan.unmanaged else ""
    return f"Plan {what}: {allowed} to change, {blocked} blocked{left}. Digest {plan.digest[:12]}."


def describe_change_state(plan: Plan, change: Change) -> str:
    """Name what becomes of a change."""
    verdict = change.gate_verdict
    if plan.refused:
        return "refused"
    if verdict is None:
        return "not gated" if change.is_allowed else "blocked"
    if change.is_allowed:
        return verdict.value if verdict is Verdict.PASS else f"would block: {verdict.value}"
    return f"blocked: {verdict.value}"


def build_change_row(plan: Plan, change: Change) -> tuple[str, ...]:
    """List model, alias, both versions, the cause, and what becomes of the change."""
    what = change.difference
    move = (version_label(what.from_version), version_label(what.to_version))
    return what.model, what.alias, *move, what.cause.value, describe_change_state(plan, change)
