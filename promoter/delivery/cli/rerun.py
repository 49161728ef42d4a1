"""`promoter audit rerun`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, tell_json, world

if TYPE_CHECKING:
    from promoter.application.ledger.rerun import Rerunner
    from promoter.domain.rerun import Difference, Rerun

NOT_SAME = 1
_LISTED = 50
_EVERY = 100
Columns = tuple[str, ...]


def rerun(
    number: Annotated[
        int | None, typer.Argument(metavar="ID", min=1, help="A decision, or an audit record: the decision behind it.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every decision that the ledger has.")] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Make a recorded decision again, from what the ledger kept of it: its policy, its evidence, its moment.

    The tree must be the same in every field. Asks nobody but the ledger, and changes nothing.

    Exit code 0: the same, 1: not, or it cannot be made again, which is told. With --all, decisions whose evidence retention has
    dropped, and those from before Promoter kept what a rerun takes, are counted and are no fault.

    Example: promoter audit rerun 57; promoter audit rerun --all --format json
    """
    from promoter.application.ledger.rerun import Rerunner

    if (number is None) == (not every):
        raise typer.BadParameter("give the ID of a decision or of an audit record, or --all")
    built = world()
    rerunner = Rerunner(built.kept, built.documents)
    good = _one(rerunner.one(number), output) if number is not None else _all(rerunner, output)
    if not good:
        raise typer.Exit(NOT_SAME)


def _one(found: Rerun, output: Format) -> bool:
    from promoter.application.markdown.text import inline
    from promoter.domain.rerun import Ending

    if output is Format.JSON:
        tell_json(found.as_json())
    elif output is Format.MARKDOWN:
        lines = [f"**{inline(_subject(found))}**", "", inline(_sentence(found))]
        _markdown(lines, ("field", "recorded", "now"), _rows(found.differences))
    else:
        _text(found)
    return found.ending is Ending.SAME


def _text(found: Rerun) -> None:
    from promoter.delivery.cli import render
    from promoter.domain.verdict import Purpose

    screen = console()
    screen.print(_subject(found), style="bold", markup=False)
    screen.print(render.facts(_stood_on(found)))
    if found.decision:
        screen.print(render.decision_tree(found.decision, guards=found.recorded.purpose == Purpose.GUARD))
    if found.differences:
        screen.print(render.table(["FIELD", "RECORDED", "NOW"], _rows(found.differences)))
    screen.print(_sentence(found), markup=False)


def _subject(found: Rerun) -> str:
    from promoter.domain.moment import in_utc

    tree, recorded = found.recorded.tree, found.recorded
    name = f"{tree['model']}@{tree['alias']}" if tree.get("alias") else str(tree["model"])
    kind = recorded.purpose or "of an unknown kind"
    return f"decision {recorded.id}: {name} v{tree['version']}, {kind}, {in_utc(recorded.at)}"


def _stood_on(found: Rerun) -> list[tuple[str, str]]:
    """What it was, in lines of a name and a value."""
    recorded, tree = found.recorded, found.recorded.tree
    told = [("policy", tree.get("policy")), ("its file", tree.get("policy_digest")), ("approvers", recorded.approvers),
            ("evidence", recorded.evidence_digest), ("by", f"Promoter {recorded.tool or '(an earlier one)'}"),
            ("trigger", recorded.trigger)]  # fmt: skip
    return [(what, value) for what, value in told if value]


def _sentence(found: Rerun) -> str:
    from promoter import __version__
    from promoter.domain.rerun import Ending

    if found.ending is Ending.SAME:
        return "The same: every field of the tree is as it was recorded."
    if found.ending is not Ending.DIFFERENT:
        return f"Not made again: {found.why}."
    fields = f"{len(found.differences)} field{'' if len(found.differences) == 1 else 's'}"
    tool = f" This is Promoter {__version__}." if found.recorded.tool != __version__ else ""
    return f"Not the same: {fields} of the tree {'is' if fields.startswith('1 ') else 'are'} not as recorded.{tool}"


def _rows(differences: tuple[Difference, ...]) -> list[list[str]]:
    return [[each.field, _cell(each.recorded), _cell(each.now)] for each in differences]


def _cell(told: str | None) -> str:
    return "nothing" if told is None else told


def _all(rerunner: Rerunner, output: Format) -> bool:
    """Streamed: no more than the counts, and those that are not the same, are kept."""
    from promoter.domain.rerun import Ending

    counts = dict.fromkeys(Ending, 0)
    alarming: list[Rerun] = []
    with console(stderr=True).status("Making every decision again") as status:
        for done, found in enumerate(rerunner.all(), 1):
            counts[found.ending] += 1
            alarming += [found] if found.ending.alarming and len(alarming) < _LISTED else []
            if done % _EVERY == 0:
                status.update(f"Made {done} decisions again")
    _tell_all(counts, alarming, output)
    return not any(count for ending, count in counts.items() if ending.alarming)


def _tell_all(counts: dict[Any, int], alarming: list[Rerun], output: Format) -> None:
    from promoter.delivery.cli import render

    told = {ending.value: count for ending, count in counts.items()}
    rows = [[str(each.recorded.id), _place(each), each.ending.value, _why(each)] for each in alarming]
    summary = _summary(told)
    if output is Format.JSON:
        tell_json({"decisions": sum(told.values()), **told, "alarming": [each.as_json() for each in alarming]})
    elif output is Format.MARKDOWN:
        _markdown([summary], ("id", "decision", "ending", "why"), rows)
    else:
        screen = console()
        screen.print(render.table([each.upper() for each in told], [[str(count) for count in told.values()]]))
        if rows:
            screen.print()
            screen.print(render.table(["ID", "DECISION", "ENDING", "WHY"], rows))
        screen.print(summary, markup=False)


def _summary(told: dict[str, int]) -> str:
    wrong, count = told["different"] + told["broken"], sum(told.values())
    if not count:
        return "The ledger has no decision."
    if wrong:
        shown = f" (the first {_LISTED} are shown)" if wrong > _LISTED else ""
        return f"{wrong} of {count} decisions could not be made again as they were recorded{shown}."
    rest = [f"the evidence of {told['dropped']} was dropped"] if told["dropped"] else []
    rest += [f"{told['older']} are older than what a rerun takes"] if told["older"] else []
    return f"{told['same']} of {count} decisions come out the same{''.join(f'; {each}' for each in rest)}."


def _place(found: Rerun) -> str:
    tree = found.recorded.tree
    return f"{tree['model']}@{tree['alias']} v{tree['version']}" if tree.get("alias") else f"{tree['model']} v{tree['version']}"


def _why(found: Rerun) -> str:
    if found.why:
        return found.why
    first = found.differences[0]
    return f"{first.field} was {_cell(first.recorded)}, is {_cell(first.now)}"


def _markdown(lines: list[str], columns: Columns, rows: list[list[str]]) -> None:
    from promoter.application.markdown.text import cell, table

    told = [*lines, "", *table(list(columns), [[cell(each) for each in row] for row in rows])] if rows else lines
    sys.stdout.write("\n".join(told) + "\n")
