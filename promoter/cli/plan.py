"""`promoter plan`, also for a pull request: what would change, and the decisions on it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.cli.common import (
    FormatOption,
    OutputFormat,
    build_container,
    create_console,
    find_work_tree,
    load_declaration,
    print_json,
    write_json_file,
)
from promoter.cli.registry import warn_of_binding_mismatch
from promoter.domain.text import escape_invisible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from promoter.adapters.git.checkout import LocalClone
    from promoter.container import Container
    from promoter.domain.desired import Declaration
    from promoter.domain.folder import RepositoryFolder
    from promoter.domain.links import PageAddresses
    from promoter.domain.plan import Plan
    from promoter.domain.pull_plan import PullPlan


CHANGES, BLOCKED = 2, 3


def plan(
    base: Annotated[
        str | None, typer.Option(metavar="REF", help="Plan what merging --head into this would change, judged by its policies.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="REF", help="With --base: what is to be merged; HEAD unless named.")
    ] = None,
    output: FormatOption = OutputFormat.TEXT,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the plan as JSON to this file too, for CI.")
    ] = None,
) -> None:
    """Show what apply would do with the working tree's files, and each decision behind it. Changes nothing.

    With --base it is the plan of a pull request, from the commits of the clone that one stands in: only what the merge itself
    would change counts. Exit code 0: nothing to do, 2: changes, all allowed, 3: some blocked, 1: error.

    Examples: promoter plan --format markdown; promoter plan --base origin/main --head HEAD --json plan.json
    """
    if base is not None:
        code = plan_between(build_container(), base, head or "HEAD", output, json_file)
    elif head is not None:
        raise typer.BadParameter("--head goes with --base", param_hint="--head")
    else:
        code = _plan_working_tree(build_container(), output, json_file)
    if code:
        raise typer.Exit(code)


def _plan_working_tree(container: Container, output: OutputFormat, json_file: Path | None) -> int:
    from promoter.application.allowances import find_last_allowance
    from promoter.domain.pull_plan import describe_lost_gates

    declaration = load_declaration(container)
    allowance = find_last_allowance(container.reading_ledger)
    if allowance and allowance.revision == declaration.revision:
        declaration = replace(declaration, allowance=allowance)
    warn_of_binding_mismatch(container)
    base, notes = _load_branch(container)
    view = container.reading_planner(declaration, base=base)
    if base is not None:
        notes += describe_lost_gates(base, declaration, view.models.keys() | declaration.desired.listed.keys())
    notes += [outlook.description for model in view.models.values() for outlook in model.outlooks.values()]
    found = replace(view.plan, notes=(*view.plan.notes, *notes))
    _print_plan(found, output, json_file, container.page_addresses)
    if found.blocked or found.refused:
        return BLOCKED
    return CHANGES if found.changes or found.unmanaged else 0


def _load_branch(container: Container) -> tuple[Declaration | None, list[str]]:
    """Read what PROMOTER_BRANCH says, as this clone knows it, and say what of the past is not known here."""
    from promoter.adapters.git.checkout import LocalClone
    from promoter.domain.errors import ExternalError, Faults

    notes = []
    if not container.reading_ledger.is_initialized:
        where = container.reading_ledger.location
        notes.append(
            f"there is no ledger at {where} (PROMOTER_DATABASE_URL): what was applied before is not known, nor what drifted"
        )
    tree, branch = find_work_tree(container), container.settings.branch
    refusal = tree.find_refusal()
    if refusal is not None:
        return None, [*notes, f"{refusal.message} ({refusal.fix}); the plan is that of the files alone"]
    try:
        clone = LocalClone(tree.clone_folder, container.repository_folder)
        head = clone.find_branch_head(branch)
        sources = clone.read_sources(head[1]) if head else {}
        if head is None or not sources:
            return None, notes  # the branch states nothing yet
        return container.documents.parse_declaration(sources, head[1]), notes
    except Faults as faults:
        return None, [*notes, f"{branch} has faults, and what left it is not known: {faults.faults[0]}"]
    except ExternalError:
        return None, notes  # no clone: there is no branch to compare with


def _print_plan(found: Plan, output: OutputFormat, json_file: Path | None, pages: PageAddresses) -> None:
    from promoter.application.markdown.plan import render_plan_markdown
    from promoter.application.responses.plans import PlanResponse
    from promoter.cli import render

    if json_file is not None:
        write_json_file(PlanResponse.from_value(found), json_file)
    if output is OutputFormat.JSON:
        print_json(PlanResponse.from_value(found))
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write(render_plan_markdown(found, pages))
    else:
        render.render_plan_text(create_console(), found)


_ERROR, _CHANGES, _BLOCKED = 1, 2, 3
_STATE_STYLE = {"success": "green", "failure": "red", "pending": "yellow"}


def plan_between(container: Container, base: str, head: str, output: OutputFormat, json_file: Path | None = None) -> int:
    """Print the plan, write it to the file where one is named, and return the exit code.

    Raises `PermanentError` where a REF is no commit, or the clone does not show where the two part.
    """
    from promoter.adapters.git.checkout import LocalClone
    from promoter.application.pull_planner import PullPlanner

    clone = LocalClone(Path(), container.repository_folder)
    before, after = clone.resolve_commit(base), clone.resolve_commit(head)
    if container.settings.folder is None:
        clone = LocalClone(Path(), _choose_folder(clone, before, after))
    planner = PullPlanner(container.registry, container.reading_ledger, clone, container.documents, container.clock)
    with create_console(stderr=True).status("Planning"):
        found = planner(before, after)
    if json_file is not None:
        from promoter.application.responses.plans import PullPlanResponse

        write_json_file(PullPlanResponse.from_value(found), json_file)
    _print_pull_plan(found, output, container.page_addresses)
    return _choose_exit_code(found)


def _choose_folder(clone: LocalClone, base: str, head: str) -> RepositoryFolder:
    """Choose the folder to plan by where one stands, and by what both commits have there, never by the files on disk.

    Raises `PermanentError` where neither has `registry.yaml`, or each has another one: what is judged must not decide which
    folder is judged.
    """
    from promoter.adapters.git.checkout import WorkTree
    from promoter.domain.errors import PermanentError

    fix = "let PROMOTER_PATH name the folder of the repository that holds registry.yaml"
    place = WorkTree(Path()).find_place()
    folders = [found for found in (clone.find_nearest_folder(place, each) for each in (base, head)) if found]
    if not folders:
        message = f"neither base nor head has a registry.yaml in {place}{' or a folder above it' if place.path else ''}"
        raise PermanentError("git", message, f"go to the folder that holds it, or {fix}")
    if folders[0] != folders[-1]:
        message = f"from here, the registry.yaml of the base is in {folders[0]}, and that of the head in {folders[-1]}"
        raise PermanentError("git", f"{message}: which one is meant is not clear", fix)
    return folders[0]


def _choose_exit_code(found: PullPlan) -> int:
    if found.is_unusable:
        return _ERROR
    if found.status_state.value != "success":
        return _BLOCKED
    return _CHANGES if found.brought.changes or found.brought.unmanaged else 0


def _print_pull_plan(found: PullPlan, output: OutputFormat, pages: PageAddresses) -> None:
    from promoter.application.markdown.pull_plan import render_pull_plan_markdown

    if output is OutputFormat.JSON:
        from promoter.application.responses.plans import PullPlanResponse

        print_json(PullPlanResponse.from_value(found))
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write(render_pull_plan_markdown(found, pages))
    else:
        render_pull_plan_text(create_console(), found)


def render_pull_plan_text(screen: Console, found: PullPlan) -> None:
    """Print the changes as a table, each decision that blocks as a tree, and everything else in lines."""
    from rich.text import Text

    from promoter.cli import render

    brought, plan = found.brought, found.plan
    if plan and brought.changes:
        screen.print(render.build_changes_table(plan, brought.changes))
        render.render_decision_trees(screen, brought.changes)
        screen.print()
    later = [(f"{model}@{alias}", decision) for (model, alias), decision in brought.later.items()]
    _render_section(screen, "Faults", map(str, found.faults))
    _render_section(screen, "Conflicts", found.conflicts)
    _render_section(
        screen, "No longer managed", (f"{each.model}@{each.alias}: {each.description}" for each in brought.unmanaged)
    )
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
    """Print lines under a heading. A line that begins with spaces is indented by as many more."""
    from rich.padding import Padding
    from rich.text import Text

    found = list(lines)
    if not found:
        return
    screen.print(Text(heading, style="bold"))
    for line in found:
        content = line.lstrip(" ")
        screen.print(Padding(Text(escape_invisible(content)), (0, 0, 0, 2 + len(line) - len(content))))
    screen.print()
