"""`promoter registry` and `promoter repository`: show what the ledger is about, and accept another one in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.markdown.report import Notes, Title
from promoter.cli.common import FormatOption, OutputFormat, build_container, print_json, print_lines
from promoter.cli.render import print_report
from promoter.cli.rollback import RequesterOption, find_requester_name

if TYPE_CHECKING:
    from promoter.application.registry_binding import RegistryComparison, RepositoryBinding, RepositoryComparison
    from promoter.container import Container

app = typer.Typer(no_args_is_help=True)
repository_app = typer.Typer(no_args_is_help=True)
OTHER_REGISTRY = 1


@app.command()
def show(output: FormatOption = OutputFormat.TEXT) -> None:
    """Show which registry the ledger is about, beside the one that MLFLOW_TRACKING_URI names. Changes nothing.

    Of a server with workspaces, the registry is the one workspace that MLFLOW_WORKSPACE names. Exit code 0: it is the same, or
    the ledger is not bound to any yet, 1: it is another one.

    Example: promoter registry show
    """
    container = build_container()
    container.require_settings("mlflow_tracking_uri")
    container.reading_ledger.require_initialized()
    found = container.reading_registry_binding.compare()
    _print_registry(found, output)
    if found.mismatch:
        raise typer.Exit(OTHER_REGISTRY)


@app.command()
def accept(
    reason: Annotated[str, typer.Option(help="Why the ledger is about this registry from now on. The ledger keeps it.")],
    by: RequesterOption = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Go on with the registry that MLFLOW_TRACKING_URI names, in the place of the one that the ledger is about.

    The ledger records who accepted it, and why. What it knows of the other registry's versions does not count here:
    each version that git states is a new decision, which its policy gates.

    Example: promoter registry accept --reason "moved to the new server" --by alice
    """
    container = build_container()
    container.require_settings("mlflow_tracking_uri")
    container.registry_binding.accept(find_requester_name(by), _require_reason(reason))
    _print_registry(container.registry_binding.compare(), output)


@repository_app.command("show")
def show_repository(output: FormatOption = OutputFormat.TEXT) -> None:
    """Show which folder of which repository the ledger is about, beside the one of PROMOTER_REPO and PROMOTER_PATH.

    It fetches the branch, and changes nothing else. Exit code 0: it is the same, or the ledger is not bound to any yet,
    1: it is another one.

    Example: promoter repository show
    """
    container = build_container()
    container.require_settings("repo")
    container.reading_ledger.require_initialized()
    found = _compare_repository(container, container.with_ports(ledger=container.reading_ledger).repository_binding)
    _print_repository(found, output)
    if found.mismatch:
        raise typer.Exit(OTHER_REGISTRY)


@repository_app.command("accept")
def accept_repository(
    reason: Annotated[str, typer.Option(help="Why the ledger is about this folder from now on. The ledger keeps it.")],
    by: RequesterOption = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Go on with the folder that PROMOTER_REPO and PROMOTER_PATH name, in the place of the one that the ledger is about.

    The ledger records who accepted it, and why. Aliases that the other folder stated, and this one does not, count as no longer
    managed: they stay where they are. A Promoter of the other folder is refused from then on.

    Example: promoter repository accept --reason "moved to ml/" --by alice
    """
    container = build_container()
    container.require_settings("repo")
    name, reason = find_requester_name(by), _require_reason(reason)
    container.require_ledger()
    container.repository_binding.accept(name, reason)
    _print_repository(_compare_repository(container, container.repository_binding), output)


def _compare_repository(container: Container, binding: RepositoryBinding) -> RepositoryComparison:
    return binding.compare(container.repository.fetch_branch())


def _require_reason(text: str) -> str:
    """Return the reason on one line. Raises `PermanentError` where there is none."""
    from promoter.domain.errors import PermanentError

    reason = " ".join(text.split())
    if not reason:
        raise PermanentError("--reason", "the reason is empty", "give --reason TEXT")
    return reason


def _print_registry(found: RegistryComparison, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import RegistryBindingResponse

        print_json(RegistryBindingResponse.from_value(found))
    else:
        sentence = _describe_binding(found, found.server.place, binding="the first command that writes")
        print_report(output, [Title("The registry of the ledger"), Notes([sentence], prefix="  ")])


def _print_repository(found: RepositoryComparison, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import RepositoryBindingResponse

        print_json(RepositoryBindingResponse.from_value(found))
    else:
        place = f"{found.folder} of {found.address}" if found.folder.path else f"{found.address}, at its top"
        sentence = _describe_binding(found, place, binding="the first revision that is in force")
        print_report(output, [Title("The repository of the ledger"), Notes([sentence], prefix="  ")])


def _describe_binding(found: RegistryComparison | RepositoryComparison, place: str, *, binding: str) -> str:
    """Describe in a sentence what the ledger is about. `binding` is what binds a ledger to the place that is not bound yet."""
    from promoter.domain.fields import format_utc

    if found.mismatch:
        return found.mismatch[:1].upper() + found.mismatch[1:] + "."
    if found.bound is None:
        return f"The ledger is not bound yet: {binding} binds it to {place}."
    facts = found.bound.facts
    accepted = f", accepted by {facts['actor']}: {facts['reason']}" if facts.get("actor") else ""
    return f"It is {place}, since {format_utc(found.bound.at)}{accepted}."


def warn_of_binding_mismatch(container: Container) -> None:
    """Warn on standard error where registry or folder are others than the ledger's: what is shown then mixes the two."""
    from promoter.application.registry_binding import find_other_folder
    from promoter.domain.ledger.checkpoints import LifecycleEventType

    mismatch = container.reading_registry_binding.compare().mismatch
    if mismatch:
        print_lines(f"promoter: warning: {mismatch}; nothing is applied to it", stderr=True)
    bound = container.reading_ledger.find_last_lifecycle_event(LifecycleEventType.REPOSITORY)
    elsewhere = find_other_folder(bound, container.repository_folder)
    if elsewhere:
        print_lines(f"promoter: warning: {elsewhere}; nothing is applied from it", stderr=True)
