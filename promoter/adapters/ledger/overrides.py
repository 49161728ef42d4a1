"""Overrides in SQL: a record that begins one, and a record that ends it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, select

from promoter.adapters.ledger import records as audit
from promoter.adapters.ledger.schema import OVERRIDE, among, records
from promoter.adapters.ledger.store import LEDGER
from promoter.domain.audit import Kind, NewRecord
from promoter.domain.faults import Refused
from promoter.domain.override import Override


def insert_begin(connection: Connection, record: NewRecord) -> int:
    """The new row's id. Raises ValueError for a record that is no override, or lacks what one needs."""
    if record.kind is not Kind.OVERRIDE or not (record.until and record.to_version and record.actor and record.reason):
        raise ValueError("an override has a version, a person, a reason and an end")
    return audit.insert_one(connection, record)


def insert_end(connection: Connection, override: int, at: datetime, reason: str) -> NewRecord | None:
    """End an override with its own facts, which are returned; None where it has ended. Raises `Refused` where there is none."""
    found = connection.execute(
        select(records).where(records.c.id == override, OVERRIDE, records.c.intent.is_(None))
    ).one_or_none()
    if found is None:
        raise Refused(LEDGER, f"there is no override {override}")
    if connection.scalar(select(records.c.id).where(records.c.intent == override)) is not None:
        return None
    ended = replace(audit.record_of(found).fact, at=at, reason=reason)
    connection.execute(insert(records).values(audit.row_of(ended) | {"intent": override}))
    return ended


def find_open(connection: Connection, models: Collection[str] | None) -> list[Override]:
    """Those that nothing has ended, expired ones too, oldest first."""
    ended = select(records.c.intent).where(OVERRIDE, records.c.intent.is_not(None))
    left = select(records).where(OVERRIDE, records.c.intent.is_(None), records.c.id.not_in(ended))
    parts = [left if part is None else left.where(part) for part in among(records.c.model, models)]
    rows = [row for query in parts for row in connection.execute(query)]
    return [
        Override(row.id, row.at, row.model, row.alias, row.to_version, row.from_version, row.reason, row.actor, row.until)
        for row in sorted(rows, key=lambda row: int(row.id))
    ]
