"""Audit records in SQL: intents, their outcomes, observations, and what follows from them."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, except_, exists, func, or_, select

from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.schema import (
    CLOSING,
    INTENDED,
    MOVED,
    OVERRIDE,
    split_in_conditions,
    split_key_conditions,
    records,
    build_equality_condition,
)
from promoter.adapters.ledger.store import LEDGER
from promoter.domain.audit import AuditRecord, RecordKind, NewAuditRecord, ChangeOutcome, RecordFilter
from promoter.domain.faults import PermanentError

AliasVersions = dict[str, dict[str, int | None]]
"""Model to alias to version."""

RECORD_COLUMNS: Sequence[Column[Any]] = (records.c.id, records.c.body, records.c.hash)
"""What a record is made from; every other column is computed from it."""

_FIELD_KEYS = {"from_version": "from", "to_version": "to"}
_NEAREST_LIMIT = 20
_TIME_FIELDS = ("at", "until", "not_before")


def insert_record(chain: ChainWriter, record: NewAuditRecord, intent: int | None = None, decision: int | None = None) -> int:
    """The new entry's number. `intent`: the record that this one closes or ends."""
    return chain.append_entry(records, build_record_facts(record) | {"intent": intent, "decision": decision})


def insert_intent(chain: ChainWriter, record: NewAuditRecord, decision: int | None) -> int:
    """The new entry's number."""
    return insert_record(chain, replace(record, outcome=ChangeOutcome.INTENDED), decision=decision)


def insert_outcome(chain: ChainWriter, intent: int, outcome: ChangeOutcome, at: datetime, detail: str | None) -> NewAuditRecord:
    """Close an intent with its own facts, which are returned. Raises `PermanentError` where there is none, or where it is closed."""
    found = chain.connection.execute(select(*RECORD_COLUMNS).where(records.c.id == intent, INTENDED)).one_or_none()
    if found is None:
        raise PermanentError(LEDGER, f"there is no intent {intent}")
    earlier = chain.connection.scalar(select(records.c.outcome).where(records.c.intent == intent))
    if earlier is not None:
        raise PermanentError(LEDGER, f"intent {intent} is closed already: {earlier}")
    opened = parse_record_row(found)
    closed = replace(opened.fact, at=at, outcome=outcome, reason=detail or opened.fact.reason)
    insert_record(chain, closed, intent, opened.decision)
    return closed


def insert_observed_moves(chain: ChainWriter, news: Iterable[NewAuditRecord]) -> None:
    """All of them, in order."""
    chain.append_entries(records, (build_record_facts(record) for record in news))


def select_unrecorded(connection: Connection, news: Iterable[NewAuditRecord]) -> list[NewAuditRecord]:
    """The first for each model and alias of which no record speaks; that an override began says nothing of where it was."""
    firsts: dict[tuple[str, str], NewAuditRecord] = {}
    for record in news:
        firsts.setdefault((record.model, record.alias), record)
    for condition in split_in_conditions(records.c.model, {model for model, _ in firsts}):
        known_ones = select(records.c.model, records.c.alias).where(~OVERRIDE).distinct()
        for known in _fetch_rows(connection, known_ones, condition):
            firsts.pop((known.model, known.alias), None)
    return list(firsts.values())


def select_continuing_moves(connection: Connection, news: Iterable[NewAuditRecord]) -> list[NewAuditRecord]:
    """Those that begin where the last record that moved the alias left it, or the one before them in the list."""
    waiting, found = list(news), []
    known = find_last_versions(connection, {record.model for record in waiting})
    for record in waiting:
        places = known.setdefault(record.model, {})
        if places.get(record.alias) == record.from_version:
            places[record.alias] = record.to_version
            found.append(record)
    return found


