"""Overrides in SQL: a record that begins one, and a record that ends it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, select

from promoter.adapters.ledger import records as audit
from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.schema import OVERRIDE, split_in_conditions, records
from promoter.adapters.ledger.store import LEDGER
from promoter.domain.audit import AuditRecord, RecordKind, NewAuditRecord
from promoter.domain.faults import PermanentError
from promoter.domain.override import Override


def insert_override_start(chain: ChainWriter, record: NewAuditRecord) -> int:
    """The new row's id. Raises ValueError for a record that is no override, or lacks what one needs."""
    if record.kind is not RecordKind.OVERRIDE or not (record.until and record.to_version and record.actor and record.reason):
        raise ValueError("an override has a version, a person, a reason and an end")
    return audit.insert_record(chain, record)


def insert_override_end(chain: ChainWriter, override: int, at: datetime, reason: str) -> NewAuditRecord | None:
    """End an override with its own facts, which are returned; None where it has ended. Raises `PermanentError` where there is none."""
    began = select(*audit.RECORD_COLUMNS).where(records.c.id == override, OVERRIDE, records.c.intent.is_(None))
    found = chain.connection.execute(began).one_or_none()
    if found is None:
        raise PermanentError(LEDGER, f"there is no override {override}")
    if chain.connection.scalar(select(records.c.id).where(records.c.intent == override)) is not None:
        return None
    ended = replace(audit.parse_record_row(found).fact, at=at, reason=reason)
    audit.insert_record(chain, ended, override)
    return ended


def find_open_overrides(connection: Connection, models: Collection[str] | None) -> list[Override]:
    """Those that nothing has ended, expired ones too, oldest first."""
    ended = select(records.c.intent).where(OVERRIDE, records.c.intent.is_not(None))
    left = select(*audit.RECORD_COLUMNS).where(OVERRIDE, records.c.intent.is_(None), records.c.id.not_in(ended))
    parts = [left if part is None else left.where(part) for part in split_in_conditions(records.c.model, models)]
    rows = [row for query in parts for row in connection.execute(query)]
    return [_build_override(audit.parse_record_row(row)) for row in sorted(rows, key=lambda row: int(row.id))]


def _build_override(record: AuditRecord) -> Override:
    fact = record.fact
    if fact.to_version is None or fact.reason is None or fact.actor is None or fact.until is None:
        raise PermanentError(LEDGER, f"record {record.id} is an override without a version, a person, a reason or an end")
    return Override(
        record.id, fact.at, fact.model, fact.alias, fact.to_version, fact.from_version, fact.reason, fact.actor, fact.until
    )
