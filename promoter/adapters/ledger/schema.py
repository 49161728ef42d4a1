"""The tables of the ledger, as the newest migration leaves them. Rows are only ever inserted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    literal,
    or_,
    tuple_,
)
from sqlalchemy.types import TypeDecorator

SCHEMA = "0003"
"""The revision of the newest migration: a database that says so needs none, and Alembic is not even imported."""

VERSION_TABLE = "ledger_version"
"""Not Alembic's own name for it, so that the ledger can share a database with MLflow."""

_CHUNK = 1_000


class UtcTime(TypeDecorator[datetime]):
    """An aware time, to the microsecond. SQLite keeps it as text of fixed width in UTC, so that its order is that of time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC. Raises ValueError for a time without a zone."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a zone does not belong in the ledger")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_ID = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER names SQLite's row id
metadata = MetaData()


def _word(value: str) -> ColumnElement[str]:
    """A constant that is written into the statement: a bound one would not match the condition of an index."""
    return literal(value, literal_execute=True)


decisions = Table(
    "decisions",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("model", Text, nullable=False),
    Column("alias", Text),
    Column("version", Integer, nullable=False),
    Column("policy", Text),
    Column("digest", Text, nullable=False),
    Column("revision", Text),
    Column("tree", JSON, nullable=False),
    Column("evidence", JSON(none_as_null=True)),
    Index("decisions_of", "model", "alias", "version", "id"),
)

records = Table(
    "records",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("kind", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("from_version", Integer),
    Column("to_version", Integer),
    Column("revision", Text),
    Column("actor", Text),
    Column("trigger", Text),
    Column("policy", Text),
    Column("verdict", Text),
    Column("outcome", Text),
    Column("reason", Text),
    Column("cause", Text),
    Column("review", JSON(none_as_null=True)),
    Column("until", UtcTime),
    Column("intent", _ID, ForeignKey("records.id")),
    Column("decision", _ID, ForeignKey("decisions.id")),
    Column("hash", Text),
    Index("records_of", "model", "alias", "id"),
)

MOVED = or_(
    records.c.kind == _word("observed"),
    records.c.outcome == _word("applied"),
    records.c.outcome == _word("recovered"),
)
"""The rows that say that an alias did move: `promoter.domain.audit.moved` as a condition."""

OVERRIDE = records.c.kind == _word("override")
INTENDED = records.c.outcome == _word("intended")
CLOSING = records.c.intent.is_not(None)


def _partial(name: str, where: ColumnElement[bool], *columns: Column[Any], unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_partial("records_moved", MOVED, records.c.model, records.c.alias, records.c.to_version, records.c.id)
_partial("records_intended", INTENDED, records.c.id)
_partial("records_intent", CLOSING, records.c.intent, unique=True)

_partial("records_overrides", OVERRIDE, records.c.model, records.c.alias, records.c.id)

deliveries = Table(
    "deliveries",
    metadata,
    Column("source", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("event", Text, nullable=False),
    Column("model", Text),
)

settled = Table(
    "settled",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("model", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("version", Integer),
    Column("revision", Text),
    Column("at", UtcTime, nullable=False),
    Index("settled_of", "model", "alias", "version", "id"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("revision", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("detail", Text),
    Index("revisions_of", "revision", "id"),
    Index("revisions_in", "state", "id"),
)

sightings = Table(
    "sightings",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("tag", Text, nullable=False),
    Column("value", Text),
    Column("at", UtcTime, nullable=False),
    Index("sightings_of", "model", "version", "created_at", "tag", "id"),
)

guard_checks = Table(
    "guard_checks",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("model", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("rule", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Index("guard_checks_of", "model", "alias", "id"),
)


def same(*pairs: tuple[Column[Any], object]) -> ColumnElement[bool]:
    """Each column has that value, None included."""
    return and_(*(column.is_(None) if value is None else column == value for column, value in pairs))


def among(of: Column[Any], chosen: Collection[Any] | None) -> Iterator[ColumnElement[bool] | None]:
    """Conditions that together cover those values, few enough each for any database; one None where all are meant."""
    if chosen is None:
        yield None
        return
    for part in _parts(chosen):
        yield of.in_(part)


def among_all(columns: Sequence[Column[Any]], keys: Collection[tuple[Any, ...]]) -> Iterator[ColumnElement[bool]]:
    """The same for columns that together are a key."""
    for part in _parts(keys):
        # For the tuples alone, SQLite would read its whole index; what each column may be lets it search.
        each_column = zip(columns, zip(*part, strict=True), strict=True)
        yield and_(*(column.in_(sorted(set(values))) for column, values in each_column), tuple_(*columns).in_(part))


def _parts(chosen: Collection[Any]) -> Iterator[Sequence[Any]]:
    ordered: Sequence[Any] = sorted(set(chosen))
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start : start + _CHUNK]
