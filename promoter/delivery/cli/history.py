"""`promoter history` and `promoter state`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, split_alias, tell_json, world

if TYPE_CHECKING:
    from promoter.bootstrap import World


def history(
    what: Annotated[str, typer.Argument(metavar="MODEL@ALIAS")],
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Who held it then, and what put it there.")] = None,
    between: Annotated[
        tuple[str, str] | None, typer.Option(metavar="FROM TO", help="Who held it from the one time up to the other.")
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show who held the alias when, and why, as the ledger knows it.

    A TIME is any ISO 8601 with its zone, a day (its beginning in UTC), `30d` or `3 days ago`.

    Examples: promoter history fraud-detector@champion; promoter history fraud-detector@champion --at 2026-10-03T14:05Z;
    promoter history fraud-detector@champion --between 2026-10-01 2026-11-01
    """
    model, alias = split_alias(what)
    if at is not None and between is not None:
        raise typer.BadParameter("--at goes without --between", param_hint="--at")
    built = world()
    if at is not None:
        _tell_moment(built, model, alias, _since(at, built.clock.now(), "--at"), output)
    elif between is not None:
        _tell_period(built, model, alias, between, output)
    else:
        _tell_all(built, model, alias, output)


def state(
    at: Annotated[str, typer.Option(metavar="TIME", help="ISO 8601 with its zone, a day, `30d` or `3 days ago`.")],
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show where every alias of the registry stood at a time, as the ledger knows it.

    Example: promoter state --at 2026-10-03T14:05Z
    """
    from promoter.application.past import registry_at
    from promoter.delivery.cli import past_text

    built = world()
    now = built.clock.now()
    found = registry_at(built.kept, _since(at, now, "--at"), now, None if model is None else [model])
    if output is Format.JSON:
        tell_json(found.as_json())
    elif output is Format.MARKDOWN:
        sys.stdout.write("\n".join(past_text.state_markdown(found)) + "\n")
    else:
        past_text.state(console(), found)


def _tell_moment(built: World, model: str, alias: str, at: datetime, output: Format) -> None:
    from promoter.application.past import alias_at
    from promoter.delivery.cli import past_text

    found = alias_at(built.kept, model, alias, at, built.clock.now())
    if output is Format.JSON:
        tell_json(found.as_json())
    elif output is Format.MARKDOWN:
        sys.stdout.write("\n".join(past_text.moment_markdown(found)) + "\n")
    else:
        past_text.moment(console(), found)


def _tell_period(built: World, model: str, alias: str, between: tuple[str, str], output: Format) -> None:
    from promoter.application.past import alias_between
    from promoter.delivery.cli import past_text
    from promoter.domain.moment import parse_period

    now = built.clock.now()
    try:
        begin, end = parse_period(*between, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--between") from None
    found = alias_between(built.kept, model, alias, begin, end, now)
    if output is Format.JSON:
        tell_json(found.as_json())
    elif output is Format.MARKDOWN:
        sys.stdout.write("\n".join(past_text.period_markdown(found)) + "\n")
    else:
        past_text.period(console(), found)


def _tell_all(built: World, model: str, alias: str, output: Format) -> None:
    from promoter.application import query
    from promoter.delivery.cli import past_text, render

    spans = query.history(built.kept, model, alias)
    if output is Format.JSON:
        tell_json({"model": model, "alias": alias, "spans": [span.as_json() for span in spans]})
    elif not spans:
        sys.stdout.write(f"The ledger knows nothing of {model}@{alias}.\n")
    elif output is Format.MARKDOWN:
        sys.stdout.write("\n".join(past_text.spans_markdown(spans)) + "\n")
    else:
        screen = console()
        screen.print(render.spans_table(spans, screen.width))


def _since(text: str, now: datetime, option: str) -> datetime:
    from promoter.domain.moment import parse_since

    try:
        return parse_since(text, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
