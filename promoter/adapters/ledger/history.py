"""The past of aliases in SQL, behind `history --at` and `--between`: which record moved an alias last, next, or ever."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, func, select

from promoter.adapters.ledger.database import SqlRepository, reading
from promoter.adapters.ledger.schema import (
    MOVED,
    build_equality_condition,
    decisions,
    fetch_last_versions,
    fetch_rows,
    last_applied,
    records,
    select_last_of_each,
    split_in_conditions,
    split_key_conditions,
)
from promoter.domain.audit import AliasKey, AuditRecord, ChangeOutcome, NewAuditRecord, RecordKind
from promoter.domain.identity import PresentVersion, RememberedVersion

RECORD_COLUMNS: Sequence[Column[Any]] = (records.c.id, records.c.body, records.c.hash)
"""The columns that `parse_record_row` needs; every other one is computed from the body."""

ALIAS_COLUMNS = (records.c.model, records.c.alias)
FIELD_KEYS = {"from_version": "from", "to_version": "to"}
_NEAREST_LIMIT = 20
_TIME_FIELDS = ("at", "until", "not_before")


class SqlAliasHistory(SqlRepository):
    """The part of the port `AuditLog` that reads the moves of aliases."""

    @reading
    def find_alias_moves(
        self, connection: Connection, aliases: Collection[AliasKey]
    ) -> Mapping[AliasKey, Sequence[AuditRecord]]:
        """Find the records that moved each alias, oldest first; an empty list for one that never moved."""
        found: dict[AliasKey, list[AuditRecord]] = {key: [] for key in aliases}
        rows = fetch_rows(connection, select(*RECORD_COLUMNS).where(MOVED), split_key_conditions(ALIAS_COLUMNS, aliases))
        for record in map(parse_record_row, sorted(rows, key=get_number)):
            found[record.fact.model, record.fact.alias].append(record)
        return found

    @reading
    def has_held_alias(self, connection: Connection, model: str, alias: str, version: PresentVersion) -> bool:
        """Whether git and the registry agreed on the version, a record moved the alias to it, or the first one away from it.

        A record that means another version of that number does not count.
        """
        number = version.number
        of_alias = build_equality_condition((records.c.model, model), (records.c.alias, alias))
        first = select(func.min(records.c.id)).where(MOVED, of_alias).scalar_subquery()
        agreed = build_equality_condition(
            (last_applied.c.model, model), (last_applied.c.alias, alias), (last_applied.c.version, number)
        )
        ways = (
            ("identity", select(last_applied.c.body).where(agreed)),
            ("to_identity", select(records.c.body).where(MOVED, of_alias, records.c.to_version == number)),
            ("from_identity", select(records.c.body).where(records.c.id == first, records.c.from_version == number)),
        )
        return any(each.is_still(version) for each in _iterate_remembered(connection, number, ways))

    @reading
    def knows_other_version(self, connection: Connection, model: str, version: PresentVersion) -> bool:
        """Whether an agreement, a record or a decision about that number means another version."""
        number = version.number
        agreed = select(last_applied.c.body).where(last_applied.c.model == model, last_applied.c.version == number)
        arrived = select(records.c.body).where(records.c.model == model, records.c.to_version == number)
        left = select(records.c.body).where(records.c.model == model, records.c.from_version == number)
        decided = select(decisions.c.body).where(decisions.c.model == model, decisions.c.version == number)
        ways = (("identity", agreed), ("to_identity", arrived), ("from_identity", left), ("identity", decided))
        return not all(each.is_still(version) for each in _iterate_remembered(connection, number, ways))

    @reading
    def last_recorded_at(self, connection: Connection, aliases: Collection[AliasKey]) -> Mapping[AliasKey, datetime]:
        """Return when the last record that moved each alias was made."""
        found: dict[AliasKey, datetime] = {}
        for condition in split_key_conditions(ALIAS_COLUMNS, aliases):
            query = select_last_of_each(ALIAS_COLUMNS, (*ALIAS_COLUMNS, records.c.at), MOVED, condition)
            found.update({(model, alias): at for model, alias, at in connection.execute(query)})
        return found

    @reading
    def read_last_known_versions(
        self, connection: Connection, models: Collection[str] | None = None
    ) -> Mapping[str, Mapping[str, RememberedVersion]]:
        """Read where the last record that moved each alias left it."""
        return fetch_last_versions(connection, records.c.to_version, "to_identity", models, MOVED)

    @reading
    def last_moves_at(
        self, connection: Connection, at: datetime, models: Collection[str] | None = None
    ) -> Mapping[AliasKey, AuditRecord]:
        """Find the last record up to that moment that moved each alias."""
        return _find_nearest_moves(connection, records.c.at <= at, func.max, models)

    @reading
    def first_moves_after(
        self, connection: Connection, at: datetime, models: Collection[str] | None = None
    ) -> Mapping[AliasKey, AuditRecord]:
        """Find the first record after that moment that moved each alias."""
        return _find_nearest_moves(connection, records.c.at > at, func.min, models)

    @reading
    def moves_around(
        self, connection: Connection, model: str, alias: str, at: datetime
    ) -> tuple[AuditRecord | None, AuditRecord | None]:
        """Take two steps in an index, however many records the alias has.

        Entries are in the order of what happened, and clocks of replicas may differ a little: of the nearest few by the clock,
        their numbers decide which was last, and which came next.
        """
        of_alias = build_equality_condition((records.c.model, model), (records.c.alias, alias))
        moves = select(*RECORD_COLUMNS).where(MOVED, of_alias).limit(_NEAREST_LIMIT)
        before = moves.where(records.c.at <= at).order_by(records.c.at.desc(), records.c.id.desc())
        after = moves.where(records.c.at > at).order_by(records.c.at, records.c.id)
        last = max(connection.execute(before), key=get_number, default=None)
        later = [row for row in connection.execute(after) if last is None or row.id > last.id]
        following = min(later, key=get_number, default=None)
        return parse_record_row(last) if last else None, parse_record_row(following) if following else None


def parse_record_row(row: Row[Any]) -> AuditRecord:
    """Parse a row of `RECORD_COLUMNS`."""
    body = json.loads(row.body)
    facts = {name: body.get(FIELD_KEYS.get(name, name)) for name in NewAuditRecord.__dataclass_fields__}
    facts |= {name: datetime.fromisoformat(facts[name]) for name in _TIME_FIELDS if facts[name] is not None}
    facts["kind"] = RecordKind(facts["kind"])
    facts["outcome"] = ChangeOutcome(facts["outcome"]) if facts["outcome"] else None
    return AuditRecord(row.id, NewAuditRecord(**facts), body.get("intent"), body.get("decision"), row.hash)


def _iterate_remembered(
    connection: Connection, number: int, ways: Iterable[tuple[str, Select[Any]]]
) -> Iterator[RememberedVersion]:
    """Yield the versions of that number that entries mean, by the key of their identity and the query for their bodies."""
    for identity, query in ways:
        for body in map(json.loads, connection.scalars(query)):
            known = body.get("tree", body).get(identity)  # a decision has it in its tree
            yield RememberedVersion(number, known, datetime.fromisoformat(body["at"]))


def get_number(row: Row[Any]) -> int:
    """Return the number of the entry, for sorting."""
    return int(row.id)


def _find_nearest_moves(
    connection: Connection, when: ColumnElement[bool], nearest: Callable[..., Any], models: Collection[str] | None
) -> dict[AliasKey, AuditRecord]:
    found = {}
    for condition in split_in_conditions(records.c.model, models):
        # By number, not by time: entries are in the order of what happened, and clocks of replicas may differ a little.
        numbers = select(nearest(records.c.id)).where(MOVED, when, condition).group_by(*ALIAS_COLUMNS)
        for row in connection.execute(select(*RECORD_COLUMNS).where(records.c.id.in_(numbers))):
            record = parse_record_row(row)
            found[record.fact.model, record.fact.alias] = record
    return found