def find_open_intents(connection: Connection, models: Collection[str] | None) -> list[AuditRecord]:
    """Intents without an outcome, in ascending order of id."""
    if models is None:
        # Both sides come out of an index in order, so that the database merges them: no sorting, no table rows.
        intended, closed = select(records.c.id).where(INTENDED), select(records.c.intent).where(CLOSING)
        ids = connection.scalars(except_(intended, closed).order_by("id")).all()
        rows = [
            row
            for part in split_in_conditions(records.c.id, ids)
            for row in _fetch_rows(connection, select(*RECORD_COLUMNS), part)
        ]
    else:
        closing = records.alias("closing")
        left_open = select(*RECORD_COLUMNS).where(INTENDED, ~exists().where(closing.c.intent == records.c.id))
        rows = [
            row for part in split_in_conditions(records.c.model, models) for row in _fetch_rows(connection, left_open, part)
        ]
    return sorted((parse_record_row(row) for row in rows), key=lambda record: record.id)


def find_last_versions(connection: Connection, models: Collection[str] | None) -> AliasVersions:
    """Where the last record that moved each alias left it."""
    found: AliasVersions = {}
    for condition in split_in_conditions(records.c.model, models):
        newest = select(func.max(records.c.id)).where(MOVED).group_by(records.c.model, records.c.alias)
        if condition is not None:
            newest = newest.where(condition)
        last = select(records.c.model, records.c.alias, records.c.to_version).where(records.c.id.in_(newest))
        for model, alias, version in connection.execute(last):
            found.setdefault(model, {})[alias] = version
    return found


def find_alias_moves(connection: Connection, aliases: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[AuditRecord]]:
    """The records that moved an alias, in ascending order of id, by model and alias; nothing for one that never moved."""
    found: dict[tuple[str, str], list[AuditRecord]] = {each: [] for each in aliases}
    for condition in split_key_conditions((records.c.model, records.c.alias), aliases):
        for row in sorted(connection.execute(select(*RECORD_COLUMNS).where(MOVED, condition)), key=lambda row: int(row.id)):
            record = parse_record_row(row)
            found[record.fact.model, record.fact.alias].append(record)
    return found


def find_last_recorded_times(connection: Connection, aliases: Collection[tuple[str, str]]) -> dict[tuple[str, str], datetime]:
    """When the last record of each alias that moved it was made."""
    found = {}
    for condition in split_key_conditions((records.c.model, records.c.alias), aliases):
        newest = select(func.max(records.c.id)).where(MOVED, condition).group_by(records.c.model, records.c.alias)
        last = select(records.c.model, records.c.alias, records.c.at).where(records.c.id.in_(newest))
        found.update({(model, alias): at for model, alias, at in connection.execute(last)})
    return found


def find_last_moves_at(
    connection: Connection, at: datetime, models: Collection[str] | None
) -> dict[tuple[str, str], AuditRecord]:
    """The last record up to that moment that moved each alias."""
    return _find_nearest_moves(connection, records.c.at <= at, func.max, models)


def find_first_moves_after(
    connection: Connection, at: datetime, models: Collection[str] | None
) -> dict[tuple[str, str], AuditRecord]:
    """The first record after that moment that moved each alias."""
    return _find_nearest_moves(connection, records.c.at > at, func.min, models)


def find_moves_around(
    connection: Connection, model: str, alias: str, at: datetime
) -> tuple[AuditRecord | None, AuditRecord | None]:
    """The same of one alias: two steps in an index, however many records it has.

    Entries are in the order of what happened, and clocks of replicas may differ a little: of the nearest few by the clock it is
    their numbers that tell which was last, and which came next.
    """
    moves = (
        select(*RECORD_COLUMNS)
        .where(MOVED, build_equality_condition((records.c.model, model), (records.c.alias, alias)))
        .limit(_NEAREST_LIMIT)
    )
    before = moves.where(records.c.at <= at).order_by(records.c.at.desc(), records.c.id.desc())
    behind = moves.where(records.c.at > at).order_by(records.c.at, records.c.id)
    last = max(connection.execute(before), key=lambda row: int(row.id), default=None)
    later = [row for row in connection.execute(behind) if last is None or row.id > last.id]
    following = min(later, key=lambda row: int(row.id), default=None)
    return parse_record_row(last) if last else None, parse_record_row(following) if following else None


