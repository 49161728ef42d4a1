"""`promoter audit export`."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from promoter.delivery.cli.common import build_container
from promoter.domain.faults import PermanentError


class ExportFormat(StrEnum):
    """As what the ledger is told."""

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
    that channels are told of, whether any was or not.

    A file appears only once it is whole, and replaces one of the same name.

    Examples: promoter audit export --output ledger.jsonl; promoter audit export --format csv --after 1200 > records.csv
    """
    from promoter.application.ledger.export import export_cloud_events, export_spreadsheet, export_ledger

    container = build_container()
    if form is ExportFormat.JSONL:
        lines = export_ledger(container.existing_ledger, after, container.clock.now())
    elif form is ExportFormat.CSV:
        lines = export_spreadsheet(container.existing_ledger, after)
    else:
        lines = export_cloud_events(container.existing_ledger.outbox, after, container.settings.url)
    if output is None:
        _write_lines(lines, sys.stdout.buffer)
        return
    count = _write_file_atomically(output, lines)
    sys.stdout.write(f"{output}: {count} line{'' if count == 1 else 's'}.\n")


def _write_file_atomically(path: Path, lines: Iterable[bytes]) -> int:
    """Write beside the file, then put it in its place; how many lines. Raises `PermanentError`."""
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
