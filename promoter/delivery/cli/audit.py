"""`promoter audit list`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from promoter.delivery.cli.common import OutputFormat, FormatOption, create_console, print_json, build_container

if TYPE_CHECKING:
    from datetime import datetime

    from promoter.application.ledger.pages import RecordPage

app = typer.Typer(no_args_is_help=True)

_TIME_HELP = "ISO 8601 with its zone, a day, `30d` or `3 days ago`."
Word = TypeVar("Word", bound=StrEnum)


@app.command("list")
def list_records(  # noqa: PLR0913, PLR0917  # as many as there are filters
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    alias: Annotated[str | None, typer.Option(help="Only this alias.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this person did, such as 'Alice <alice@example.org>'.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"From this moment on: {_TIME_HELP}")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this moment.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: change, observed or override.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only this one: intended, applied, failed or recovered.")] = None,
    verdict: Annotated[str | None, typer.Option(help="Only this one: pass, fail, pending or error.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many: the newest, or the first behind --after.")] = 100,
    after: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, metavar="ID", help="Only what is newer.")] = None,
    before: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, metavar="ID", help="Only what is older.")] = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """List audit records, oldest first: the last 100, unless told otherwise.

    Examples: promoter audit list --model fraud-detector --format json; promoter audit list --since 7d --outcome failed
    """
    from promoter.application.ledger.pages import read_record_page
    from promoter.domain.audit import RecordKind, ChangeOutcome, RecordFilter
    from promoter.domain.verdict import Verdict

    container = build_container()
    now = container.clock.now()
    begin, end = _parse_moment_option(since, now, "--since"), _parse_moment_option(until, now, "--until")
    if begin and end and end <= begin:
        raise typer.BadParameter("it is not after --since", param_hint="--until")
    where = RecordFilter(
        model=model, alias=alias, actor=actor, since=begin, until=end, after=after, before=before, limit=limit,
        kind=_parse_enum_option(kind, RecordKind, "--kind"), outcome=_parse_enum_option(outcome, ChangeOutcome, "--outcome"),
        verdict=_parse_enum_option(verdict, Verdict, "--verdict"), newest=after is None,
    )  # fmt: skip
    found = read_record_page(container.existing_ledger, where)
    if output is OutputFormat.JSON:
        print_json(found.to_json())
    elif output is OutputFormat.MARKDOWN:
        _print_records_markdown(found)
    else:
        _render_record_page(found)


def _render_record_page(found: RecordPage) -> None:
    from promoter.delivery.cli import render

    if not found.records:
        sys.stdout.write("The ledger has no such record.\n")
        return
    screen = create_console()
    screen.print(render.build_records_table(found.records, screen.width))
    more = [f"older: --before {found.older}"] if found.older else []
    more += [f"newer: --after {found.newer}"] if found.newer else []
    if more:
        screen.print(f"There are more; {', '.join(more)}", style="dim")


def _print_records_markdown(found: RecordPage) -> None:
    from promoter.application.markdown.text import table_cell, render_table

    columns = ["id", "at", "model", "alias", "from", "to", "outcome", "actor", "revision", "review"]
    records = (
        {**record.to_json(), "outcome": record.status_label, "review": record.review_summary or None}
        for record in found.records
    )
    rows = [[table_cell(str(row[column])) for column in columns] for row in records]
    sys.stdout.write("\n".join(render_table(columns, rows)) + "\n")


def _parse_moment_option(text: str | None, now: datetime, option: str) -> datetime | None:
    from promoter.domain.moment import parse_moment

    try:
        return None if text is None else parse_moment(text, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _parse_enum_option(text: str | None, choices: type[Word], option: str) -> Word | None:
    try:
        return None if text is None else choices(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is none of {', '.join(choices)}", param_hint=option) from None
