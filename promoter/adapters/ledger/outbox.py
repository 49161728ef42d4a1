"""`SqlOutbox`: the ledger as a source of events, and what became of them, in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, insert, select

from promoter.adapters.ledger import journal, records
from promoter.adapters.ledger.database import LedgerDatabase
from promoter.adapters.ledger.schema import MOVED, decisions, dispatches
from promoter.adapters.ledger.schema import records as record_table
from promoter.application.ports.outbox import SourceEntryPage
from promoter.domain.audit import RecordedDecision
from promoter.domain.notifications import OPEN_STATES, ChannelCursor, DeliveryAttempt, DeliveryState, SourceEntry

_PAGE_SIZE = 500
_DISPATCH_FIELDS = tuple(each.name for each in fields(DeliveryAttempt))


class SqlOutbox:
    """The port `EventOutbox`, on a ledger's database. Every method may raise `TransientError` or `PermanentError`."""

    def __init__(self, database: LedgerDatabase) -> None:
        """Shares the database with the ledger."""
        self._database = database

    def read_ledger_name(self) -> str:
        """The ledger's name."""
        with self._database.read_transaction() as connection:
            return journal.find_ledger_name(connection)

    def read_source_entries(self, after: int, limit: int) -> SourceEntryPage:
        """The entries behind that number that may be events: records of moves, and decisions that changes waited for."""
        with self._database.read_transaction() as connection:
            moved = (
                select(*records.RECORD_COLUMNS).where(MOVED, record_table.c.id > after).order_by(record_table.c.id).limit(limit)
            )
            gates = select(decisions.c.id, decisions.c.body, decisions.c.hash)
            gates = gates.where(decisions.c.gate.is_(True), decisions.c.id > after).order_by(decisions.c.id).limit(limit)
            found: list[SourceEntry] = [records.parse_record_row(row) for row in connection.execute(moved)]
            found += [_parse_gate_decision(*row) for row in connection.execute(gates)]
            found.sort(key=lambda entry: entry.id)
            upto = found[limit - 1].id if len(found) >= limit else max(after, _find_last_event_entry(connection))
            return SourceEntryPage(found[:limit], upto)

    def start_channel(self, channel: str, at: datetime) -> None:
        """Where no row speaks of the channel, it starts now: one row says so."""
        with self._database.read_transaction() as connection:
            if _find_cursor_entry(connection, channel) is not None:
                return
        with self._database.write_transaction() as connection:
            if _find_cursor_entry(connection, channel) is None:
                _insert_dispatches(
                    connection, [DeliveryAttempt(channel, DeliveryState.STARTED, at, _find_last_event_entry(connection))]
                )

    def read_channel_cursor(self, channel: str) -> ChannelCursor:
        """How it stands with the channel: what waits is searched for, what was delivered is not read."""
        with self._database.read_transaction() as connection:
            last = connection.scalar(select(func.max(dispatches.c.id))) or 0
            waiting = _find_last_dispatches(connection, channel, OPEN_STATES)
            return ChannelCursor(
                channel, _find_cursor_entry(connection, channel) or 0, last, {str(each.event): each for each in waiting}
            )

    def read_delivery_attempts(self, channel: str, after: int) -> Sequence[DeliveryAttempt]:
        """The rows of the channel behind that one, in order, a portion at a time."""
        behind = select(dispatches).where(dispatches.c.id > after, dispatches.c.channel == channel)
        with self._database.read_transaction() as connection:
            return [_parse_dispatch(row) for row in connection.execute(behind.order_by(dispatches.c.id).limit(_PAGE_SIZE))]

    def record_delivery_attempts(self, news: Iterable[DeliveryAttempt]) -> Sequence[DeliveryAttempt]:
        """Record what became of events: all or none."""
        with self._database.write_transaction() as connection:
            return _insert_dispatches(connection, news)

    def list_undelivered_events(
        self, channel: str | None = None, *, dead: bool = False, limit: int = 1_000
    ) -> Sequence[DeliveryAttempt]:
        """What waits or is dead (`dead`: only that), the newest last."""
        with self._database.read_transaction() as connection:
            return _find_last_dispatches(
                connection, channel, (DeliveryState.DEAD,) if dead else (*OPEN_STATES, DeliveryState.DEAD), limit
            )

    def find_undelivered_event(self, number: int) -> DeliveryAttempt | None:
        """The last row of the event and channel that the row of that number is about."""
        requested = dispatches.alias("asked")
        one = select(dispatches).where(
            requested.c.id == number, dispatches.c.channel == requested.c.channel, dispatches.c.event == requested.c.event
        )
        with self._database.read_transaction() as connection:
            row = connection.execute(one.order_by(dispatches.c.id.desc()).limit(1)).one_or_none()
            return _parse_dispatch(row) if row else None

    def count_undelivered_events(self) -> dict[tuple[str, str], int]:
        """How many events wait, and how many are dead, by channel and state."""
        counted: dict[tuple[str, str], int] = {}
        undone = select(dispatches.c.channel, dispatches.c.state, func.count().label("many"))
        undone = undone.where(_is_last_of_event((*OPEN_STATES, DeliveryState.DEAD))).group_by(
            dispatches.c.channel, dispatches.c.state
        )
        with self._database.read_transaction() as connection:
            for row in connection.execute(undone):
                key = (row.channel, DeliveryState.DEAD if row.state == DeliveryState.DEAD else DeliveryState.WAITING)
                counted[key] = counted.get(key, 0) + int(row.many)
        return counted


