"""`promoter apply`: carries out what the branch says now, or what a working tree says of aliases that no policy gates."""

from __future__ import annotations

import sys
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
    print_lines,
)
from promoter.domain.text import escape_invisible, format_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from promoter.adapters.git.checkout import CloneRemote
    from promoter.application.reconciler import AppliedPlan
    from promoter.container import Container
    from promoter.domain.desired import Declaration
    from promoter.domain.links import PageAddresses


FAILED, BLOCKED = 1, 3
_BRANCH_TRIGGER, _TREE_TRIGGER = "apply", "apply --from-working-tree"


def apply(
    output: FormatOption = OutputFormat.TEXT,
    revision: Annotated[
        str | None, typer.Option(help="Refuse unless the branch is at this revision now: for a job that this revision started.")
    ] = None,
    from_working_tree: Annotated[
        bool,
        typer.Option(
            "--from-working-tree", help="Apply the files here instead, to aliases that no policy gates, in your name."
        ),
    ] = False,
) -> None:
    """Carry out what the branch says now, with an audit record for each change.

    The branch is PROMOTER_BRANCH of PROMOTER_REPO, or, without PROMOTER_REPO, of the remote that the clone here comes from. It
    is fetched now: a checkout that is older, on another branch or edited is never applied. What differs is shown.

    --from-working-tree applies the files here, committed or not. The record names the system's user and host. An alias that a
    policy gates, here or on the branch, stays as it is.

    Exit code 0: done, 3: some blocked, 1: error.

    Example: PROMOTER_REPO=https://git.example.com/ml/registry.git promoter apply
    """
    if revision and from_working_tree:
        raise typer.BadParameter("--revision is a commit of the branch: it does not go with --from-working-tree")
    container = build_container()
    container.require_settings("mlflow_tracking_uri")
    container.require_ledger()
    carry_out = _prepare_tree(container) if from_working_tree else _prepare_branch(container, revision)
    with create_console(stderr=True).status("Applying") as status:
        result = carry_out(lambda done, of: status.update(f"Applying: {done} of {of} models"))
    _print_apply_result(result, output, container.page_addresses)
    if result.failed or result.view.plan.refused:
        raise typer.Exit(FAILED)
    if result.view.plan.blocked:
        raise typer.Exit(BLOCKED)


def _prepare_branch(container: Container, revision: str | None) -> Callable[[Callable[[int, int], None]], AppliedPlan]:
    container, declaration = load_branch_declaration(container, revision)
    return lambda progress: container.plan_applier(declaration, _BRANCH_TRIGGER, progress)


def load_branch_declaration(container: Container, revision: str | None) -> tuple[Container, Declaration]:
    """Fetch the branch, and return what it says, and the container whose repository it comes from."""
    from promoter.domain.errors import PermanentError

    _refuse_clone_as_repository(container)
    remote = None if container.settings.repo else _require_remote(container)
    if remote is not None:
        container = container.with_clone_remote(remote)
    repository, branch = container.repository, container.settings.branch
    container.repository_binding.require_own_folder()
    head = repository.fetch_branch()
    container.repository_binding.require_own_repository(head)
    if revision and revision != head:
        message = f"{branch} is at {head[:10]} now, and not at {revision[:40]}"
        raise PermanentError("git", message, "leave --revision out to apply what the branch says now")
    declaration = container.documents.parse_declaration(repository.read_sources(head), head)
    if remote is not None:
        _require_successor(container, remote.name, head)
        _require_one_branch(container, remote.name, head)
        _print_differences(container, remote.name, declaration)
    refused = container.revisions.find_signing_refusal(declaration)
    if refused:
        raise PermanentError("git", refused)
    container.repository_binding.bind()
    container.revisions.record_rewrite(head)  # where no daemon runs, nobody else does
    return container, container.revisions.allow_changes(declaration)


def _refuse_clone_as_repository(container: Container) -> None:
    """Raise `PermanentError` where PROMOTER_REPO is a clone with a remote: its branch is one person's copy, of any age."""
    from promoter.adapters.git.checkout import find_remotes_of_clone
    from promoter.adapters.git.remote import parse_remote_address
    from promoter.domain.errors import PermanentError

    repo = container.settings.repo
    path = parse_remote_address(repo, container.settings.git_token).local_path if repo else None
    remotes = find_remotes_of_clone(path) if path else ()
    if remotes:
        branch = container.settings.branch
        message = (
            f"PROMOTER_REPO is a clone that has a remote ({', '.join(remotes)}): its {branch} is one person's copy, "
            "which may be old or not pushed yet"
        )
        fix = "leave PROMOTER_REPO out in that clone, or set it to the address of the repository itself"
        raise PermanentError("git", message, fix)


