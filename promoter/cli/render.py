"""Plans, decisions, records and reports on a terminal: tables and trees."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from promoter.application.markdown.plan import MARK, build_change_row, render_plan_summary
from promoter.application.markdown.report import (
    Cell,
    DecisionTree,
    Facts,
    Heading,
    Notes,
    Paragraph,
    Part,
    StyledText,
    TerminalOnly,
    Title,
    render_report_markdown,
)
from promoter.application.markdown.report import Table as ReportTable
from promoter.cli.common import OutputFormat, create_console, print_lines
from promoter.domain.audit import AuditRecord
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.history import AliasSpan
from promoter.domain.plan import Change, Plan
from promoter.domain.review import describe_origin
from promoter.domain.text import escape_invisible, escape_lines, version_label
from promoter.terminal import TrimmedTable, TrimmedTree

VERDICT_STYLE = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.PENDING: "yellow", Verdict.ERROR: "magenta"}
WIDE_TERMINAL_COLUMNS = 130
"""The width from which on an audit record fits on one line."""


def print_report(output: OutputFormat, parts: Iterable[Part]) -> None:
    """Write a report to standard output: as Markdown, or for a terminal."""
    if output is OutputFormat.MARKDOWN:
        sys.stdout.write(render_report_markdown(parts))
    else:
        render_report_text(create_console(), parts)


def print_sentence(output: OutputFormat, text: str) -> None:
    """Write one sentence to standard output: as Markdown, or on one line, however long it is."""
    if output is OutputFormat.MARKDOWN:
        print_report(output, [Paragraph(text)])
    else:
        print_lines(text)


def render_report_text(console: Console, parts: Iterable[Part]) -> None:
    """Print the parts, one below the other."""
    for part in parts:
        _print_part(console, part)


def _print_part(console: Console, part: Part) -> None:
    match part:
        case Title():
            print_wrapped(console, Text.assemble((escape_lines(part.text), part.style), _style_cell(part.ending or "")))
        case Heading() | Paragraph():
            print_wrapped(console, Text(escape_lines(part.text), style=part.style))
        case Notes():
            _print_notes(console, part)
        case Facts():
            _print_facts(console, part)
        case ReportTable():
            _print_table(console, part)
        case DecisionTree(decision=Decision() as decision):
            console.print(build_decision_tree(decision, guards=part.guards))
        case TerminalOnly():
            render_report_text(console, part.parts or [Paragraph("")])


def print_wrapped(console: Console, text: Text) -> None:
    """Print a text of any length. No line of it ends with spaces."""
    for row in text.wrap(console, console.width) or [text]:
        row.rstrip()
        console.print(row)


def _print_notes(console: Console, notes: Notes) -> None:
    indent = " " * len(notes.prefix)
    for line in notes.lines:
        rows = Text(escape_lines(line)).wrap(console, console.width - len(indent))
        for number, row in enumerate(rows):
            row.rstrip()
            console.print(Text.assemble(indent if number else notes.prefix, row, style=notes.style))


def _print_facts(console: Console, facts: Facts) -> None:
    if facts.label_format:
        for name, value in facts.rows:
            console.print(Text(facts.label_format.format(name) + escape_lines(value)), soft_wrap=True)
        return
    grid = TrimmedTable(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in facts.rows:
        grid.add_row(Text(name), Text(escape_lines(value)))
    console.print(grid)


def _print_table(console: Console, table: ReportTable) -> None:
    shown = table.narrow if table.narrow and console.width < WIDE_TERMINAL_COLUMNS else table
    if shown.columns:
        console.print(build_plain_table(map(str.upper, shown.columns), shown.rows))


def build_plain_table(columns: Iterable[str], rows: Iterable[Iterable[Cell | Text]]) -> Table:
    """Build a table without lines, whose cells fold instead of being cut."""
    made = TrimmedTable(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*map(_style_cell, row))
    return made


def _style_cell(cell: Cell | Text) -> Text:
    """Make text of a cell. It is no markup, for there are names such as `renovate[bot]`."""
    if isinstance(cell, Text):
        return cell
    text, style = (cell, "") if isinstance(cell, str) else (cell.text, cell.style)
    return Text(escape_lines(text), style=style)


def render_plan_text(console: Console, plan: Plan) -> None:
    """Print the changes as a table, each decision that blocks as a tree, and a line that sums up."""
    if plan.changes:
        console.print(build_changes_table(plan, plan.changes))
    render_decision_trees(console, plan.changes)
    _render_plan_notes(console, plan)
    print_wrapped(console, Text(render_plan_summary(plan)))


def build_changes_table(plan: Plan, changes: Iterable[Change]) -> Table:
    """Build a table of these changes of the plan, with what becomes of each."""
    rows: list[list[Cell]] = []
    for each in changes:
        *cells, state = build_change_row(plan, each)
        style = "red" if plan.refused else VERDICT_STYLE[each.gate_verdict] if each.gate_verdict else ""
        rows.append([*cells, StyledText(state, style)])
    return build_plain_table(["MODEL", "ALIAS", "FROM", "TO", "CAUSE", "VERDICT"], rows)


def render_decision_trees(console: Console, changes: Iterable[Change]) -> None:
    """Print the decisions that block, and those in which a waiver acted."""
    for change in changes:
        if change.decision and (change.gate_verdict is not Verdict.PASS or change.decision.waived_findings):
            console.print()
            console.print(build_decision_tree(change.decision))


def _render_plan_notes(console: Console, plan: Plan) -> None:
    decided = {(change.difference.model, change.difference.alias) for change in plan.changes}
    rest = [each for each in plan.blocked if (each.model, each.alias) not in decided]
    if plan.changes and (rest or plan.reported or plan.unmanaged):
        console.print()
    for change in plan.changes:
        what = change.difference
        if what.replacement:
            print_wrapped(console, Text.assemble(("replaced ", "yellow"), f"{what.model}@{what.alias}: {what.replacement}"))
    for each in rest:
        name = f"{each.model}@{each.alias}" if each.alias else each.model
        print_wrapped(console, Text.assemble(("blocked ", "red"), escape_invisible(f"{name}: {each.reason}")))
    for drift in plan.reported:
        declared, held = version_label(drift.to_version), version_label(drift.from_version)
        drifted = f"{drift.model}@{drift.alias}: git says {declared}, the registry {held} (reported only)"
        print_wrapped(console, Text.assemble(("drift ", "yellow"), escape_invisible(drifted)))
    for left in plan.unmanaged:
        gone = escape_invisible(f"{left.model}@{left.alias}: {left.description}")
        print_wrapped(console, Text.assemble(("no longer managed ", "bold yellow"), gone))
    if plan.refused:
        print_wrapped(console, Text.assemble(("refused ", "bold red"), plan.refused))
    for note in plan.notes:
        print_wrapped(console, Text.assemble(("note ", "yellow"), escape_invisible(note)))
    if plan.changes or rest or plan.reported or plan.unmanaged or plan.notes:
        console.print()


def build_decision_tree(decision: Decision, *, guards: bool = False) -> TrimmedTree:
    """Build a tree of the rules, each with the value seen and what was expected. `guards`: they are guards of a holder."""
    verdict = (decision.verdict.value, VERDICT_STYLE[decision.verdict])
    watched = " (would block: the policy only watches)" if decision.would_block and not guards else ""
    subject = _format_decision_subject(decision, guards=guards)
    tree = TrimmedTree(Text.assemble(f"{subject}: ", verdict, watched), guide_style="dim")
    for finding in decision.findings:
        _add_finding_branch(tree, finding)
    return tree


def _format_decision_subject(decision: Decision, *, guards: bool) -> str:
    name = escape_invisible(f"{decision.model}@{decision.alias}" if decision.alias else decision.model)
    policy = f"policy {decision.policy}"
    under = (f"the guards of {policy}" if guards else policy) if decision.policy else "readiness"
    return f"{name} v{decision.version} under {under}"


def _add_finding_branch(tree: Tree, finding: RuleFinding) -> None:
    style = VERDICT_STYLE[finding.verdict]
    value, expected = finding.shown_figures
    seen = value or "nothing"
    label = Text.assemble((f"{MARK[finding.verdict]} {finding.verdict.value:<7} ", style), finding.rule)
    label.append(f"  {seen}" if finding.children else f"  saw {seen}, expected {expected}", style="dim")
    for note in finding.extra_notes:
        label.append(f"; {note}", style="yellow" if finding.waived else "dim")
    branch = tree.add(label)
    for child in finding.children:
        _add_finding_branch(branch, child)


def build_records_table(records: Iterable[AuditRecord]) -> ReportTable:
    """Build a table of audit records, oldest first: a line each, or two on a narrow terminal."""
    found = list(records)
    narrow = ReportTable(["id", "record"], [(str(record.id), _render_record_lines(record)) for record in found])
    columns = ["id", "at", "model@alias", "from", "to", "outcome", "actor", "revision", "policy", "reason"]
    return ReportTable(columns, [_build_record_row(record) for record in found], narrow)


def _build_record_row(record: AuditRecord) -> tuple[str, ...]:
    fact = record.fact
    move = (version_label(fact.from_version), version_label(fact.to_version))
    name = escape_invisible(f"{fact.model}@{fact.alias}")
    origin = (record.status_label, _shorten_actor_name(fact.actor), (fact.revision or "-")[:10], fact.policy or "-")
    reason = _join_reason_and_review(record.description, fact.review)
    return str(record.id), _format_record_time(record), name, *move, *origin, reason


def _render_record_lines(record: AuditRecord) -> str:
    fact = record.fact
    move = f"{version_label(fact.from_version)} -> {version_label(fact.to_version)}"
    why = [f"{record.description or 'no reason given'}, by {_shorten_actor_name(fact.actor)}"]
    why += [f"({record.review_summary})"] if record.review_summary else []
    why += [f"at {fact.revision[:10]}"] if fact.revision else []
    why += [f"under policy {fact.policy}"] if fact.policy else []
    heading = f"{_format_record_time(record)}  {fact.model}@{fact.alias}  {move}  {record.status_label}"
    return f"{escape_invisible(heading)}\n{escape_invisible(' '.join(why))}"


def _format_record_time(record: AuditRecord) -> str:
    return f"{record.fact.at:%Y-%m-%d %H:%M:%S}"


def build_spans_table(spans: Iterable[AliasSpan]) -> ReportTable:
    """Build a table of who held an alias when, oldest first: a line each, or several on a narrow terminal."""
    found = list(spans)
    return ReportTable(
        ["version", "since", "until", "actor", "revision", "reason"],
        [
            (version_label(s.version), *_format_span_bounds(s), _shorten_actor_name(s.actor), (s.revision or "-")[:10],
             _join_reason_and_review(s.reason, s.review))
            for s in found
        ],
        ReportTable(["version", "span"], [(version_label(s.version), _render_span_lines(s)) for s in found]),
    )  # fmt: skip


def _render_span_lines(span: AliasSpan) -> str:
    since, until = _format_span_bounds(span)
    commit = f" at {span.revision[:10]}" if span.revision else ""
    review = f"\n{escape_invisible(describe_origin(span.review) or '')}" if span.review else ""
    why = escape_invisible(f"{span.reason or 'no reason given'}, by {_shorten_actor_name(span.actor)}{commit}")
    return f"{since} to {until}\n{why}{review}"


def _format_span_bounds(span: AliasSpan) -> tuple[str, str]:
    since = f"{span.since:%Y-%m-%d %H:%M:%S}" if span.since else "unknown"
    return since, f"{span.until:%Y-%m-%d %H:%M:%S}" if span.until else "now"


def _join_reason_and_review(reason: str | None, review: Mapping[str, Any] | None) -> str:
    """Join the reason and the pull request that brought the change."""
    return "; ".join(part for part in (reason, describe_origin(review)) if part)


def _shorten_actor_name(actor: str | None) -> str:
    return "unknown" if actor is None else actor.partition(" <")[0]
