"""The tables of the ledger, as the newest migration leaves them. Rows are only ever inserted.

An entry is its `body`, a line of canonical JSON; every other column but `id` and `hash` is computed from it by the database
itself, for searching, so that no column can say anything else than what was hashed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    FetchedValue,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    and_,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.types import TypeDecorator

from promoter.domain.identity import RememberedVersion
from promoter.domain.ledger.chain import format_ledger_time

LEDGER = "ledger"
"""The system that errors name as their origin."""

SCHEMA_REVISION = "0005"
"""The revision of the newest migration: a database at this revision needs none, and Alembic is not even imported."""

VERSION_TABLE = "ledger_version"
"""Not Alembic's own name for it, so that the ledger can share a database with MLflow."""

_CONDITION_CHUNK_SIZE = 1_000


class UtcTime(TypeDecorator[datetime]):
    """An aware time, stored as text of fixed width in UTC, to the microsecond, so that texts sort by time."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Convert a time to text. Raises ValueError for a time without a zone."""
        return format_ledger_time(value) if value else None

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Convert text to an aware time in UTC."""
        return datetime.fromisoformat(value) if value else None


_ID = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER names SQLite's row id
metadata = MetaData()


def _inline_literal(value: str) -> ColumnElement[str]:
    """Write a constant into the statement itself: a bound one would not match the condition of an index."""
    return literal(value, literal_execute=True)


def _define_computed_columns(kind: Any, *names: str) -> list[Column[Any]]:
    """Define columns that the database computes from the body."""
    return [Column(name, kind, FetchedValue()) for name in names]


def _define_entry_table(name: str, *columns: Column[Any] | Index) -> Table:
    """Define a table of entries: each has a moment, and columns of its own."""
    return Table(
        name,
        metadata,
        Column("id", _ID, primary_key=True, autoincrement=False),
        Column("body", Text, nullable=False),
        Column("hash", Text, nullable=False),
        *_define_computed_columns(UtcTime, "at"),
        *columns,
    )


decisions = _define_entry_table(
    "decisions",
    *_define_computed_columns(Text, "model", "alias", "digest", "evidence", "policy_digest", "approvers"),
    *_define_computed_columns(_ID, "version"),
    *_define_computed_columns(Boolean, "gate"),
    Index("decisions_of", "model", "alias", "version", "id"),
)

records = _define_entry_table(
    "records",
    *_define_computed_columns(Text, "kind", "model", "alias", "actor", "verdict", "outcome"),
    *_define_computed_columns(_ID, "from_version", "to_version", "intent", "decision"),
    Index("records_of", "model", "alias", "id"),
    Index("records_at", "at", "id"),
    Index("records_by", "actor", "id"),
    Index("records_judged", "verdict", "id"),
    Index("records_ended", "outcome", "id"),
)

MOVED = or_(
    records.c.kind == _inline_literal("observed"),
    records.c.outcome == _inline_literal("applied"),
    records.c.outcome == _inline_literal("recovered"),
)
"""The records that say that an alias moved: `promoter.domain.audit.is_alias_move` as a condition."""

REPLACED = records.c.kind == _inline_literal("replaced")
"""The records that say that a number stands for another version now."""
OVERRIDE = records.c.kind == _inline_literal("override")
"""The records that begin or end an override."""
INTENDED = records.c.outcome == _inline_literal("intended")
"""The records that open a change."""
CLOSING = records.c.intent.is_not(None)
"""The records that close an intent, or end an override."""


def _define_partial_index(name: str, where: ColumnElement[bool], *columns: Column[Any], unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_define_partial_index("records_moved", MOVED, records.c.model, records.c.alias, records.c.to_version, records.c.id)
_define_partial_index("records_stood", MOVED, records.c.model, records.c.alias, records.c.at, records.c.id)
_define_partial_index("records_intended", INTENDED, records.c.id)
_define_partial_index("records_intent", CLOSING, records.c.intent, unique=True)
_define_partial_index("records_overrides", OVERRIDE, records.c.model, records.c.alias, records.c.id)

deliveries = _define_entry_table(
    "deliveries",
    *_define_computed_columns(Text, "source", "delivery"),
    Index("deliveries_of", "source", "delivery", unique=True),
)

last_applied = _define_entry_table(
    "settled",
    *_define_computed_columns(Text, "model", "alias", "revision"),
    *_define_computed_columns(_ID, "version"),
    Index("settled_of", "model", "alias", "version", "id"),
)

revisions = _define_entry_table(
    "revisions",
    *_define_computed_columns(Text, "revision", "state", "detail"),
    Index("revisions_of", "revision", "id"),
    Index("revisions_in", "state", "id"),
)

tag_observations = _define_entry_table(
    "sightings",
    *_define_computed_columns(Text, "model", "tag", "value"),
    *_define_computed_columns(_ID, "version"),
    *_define_computed_columns(UtcTime, "created_at"),
    Index("sightings_of", "model", "version", "created_at", "tag", "id"),
)

guard_checks = _define_entry_table(
    "guard_checks",
    *_define_computed_columns(Text, "model", "alias", "rule", "verdict"),
    *_define_computed_columns(_ID, "version"),
    Index("guard_checks_of", "model", "alias", "id"),
)

lifecycle_events = _define_entry_table(
    "milestones", *_define_computed_columns(Text, "event"), Index("milestones_at", "at", "id")
)

contents = Table(
    "contents",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
)
"""Texts by their SHA-256, which decisions name: evidence, policies, approvers. Not themselves part of the chain."""

dispatches = Table(
    "dispatches",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=False),
    Column("channel", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("entry", _ID, nullable=False),
    Column("event", Text),
    Column("attempts", _ID, nullable=False),
    Column("since", UtcTime),
    Column("due", UtcTime),
    Column("detail", Text),
    Index("dispatches_of", "channel", "event", "id"),
    Index("dispatches_in", "state", "channel", "id"),
    Index("dispatches_since", "channel", "id"),
    Index("dispatches_upto", "channel", "entry"),
)
"""Attempts to deliver the events of entries on each channel. Not part of the chain: they are not about the registry."""

CHAINED = (decisions, deliveries, guard_checks, lifecycle_events, records, revisions, last_applied, tag_observations)
"""The tables that share one chain."""


def build_equality_condition(*pairs: tuple[Column[Any], object]) -> ColumnElement[bool]:
    """Build the condition that each column has its value, None included."""
    return and_(*(column.is_(None) if value is None else column == value for column, value in pairs))


def split_in_conditions(column: Column[Any], values: Collection[Any] | None) -> Iterator[ColumnElement[bool]]:
    """Build conditions that together cover these values, each short enough for any database; None means every row."""
    if values is None:
        yield true()
        return
    for part in _split_sorted_chunks(values):
        yield column.in_(part)


def split_key_conditions(columns: Sequence[Column[Any]], keys: Collection[tuple[Any, ...]]) -> Iterator[ColumnElement[bool]]:
    """Build conditions like `split_in_conditions`, for columns that together are a key."""
    for part in _split_sorted_chunks(keys):
        # For the tuples alone, SQLite would read its whole index; what each column may be lets it search.
        each_column = zip(columns, zip(*part, strict=True), strict=True)
        yield and_(*(column.in_(sorted(set(values))) for column, values in each_column), tuple_(*columns).in_(part))


def _split_sorted_chunks(values: Collection[Any]) -> Iterator[Sequence[Any]]:
    ordered: Sequence[Any] = sorted(set(values))
    for start in range(0, len(ordered), _CONDITION_CHUNK_SIZE):
        yield ordered[start : start + _CONDITION_CHUNK_SIZE]


def select_last_of_each(
    key: Sequence[Column[Any]], columns: Sequence[Column[Any]], *where: ColumnElement[bool]
) -> Select[tuple[Any, ...]]:
    """Select columns of the last entry for each value of the key, among the entries that meet the conditions."""
    number = key[0].table.c.id
    return select(*columns).where(number.in_(select(func.max(number)).where(*where).group_by(*key)))


def fetch_rows(connection: Connection, query: Select[Any], conditions: Iterable[ColumnElement[bool]]) -> Iterator[Row[Any]]:
    """Run a query once for each condition, and yield all rows."""
    for condition in conditions:
        yield from connection.execute(query.where(condition))


def fetch_last_versions(
    connection: Connection, version: Column[Any], identity: str, models: Collection[str] | None, *where: ColumnElement[bool]
) -> dict[str, dict[str, RememberedVersion]]:
    """Fetch, by model and alias, the version in that column of the alias's last entry that meets the conditions.

    `identity`: the key in the entry's body under which the identity of that version stands, if it was recorded.
    """
    table = version.table
    key, facts = (table.c.model, table.c.alias), (version, table.c.at, table.c.body)
    found: dict[str, dict[str, RememberedVersion]] = {}
    for condition in split_in_conditions(key[0], models):
        for model, alias, number, at, body in connection.execute(select_last_of_each(key, (*key, *facts), *where, condition)):
            remembered = RememberedVersion(number, json.loads(body).get(identity), at)
            found.setdefault(model, {})[alias] = remembered
    return found
