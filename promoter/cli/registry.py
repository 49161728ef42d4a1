"""`promoter registry`: shows which registry the ledger is about, and accepts another one in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from promoter.application.markdown.report import Notes, Title
from promoter.cli.common import FormatOption, OutputFormat, build_container, print_json, print_lines
from promoter.cli.render import print_report
from promoter.cli.rollback import RequesterOption, find_requester_name

if TYPE_CHECKING:
    from promoter.application.registry_binding import RegistryComparison
    from promoter.container import Container

app = typer.Typer(no_args_is_help=True)
OTHER_REGISTRY = 1


@app.command()
def show(output: FormatOption = OutputFormat.TEXT) -> None:
    """Show which registry the ledger is about, beside the one that MLFLOW_TRACKING_URI names. Changes nothing.

    Exit code 0: it is the same, or the ledger is not bound to any yet, 1: it is another one.

    Example: promoter registry show
    """
    container = build_container()
    container.require_settings("mlflow_tracking_uri")
    container.reading_ledger.require_initialized()
    found = container.reading_registry_binding.compare()
    _print_comparison(found, output)
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

    Example: promoter registry accept --reason "moved to the new server" --as alice
    """
    from promoter.domain.errors import PermanentError

    container = build_container()
    container.require_settings("mlflow_tracking_uri")
    reason, name = " ".join(reason.split()), find_requester_name(by)
    if not reason:
        raise PermanentError("registry", "the reason is empty", "give --reason TEXT")
    container.registry_binding.accept(name, reason)
    _print_comparison(container.registry_binding.compare(), output)


def _print_comparison(found: RegistryComparison, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        from promoter.application.responses.operations import RegistryBindingResponse

        print_json(RegistryBindingResponse.from_value(found))
    else:
        print_report(output, [Title("The registry of the ledger"), Notes(_describe_comparison(found), prefix="  ")])


def _describe_comparison(found: RegistryComparison) -> list[str]:
    from promoter.domain.fields import format_utc

    if found.mismatch:
        return [found.mismatch[:1].upper() + found.mismatch[1:] + "."]
    if found.bound is None:
        return [f"The ledger is not bound yet: the first command that writes binds it to {found.server.address}."]
    facts = found.bound.facts
    accepted = f", accepted by {facts['actor']}: {facts['reason']}" if facts.get("actor") else ""
    return [f"It is {found.server.address}, since {format_utc(found.bound.at)}{accepted}."]


def warn_of_other_registry(container: Container) -> None:
    """Warn on standard error where the registry is another one than the ledger's: what is shown then mixes the two."""
    mismatch = container.reading_registry_binding.compare().mismatch
    if mismatch:
        print_lines(f"promoter: warning: {mismatch}; nothing is applied to it", stderr=True)
