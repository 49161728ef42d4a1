"""How plans, decisions and records look: rich tables and trees for people, Markdown for pull requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from promoter.domain.audit import AuditRecord, Span
from promoter.domain.plan import Plan
from promoter.domain.verdict import Decision, Finding, Verdict, visible

STYLE = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.PENDING: "yellow", Verdict.ERROR: "magenta"}
WIDE = 130
"""Columns of a terminal from which on an audit record fits in one line."""
MARK = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.PENDING: "…", Verdict.ERROR: "!"}


def version(number: int | None) -> str:
    """`v7`, or a dash."""
    return "-" if number is None else f"v{number}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A plain table whose cells fold instead of being cut."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def plan_text(console: Console, plan: Plan) -> None:
    """The changes as a table, each decision that blocks as a tree, and one line that sums up."""
    if plan.changes:
        rows = [
            (each.difference.model, each.difference.alias, version(each.difference.from_version),
             version(each.difference.to_version), each.difference.cause.value, _state(plan, each.allowed, each.verdict))
            for each in plan.changes
        ]  # fmt: skip
        console.print(table(["MODEL", "ALIAS", "FROM", "TO", "CAUSE", "VERDICT"], rows))
    for change in plan.changes:
        if change.decision and (change.verdict is not Verdict.PASS or change.decision.waivers):
            console.print()
            console.print(decision_tree(change.decision))
    _plan_notes(console, plan)
    console.print(escape(plan_summary(plan)))


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


def plan_summary(plan: Plan) -> str:
    """One line: how many changes, how many blocked."""
    if not (plan.changes or plan.blocked):
        whose = f"git says at {plan.revision[:10]}" if plan.revision else "the files say (not committed)"
        return f"Nothing to do: the registry is as {whose}."
    blocked = len(plan.blocked)
    allowed = sum(change.allowed for change in plan.changes)
    what = f"at {plan.revision[:10]}" if plan.revision else "of files that are not committed"
    return f"Plan {what}: {allowed} to change, {blocked} blocked. Digest {plan.digest[:12]}."


def _state(plan: Plan, allowed: bool, verdict: Verdict | None) -> Text:
    if plan.refused:
        return Text("refused", style="red")
    if verdict is None:
        return Text("not gated" if allowed else "blocked")
    if allowed and verdict is not Verdict.PASS:
        return Text(f"would block: {verdict.value}", style=STYLE[verdict])
    return Text(verdict.value if allowed else f"blocked: {verdict.value}", style=STYLE[verdict])


def decision_tree(decision: Decision, *, guards: bool = False) -> Tree:
    """The decision, each rule with the value seen and what was expected. `guards`: it is what the guards say of a holder."""
    verdict = (decision.verdict.value, STYLE[decision.verdict])
    watched = " (would block: the policy only watches)" if decision.would_block and not guards else ""
    tree = Tree(Text.assemble(f"{_subject(decision, guards=guards)}: ", verdict, watched), guide_style="dim")
    for finding in decision.findings:
        _branch(tree, finding)
    return tree


def _subject(decision: Decision, *, guards: bool, quote: str = "") -> str:
    name = f"{decision.model}@{decision.alias}" if decision.alias else decision.model
    policy = f"policy {quote}{decision.policy}{quote}"
    under = (f"the guards of {policy}" if guards else policy) if decision.policy else "readiness"
    return f"{quote}{name}{quote} v{decision.version} under {under}"


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


def plan_markdown(plan: Plan) -> str:
    """For a pull request."""
    lines = [f"**{plan_summary(plan)}**", ""]
    if plan.changes:
        lines += ["| model | alias | from | to | cause | verdict |", "| --- | --- | --- | --- | --- | --- |"]
        lines += [
            f"| {cell(c.difference.model)} | {cell(c.difference.alias)} | {version(c.difference.from_version)} "
            f"| {version(c.difference.to_version)} | {c.difference.cause.value} | {_state(plan, c.allowed, c.verdict)} |"
            for c in plan.changes
        ]
        lines.append("")
    lines += [
        f"- blocked: `{each.model}{'@' + each.alias if each.alias else ''}`: {inline(each.reason)}" for each in plan.blocked
    ]
    lines += [f"- drift (reported only): `{each.model}@{each.alias}`" for each in plan.reported]
    lines += [f"- refused: {plan.refused}"] if plan.refused else []
    for change in plan.changes:
        if change.decision:
            lines += ["", *decision_markdown(change.decision)]
    return "\n".join(lines).rstrip() + "\n"


def decision_markdown(decision: Decision, *, guards: bool = False) -> list[str]:
    """A nested list."""
    watched = " (would block: the policy only watches)" if decision.would_block and not guards else ""
    return [
        f"{_subject(decision, guards=guards, quote='`')}: **{decision.verdict.value}**{watched}",
        "",
        *(line for finding in decision.findings for line in _markdown(finding, 0)),
    ]


def _markdown(finding: Finding, depth: int) -> list[str]:
    seen = "nothing" if finding.value is None else finding.value
    told = f"{MARK[finding.verdict]} {finding.verdict.value}: `{finding.rule}`, "
    told += inline("; ".join([f"saw {seen}, expected {finding.expected}", *finding.notes]))
    return [f"{'  ' * depth}- {told}", *(more for child in finding.children for more in _markdown(child, depth + 1))]


def inline(text: str) -> str:
    """Words from outside, in Markdown: visible, and no markup of a page."""
    return visible(text).replace("<", "&lt;")


def cell(text: str) -> str:
    """Words from outside, in a cell of a table in Markdown."""
    return inline(text.replace("\n", " ")).replace("|", "\\|")


def records_table(records: Iterable[AuditRecord], width: int) -> Table:
    """Audit records, oldest first: a line each, or two where `width` (in characters) is too little for all columns."""
    if width < WIDE:
        return table(["ID", "RECORD"], [(str(record.id), _in_two_lines(record)) for record in records])
    return table(
        ["ID", "AT", "MODEL@ALIAS", "FROM", "TO", "OUTCOME", "ACTOR", "REVISION", "POLICY", "REASON"],
        [
            (str(r.id), _moment(r), f"{r.fact.model}@{r.fact.alias}", version(r.fact.from_version), version(r.fact.to_version),
             _outcome(r), _who(r.fact.actor), (r.fact.revision or "-")[:10], r.fact.policy or "-", r.fact.reason or "")
            for r in records
        ],
    )  # fmt: skip


def _in_two_lines(record: AuditRecord) -> str:
    fact = record.fact
    move = f"{version(fact.from_version)} -> {version(fact.to_version)}"
    why = [f"{fact.reason or 'no reason given'}, by {_who(fact.actor)}"]
    why += [f"at {fact.revision[:10]}"] if fact.revision else []
    why += [f"under policy {fact.policy}"] if fact.policy else []
    return f"{_moment(record)}  {fact.model}@{fact.alias}  {move}  {_outcome(record)}\n{' '.join(why)}"


def _moment(record: AuditRecord) -> str:
    return f"{record.fact.at:%Y-%m-%d %H:%M:%S}"


def _outcome(record: AuditRecord) -> str:
    return (record.fact.outcome or record.fact.kind).value


def spans_table(spans: Iterable[Span]) -> Table:
    """Who held an alias when, oldest first."""
    return table(
        ["VERSION", "SINCE", "UNTIL", "ACTOR", "REVISION", "REASON"],
        [
            (version(s.version), f"{s.since:%Y-%m-%d %H:%M:%S}" if s.since else "unknown",
             f"{s.until:%Y-%m-%d %H:%M:%S}" if s.until else "now", _who(s.actor), (s.revision or "-")[:10], s.reason or "")
            for s in spans
        ],
    )  # fmt: skip


def _who(actor: str | None) -> str:
    return "unknown" if actor is None else actor.partition(" <")[0]
