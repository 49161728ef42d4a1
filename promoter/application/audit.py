"""What auditors take from the ledger: exports, pages of records, and checkpoints."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from promoter import __version__
from promoter.application.ports import AuditLog, ChainReader, Clock, Ledger, ObservationLog
from promoter.application.ports.outbox import EventOutbox
from promoter.domain.approvals import SigningKey
from promoter.domain.audit import AuditRecord, RecordFilter
from promoter.domain.errors import ExternalError, PermanentError
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead, advance_head, parse_entry_facts
from promoter.domain.ledger.checkpoints import (
    CHECKPOINT_INTERVAL,
    BranchRewrite,
    LedgerCheckpoint,
    LifecycleEvent,
    LifecycleEventType,
)
from promoter.domain.ledger.export import EXPORTED_TABLES, ExportEnding, ExportManifest
from promoter.domain.links import NO_ADDRESSES, MlflowAddresses
from promoter.domain.notifications import EventBuilder

log = structlog.get_logger(__name__)


_PAGE_SIZE = 500
_COLUMNS = (
    "id", "at", "kind", "model", "alias", "from", "to", "outcome", "actor", "reason", "cause", "trigger", "revision", "review",
    "policy", "verdict", "hold", "until", "not_before", "intent", "decision", "hash", "workspace",
)  # fmt: skip
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")


def export_ledger(ledger: ChainReader, behind: int, made: datetime) -> Iterator[bytes]:
    """Export the entries behind that number, and their texts, as lines of `promoter.domain.ledger.export`.

    Raises `PermanentError` where there is nothing to export.
    """
    head = ledger.read_chain_head()
    if not head.entry:
        raise PermanentError("ledger", "nothing has been written to it yet: there is nothing to export")
    if behind > head.entry:
        raise PermanentError("ledger", f"it ends with entry {head.entry}: there is nothing behind {behind}")
    yield ExportManifest(head.ledger, behind + 1, made, __version__, EXPORTED_TABLES).line
    entries = texts = 0
    for each in ledger.iterate_entries_and_texts(behind):
        if isinstance(each, LedgerEntry):
            head = advance_head(head, each)
            entries += 1
            yield each.body + b"\n"
        else:
            texts += 1
            yield each.line
    yield ExportEnding(head, entries, texts).line


def record_succession(ledger: Ledger, clock: Clock, other: str, actor: str, reason: str) -> LedgerHead:
    """Record that this ledger follows another one, or stands beside it, and return the head behind that entry.

    Raises `PermanentError` where the other one is this one or no ledger's name, or the reason is empty.
    """
    head = ledger.read_chain_head()
    if other == head.ledger:
        raise PermanentError("ledger", f"{other} is this very ledger", "name the one that `promoter audit verify` names")
    try:
        uuid.UUID(other)
    except ValueError:
        fix = "give the one that `promoter audit verify` names"
        raise PermanentError("ledger", f"`{other:.80}` is no name of a ledger", fix) from None
    if not reason.strip():
        raise PermanentError("ledger", "there is no reason", "give one with --reason")
    facts = {"other": other, "actor": actor, "reason": reason}
    ledger.record_lifecycle_event(LifecycleEvent(clock.now(), LifecycleEventType.SUCCEEDED, facts))
    return ledger.read_chain_head()


def export_spreadsheet(ledger: AuditLog, behind: int) -> Iterator[bytes]:
    """Export the audit records behind that number as CSV (RFC 4180), the names of the columns first."""
    yield _render_csv_row(_COLUMNS)
    for record in _iterate_records(ledger, behind):
        values = record.to_event_data()
        review = values["review"]
        values["review"] = None if review is None else json.dumps(review, ensure_ascii=False, sort_keys=True)
        yield _render_csv_row(tuple(_escape_formula(values.get(column)) for column in _COLUMNS))


def export_cloud_events(
    outbox: EventOutbox, behind: int, url: str | None, mlflow: MlflowAddresses = NO_ADDRESSES
) -> Iterator[bytes]:
    """Export the events of the entries behind that number as CloudEvents, as channels receive them: one JSON object a line."""
    event_builder, last = EventBuilder(outbox.read_ledger_name(), url, mlflow), behind
    while True:
        page = outbox.read_source_entries(last, _PAGE_SIZE)
        for entry in page.entries:
            for event in event_builder.build_events(entry, page.find_context(entry)):
                yield json.dumps(event.to_json(), ensure_ascii=False).encode() + b"\n"
        if len(page.entries) < _PAGE_SIZE:
            return
        last = page.upto


def _iterate_records(ledger: AuditLog, behind: int) -> Iterator[AuditRecord]:
    while page := ledger.find_audit_records(RecordFilter(after=behind, limit=_PAGE_SIZE)):
        yield from page
        behind = page[-1].id


def _escape_formula(value: object) -> str:
    """Write a value so that no spreadsheet takes it for a formula: nobody's reason may run anything where it is read."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text


