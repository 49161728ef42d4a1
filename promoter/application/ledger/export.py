"""Exports: what the ledger says, for other programs, a line at a time and never more than a little of it in memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime

from promoter import __version__
from promoter.application.ports import Ledger
from promoter.application.ports.outbox import EventOutbox
from promoter.domain.audit import AuditRecord, RecordFilter
from promoter.domain.faults import PermanentError
from promoter.domain.ledger.chain import LedgerEntry, advance_head
from promoter.domain.ledger.export import EXPORTED_TABLES, ExportEnding, ExportManifest
from promoter.domain.notices.events import EventBuilder

_PAGE_SIZE = 500
_COLUMNS = (
    "id", "at", "kind", "model", "alias", "from", "to", "outcome", "actor", "reason", "cause", "trigger", "revision", "review",
    "policy", "verdict", "hold", "until", "not_before", "intent", "decision", "hash",
)  # fmt: skip
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")


def export_ledger(ledger: Ledger, behind: int, made: datetime) -> Iterator[bytes]:
    """The entries behind that number and their texts as lines: see `promoter.domain.ledger.export`. Raises `PermanentError`."""
    head = ledger.read_chain_head()
    if not head.entry:
        raise PermanentError("ledger", "nothing has been written to it yet: there is nothing to export")
    if behind > head.entry:
        raise PermanentError("ledger", f"it ends with entry {head.entry}: there is nothing behind {behind}")
    yield ExportManifest(head.ledger, behind + 1, made, __version__, EXPORTED_TABLES).to_line
    entries = texts = 0
    for each in ledger.iterate_entries_and_texts(behind):
        if isinstance(each, LedgerEntry):
            head = advance_head(head, each)
            entries += 1
            yield each.body + b"\n"
        else:
            texts += 1
            yield each.to_line
    yield ExportEnding(head, entries, texts).to_line


def export_spreadsheet(ledger: Ledger, behind: int) -> Iterator[bytes]:
    """The audit records behind that number as CSV (RFC 4180), the names of the columns first."""
    yield _render_csv_row(_COLUMNS)
    for record in _iterate_records(ledger, behind):
        values = record.to_json()
        review = values["review"]
        values["review"] = None if review is None else json.dumps(review, ensure_ascii=False, sort_keys=True)
        yield _render_csv_row(tuple(_escape_formula(values[column]) for column in _COLUMNS))


def export_cloud_events(outbox: EventOutbox, behind: int, url: str | None) -> Iterator[bytes]:
    """The events of the entries behind that number, as channels are told of them: a JSON object a line."""
    event_builder, last = EventBuilder(outbox.read_ledger_name(), url), behind
    while True:
        page = outbox.read_source_entries(last, _PAGE_SIZE)
        for entry in page.entries:
            for event in event_builder.build_events(entry):
                yield json.dumps(event.to_json(), ensure_ascii=False).encode() + b"\n"
        if len(page.entries) < _PAGE_SIZE:
            return
        last = page.upto


def _iterate_records(ledger: Ledger, behind: int) -> Iterator[AuditRecord]:
    while page := ledger.find_audit_records(RecordFilter(after=behind, limit=_PAGE_SIZE)):
        yield from page
        behind = page[-1].id


def _escape_formula(value: object) -> str:
    """Text that no spreadsheet takes for a formula: whoever writes a reason must not run anything where it is read."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text


def _render_csv_row(cells: tuple[str, ...]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()