def _is_last_of_event(states: Sequence[DeliveryState]) -> ColumnElement[bool]:
    """The rows with one of these states behind which nothing is said of the event any more."""
    later = dispatches.alias("later")
    newer = exists().where(
        later.c.channel == dispatches.c.channel, later.c.event == dispatches.c.event, later.c.id > dispatches.c.id
    )
    return dispatches.c.state.in_([each.value for each in states]) & ~newer


def _find_last_dispatches(
    connection: Connection, channel: str | None, states: Sequence[DeliveryState], limit: int | None = None
) -> list[DeliveryAttempt]:
    # Sorted by an expression: by the column, SQLite would walk all rows of the channel rather than search for the few.
    found = select(dispatches).where(_is_last_of_event(states)).order_by((dispatches.c.id + 0).desc()).limit(limit)
    if channel is not None:
        found = found.where(dispatches.c.channel == channel)
    return [_parse_dispatch(row) for row in reversed(connection.execute(found).all())]


def _find_cursor_entry(connection: Connection, channel: str) -> int | None:
    found: int | None = connection.scalar(select(func.max(dispatches.c.entry)).where(dispatches.c.channel == channel))
    return found


def _find_last_event_entry(connection: Connection) -> int:
    """The number of the last entry that can have been an event. Numbers ascend in the order of commits."""
    found = [connection.scalar(select(func.max(table.c.id))) or 0 for table in (record_table, decisions)]
    return max(found)


def _insert_dispatches(connection: Connection, news: Iterable[DeliveryAttempt]) -> list[DeliveryAttempt]:
    last = connection.scalar(select(func.max(dispatches.c.id))) or 0
    kept = [replace(each, id=number) for number, each in enumerate(news, start=last + 1)]
    if kept:
        connection.execute(insert(dispatches), [vars(each) | {"state": each.state.value} for each in kept])
    return kept


def _parse_dispatch(row: Row[Any]) -> DeliveryAttempt:
    values = {name: getattr(row, name) for name in _DISPATCH_FIELDS}
    return DeliveryAttempt(**{**values, "state": DeliveryState(values["state"])})


def _parse_gate_decision(number: int, body: str, hashed: str) -> RecordedDecision:
    """Without its evidence, which is large, and not told."""
    entry = json.loads(body)
    return RecordedDecision(
        id=number,
        at=datetime.fromisoformat(entry["at"]),
        revision=entry.get("revision"),
        tree=entry["tree"],
        evidence=None,
        evidence_digest=entry.get("evidence"),
        gate=True,
        trigger=entry.get("trigger"),
        tool=entry.get("tool"),
        hash=hashed,
    )
