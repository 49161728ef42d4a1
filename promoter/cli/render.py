"""How plans, decisions and records look in a terminal: tables and trees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from promoter.application.markdown.plan import MARK, describe_change_state, render_plan_summary
from promoter.domain.audit import AuditRecord
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.history import AliasSpan
from promoter.domain.plan import Change, Plan
from promoter.domain.review import describe_origin
from promoter.domain.text import version_label

VERDICT_STYLE = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.PENDING: "yellow", Verdict.ERROR: "magenta"}
WIDE_TERMINAL_COLUMNS = 130
"""Columns of a terminal from which on an audit record fits in one line."""


def build_facts_grid(rows: Iterable[tuple[str, str]]) -> Table:
    """Lines of a name and what it is. What is too long goes on below itself."""
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(name), Text(value))
    return grid


def build_plain_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A plain table whose cells fold instead of being cut."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(each if isinstance(each, Text) else Text(each) for each in row))  # text is no markup: `renovate[bot]`
    return made


def render_plan_text(console: Console, plan: Plan) -> None:
    """The changes as a table, each decision that blocks as a tree, and one line that sums up."""
    if plan.changes:
        console.print(build_changes_table(plan, plan.changes))
    render_decision_trees(console, plan.changes)
    _render_plan_notes(console, plan)
    console.print(escape(render_plan_summary(plan)))


def build_changes_table(plan: Plan, changes: Iterable[Change]) -> Table:
    """These changes of the plan."""
    rows = [
        (each.difference.model, each.difference.alias, version_label(each.difference.from_version),
         version_label(each.difference.to_version), each.difference.cause.value, _render_change_state(plan, each))
        for each in changes
    ]  # fmt: skip
    return build_plain_table(["MODEL", "ALIAS", "FROM", "TO", "CAUSE", "VERDICT"], rows)


def render_decision_trees(console: Console, changes: Iterable[Change]) -> None:
    """Of those changes whose decision has something to tell: it blocks, or a waiver acted."""
    for change in changes:
        if change.decision and (change.gate_verdict is not Verdict.PASS or change.decision.waived_findings):
            console.print()
            console.print(build_decision_tree(change.decision))


def _render_plan_notes(console: Console, plan: Plan) -> None:
    decided = {(change.difference.model, change.difference.alias) for change in plan.changes}
    rest = [each for each in plan.blocked if (each.model, each.alias) not in decided]
    if plan.changes and (rest or plan.reported):
        console.print()
    for each in rest:
        name = f"{each.model}@{each.alias}" if each.alias else each.model
        console.print(Text.assemble(("blocked ", "red"), f"{name}: {each.reason}"))
    for drift in plan.reported:
        where = f"{drift.model}@{drift.alias}: git says {version_label(drift.to_version)}, the registry {version_label(drift.from_version)}"
        console.print(Text.assemble(("drift ", "yellow"), where + " (reported only)"))
    if plan.refused:
        console.print(Text.assemble(("refused ", "bold red"), plan.refused))
    if plan.changes or rest or plan.reported:
        console.print()


def _render_change_state(plan: Plan, change: Change) -> Text:
    style = "red" if plan.refused else VERDICT_STYLE[change.gate_verdict] if change.gate_verdict else ""
    return Text(describe_change_state(plan, change), style=style)


def build_decision_tree(decision: Decision, *, guards: bool = False) -> Tree:
    """The decision, each rule with the value seen and what was expected. `guards`: it is what the guards say of a holder."""
    verdict = (decision.verdict.value, VERDICT_STYLE[decision.verdict])
    watched = " (would block: the policy only watches)" if decision.would_block and not guards else ""
    tree = Tree(Text.assemble(f"{_format_decision_subject(decision, guards=guards)}: ", verdict, watched), guide_style="dim")
    for finding in decision.findings:
        _add_finding_branch(tree, finding)
    return tree


def _format_decision_subject(decision: Decision, *, guards: bool) -> str:
    name = f"{decision.model}@{decision.alias}" if decision.alias else decision.model
    policy = f"policy {decision.policy}"
    under = (f"the guards of {policy}" if guards else policy) if decision.policy else "readiness"
    return f"{name} v{decision.version} under {under}"


def _add_finding_branch(tree: Tree, finding: RuleFinding) -> None:
    style = VERDICT_STYLE[finding.verdict]
    seen = "nothing" if finding.value is None else str(finding.value)
    label = Text.assemble((f"{MARK[finding.verdict]} {finding.verdict.value:<7} ", style), finding.rule)
    label.append(f"  {seen}" if finding.children else f"  saw {seen}, expected {finding.expected}", style="dim")
    for note in finding.extra_notes:
        label.append(f"; {note}", style="yellow" if finding.waived else "dim")
    branch = tree.add(label)
    for child in finding.children:
        _add_finding_branch(branch, child)


def build_records_table(records: Iterable[AuditRecord], width: int) -> Table:
    """Audit records, oldest first: a line each, or two where `width` (in characters) is too little for all columns."""
    if width < WIDE_TERMINAL_COLUMNS:
        return build_plain_table(["ID", "RECORD"], [(str(record.id), _render_record_lines(record)) for record in records])
    return build_plain_table(
        ["ID", "AT", "MODEL@ALIAS", "FROM", "TO", "OUTCOME", "ACTOR", "REVISION", "POLICY", "REASON"],
        [
            (str(r.id), _format_record_time(r), f"{r.fact.model}@{r.fact.alias}", version_label(r.fact.from_version), version_label(r.fact.to_version),
             r.status_label, _shorten_actor_name(r.fact.actor), (r.fact.revision or "-")[:10], r.fact.policy or "-", _join_reason_and_review(r.description, r.fact.review))
            for r in records
        ],
    )  # fmt: skip


def _render_record_lines(record: AuditRecord) -> str:
    fact = record.fact
    move = f"{version_label(fact.from_version)} -> {version_label(fact.to_version)}"
    why = [f"{record.description or 'no reason given'}, by {_shorten_actor_name(fact.actor)}"]
    why += [f"({record.review_summary})"] if record.review_summary else []
    why += [f"at {fact.revision[:10]}"] if fact.revision else []
    why += [f"under policy {fact.policy}"] if fact.policy else []
    return f"{_format_record_time(record)}  {fact.model}@{fact.alias}  {move}  {record.status_label}\n{' '.join(why)}"


def _format_record_time(record: AuditRecord) -> str:
    return f"{record.fact.at:%Y-%m-%d %H:%M:%S}"


def build_spans_table(spans: Iterable[AliasSpan], width: int) -> Table:
    """Who held an alias when, oldest first: a line each, or several where `width` (in characters) is too little for all."""
    if width < WIDE_TERMINAL_COLUMNS:
        return build_plain_table(
            ["VERSION", "SPAN"], [(version_label(span.version), _render_span_lines(span)) for span in spans]
        )
    return build_plain_table(
        ["VERSION", "SINCE", "UNTIL", "ACTOR", "REVISION", "REASON"],
        [
            (
                version_label(s.version),
                *_format_span_bounds(s),
                _shorten_actor_name(s.actor),
                (s.revision or "-")[:10],
                _join_reason_and_review(s.reason, s.review),
            )
            for s in spans
        ],
    )


def _render_span_lines(span: AliasSpan) -> str:
    since, until = _format_span_bounds(span)
    commit = f" at {span.revision[:10]}" if span.revision else ""
    review = f"\n{describe_origin(span.review)}" if span.review else ""
    return f"{since} to {until}\n{span.reason or 'no reason given'}, by {_shorten_actor_name(span.actor)}{commit}{review}"


def _format_span_bounds(span: AliasSpan) -> tuple[str, str]:
    since = f"{span.since:%Y-%m-%d %H:%M:%S}" if span.since else "unknown"
    return since, f"{span.until:%Y-%m-%d %H:%M:%S}" if span.until else "now"


def _join_reason_and_review(reason: str | None, review: Mapping[str, Any] | None) -> str:
    """The reason, and the pull request that brought it."""
    return "; ".join(part for part in (reason, describe_origin(review)) if part)


def _shorten_actor_name(actor: str | None) -> str:
    return "unknown" if actor is None else actor.partition(" <")[0]
