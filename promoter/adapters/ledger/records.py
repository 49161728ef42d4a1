"""Audit records in SQL: intents, their outcomes, observations, and what follows from them."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, except_, exists, func, or_, select

from promoter.adapters.ledger import decisions
from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.database import OpenLedger
from promoter.adapters.ledger.engines import LEDGER
from promoter.adapters.ledger.schema import (
    CLOSING,
    INTENDED,
    MOVED,
    OVERRIDE,
    build_equality_condition,
    last_applied,
    records,
    split_in_conditions,
    split_key_conditions,
)
from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordFilter, RecordKind
from promoter.domain.decision import Decision
from promoter.domain.desired import Override
from promoter.domain.errors import PermanentError
from promoter.domain.plan import ChangeCause

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


def insert_override_start(chain: ChainWriter, record: NewAuditRecord) -> int:
    """The new row's id. Raises ValueError for a record that is no override, or lacks what one needs."""
    if record.kind is not RecordKind.OVERRIDE or not (record.until and record.to_version and record.actor and record.reason):
        raise ValueError("an override has a version, a person, a reason and an end")
    return insert_record(chain, record)


def insert_override_end(chain: ChainWriter, override: int, at: datetime, reason: str) -> NewAuditRecord | None:
    """End an override with its own facts, which are returned; None where it has ended. Raises `PermanentError` where there is none."""
    began = select(*RECORD_COLUMNS).where(records.c.id == override, OVERRIDE, records.c.intent.is_(None))
    found = chain.connection.execute(began).one_or_none()
    if found is None:
        raise PermanentError(LEDGER, f"there is no override {override}")
    if chain.connection.scalar(select(records.c.id).where(records.c.intent == override)) is not None:
        return None
    ended = replace(parse_record_row(found).fact, at=at, reason=reason)
    insert_record(chain, ended, override)
    return ended


def find_open_overrides(connection: Connection, models: Collection[str] | None) -> list[Override]:
    """Those that nothing has ended, expired ones too, oldest first."""
    ended = select(records.c.intent).where(OVERRIDE, records.c.intent.is_not(None))
    left = select(*RECORD_COLUMNS).where(OVERRIDE, records.c.intent.is_(None), records.c.id.not_in(ended))
    parts = [left if part is None else left.where(part) for part in split_in_conditions(records.c.model, models)]
    rows = [row for query in parts for row in connection.execute(query)]
    return [_build_override(parse_record_row(row)) for row in sorted(rows, key=lambda row: int(row.id))]


def _build_override(record: AuditRecord) -> Override:
    fact = record.fact
    if fact.to_version is None or fact.reason is None or fact.actor is None or fact.until is None:
        raise PermanentError(LEDGER, f"record {record.id} is an override without a version, a person, a reason or an end")
    return Override(
        record.id, fact.at, fact.model, fact.alias, fact.to_version, fact.from_version, fact.reason, fact.actor, fact.until
    )


AppliedVersion = tuple[str, str, int | None]
"""Model, alias, version."""

UNDECLARED = 0
"""In place of a version: git stopped saying anything of the alias, and what was agreed on counts no more."""


def find_last_applied(connection: Connection, models: Collection[str] | None) -> AliasVersions:
    """What was agreed on last, by model and alias."""
    found: AliasVersions = {}
    for condition in split_in_conditions(last_applied.c.model, models):
        newest = select(func.max(last_applied.c.id)).group_by(last_applied.c.model, last_applied.c.alias)
        if condition is not None:
            newest = newest.where(condition)
        last = select(last_applied.c.model, last_applied.c.alias, last_applied.c.version).where(last_applied.c.id.in_(newest))
        for model, alias, version in connection.execute(last):
            if version != UNDECLARED:
                found.setdefault(model, {})[alias] = version
    return found


def select_new_last_applied(
    connection: Connection, news: Collection[AppliedVersion], *, only_first: bool
) -> list[AppliedVersion]:
    """The statements that say something else than the last one did; with `only_first`, where there is none."""
    known = find_last_applied(connection, {model for model, _, _ in news})
    fresh = []
    for model, alias, version in news:
        versions = known.get(model, {})
        if alias not in versions or (versions[alias] != version and not only_first):
            fresh.append((model, alias, version))
    return fresh


def insert_last_applied(chain: ChainWriter, news: Iterable[AppliedVersion], revision: str | None, at: datetime) -> None:
    """All of them."""
    common = {"revision": revision, "at": at}
    facts = ({"model": model, "alias": alias, "version": version} for model, alias, version in news)
    chain.append_entries(last_applied, (each | common for each in facts))


def find_last_applied_revision(connection: Connection, model: str, alias: str) -> str | None:
    """The revision of the last statement that was agreed on; None where there is none, or where it came from no revision."""
    of_alias = build_equality_condition((last_applied.c.model, model), (last_applied.c.alias, alias))
    stated = or_(last_applied.c.version.is_(None), last_applied.c.version != UNDECLARED)
    last = select(last_applied.c.revision).where(of_alias, stated).order_by(last_applied.c.id.desc()).limit(1)
    found: str | None = connection.scalar(last)
    return found


def was_ever_applied(connection: Connection, model: str, alias: str, version: int) -> bool:
    """Whether git and the registry ever agreed on that version."""
    condition = build_equality_condition(
        (last_applied.c.model, model), (last_applied.c.alias, alias), (last_applied.c.version, version)
    )
    return bool(connection.scalar(select(select(last_applied.c.id).where(condition).exists())))


