"""`promoter plan` and `promoter apply`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.delivery.cli.common import (
    OutputFormat,
    FormatOption,
    create_console,
    load_declaration,
    print_json,
    build_container,
)

if TYPE_CHECKING:
    from promoter.application.apply import AppliedPlan
    from promoter.bootstrap import Container
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
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show what apply would do with the working tree's files, and each decision behind it. Changes nothing.

    With --base it is the plan of a pull request, from the commits of the clone that one stands in: only what the merge itself
    would change counts. Exit code 0: nothing to do, 2: changes, all allowed, 3: some blocked, 1: error.

    Examples: promoter plan --format markdown; promoter plan --base origin/main --head HEAD
    """
    if base is not None:
        from promoter.delivery.cli.between import plan_between

        code = plan_between(build_container(), base, head or "HEAD", output)
    elif head is not None:
        raise typer.BadParameter("--head goes with --base", param_hint="--head")
    else:
        code = _plan_working_tree(build_container(), output)
    if code:
        raise typer.Exit(code)


def _plan_working_tree(container: Container, output: OutputFormat) -> int:
    found = container.reading_planner(load_declaration(container)).plan
    _print_plan(found, output)
    if found.blocked or found.refused:
        return BLOCKED
    return CHANGES if found.changes else 0


def _print_plan(found: Plan, output: OutputFormat) -> None:
    from promoter.application.markdown.plan import render_plan_markdown
    from promoter.delivery.cli import render

    if output is OutputFormat.JSON:
        print_json(found.to_json())
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write(render_plan_markdown(found))
    else:
        render.render_plan_text(create_console(), found)


def apply(
    output: FormatOption = OutputFormat.TEXT,
    revision: Annotated[
        str | None, typer.Option(help="Carry out this revision of PROMOTER_REPO's branch instead of its head.")
    ] = None,
) -> None:
    """Carry the committed plan out, with an audit record for each change.

    The revision is the head of PROMOTER_BRANCH in PROMOTER_REPO, or, without PROMOTER_REPO, the commit that one stands on.
    Exit code 0: done, 3: some blocked, 1: error.

    Example: PROMOTER_REPO=https://git.example.com/ml/registry.git promoter apply
    """
    from promoter.application.apply import PlanApplier

    container = build_container()
    declaration = _load_committed_declaration(container, revision)
    run = PlanApplier(container.planner, container.model_reconciler, container.ledger, container.clock)
    with create_console(stderr=True).status("Applying") as status:
        result = run(declaration, "apply", lambda done, of: status.update(f"Applying: {done} of {of} models"))
    _print_apply_result(result, output)
    if result.failed or result.view.plan.refused:
        raise typer.Exit(1)
    if result.view.plan.blocked:
        raise typer.Exit(BLOCKED)


def _load_committed_declaration(container: Container, revision: str | None) -> Declaration:
    from pathlib import Path

    from promoter.adapters.git.worktree import WorkTree
    from promoter.bootstrap import Container
    from promoter.domain.faults import ExternalError, PermanentError

    if container.settings.repo:
        head = container.repository.fetch_branch()
        found = revision or head
        return _require_signed_commits(
            container, container.documents.parse_declaration(container.repository.read_sources(found), found)
        )
    tree = WorkTree(Path())
    declaration = container.documents.parse_declaration(tree.read_sources(), tree.find_revision())
    if declaration.revision is None:
        fix = "commit them, or set PROMOTER_REPO to apply what its branch says"
        raise PermanentError(
            "git", "registry.yaml or policies/ differ from the last commit, and apply carries out commits only", fix
        )
    if revision and revision != declaration.revision:
        raise PermanentError("git", "--revision needs PROMOTER_REPO", "or check that revision out, and apply it there")
    # Attribution reads history: that of the repository which one stands in.
    container.repository = Container(container.settings.model_copy(update={"repo": str(tree.root_folder)})).repository
    try:
        container.repository.fetch_branch()  # what was in force before may ask for signatures, where this revision asks for none any more
    except ExternalError:
        if declaration.desired.document.safety.require_signed_commits:
            raise
    return _require_signed_commits(container, declaration)


def _require_signed_commits(container: Container, declaration: Declaration) -> Declaration:
    """The declaration. Raises `PermanentError` where commits have to be signed, and one on the way to it is not."""
    from promoter.domain.faults import PermanentError

    refused = container.revisions.find_signing_refusal(declaration)
    if refused:
        raise PermanentError("git", refused)
    return declaration


def _print_apply_result(result: AppliedPlan, output: OutputFormat) -> None:
    from promoter.application.markdown.plan import render_plan_markdown
    from promoter.delivery.cli import render

    found = result.view.plan
    if output is OutputFormat.JSON:
        applied = [change.to_json() for change in result.changes]
        print_json({**found.to_json(), "applied": applied, "failed": result.failed})
        return
    if output is OutputFormat.MARKDOWN:
        sys.stdout.write(render_plan_markdown(found))
    else:
        render.render_plan_text(create_console(), found)
    lines = [f"failed {model}: {why}" for model, why in sorted(result.failed.items())]
    lines.append(f"Applied {len(result.changes)} changes, {len(result.failed)} models failed.")
    sys.stdout.write("\n".join(lines) + "\n")
