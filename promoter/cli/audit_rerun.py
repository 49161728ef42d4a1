"""`promoter audit rerun`: makes recorded decisions again, and shows what differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promoter.application.markdown.report import DecisionTree, Facts, MarkdownOnly, Paragraph, Part, Table, TerminalOnly, Title
from promoter.cli.common import FormatOption, OutputFormat, build_container, create_console, print_json
from promoter.cli.render import print_report
from promoter.domain.text import format_count, plural

if TYPE_CHECKING:
    from promoter.application.audit_rerun import DecisionRerunner
    from promoter.domain.ledger.rerun import DecisionRerun, RerunDifference


NOT_SAME = 1
_MAX_LISTED = 50
_PROGRESS_STEP = 100


def rerun(
    number: Annotated[
        int | None, typer.Argument(metavar="ID", min=1, help="A decision, or an audit record: the decision behind it.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every decision that the ledger has.")] = False,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Make a recorded decision again, from what the ledger kept of it: its policy, its evidence, its moment.

    The tree must be the same in every field. Asks nobody but the ledger, and changes nothing.

    Exit code 0: the same, 1: not the same, or it cannot be made again. With --all, decisions whose evidence retention has
    dropped, and those from before Promoter kept what a rerun takes, are counted and are no fault.

    Example: promoter audit rerun 57; promoter audit rerun --all --format json
    """
    from promoter.application.audit_rerun import DecisionRerunner

    if (number is None) == (not every):
        raise typer.BadParameter("give the ID of a decision or of an audit record, or --all")
    container = build_container()
    rerunner = DecisionRerunner(container.existing_ledger, container.documents)
    good = (
        _print_rerun(rerunner.rerun_decision(number), output) if number is not None else _rerun_every_decision(rerunner, output)
    )
    if not good:
        raise typer.Exit(NOT_SAME)


def _print_rerun(found: DecisionRerun, output: OutputFormat) -> bool:
    from promoter.domain.ledger.rerun import RerunOutcome

    if output is OutputFormat.JSON:
        from promoter.application.responses.ledger import RerunResponse

        print_json(RerunResponse.from_rerun(found))
    else:
        print_report(output, _build_rerun_report(found))
    return found.ending is RerunOutcome.SAME


def _build_rerun_report(found: DecisionRerun) -> Iterator[Part]:
    from promoter.domain.decision import DecisionPurpose

    summary = Paragraph(_summarize_rerun(found))
    yield Title(_format_rerun_subject(found))
    yield MarkdownOnly(summary)
    guards = found.recorded.purpose == DecisionPurpose.GUARD
    yield TerminalOnly([Facts(_list_decision_inputs(found)), DecisionTree(found.decision, guards=guards)])
    if found.differences:
        yield Table(["field", "recorded", "now"], _build_difference_rows(found.differences))
    yield TerminalOnly([summary])


def _format_rerun_subject(found: DecisionRerun) -> str:
    from promoter.domain.fields import format_utc

    tree, recorded = found.recorded.tree, found.recorded
    name = f"{tree['model']}@{tree['alias']}" if tree.get("alias") else str(tree["model"])
    kind = recorded.purpose or "of an unknown kind"
    return f"decision {recorded.id}: {name} v{tree['version']}, {kind}, {format_utc(recorded.at)}"


def _list_decision_inputs(found: DecisionRerun) -> list[tuple[str, str]]:
    """List what the decision was made from, each with its name."""
    recorded, tree = found.recorded, found.recorded.tree
    inputs = [("policy", tree.get("policy")), ("its file", tree.get("policy_digest")), ("approvers", recorded.approvers),
            ("evidence", recorded.evidence_digest), ("by", f"Promoter {recorded.tool or '(an earlier one)'}"),
            ("trigger", recorded.trigger)]  # fmt: skip
    return [(what, value) for what, value in inputs if value]