class SqlAuditLog(OpenLedger):
    """Audit records."""

    def record_intent(self, record: NewAuditRecord, decision: Decision | None) -> int:
        """Make an intent durable before its write; the intent's id. Records the decision behind it, once."""
        with self._database.append_transaction() as chain:
            basis = decisions.insert_decision_once(chain, decision, record.revision, record.trigger) if decision else None
            return insert_intent(chain, record, basis)

    def record_outcome(self, intent: int, outcome: str, at: datetime, detail: str | None = None) -> None:
        """The outcome of an intent: `applied`, `failed` or `recovered`. A second one is refused.

        `detail` becomes its reason; without one, the intent's reason stays. What moved as intended is settled with it, unless
        git does not say so yet: an override stands in for it.
        """
        closing = ChangeOutcome(outcome)
        if closing is ChangeOutcome.INTENDED:
            raise ValueError("an intent is closed by an outcome, not by another intent")
        with self._database.append_transaction() as chain:
            fact = insert_outcome(chain, intent, closing, at, detail)
            if closing is not ChangeOutcome.FAILED and fact.cause != ChangeCause.OVERRIDE:
                applied = [(fact.model, fact.alias, fact.to_version)]
                agreed = select_new_last_applied(chain.connection, applied, only_first=False)
                insert_last_applied(chain, agreed, fact.revision, at)

    def record_override(self, record: NewAuditRecord) -> int:
        """Record that an override begins: its version, person, reason and end; its id."""
        with self._database.append_transaction() as chain:
            return insert_override_start(chain, record)

    def find_open_overrides(self, models: Collection[str] | None = None) -> Sequence[Override]:
        """Those that nothing has ended yet, expired ones too, oldest first."""
        with self._database.read_transaction() as connection:
            return find_open_overrides(connection, models)

    def end_override(self, override: int, at: datetime, reason: str, *, revision: str | None = None) -> None:
        """Record that it is over, and why; one that has ended is no error. `revision`: git says by now what it said."""
        with self._database.append_transaction() as chain:
            fact = insert_override_end(chain, override, at, reason)
            if fact is not None and revision is not None:
                applied = [(fact.model, fact.alias, fact.to_version)]
                agreed = select_new_last_applied(chain.connection, applied, only_first=False)
                insert_last_applied(chain, agreed, revision, at)

    def find_open_intents(self, models: Collection[str] | None = None) -> Sequence[AuditRecord]:
        """Intents without an outcome: a crash, or a write under way."""
        with self._database.read_transaction() as connection:
            return find_open_intents(connection, models)

    def record_observed_moves(
        self, news: Iterable[NewAuditRecord], *, only_first: bool = False, only_next: bool = False
    ) -> None:
        """Record alias changes that the registry shows and Promoter did not make.

        `only_first`: skip those for whose model and alias anything is recorded already; `only_next`: those that do not begin
        where the ledger last saw the alias, since somebody else has recorded them meanwhile. In the same transaction.
        """
        waiting = list(news)
        if only_first and waiting:
            with self._database.read_transaction() as connection:
                waiting = select_unrecorded(connection, waiting)
        if not waiting:
            return
        with self._database.append_transaction() as chain:
            fresh = select_unrecorded(chain.connection, waiting) if only_first else waiting
            insert_observed_moves(chain, select_continuing_moves(chain.connection, fresh) if only_next else fresh)

    def last_recorded_at(self, aliases: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], datetime]:
        """When the ledger last recorded where each of these aliases stands; nothing for one that it never did."""
        with self._database.read_transaction() as connection:
            return find_last_recorded_times(connection, aliases)

    def read_last_known_versions(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """Model to alias to the version that the ledger last saw it at (None: deleted)."""
        with self._database.read_transaction() as connection:
            return find_last_versions(connection, models)

    def find_alias_moves(self, aliases: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[AuditRecord]]:
        """The records that say that an alias did move, oldest first, for each model and alias that is asked for."""
        with self._database.read_transaction() as connection:
            return find_alias_moves(connection, aliases)

    def last_moves_at(self, at: datetime, models: Collection[str] | None = None) -> Mapping[tuple[str, str], AuditRecord]:
        """The last record up to that moment that says that an alias moved, by model and alias."""
        with self._database.read_transaction() as connection:
            return find_last_moves_at(connection, at, models)

    def first_moves_after(self, at: datetime, models: Collection[str] | None = None) -> Mapping[tuple[str, str], AuditRecord]:
        """The first record after that moment that says that an alias moved, by model and alias."""
        with self._database.read_transaction() as connection:
            return find_first_moves_after(connection, at, models)

    def moves_around(self, model: str, alias: str, at: datetime) -> tuple[AuditRecord | None, AuditRecord | None]:
        """Of one alias: the last record up to that moment that says that it moved, and the first after it."""
        with self._database.read_transaction() as connection:
            return find_moves_around(connection, model, alias, at)

    def find_audit_record(self, number: int) -> AuditRecord | None:
        """The audit record of that number."""
        with self._database.read_transaction() as connection:
            return find_record(connection, number)

    def find_audit_records(self, where: RecordFilter) -> Sequence[AuditRecord]:
        """Audit records in ascending order of id."""
        with self._database.read_transaction() as connection:
            return find_records(connection, where)
