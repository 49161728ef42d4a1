"""Exports: what the ledger says, for other programs, a line at a time and never more than a little of it in memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime

from promoter import __version__
from promoter.application.ports import Ledger
from promoter.application.ports.outbox import Outbox
from promoter.domain.audit import AuditRecord, RecordFilter
from promoter.domain.faults import Refused
from promoter.domain.ledger.chain import Entry, after
from promoter.domain.ledger.export import TABLES, Ending, Manifest
from promoter.domain.notices.events import Teller

_PAGE = 500
_COLUMNS = (
    "id", "at", "kind", "model", "alias", "from", "to", "outcome", "actor", "reason", "cause", "trigger", "revision", "review",
    "policy", "verdict", "hold", "until", "not_before", "intent", "decision", "hash",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def whole(ledger: Ledger, behind: int, made: datetime) -> Iterator[bytes]:
    """The entries behind that number and their texts as lines: see `promoter.domain.ledger.export`. Raises `Refused`."""
    head = ledger.head()
    if not head.entry:
        raise Refused("ledger", "nothing has been written to it yet: there is nothing to export")
    if behind > head.entry:
        raise Refused("ledger", f"it ends with entry {head.entry}: there is nothing behind {behind}")
    yield Manifest(head.ledger, behind + 1, made, __version__, TABLES).line
    entries = texts = 0
    for each in ledger.whole(behind):
        if isinstance(each, Entry):
            head = after(head, each)
            entries += 1
            yield each.body + b"\n"
        else:
            texts += 1
            yield each.line
    yield Ending(head, entries, texts).line


def spreadsheet(ledger: Ledger, behind: int) -> Iterator[bytes]:
    """The audit records behind that number as CSV (RFC 4180), the names of the columns first."""
    yield _row(_COLUMNS)
    for record in _records(ledger, behind):
        told = record.as_json()
        review = told["review"]
        told["review"] = None if review is None else json.dumps(review, ensure_ascii=False, sort_keys=True)
        yield _row(tuple(_cell(told[column]) for column in _COLUMNS))


def cloud_events(outbox: Outbox, behind: int, url: str | None) -> Iterator[bytes]:
    """The events of the entries behind that number, as channels are told of them: a JSON object a line."""
    teller, last = Teller(outbox.ledger(), url), behind
    while True:
        page = outbox.happened(last, _PAGE)
        for entry in page.entries:
            for event in teller.events(entry):
                yield json.dumps(event.as_json(), ensure_ascii=False).encode() + b"\n"
        if len(page.entries) < _PAGE:
            return
        last = page.upto


def _records(ledger: Ledger, behind: int) -> Iterator[AuditRecord]:
    while page := ledger.records(RecordFilter(after=behind, limit=_PAGE)):
        yield from page
        behind = page[-1].id


def _cell(value: object) -> str:
    """Text that no spreadsheet takes for a formula: whoever writes a reason must not run anything where it is read."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(cells: tuple[str, ...]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()
