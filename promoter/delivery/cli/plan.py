"""`promoter plan` and `promoter apply`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, declared, tell_json, world

if TYPE_CHECKING:
    from promoter.application.apply import Applied
    from promoter.bootstrap import World
    from promoter.domain.declaration import Declaration
    from promoter.domain.plan import Plan

CHANGES, BLOCKED = 2, 3


def plan(output: FormatOption = Format.TEXT) -> None:
    """Show what apply would do with the working tree's files, and each decision behind it. Changes nothing.

    Exit code 0: nothing to do, 2: changes, all allowed, 3: some blocked, 1: error.

    Example: promoter plan --format markdown
    """
    built = world()
    declaration = declared(built)
    view = built.reading_survey(declaration)
    _tell(view.plan, output)
    if view.plan.blocked or view.plan.refused:
        raise typer.Exit(BLOCKED)
    if view.plan.changes:
        raise typer.Exit(CHANGES)


def _tell(found: Plan, output: Format) -> None:
    from promoter.delivery.cli import render

    if output is Format.JSON:
        tell_json(found.as_json())
    elif output is Format.MARKDOWN:
        sys.stdout.write(render.plan_markdown(found))
    else:
        render.plan_text(console(), found)


def apply(
    output: FormatOption = Format.TEXT,
    revision: Annotated[
        str | None, typer.Option(help="Carry out this revision of PROMOTER_REPO's branch instead of its head.")
    ] = None,
) -> None:
    """Carry the committed plan out, with an audit record for each change.

    The revision is the head of PROMOTER_BRANCH in PROMOTER_REPO, or, without PROMOTER_REPO, the commit that one stands on.
    Exit code 0: done, 3: some blocked, 1: error.

    Example: PROMOTER_REPO=https://git.example.com/ml/registry.git promoter apply
    """
    from promoter.application.apply import Apply

    built = world()
    declaration = _committed(built, revision)
    run = Apply(built.survey, built.looker, built.ledger, built.clock)
    with console(stderr=True).status("Applying") as status:
        result = run(declaration, "apply", lambda done, of: status.update(f"Applying: {done} of {of} models"))
    _tell_applied(result, output)
    if result.failed or result.view.plan.refused:
        raise typer.Exit(1)
    if result.view.plan.blocked:
        raise typer.Exit(BLOCKED)


def _committed(built: World, revision: str | None) -> Declaration:
    from pathlib import Path

    from promoter.adapters.git.worktree import WorkTree
    from promoter.bootstrap import World
    from promoter.domain.faults import Refused

    if built.settings.repo:
        head = built.repository.fetch()
        found = revision or head
        return built.documents.parse(built.repository.read(found), found)
    tree = WorkTree(Path())
    declaration = built.documents.parse(tree.sources(), tree.revision())
    if declaration.revision is None:
        fix = "commit them, or set PROMOTER_REPO to apply what its branch says"
        raise Refused("git", "registry.yaml or policies/ differ from the last commit, and apply carries out commits only", fix)
    if revision and revision != declaration.revision:
        raise Refused("git", "--revision needs PROMOTER_REPO", "or check that revision out, and apply it there")
    # Attribution reads history: that of the repository which one stands in.
    built.repository = World(built.settings.model_copy(update={"repo": str(tree.root)})).repository
    return declaration


def _tell_applied(result: Applied, output: Format) -> None:
    from promoter.delivery.cli import render

    found = result.view.plan
    if output is Format.JSON:
        applied = [change.as_json() for change in result.changes]
        tell_json({**found.as_json(), "applied": applied, "failed": result.failed})
        return
    if output is Format.MARKDOWN:
        sys.stdout.write(render.plan_markdown(found))
    else:
        render.plan_text(console(), found)
    lines = [f"failed {model}: {why}" for model, why in sorted(result.failed.items())]
    lines.append(f"Applied {len(result.changes)} changes, {len(result.failed)} models failed.")
    sys.stdout.write("\n".join(lines) + "\n")
