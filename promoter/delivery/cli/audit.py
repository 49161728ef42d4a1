"""`promoter audit list`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, tell_json, world

if TYPE_CHECKING:
    from datetime import datetime

    from promoter.application.ledger.pages import RecordPage

app = typer.Typer(no_args_is_help=True)

_TIME = "ISO 8601 with its zone, a day, `30d` or `3 days ago`."
Word = TypeVar("Word", bound=StrEnum)


@app.command("list")
def list_records(  # noqa: PLR0913, PLR0917  # as many as there are filters
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    alias: Annotated[str | None, typer.Option(help="Only this alias.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this person did, such as 'Alice <alice@example.org>'.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"From this moment on: {_TIME}")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this moment.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: change, observed or override.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only this one: intended, applied, failed or recovered.")] = None,
    verdict: Annotated[str | None, typer.Option(help="Only this one: pass, fail, pending or error.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many: the newest, or the first behind --after.")] = 100,
    after: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, metavar="ID", help="Only what is newer.")] = None,
    before: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, metavar="ID", help="Only what is older.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """List audit records, oldest first: the last 100, unless told otherwise.

    Examples: promoter audit list --model fraud-detector --format json; promoter audit list --since 7d --outcome failed
    """
    from promoter.application.ledger.pages import page
    from promoter.domain.audit import Kind, Outcome, RecordFilter
    from promoter.domain.verdict import Verdict

    built = world()
    now = built.clock.now()
    begin, end = _moment(since, now, "--since"), _moment(until, now, "--until")
    if begin and end and end <= begin:
        raise typer.BadParameter("it is not after --since", param_hint="--until")
    where = RecordFilter(
        model=model, alias=alias, actor=actor, since=begin, until=end, after=after, before=before, limit=limit,
        kind=_word(kind, Kind, "--kind"), outcome=_word(outcome, Outcome, "--outcome"),
        verdict=_word(verdict, Verdict, "--verdict"), newest=after is None,
    )  # fmt: skip
    found = page(built.kept, where)
    if output is Format.JSON:
        tell_json(found.as_json())
    elif output is Format.MARKDOWN:
        _markdown(found)
    else:
        _text(found)


def _text(found: RecordPage) -> None:
    from promoter.delivery.cli import render

    if not found.records:
        sys.stdout.write("The ledger has no such record.\n")
        return
    screen = console()
    screen.print(render.records_table(found.records, screen.width))
    more = [f"older: --before {found.older}"] if found.older else []
    more += [f"newer: --after {found.newer}"] if found.newer else []
    if more:
        screen.print(f"There are more; {', '.join(more)}", style="dim")


def _markdown(found: RecordPage) -> None:
    from promoter.application.markdown.text import cell, table

    columns = ["id", "at", "model", "alias", "from", "to", "outcome", "actor", "revision", "review"]
    told = ({**record.as_json(), "outcome": record.word, "review": record.reviewed or None} for record in found.records)
    rows = [[cell(str(row[column])) for column in columns] for row in told]
    sys.stdout.write("\n".join(table(columns, rows)) + "\n")


def _moment(text: str | None, now: datetime, option: str) -> datetime | None:
    from promoter.domain.moment import parse_moment

    try:
        return None if text is None else parse_moment(text, now)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _word(text: str | None, words: type[Word], option: str) -> Word | None:
    try:
        return None if text is None else words(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is none of {', '.join(words)}", param_hint=option) from None