def _find_nearest_moves(
    connection: Connection, when: ColumnElement[bool], nearest: Callable[..., Any], models: Collection[str] | None
) -> dict[tuple[str, str], AuditRecord]:
    found = {}
    key = (records.c.model, records.c.alias)
    for condition in split_in_conditions(records.c.model, models):
        # By number, not by time: entries are in the order of what happened, and clocks of replicas may differ a little.
        ids = select(nearest(records.c.id)).where(MOVED, when).group_by(*key)
        ids = ids if condition is None else ids.where(condition)
        for row in connection.execute(select(*RECORD_COLUMNS).where(records.c.id.in_(ids))):
            record = parse_record_row(row)
            found[record.fact.model, record.fact.alias] = record
    return found


def has_alias_moved_to(connection: Connection, model: str, alias: str, version: int) -> bool:
    """Whether a record moved the alias to the version, or the first one moved it away from there."""
    of_alias = build_equality_condition((records.c.model, model), (records.c.alias, alias))
    first = select(func.min(records.c.id)).where(MOVED, of_alias).scalar_subquery()
    arrived = select(records.c.id).where(MOVED, of_alias, records.c.to_version == version)
    left = select(records.c.id).where(records.c.id == first, records.c.from_version == version)
    return bool(connection.scalar(select(or_(arrived.exists(), left.exists()))))


def find_record(connection: Connection, number: int) -> AuditRecord | None:
    """The record of that number."""
    row = connection.execute(select(*RECORD_COLUMNS).where(records.c.id == number)).one_or_none()
    return parse_record_row(row) if row else None


def find_records(connection: Connection, where: RecordFilter) -> list[AuditRecord]:
    """In ascending order of id."""
    names = ("model", "alias", "kind", "outcome", "actor", "verdict")
    conditions = [records.c[name] == str(getattr(where, name)) for name in names if getattr(where, name) is not None]
    bounds = (
        (where.after, operator.gt, records.c.id),
        (where.before, operator.lt, records.c.id),
        (where.since, operator.ge, records.c.at),
        (where.until, operator.lt, records.c.at),
    )
    conditions += [compare(column, value) for value, compare, column in bounds if value is not None]
    order = records.c.id.desc() if where.newest else records.c.id
    rows = connection.execute(select(*RECORD_COLUMNS).where(*conditions).order_by(order).limit(where.limit)).all()
    return [parse_record_row(row) for row in (reversed(rows) if where.newest else rows)]


def _fetch_rows(connection: Connection, query: Select[Any], condition: ColumnElement[bool] | None) -> Sequence[Row[Any]]:
    return connection.execute(query if condition is None else query.where(condition)).all()


def build_record_facts(record: NewAuditRecord) -> dict[str, Any]:
    """As an entry tells it: in the words of `AuditRecord.as_json`."""
    return {_FIELD_KEYS.get(name, name): fact for name, fact in vars(record).items()}


def parse_record_row(row: Row[Any]) -> AuditRecord:
    """As it was told."""
    body = json.loads(row.body)
    facts = {name: body.get(_FIELD_KEYS.get(name, name)) for name in NewAuditRecord.__dataclass_fields__}
    facts |= {name: datetime.fromisoformat(facts[name]) for name in _TIME_FIELDS if facts[name] is not None}
    facts["kind"] = RecordKind(facts["kind"])
    facts["outcome"] = ChangeOutcome(facts["outcome"]) if facts["outcome"] else None
    return AuditRecord(row.id, NewAuditRecord(**facts), body.get("intent"), body.get("decision"), row.hash)
