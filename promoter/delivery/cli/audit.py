"""`promoter history` and `promoter audit list`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from promoter.delivery.cli.common import Format, FormatOption, console, split_alias, tell_json, world

app = typer.Typer(no_args_is_help=True)


def history(
    what: Annotated[str, typer.Argument(metavar="MODEL@ALIAS")],
    output: FormatOption = Format.TEXT,
) -> None:
    """Show who held the alias when, and why, as the ledger knows it.

    Example: promoter history fraud-detector@champion
    """
    from promoter.application import query
    from promoter.application.markdown.text import cell, table, version
    from promoter.delivery.cli import render
    from promoter.domain.review import in_words

    model, alias = split_alias(what)
    spans = query.history(world().past, model, alias)
    if output is Format.JSON:
        tell_json({"model": model, "alias": alias, "spans": [span.as_json() for span in spans]})
    elif not spans:
        sys.stdout.write(f"The ledger knows nothing of {what}.\n")
    elif output is Format.MARKDOWN:
        rows = [
            [version(s.version), str(s.since), str(s.until or "now"), cell(s.actor or "unknown"), s.revision or "-",
             cell(in_words(s.review) or "-")]
            for s in spans
        ]  # fmt: skip
        sys.stdout.write("\n".join(table(["version", "since", "until", "actor", "revision", "review"], rows)) + "\n")
    else:
        console().print(render.spans_table(spans))


@app.command("list")
def list_records(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    alias: Annotated[str | None, typer.Option(help="Only this alias.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest.")] = 100,
    output: FormatOption = Format.TEXT,
) -> None:
    """List audit records, oldest first: the last 100, unless told otherwise.

    Example: promoter audit list --model fraud-detector --format json
    """
    from promoter.application.markdown.text import cell, table
    from promoter.delivery.cli import render
    from promoter.domain.audit import RecordFilter

    records = world().past.records(RecordFilter(model=model, alias=alias, limit=limit, newest=True))
    if output is Format.JSON:
        tell_json({"records": [record.as_json() for record in records]})
    elif output is Format.MARKDOWN:
        columns = ["id", "at", "model", "alias", "from", "to", "outcome", "actor", "revision", "review"]
        told = ({**record.as_json(), "outcome": record.word, "review": record.reviewed or None} for record in records)
        rows = [[cell(str(row[column])) for column in columns] for row in told]
        sys.stdout.write("\n".join(table(columns, rows)) + "\n")
    elif records:
        screen = console()
        screen.print(render.records_table(records, screen.width))
    else:
        sys.stdout.write("The ledger has no such record.\n")
