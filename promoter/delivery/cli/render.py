"""How plans, decisions and records look in a terminal: tables and trees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from promoter.application.markdown.decision import MARK
from promoter.application.markdown.plan import change_state, plan_summary
from promoter.application.markdown.text import version
from promoter.domain.audit import AuditRecord
from promoter.domain.past.history import Span
from promoter.domain.plan import Change, Plan
from promoter.domain.review import in_words
from promoter.domain.verdict import Decision, Finding, Verdict

STYLE = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.PENDING: "yellow", Verdict.ERROR: "magenta"}
WIDE = 130
"""Columns of a terminal from which on an audit record fits in one line."""


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Lines of a name and what it is. What is too long goes on below itself."""
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, told in rows:
        grid.add_row(Text(name), Text(told))
    return grid


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A plain table whose cells fold instead of being cut."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(each if isinstance(each, Text) else Text(each) for each in row))  # text is no markup: `renovate[bot]`
    return made


def plan_text(console: Console, plan: Plan) -> None:
    """The changes as a table, each decision that blocks as a tree, and one line that sums up."""
    if plan.changes:
        console.print(changes_table(plan, plan.changes))
    decision_trees(console, plan.changes)
    _plan_notes(console, plan)
    console.print(escape(plan_summary(plan)))


def changes_table(plan: Plan, changes: Iterable[Change]) -> Table:
    """These changes of the plan."""
    rows = [
        (each.difference.model, each.difference.alias, version(each.difference.from_version),
         version(each.difference.to_version), each.difference.cause.value, _state(plan, each))
        for each in changes
    ]  # fmt: skip
    return table(["MODEL", "ALIAS", "FROM", "TO", "CAUSE", "VERDICT"], rows)


def decision_trees(console: Console, changes: Iterable[Change]) -> None:
    """Of those changes whose decision has something to tell: it blocks, or a waiver acted."""
    for change in changes:
        if change.decision and (change.verdict is not Verdict.PASS or change.decision.waivers):
            console.print()
            console.print(decision_tree(change.decision))


def _plan_notes(console: Console, plan: Plan) -> None:
    decided = {(change.difference.model, change.difference.alias) for change in plan.changes}
    rest = [each for each in plan.blocked if (each.model, each.alias) not in decided]
    if plan.changes and (rest or plan.reported):
        console.print()
    for each in rest:
        name = f"{each.model}@{each.alias}" if each.alias else each.model
        console.print(Text.assemble(("blocked ", "red"), f"{name}: {each.reason}"))
    for drift in plan.reported:
        where = f"{drift.model}@{drift.alias}: git says {version(drift.to_version)}, the registry {version(drift.from_version)}"
        console.print(Text.assemble(("drift ", "yellow"), where + " (reported only)"))
    if plan.refused:
        console.print(Text.assemble(("refused ", "bold red"), plan.refused))
    if plan.changes or rest or plan.reported:
        console.print()


def _state(plan: Plan, change: Change) -> Text:
    style = "red" if plan.refused else STYLE[change.verdict] if change.verdict else ""
    return Text(change_state(plan, change), style=style)


def decision_tree(decision: Decision, *, guards: bool = False) -> Tree:
    """The decision, each rule with the value seen and what was expected. `guards`: it is what the guards say of a holder."""
    verdict = (decision.verdict.value, STYLE[decision.verdict])
    watched = " (would block: the policy only watches)" if decision.would_block and not guards else ""
    tree = Tree(Text.assemble(f"{_subject(decision, guards=guards)}: ", verdict, watched), guide_style="dim")
    for finding in decision.findings:
        _branch(tree, finding)
    return tree


def _subject(decision: Decision, *, guards: bool) -> str:
    name = f"{decision.model}@{decision.alias}" if decision.alias else decision.model
    policy = f"policy {decision.policy}"
    under = (f"the guards of {policy}" if guards else policy) if decision.policy else "readiness"
    return f"{name} v{decision.version} under {under}"


def _branch(tree: Tree, finding: Finding) -> None:
    style = STYLE[finding.verdict]
    seen = "nothing" if finding.value is None else str(finding.value)
    told = Text.assemble((f"{MARK[finding.verdict]} {finding.verdict.value:<7} ", style), finding.rule)
    told.append(f"  {seen}" if finding.children else f"  saw {seen}, expected {finding.expected}", style="dim")
    for note in finding.notes:
        told.append(f"; {note}", style="yellow" if finding.waived else "dim")
    branch = tree.add(told)
    for child in finding.children:
        _branch(branch, child)


def records_table(records: Iterable[AuditRecord], width: int) -> Table:
    """Audit records, oldest first: a line each, or two where `width` (in characters) is too little for all columns."""
    if width < WIDE:
        return table(["ID", "RECORD"], [(str(record.id), _in_two_lines(record)) for record in records])
    return table(
        ["ID", "AT", "MODEL@ALIAS", "FROM", "TO", "OUTCOME", "ACTOR", "REVISION", "POLICY", "REASON"],
        [
            (str(r.id), _moment(r), f"{r.fact.model}@{r.fact.alias}", version(r.fact.from_version), version(r.fact.to_version),
             r.word, _who(r.fact.actor), (r.fact.revision or "-")[:10], r.fact.policy or "-", _why(r.told, r.fact.review))
            for r in records
        ],
    )  # fmt: skip


def _in_two_lines(record: AuditRecord) -> str:
    fact = record.fact
    move = f"{version(fact.from_version)} -> {version(fact.to_version)}"
    why = [f"{record.told or 'no reason given'}, by {_who(fact.actor)}"]
    why += [f"({record.reviewed})"] if record.reviewed else []
    why += [f"at {fact.revision[:10]}"] if fact.revision else []
    why += [f"under policy {fact.policy}"] if fact.policy else []
    return f"{_moment(record)}  {fact.model}@{fact.alias}  {move}  {record.word}\n{' '.join(why)}"


def _moment(record: AuditRecord) -> str:
    return f"{record.fact.at:%Y-%m-%d %H:%M:%S}"


def spans_table(spans: Iterable[Span], width: int) -> Table:
    """Who held an alias when, oldest first: a line each, or several where `width` (in characters) is too little for all."""
    if width < WIDE:
        return table(["VERSION", "SPAN"], [(version(span.version), _in_lines(span)) for span in spans])
    return table(
        ["VERSION", "SINCE", "UNTIL", "ACTOR", "REVISION", "REASON"],
        [(version(s.version), *_bounds(s), _who(s.actor), (s.revision or "-")[:10], _why(s.reason, s.review)) for s in spans],
    )


def _in_lines(span: Span) -> str:
    since, until = _bounds(span)
    commit = f" at {span.revision[:10]}" if span.revision else ""
    review = f"\n{in_words(span.review)}" if span.review else ""
    return f"{since} to {until}\n{span.reason or 'no reason given'}, by {_who(span.actor)}{commit}{review}"


def _bounds(span: Span) -> tuple[str, str]:
    since = f"{span.since:%Y-%m-%d %H:%M:%S}" if span.since else "unknown"
    return since, f"{span.until:%Y-%m-%d %H:%M:%S}" if span.until else "now"


def _why(reason: str | None, review: Mapping[str, Any] | None) -> str:
    """The reason, and the pull request that brought it."""
    return "; ".join(part for part in (reason, in_words(review)) if part)


def _who(actor: str | None) -> str:
    return "unknown" if actor is None else actor.partition(" <")[0]