def _require_one_branch(container: Container, remote: str, head: str) -> None:
    """Raise `PermanentError` where another remote of the clone has the branch elsewhere: either may be a fork."""
    from promoter.adapters.git.checkout import LocalClone
    from promoter.domain.errors import PermanentError

    branch = container.settings.branch
    others = LocalClone(find_work_tree(container).clone_folder).find_other_heads(branch, remote)
    elsewhere = [f"at {revision[:10]} in {name}" for name, revision in sorted(others.items()) if revision != head]
    if elsewhere:
        places = ", ".join(elsewhere)
        message = f"{branch} is at {head[:10]} in {remote} now, and was {places} when that was fetched: either may be a fork"
        raise PermanentError("git", message, "set PROMOTER_REPO to the address of the repository whose branch decides")


def _require_remote(container: Container) -> CloneRemote:
    from promoter.domain.errors import PermanentError

    remote = _find_remote(container)
    if remote is None:
        fix = (
            "set PROMOTER_REPO to the repository whose branch decides, which may be a path on this machine, "
            "or apply the files here with --from-working-tree"
        )
        message = (
            "this folder is no clone with a remote: apply carries out what the branch of a repository says, and none is known"
        )
        raise PermanentError("git", message, fix)
    return remote


def _find_remote(container: Container) -> CloneRemote | None:
    """Find the remote of the clone here. Raises `PermanentError` where git refuses the clone, or several could be meant."""
    from promoter.adapters.git.checkout import LocalClone
    from promoter.domain.errors import PermanentError

    tree = find_work_tree(container)
    if refusal := tree.find_refusal():
        raise refusal
    try:
        clone = LocalClone(tree.clone_folder)
    except PermanentError:
        return None  # no clone at all
    return clone.find_remote(container.settings.branch)


def _require_successor(container: Container, remote: str, head: str) -> None:
    """Raise `PermanentError` where the branch lacks what the ledger saw in force: it is that of a fork, or an old copy."""
    from promoter.domain.audit import RevisionState
    from promoter.domain.errors import PermanentError

    last = container.ledger.find_last_revision(RevisionState.APPLIED)
    if last and not container.repository.is_ancestor(last, head):
        branch = container.settings.branch
        message = f"{branch} of {remote} is at {head[:10]}, and does not have {last[:10]}, which the ledger saw in force"
        fix = "set PROMOTER_REPO to the repository whose branch decides: this remote may be a fork or an old copy of it"
        raise PermanentError("git", message, fix)


def _print_differences(container: Container, remote: str, declaration: Declaration) -> None:
    """Print on standard error how the checkout differs from what is applied."""
    from promoter.application.working_tree import describe_checkout
    from promoter.domain.errors import ExternalError, Faults

    head = declaration.revision or ""
    try:
        here = find_work_tree(container).read_sources()
        tree = container.documents.parse_declaration(here, None)
    except Faults:
        tree = None
    except ExternalError as error:
        here, tree = {}, None
        print_lines(f"promoter: {error}", stderr=True)
    lines = describe_checkout(here, declaration, container.repository.read_sources(head), tree)
    if lines:
        branch = f"{container.settings.branch} of {remote} at {head[:10]}"
        heading = f"promoter: {branch} is applied, and not what is here: {lines[0]}"
        print_lines(*map(escape_invisible, (heading, *(f"  {line}" for line in lines[1:]))), stderr=True)


def _prepare_tree(container: Container) -> Callable[[Callable[[int, int], None]], AppliedPlan]:
    from promoter.adapters.system import find_system_user
    from promoter.application.working_tree import TreeGates, read_branch_declarations

    declaration = load_declaration(container)
    _refuse_clone_as_repository(container)
    remote = None if container.settings.repo else _find_remote(container)
    known = remote is not None or container.settings.repo is not None
    if remote is not None:
        container = container.with_clone_remote(remote)
    elif not known:
        container = container.with_local_repository(find_work_tree(container).clone_folder)
    container.repository_binding.require_own_folder()
    branch = read_branch_declarations(container.repository, container.documents, container.ledger) if known else ()
    gates = TreeGates(declaration, branch, container.ledger)
    gates.require_unsigned()
    applier = container.build_tree_applier(gates.find_reason)
    return lambda progress: applier(declaration, _TREE_TRIGGER, progress, person=find_system_user())


def _print_apply_result(result: AppliedPlan, output: OutputFormat, pages: PageAddresses) -> None:
    from promoter.application.markdown.plan import render_plan_markdown
    from promoter.application.markdown.report import Notes, Paragraph, render_report_markdown
    from promoter.cli import render

    found = result.view.plan
    if output is OutputFormat.JSON:
        from promoter.application.responses.plans import AppliedPlanResponse

        print_json(AppliedPlanResponse.from_value(result))
        return
    failed = [f"failed {model}: {why}" for model, why in sorted(result.failed.items())]
    summary = f"Applied {format_count(len(result.changes), 'change')}, {format_count(len(result.failed), 'model')} failed."
    if output is OutputFormat.MARKDOWN:
        sys.stdout.write(render_plan_markdown(found, pages) + "\n")
        sys.stdout.write(render_report_markdown([*([Notes(failed)] if failed else []), Paragraph(summary)]))
        return
    render.render_plan_text(create_console(), found)
    print_lines(*map(escape_invisible, failed), summary)