def _summarize_rerun(found: DecisionRerun) -> str:
    from promoter import __version__
    from promoter.domain.ledger.rerun import RerunOutcome

    if found.ending is RerunOutcome.SAME:
        return "The same: every field of the tree is as it was recorded."
    if found.ending is not RerunOutcome.DIFFERENT:
        return f"Not made again: {found.why}."
    count = len(found.differences)
    tool = f" This is Promoter {__version__}." if found.recorded.tool != __version__ else ""
    return f"Not the same: {format_count(count, 'field')} of the tree {plural(count, 'is', 'are')} not as recorded.{tool}"


def _build_difference_rows(differences: tuple[RerunDifference, ...]) -> list[list[str]]:
    return [[each.field, _format_field_value(each.recorded), _format_field_value(each.now)] for each in differences]


def _format_field_value(value: str | None) -> str:
    return "nothing" if value is None else value


def _rerun_every_decision(rerunner: DecisionRerunner, output: OutputFormat) -> bool:
    """Make every decision again as a stream: only the counts, and the decisions that differ, are kept in memory."""
    from promoter.domain.ledger.rerun import RerunOutcome

    counts = dict.fromkeys(RerunOutcome, 0)
    alarming: list[DecisionRerun] = []
    with create_console(stderr=True).status("Making every decision again") as status:
        for done, found in enumerate(rerunner.rerun_all_decisions(), 1):
            counts[found.ending] += 1
            alarming += [found] if found.ending.is_alarming and len(alarming) < _MAX_LISTED else []
            if done % _PROGRESS_STEP == 0:
                status.update(f"Made {done} decisions again")
    _print_rerun_totals(counts, alarming, output)
    return not any(count for ending, count in counts.items() if ending.is_alarming)


def _print_rerun_totals(counts: dict[Any, int], alarming: list[DecisionRerun], output: OutputFormat) -> None:
    totals = {ending.value: count for ending, count in counts.items()}
    if output is OutputFormat.JSON:
        from promoter.application.responses.ledger import DecisionRerunResponse, RerunTotalsResponse

        count = sum(totals.values())
        shown = [DecisionRerunResponse.from_rerun(each) for each in alarming]
        print_json(RerunTotalsResponse.from_values(decisions=count, **totals, alarming=shown))
    else:
        print_report(output, _build_totals_report(totals, alarming))


def _build_totals_report(totals: dict[str, int], alarming: list[DecisionRerun]) -> Iterator[Part]:
    summary = Paragraph(_summarize_totals(totals))
    rows = [
        (str(each.recorded.id), _format_decision_name(each), each.ending.value, _explain_difference(each)) for each in alarming
    ]
    yield MarkdownOnly(summary)
    yield TerminalOnly([Table(list(totals), [[str(count) for count in totals.values()]])])
    if rows:
        yield TerminalOnly()
        yield Table(["id", "decision", "ending", "why"], rows)
    yield TerminalOnly([summary])


def _summarize_totals(totals: dict[str, int]) -> str:
    wrong, count = totals["different"] + totals["broken"], sum(totals.values())
    if not count:
        return "The ledger has no decision."
    if wrong:
        shown = f" (the first {_MAX_LISTED} are shown)" if wrong > _MAX_LISTED else ""
        return f"{wrong} of {count} decisions could not be made again as they were recorded{shown}."
    rest = [f"the evidence of {totals['dropped']} was dropped"] if totals["dropped"] else []
    rest += [f"{totals['older']} are older than what a rerun takes"] if totals["older"] else []
    return f"{totals['same']} of {count} decisions come out the same{''.join(f'; {each}' for each in rest)}."


def _format_decision_name(found: DecisionRerun) -> str:
    tree = found.recorded.tree
    return f"{tree['model']}@{tree['alias']} v{tree['version']}" if tree.get("alias") else f"{tree['model']} v{tree['version']}"


def _explain_difference(found: DecisionRerun) -> str:
    if found.why:
        return found.why
    first = found.differences[0]
    return f"{first.field} was {_format_field_value(first.recorded)}, is {_format_field_value(first.now)}"
