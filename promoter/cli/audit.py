"""`promoter audit list`, `export`, `checkpoint`, `succeed` and `prune`."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, TypeVar

import typer

from promoter.application.markdown.report import Facts, MarkdownOnly, Notes, Paragraph, Part, Table, TerminalOnly
from promoter.cli.common import FormatOption, OutputFormat, build_container, print_json
from promoter.cli.completion import (
    complete_aliases,
    complete_models,
    complete_outcomes,
    complete_record_kinds,
    complete_verdicts,
)
from promoter.cli.render import build_records_table, print_report, print_sentence
from promoter.cli.rollback import RequesterOption, find_requester_name
from promoter.domain.errors import PermanentError
from promoter.domain.fields import format_utc
from promoter.domain.text import NO_VERSION, format_count

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from promoter.application.audit import RecordPage
    from promoter.domain.audit import RecordFilter
    from promoter.domain.ledger.checkpoints import BranchRewrite


app = typer.Typer(no_args_is_help=True)

_TIME_HELP = "`now`, `10:00`, `yesterday 14:05`, `30d`, `3 days ago`, a day, or ISO 8601 with its zone."
Word = TypeVar("Word", bound=StrEnum)

ActorOption = Annotated[str | None, typer.Option(help="Only what this person did: 'Alice', or 'Alice <alice@example.org>'.")]
KindOption = Annotated[
    str | None,
    typer.Option(help="Only this kind: change, observed, override or replaced.", autocompletion=complete_record_kinds),
]
OutcomeOption = Annotated[
    str | None,
    typer.Option(
        help="Only this one: intended, applied, failed, recovered, or another word of that column.",
        autocompletion=complete_outcomes,
    ),
]
VerdictOption = Annotated[
    str | None, typer.Option(help="Only this one: pass, fail, pending or error.", autocompletion=complete_verdicts)
]


@app.command("list")
def list_records(  # noqa: PLR0913, PLR0917  # as many as there are filters
    model: Annotated[str | None, typer.Option(help="Only this model.", autocompletion=complete_models)] = None,
    alias: Annotated[str | None, typer.Option(help="Only this alias.", autocompletion=complete_aliases)] = None,
    actor: ActorOption = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"From this moment on: {_TIME_HELP}")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before this moment.")] = None,
    kind: KindOption = None,
    outcome: OutcomeOption = None,
    verdict: VerdictOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many: the newest, or the first behind --after.")] = 100,
    after: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, metavar="ID", help="Only what is newer.")] = None,
    before: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, metavar="ID", help="Only what is older.")] = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """List audit records, oldest first: the last 100, unless --limit or --after says otherwise.

    Examples: promoter audit list --model fraud-detector --format json; promoter audit list --since 7d --outcome failed
    """
    from promoter.application.audit import find_page_rewrites, read_record_page
    from promoter.domain.audit import RecordFilter, RecordKind
    from promoter.domain.decision import Verdict

    container = build_container()
    now = container.clock.now()
    begin, end = _parse_moment_option(since, now, "--since"), _parse_moment_option(until, now, "--until")
    if begin and end and end <= begin:
        raise typer.BadParameter("it is not after --since", param_hint="--until")
    where = RecordFilter(
        model=model, alias=alias, actor=actor, since=begin, until=end, after=after, before=before, limit=limit,
        kind=_parse_enum_option(kind, RecordKind, "--kind"), verdict=_parse_enum_option(verdict, Verdict, "--verdict"),
        newest=after is None,
    )  # fmt: skip
    where = _restrict_to_outcome(where, outcome)
    ledger = container.existing_ledger
    _print_record_page(read_record_page(ledger, where), find_page_rewrites(ledger, where) or [], output)


def _print_record_page(found: RecordPage, rewrites: list[BranchRewrite], output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        from promoter.application.responses.ledger import RecordPageResponse

        print_json(RecordPageResponse.from_values(records=found.records, next=found, rewrites=rewrites or None))
        return
    notes = (
        [Notes([f"{each.at:%Y-%m-%d %H:%M:%S} {each.description}" for each in rewrites], style="yellow")] if rewrites else []
    )
    records = _build_records_report(found) if found.records else [Paragraph("The ledger has no such record.")]
    print_report(output, [*records, *notes])


def _build_records_report(found: RecordPage) -> Iterator[Part]:
    columns = ["id", "at", "model", "alias", "from", "to", "outcome", "actor", "revision", "review"]
    records = [
        {**record.to_event_data(), "at": format_utc(record.fact.at), "outcome": record.status_label,
         "review": record.review_summary or None}
        for record in found.records
    ]  # fmt: skip
    for row in records:
        row |= {end: NO_VERSION for end in ("from", "to") if row[end] is None}
    yield MarkdownOnly(Table(columns, [["-" if row[name] is None else str(row[name]) for name in columns] for row in records]))
    more = [f"older: --before {found.older}"] if found.older else []
    more += [f"newer: --after {found.newer}"] if found.newer else []
    ending = [Paragraph(f"There are more; {', '.join(more)}", style="dim")] if more else []
    yield TerminalOnly([build_records_table(found.records), *ending])


def _parse_moment_option(text: str | None, now: datetime, option: str) -> datetime | None:
    from promoter.domain.fields import parse_moment

    try:
        return None if text is None else parse_moment(text, now, None)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _parse_enum_option(text: str | None, choices: type[Word], option: str) -> Word | None:
    try:
        return None if text is None else choices(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is none of {', '.join(choices)}", param_hint=option) from None


def _restrict_to_outcome(where: RecordFilter, outcome: str | None) -> RecordFilter:
    from promoter.domain.audit import restrict_to_status_label

    try:
        return where if outcome is None else restrict_to_status_label(where, outcome)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--outcome") from None


class ExportFormat(StrEnum):
    """The forms in which the ledger can be exported."""

    JSONL = "jsonl"
    CSV = "csv"
    CLOUDEVENTS = "cloudevents"


def export(
    form: Annotated[ExportFormat, typer.Option("--format", "-f", help="See below.")] = ExportFormat.JSONL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Into this file, which only you can read.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Only what is behind this entry.")] = 0,
) -> None:
    """Export the ledger, a line at a time.

    jsonl: everything, so that `promoter audit verify --export FILE` can check it anywhere: a manifest, each entry as it was
    hashed, each text that decisions stand on, and the head. csv: the audit records, for spreadsheets. cloudevents: the events
    that channels are sent, whether or not any channel is set up.

    A file appears only once it is whole, and replaces one of the same name.

    Examples: promoter audit export --output ledger.jsonl; promoter audit export --format csv --after 1200 > records.csv
    """
    from promoter.application.audit import export_cloud_events, export_ledger, export_spreadsheet

    container = build_container()
    if form is ExportFormat.JSONL:
        lines = export_ledger(container.existing_ledger, after, container.clock.now())
    elif form is ExportFormat.CSV:
        lines = export_spreadsheet(container.existing_ledger, after)
    else:
        pages = container.page_addresses
        lines = export_cloud_events(container.existing_ledger.outbox, after, pages.promoter, pages.mlflow)
    if output is None:
        _write_lines(lines, sys.stdout.buffer)
        return
    count = _write_file_atomically(output, lines)
    sys.stdout.write(f"{output}: {format_count(count, 'line')}.\n")


def _write_file_atomically(path: Path, lines: Iterable[bytes]) -> int:
    """Write beside the file, then put it in its place. Returns the number of lines; raises `PermanentError`."""
    try:
        with _open_temporary_file(path) as descriptor, os.fdopen(descriptor, "wb") as file:
            count = _write_lines(lines, file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PermanentError("export", f"{path}: cannot be written: {error.strerror or 'no reason given'}") from None
    return count


@contextlib.contextmanager
def _open_temporary_file(path: Path) -> Iterator[int]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # of mode 0600
    try:
        yield descriptor
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _write_lines(lines: Iterable[bytes], to: BinaryIO) -> int:
    count = 0
    for line in lines:
        to.write(line)
        count += 1
    return count


def checkpoint(output: FormatOption = OutputFormat.TEXT) -> None:
    """Sign the ledger as it is now with the key that PROMOTER_CHECKPOINT_KEY names, and record that in the ledger.

    A daemon with that setting does it by itself, an hour apart. Keep what is printed outside of the ledger's reach: the public
    key for `promoter audit verify --key`, the head for `--head`.

    Example: PROMOTER_CHECKPOINT_KEY=checkpoint.pem promoter audit checkpoint
    """
    container = build_container()
    container.require_settings("checkpoint_key")
    if container.checkpoint_signer is None:
        return
    number, made = container.checkpoint_signer.sign_checkpoint()
    if output is OutputFormat.JSON:
        from promoter.application.responses.ledger import CheckpointResponse

        print_json(CheckpointResponse.from_values(checkpoint=number, **vars(made)))
        return
    rows = [("entry", str(number)), ("head", made.head.trailer_value), ("key", made.key)]
    print_report(output, [Facts(rows, label_format="{:<6}")])


def succeed(
    other: Annotated[str, typer.Argument(metavar="LEDGER", help="The other ledger, as `promoter audit verify` names it.")],
    reason: Annotated[str, typer.Option(help="Why there are two: it stands in the ledger.")],
    by: RequesterOption = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Record that this ledger follows another one, or stands beside it in the same repository.

    Commits that vouch for another ledger are a problem for `promoter audit verify`: somebody may have put this ledger in the
    place of that one. This entry says who meant it, and why. It counts once something outside of the ledger vouches for it: the
    next commit of Promoter, a checkpoint of a key that you trust, or the head that is printed here, given with --head.

    Example: promoter audit succeed 0b1c7a52-5d0e-4c59-8f5e-1f2f6a3c9d10 --reason "the old database is lost"
    """
    from promoter.application.audit import record_succession

    container = build_container()
    container.require_ledger()
    head = record_succession(container.ledger, container.clock, other, find_requester_name(by), reason)
    if output is OutputFormat.JSON:
        from promoter.application.responses.ledger import SuccessionResponse

        print_json(SuccessionResponse.from_values(succeeds=other, head=head))
        return
    print_report(output, [Facts([("entry", str(head.entry)), ("head", head.trailer_value)], label_format="{:<6}")])