def _render_csv_row(cells: tuple[str, ...]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


@dataclass(frozen=True)
class RecordPage:
    """A page of audit records, and where the pages next to it begin."""

    records: Sequence[AuditRecord]
    """The records, oldest first."""
    older: int | None
    """The `before` of the page of older records; None where there are none."""
    newer: int | None
    """The `after` of the page of newer records; None where there are none yet."""


def read_record_page(ledger: AuditLog, where: RecordFilter) -> RecordPage:
    """Read at most `limit` records: the first behind `after`, or with `newest`, the last before `before`."""
    found = list(ledger.find_audit_records(replace(where, limit=where.limit + 1)))
    if len(found) <= where.limit:
        records, more = found, False
    else:
        records, more = found[1:] if where.newest else found[: where.limit], True
    if not records:
        return RecordPage(records, None, None)
    first, last = records[0].id, records[-1].id
    if where.newest:
        return RecordPage(records, first if more else None, last if _has_records(ledger, where, after=last) else None)
    return RecordPage(records, first if _has_records(ledger, where, before=first) else None, last if more else None)


def find_page_rewrites(ledger: ObservationLog, where: RecordFilter) -> list[BranchRewrite] | None:
    """Find when the branch was rewritten, for a page of records of every kind; None where there is nothing to tell."""
    narrow = (where.model, where.alias, where.kind, where.outcome, where.actor, where.verdict, where.after, where.before)
    if any(each is not None for each in narrow):
        return None
    found = [
        BranchRewrite.from_event(each)
        for each in ledger.find_rewrites()
        if (where.since is None or each.at >= where.since) and (where.until is None or each.at < where.until)
    ]
    return found or None


def _has_records(ledger: AuditLog, where: RecordFilter, *, after: int | None = None, before: int | None = None) -> bool:
    """Whether any record matches the filter between these bounds, which replace its own."""
    return bool(ledger.find_audit_records(replace(where, after=after, before=before, limit=1)))


class CheckpointSigner:
    """Makes checkpoints with one key. Several replicas may do so at once: a checkpoint too many does no harm."""

    def __init__(self, ledger: Ledger, clock: Clock, signer: SigningKey) -> None:
        self._ledger = ledger
        self._clock = clock
        self._signer = signer

    def sign_checkpoint(self) -> tuple[int, LedgerCheckpoint]:
        """Sign the head, and return the checkpoint with its number. Raises `PermanentError` where the ledger has no name."""
        head = self._ledger.read_chain_head()
        if not head.ledger:
            raise PermanentError("ledger", "it does not say what it is called: its first entry is missing, or was changed")
        return self._sign_and_record(head)

    def sign_when_due(self) -> None:
        """Sign the head, where it has moved since the last checkpoint and that is old enough; an error is only logged."""
        try:
            head = self._ledger.read_chain_head()
            if head.ledger and self._is_checkpoint_due(head):
                self._sign_and_record(head)
        except ExternalError as error:
            log.warning("no checkpoint can be made", error=str(error))

    def _sign_and_record(self, head: LedgerHead) -> tuple[int, LedgerCheckpoint]:
        made = LedgerCheckpoint.sign_head(head, self._signer)
        number = self._ledger.record_lifecycle_event(
            LifecycleEvent(self._clock.now(), LifecycleEventType.CHECKPOINT, made.event_facts)
        )
        log.info("checkpoint", entry=number, head=head.trailer_value)
        return number, made

    def _is_checkpoint_due(self, head: LedgerHead) -> bool:
        recent = self._ledger.find_lifecycle_events(since=self._clock.now() - CHECKPOINT_INTERVAL)
        if any(each.event is LifecycleEventType.CHECKPOINT for each in recent):
            return False
        return not any(
            _is_checkpoint_entry(entry) for entry in self._ledger.iterate_entries(head.entry - 1) if entry.id == head.entry
        )


def _is_checkpoint_entry(entry: LedgerEntry) -> bool:
    try:
        return parse_entry_facts(entry).get("event") == LifecycleEventType.CHECKPOINT
    except ValueError:
        return False
