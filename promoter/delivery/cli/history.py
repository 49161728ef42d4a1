"""`promoter history` and `promoter state`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.delivery.cli.common import (
    OutputFormat,
    FormatOption,
    create_console,
    parse_alias_argument,
    print_json,
    build_container,
)

if TYPE_CHECKING:
    from promoter.bootstrap import Container


def history(
    what: Annotated[str, typer.Argument(metavar="MODEL@ALIAS")],
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Who held it then, and what put it there.")] = None,
    between: Annotated[
        tuple[str, str] | None, typer.Option(metavar="FROM TO", help="Who held it from the one time up to the other.")
    ] = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show who held the alias when, and why, as the ledger knows it.

    A TIME is any ISO 8601 with its zone, a day (its beginning in UTC), `30d` or `3 days ago`.

    Examples: promoter history fraud-detector@champion; promoter history fraud-detector@champion --at 2026-10-03T14:05Z;
    promoter history fraud-detector@champion --between 2026-10-01 2026-11-01
    """
    model, alias = parse_alias_argument(what)
    if at is not None and between is not None:
        raise typer.BadParameter("--at goes without --between", param_hint="--at")
    container = build_container()
    if at is not None:
        _print_alias_at(container, model, alias, _parse_time_option(at, container.clock.now(), "--at"), output)
    elif between is not None:
        _print_alias_between(container, model, alias, between, output)
    else:
        _print_alias_history(container, model, alias, output)


def state(
    at: Annotated[str, typer.Option(metavar="TIME", help="ISO 8601 with its zone, a day, `30d` or `3 days ago`.")],
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show where every alias of the registry stood at a time, as the ledger knows it.

    Example: promoter state --at 2026-10-03T14:05Z
    """
    from promoter.application.past import find_registry_at
    from promoter.delivery.cli import past_text

    container = build_container()
    now = container.clock.now()
    found = find_registry_at(
        container.existing_ledger, _parse_time_option(at, now, "--at"), now, None if model is None else [model]
    )
    if output is OutputFormat.JSON:
        print_json(found.to_json())
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write("\n".join(past_text.render_registry_at_markdown(found)) + "\n")
    else:
        past_text.render_registry_at_text(create_console(), found)


def _print_alias_at(container: Container, model: str, alias: str, at: datetime, output: OutputFormat) -> None:
    from promoter.application.past import find_alias_at
    from promoter.delivery.cli import past_text

    found = find_alias_at(container.existing_ledger, model, alias, at, container.clock.now())
    if output is OutputFormat.JSON:
        print_json(found.to_json())
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write("\n".join(past_text.render_alias_at_markdown(found)) + "\n")
    else:
        past_text.render_alias_at_text(create_console(), found)


def _print_alias_between(container: Container, model: str, alias: str, between: tuple[str, str], output: OutputFormat) -> None:
    from promoter.application.past import find_alias_between
    from promoter.delivery.cli import past_text
    from promoter.domain.moment import parse_time_window

    now = container.clock.now()
    try:
        begin, end = parse_time_window(*between, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--between") from None
    found = find_alias_between(container.existing_ledger, model, alias, begin, end, now)
    if output is OutputFormat.JSON:
        print_json(found.to_json())
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write("\n".join(past_text.render_alias_between_markdown(found)) + "\n")
    else:
        past_text.render_alias_between_text(create_console(), found)


def _print_alias_history(container: Container, model: str, alias: str, output: OutputFormat) -> None:
    from promoter.application import query
    from promoter.delivery.cli import past_text, render

    spans = query.load_alias_history(container.existing_ledger, model, alias)
    if output is OutputFormat.JSON:
        print_json({"model": model, "alias": alias, "spans": [span.to_json() for span in spans]})
    elif not spans:
        sys.stdout.write(f"The ledger knows nothing of {model}@{alias}.\n")
    elif output is OutputFormat.MARKDOWN:
        sys.stdout.write("\n".join(past_text.render_spans_markdown(spans)) + "\n")
    else:
        screen = create_console()
        screen.print(render.build_spans_table(spans, screen.width))


def _parse_time_option(text: str, now: datetime, option: str) -> datetime:
    from promoter.domain.moment import parse_past_moment

    try:
        return parse_past_moment(text, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