def prune(
    older_than: Annotated[str, typer.Option(metavar="TIME", help="Such as 400d: what is younger is kept. A day at least.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this, the command only shows what would go.")] = False,
    by: RequesterOption = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Drop the evidence behind old decisions. Every entry of the ledger stays, and so do the digests: the chain still verifies.

    Policies' and approvers' texts stay. What is dropped cannot be had back: `audit rerun` says so of these decisions, and
    `replay` judges with what is left. The ledger records that it was done, when and by whom.

    On PostgreSQL this takes a role that may delete from `contents`, which the daemon's need not and should not.

    Exit code 0: done, or without --yes, shown; 1: refused.

    Example: promoter audit prune --older-than 400d --yes
    """
    container = build_container()
    at = container.clock.now()
    before = at - _parse_minimum_age(older_than)
    count = (
        container.ledger.drop_evidence_before(before, find_requester_name(by), at)
        if yes
        else container.existing_ledger.count_evidence_before(before)
    )
    if output is OutputFormat.JSON:
        from promoter.application.responses.ledger import PruneResponse

        print_json(PruneResponse.from_values(before=before, pieces=count, dropped=yes))
        return
    pieces = f"{format_count(count, 'piece')} of evidence from before {format_utc(before)}"
    done = f"Dropped {pieces}. Their digests stay."
    print_sentence(output, done if yes else f"Would drop {pieces}; nothing is changed. Say --yes to do it.")


def _parse_minimum_age(text: str) -> timedelta:
    from promoter.domain.fields import format_duration, parse_duration
    from promoter.domain.ledger.checkpoints import YOUNGEST_DROPPABLE

    try:
        age = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from None
    if age < YOUNGEST_DROPPABLE:
        raise typer.BadParameter(
            f"what is younger than {format_duration(YOUNGEST_DROPPABLE)} is always kept", param_hint="--older-than"
        )
    return age
