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


def plan(
    base: Annotated[
        str | None, typer.Option(metavar="REF", help="Plan what merging --head into this would change, judged by its policies.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="REF", help="With --base: what is to be merged; HEAD unless named.")
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show what apply would do with the working tree's files, and each decision behind it. Changes nothing.

    With --base it is the plan of a pull request, from the commits of the clone that one stands in: only what the merge itself
    would change counts. Exit code 0: nothing to do, 2: changes, all allowed, 3: some blocked, 1: error.

    Examples: promoter plan --format markdown; promoter plan --base origin/main --head HEAD
    """
    if base is not None:
        from promoter.delivery.cli.between import plan_between

        code = plan_between(world(), base, head or "HEAD", output)
    elif head is not None:
        raise typer.BadParameter("--head goes with --base", param_hint="--head")
    else:
        code = _plan_worktree(world(), output)
    if code:
        raise typer.Exit(code)


def _plan_worktree(built: World, output: Format) -> int:
    found = built.reading_survey(declared(built)).plan
    _tell(found, output)
    if found.blocked or found.refused:
        return BLOCKED
    return CHANGES if found.changes else 0


def _tell(found: Plan, output: Format) -> None:
    from promoter.application.markdown.plan import plan_markdown
    from promoter.delivery.cli import render

    if output is Format.JSON:
        tell_json(found.as_json())
    elif output is Format.MARKDOWN:
        sys.stdout.write(plan_markdown(found))
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
    from promoter.domain.faults import OutsideError, Refused

    if built.settings.repo:
        head = built.repository.fetch()
        found = revision or head
        return _signed(built, built.documents.parse(built.repository.read(found), found))
    tree = WorkTree(Path())
    declaration = built.documents.parse(tree.sources(), tree.revision())
    if declaration.revision is None:
        fix = "commit them, or set PROMOTER_REPO to apply what its branch says"
        raise Refused("git", "registry.yaml or policies/ differ from the last commit, and apply carries out commits only", fix)
    if revision and revision != declaration.revision:
        raise Refused("git", "--revision needs PROMOTER_REPO", "or check that revision out, and apply it there")
    # Attribution reads history: that of the repository which one stands in.
    built.repository = World(built.settings.model_copy(update={"repo": str(tree.root)})).repository
    try:
        built.repository.fetch()  # what was in force before may ask for signatures, where this revision asks for none any more
    except OutsideError:
        if declaration.desired.document.safety.require_signed_commits:
            raise
    return _signed(built, declaration)


def _signed(built: World, declaration: Declaration) -> Declaration:
    """The declaration. Raises `Refused` where commits have to be signed, and one on the way to it is not."""
    from promoter.domain.faults import Refused

    refused = built.revisions.unsigned(declaration)
    if refused:
        raise Refused("git", refused)
    return declaration


def _tell_applied(result: Applied, output: Format) -> None:
    from promoter.application.markdown.plan import plan_markdown
    from promoter.delivery.cli import render

    found = result.view.plan
    if output is Format.JSON:
        applied = [change.as_json() for change in result.changes]
        tell_json({**found.as_json(), "applied": applied, "failed": result.failed})
        return
    if output is Format.MARKDOWN:
        sys.stdout.write(plan_markdown(found))
    else:
        render.plan_text(console(), found)
    lines = [f"failed {model}: {why}" for model, why in sorted(result.failed.items())]
    lines.append(f"Applied {len(result.changes)} changes, {len(result.failed)} models failed.")
    sys.stdout.write("\n".join(lines) + "\n")
