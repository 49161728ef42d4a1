"""Audit records in SQL: intents, their outcomes, observations, and what follows from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, except_, exists, func, insert, or_, select

from promoter.adapters.ledger.schema import CLOSING, INTENDED, MOVED, OVERRIDE, among, among_all, records, same
from promoter.adapters.ledger.store import LEDGER
from promoter.domain.audit import AuditRecord, Kind, NewRecord, Outcome, RecordFilter
from promoter.domain.faults import Refused

Places = dict[str, dict[str, int | None]]
"""Model to alias to version."""


def insert_one(connection: Connection, record: NewRecord, decision: int | None = None) -> int:
    """The new row's id."""
    key = connection.execute(insert(records).values(row_of(record) | {"decision": decision})).inserted_primary_key
    return int(key[0]) if key else 0


def insert_intent(connection: Connection, record: NewRecord, decision: int | None) -> int:
    """The new row's id."""
    return insert_one(connection, replace(record, outcome=Outcome.INTENDED), decision)


def insert_outcome(connection: Connection, intent: int, outcome: Outcome, at: datetime, detail: str | None) -> NewRecord:
    """Close an intent with its own facts, which are returned. Raises `Refused` where there is none, or where it is closed."""
    found = connection.execute(select(records).where(records.c.id == intent, INTENDED)).one_or_none()
    if found is None:
        raise Refused(LEDGER, f"there is no intent {intent}")
    earlier = connection.scalar(select(records.c.outcome).where(records.c.intent == intent))
    if earlier is not None:
        raise Refused(LEDGER, f"intent {intent} is closed already: {earlier}")
    opened = record_of(found)
    closed = replace(opened.fact, at=at, outcome=outcome, reason=detail or opened.fact.reason)
    connection.execute(insert(records).values(row_of(closed) | {"intent": intent, "decision": opened.decision}))
    return closed


def insert_observed(connection: Connection, news: Iterable[NewRecord]) -> None:
    """All of them, in order."""
    rows = [row_of(record) for record in news]
    if rows:
        connection.execute(insert(records), rows)


def not_yet_recorded(connection: Connection, news: Iterable[NewRecord]) -> list[NewRecord]:
    """The first for each model and alias of which no record speaks; that an override began says nothing of where it was."""
    firsts: dict[tuple[str, str], NewRecord] = {}
    for record in news:
        firsts.setdefault((record.model, record.alias), record)
    for condition in among(records.c.model, {model for model, _ in firsts}):
        known_ones = select(records.c.model, records.c.alias).where(~OVERRIDE).distinct()
        for known in _where(connection, known_ones, condition):
            firsts.pop((known.model, known.alias), None)
    return list(firsts.values())


def find_open(connection: Connection, models: Collection[str] | None) -> list[AuditRecord]:
    """Intents without an outcome, in ascending order of id."""
    if models is None:
        # Both sides come out of an index in order, so that the database merges them: no sorting, no table rows.
        intended, closed = select(records.c.id).where(INTENDED), select(records.c.intent).where(CLOSING)
        ids = connection.scalars(except_(intended, closed).order_by("id")).all()
        rows = [row for part in among(records.c.id, ids) for row in _where(connection, select(records), part)]
    else:
        closing = records.alias("closing")
        left_open = select(records).where(INTENDED, ~exists().where(closing.c.intent == records.c.id))
        rows = [row for part in among(records.c.model, models) for row in _where(connection, left_open, part)]
    return sorted((record_of(row) for row in rows), key=lambda record: record.id)


def last_moves(connection: Connection, models: Collection[str] | None) -> Places:
    """Where the last record that moved each alias left it."""
    found: Places = {}
    for condition in among(records.c.model, models):
        newest = select(func.max(records.c.id)).where(MOVED).group_by(records.c.model, records.c.alias)
        if condition is not None:
            newest = newest.where(condition)
        last = select(records.c.model, records.c.alias, records.c.to_version).where(records.c.id.in_(newest))
        for model, alias, version in connection.execute(last):
            found.setdefault(model, {})[alias] = version
    return found


def find_moves(connection: Connection, asked: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[AuditRecord]]:
    """The records that moved an alias, in ascending order of id, by model and alias; nothing for one that never moved."""
    found: dict[tuple[str, str], list[AuditRecord]] = {each: [] for each in asked}
    for condition in among_all((records.c.model, records.c.alias), asked):
        rows = connection.execute(select(records).where(MOVED, condition))
        for row in sorted(rows, key=lambda row: int(row.id)):
            found[row.model, row.alias].append(record_of(row))
    return found


def moved_to(connection: Connection, model: str, alias: str, version: int) -> bool:
    """Whether a record moved the alias to the version, or the first one moved it away from there."""
    of_alias = same((records.c.model, model), (records.c.alias, alias))
    first = select(func.min(records.c.id)).where(MOVED, of_alias).scalar_subquery()
    arrived = select(records.c.id).where(MOVED, of_alias, records.c.to_version == version)
    left = select(records.c.id).where(records.c.id == first, records.c.from_version == version)
    return bool(connection.scalar(select(or_(arrived.exists(), left.exists()))))


def find(connection: Connection, where: RecordFilter) -> list[AuditRecord]:
    """In ascending order of id."""
    given = {"model": where.model, "alias": where.alias, "kind": where.kind, "outcome": where.outcome}
    conditions = [records.c[name] == str(value) for name, value in given.items() if value is not None]
    if where.after is not None:
        conditions.append(records.c.id > where.after)
    order = records.c.id.desc() if where.newest else records.c.id
    rows = connection.execute(select(records).where(*conditions).order_by(order).limit(where.limit)).all()
    return [record_of(row) for row in (reversed(rows) if where.newest else rows)]


def _where(connection: Connection, query: Select[Any], condition: ColumnElement[bool] | None) -> Sequence[Row[Any]]:
    return connection.execute(query if condition is None else query.where(condition)).all()


def row_of(record: NewRecord) -> dict[str, Any]:
    """As it is inserted."""
    row = dict(vars(record))
    row["kind"] = record.kind.value
    row["outcome"] = record.outcome.value if record.outcome else None
    return row


def record_of(row: Row[Any]) -> AuditRecord:
    """As it is told."""
    facts = row._asdict()
    told = {name: facts[name] for name in NewRecord.__dataclass_fields__}
    told["kind"] = Kind(told["kind"])
    told["outcome"] = Outcome(told["outcome"]) if told["outcome"] else None
    return AuditRecord(facts["id"], NewRecord(**told), facts["intent"], facts["decision"], facts["hash"])
