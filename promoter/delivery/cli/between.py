"""`promoter plan --base REF --head REF`: the plan of a pull request, in a clone, for CI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from promoter.delivery.cli.common import OutputFormat, create_console, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from promoter.bootstrap import Container
    from promoter.domain.pulls.plan import PullPlan

_ERROR, _CHANGES, _BLOCKED = 1, 2, 3
_STATE_STYLE = {"success": "green", "failure": "red", "pending": "yellow"}


def plan_between(container: Container, base: str, head: str, output: OutputFormat) -> int:
    """Tell it; the exit code. Raises `PermanentError` where a REF is no commit, or the clone does not show where the two part."""
    from promoter.adapters.git.clone import LocalClone
    from promoter.application.pulls.planner import PullPlanner

    clone = LocalClone(Path())
    planner = PullPlanner(container.registry, container.reading_ledger, clone, container.documents, container.clock)
    with create_console(stderr=True).status("Planning"):
        found = planner(clone.resolve_commit(base), clone.resolve_commit(head))
    _print_pull_plan(found, output)
    return _choose_exit_code(found)


def _choose_exit_code(found: PullPlan) -> int:
    if found.is_unusable:
        return _ERROR
    if found.status_state.value != "success":
        return _BLOCKED
    return _CHANGES if found.brought.changes else 0


def _print_pull_plan(found: PullPlan, output: OutputFormat) -> None:
    from promoter.application.markdown.pull_plan import render_pull_plan_markdown

    if output is OutputFormat.JSON:
        print_json(found.to_json())
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write(render_pull_plan_markdown(found))
    else:
        render_pull_plan_text(create_console(), found)


def render_pull_plan_text(screen: Console, found: PullPlan) -> None:
    """What it changes as a table, each decision that blocks as a tree, then everything else in lines."""
    from rich.text import Text

    from promoter.delivery.cli import render

    brought, plan = found.brought, found.plan
    if plan and brought.changes:
        screen.print(render.build_changes_table(plan, brought.changes))
        render.render_decision_trees(screen, brought.changes)
        screen.print()
    later = [(f"{model}@{alias}", decision) for (model, alias), decision in brought.later.items()]
    _render_section(screen, "Faults", map(str, found.faults))
    _render_section(screen, "Conflicts", found.conflicts)
    _render_section(
        screen, "The registry lacks", (f"{each.model}@{each.alias or '*'}: {each.reason}" for each in brought.lacking)
    )
    _render_section(screen, "To know", (*brought.gates, *brought.notes))
    _render_section(
        screen,
        "Judged by its own policies, once merged",
        (f"{name}: {each.verdict}: {each.summary_line}" for name, each in later),
    )
    _render_section(screen, "What it says besides", brought.settings)
    _render_section(screen, "Policies, replayed over the last 30 days", _describe_policy_changes(found))
    if plan and found.already_due_changes:
        screen.print(Text("Due anyway, with or without it", style="bold"))
        screen.print(render.build_changes_table(plan, found.already_due_changes))
        screen.print()
    prefix = f"{found.head[:10]} merged into {found.base[:10]}: "
    screen.print(
        Text.assemble(
            prefix,
            (found.status_state.value, f"bold {_STATE_STYLE[found.status_state.value]}"),
            f", {found.status_description}",
        )
    )


def _describe_policy_changes(found: PullPlan) -> Iterable[str]:
    for step in found.brought.policies:
        replay_error = f"; its effect is not known: {step.replay_error}" if step.replay_error else ""
        yield f"{step.name}: {step.description}{replay_error}"
        for effect in step.replayed or ():
            yield f"  {effect.model}@{effect.alias}: {'; '.join(effect.description_parts)}"


def _render_section(screen: Console, heading: str, lines: Iterable[str]) -> None:
    """A line that begins with spaces is that much further in."""
    from rich.padding import Padding
    from rich.text import Text

    from promoter.domain.verdict import escape_invisible

    found = list(lines)
    if not found:
        return
    screen.print(Text(heading, style="bold"))
    for line in found:
        content = line.lstrip(" ")
        screen.print(Padding(Text(escape_invisible(content)), (0, 0, 0, 2 + len(line) - len(content))))
    screen.print()
