"""`promoter plan --base REF --head REF`: the plan of a pull request, in a clone, for CI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from promoter.delivery.cli.common import Format, console, tell_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from promoter.bootstrap import World
    from promoter.domain.pulls.plan import PullPlan

_ERROR, _CHANGES, _BLOCKED = 1, 2, 3
_STYLE = {"success": "green", "failure": "red", "pending": "yellow"}


def plan_between(built: World, base: str, head: str, output: Format) -> int:
    """Tell it; the exit code. Raises `Refused` where a REF is no commit, or the clone does not show where the two part."""
    from promoter.adapters.git.clone import Clone
    from promoter.application.pulls.planner import PullPlanner

    clone = Clone(Path())
    planner = PullPlanner(built.registry, built.past, clone, built.documents, built.clock)
    with console(stderr=True).status("Planning"):
        found = planner(clone.resolve(base), clone.resolve(head))
    _tell(found, output)
    return _code(found)


def _code(found: PullPlan) -> int:
    if found.unusable:
        return _ERROR
    if found.state.value != "success":
        return _BLOCKED
    return _CHANGES if found.brought.changes else 0


def _tell(found: PullPlan, output: Format) -> None:
    from promoter.application.markdown.pull_plan import pull_plan_markdown

    if output is Format.JSON:
        tell_json(found.as_json())
    elif output is Format.MARKDOWN:
        sys.stdout.write(pull_plan_markdown(found))
    else:
        pull_plan_text(console(), found)


def pull_plan_text(screen: Console, found: PullPlan) -> None:
    """What it changes as a table, each decision that blocks as a tree, then everything else in lines."""
    from rich.text import Text

    from promoter.delivery.cli import render

    brought, plan = found.brought, found.plan
    if plan and brought.changes:
        screen.print(render.changes_table(plan, brought.changes))
        render.decision_trees(screen, brought.changes)
        screen.print()
    later = [(f"{model}@{alias}", decision) for (model, alias), decision in brought.later.items()]
    _lines(screen, "Faults", map(str, found.faults))
    _lines(screen, "Conflicts", found.conflicts)
    _lines(screen, "The registry lacks", (f"{each.model}@{each.alias or '*'}: {each.reason}" for each in brought.lacking))
    _lines(screen, "To know", (*brought.gates, *brought.notes))
    _lines(
        screen, "Judged by its own policies, once merged", (f"{name}: {each.verdict}: {each.summary}" for name, each in later)
    )
    _lines(screen, "What it says besides", brought.settings)
    _lines(screen, "Policies, replayed over the last 30 days", _policies(found))
    if plan and found.due:
        screen.print(Text("Due anyway, with or without it", style="bold"))
        screen.print(render.changes_table(plan, found.due))
        screen.print()
    told = f"{found.head[:10]} merged into {found.base[:10]}: "
    screen.print(Text.assemble(told, (found.state.value, f"bold {_STYLE[found.state.value]}"), f", {found.description}"))


def _policies(found: PullPlan) -> Iterable[str]:
    for step in found.brought.policies:
        untold = f"; its effect is not known: {step.untold}" if step.untold else ""
        yield f"{step.name}: {step.told}{untold}"
        for effect in step.replayed or ():
            yield f"  {effect.model}@{effect.alias}: {'; '.join(effect.told)}"


def _lines(screen: Console, heading: str, lines: Iterable[str]) -> None:
    """A line that begins with spaces is that much further in."""
    from rich.padding import Padding
    from rich.text import Text

    from promoter.domain.verdict import visible

    found = list(lines)
    if not found:
        return
    screen.print(Text(heading, style="bold"))
    for line in found:
        told = line.lstrip(" ")
        screen.print(Padding(Text(visible(told)), (0, 0, 0, 2 + len(line) - len(told))))
    screen.print()
