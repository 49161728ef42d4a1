"""`SqlOutbox`: the ledger as a source of events, and what became of them, in SQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, insert, select

from promoter.adapters.ledger import journal, records
from promoter.adapters.ledger.database import Database
from promoter.adapters.ledger.schema import MOVED, decisions, dispatches
from promoter.adapters.ledger.schema import records as record_table
from promoter.application.ports.outbox import Page
from promoter.domain.audit import RecordedDecision
from promoter.domain.notices.dispatches import OPEN, Dispatch, Standing, State
from promoter.domain.notices.events import Told

_PAGE = 500
_NAMES = tuple(each.name for each in fields(Dispatch))


class SqlOutbox:
    """The port `Outbox`, on a ledger's database. Every method may raise `Unavailable` or `Refused`."""

    def __init__(self, database: Database) -> None:
        """Shares the database with the ledger."""
        self._database = database

    def ledger(self) -> str:
        """The ledger's name."""
        with self._database.read() as connection:
            return journal.ledger_name(connection)

    def listen(self, call: Callable[[], None]) -> None:
        """Call that whenever this program has added to the ledger."""
        self._database.appended = call

    def happened(self, after: int, limit: int) -> Page:
        """The entries behind that number that may be events: records of moves, and decisions that changes waited for."""
        with self._database.read() as connection:
            moved = select(*records.WHOLE).where(MOVED, record_table.c.id > after).order_by(record_table.c.id).limit(limit)
            gates = select(decisions.c.id, decisions.c.body, decisions.c.hash)
            gates = gates.where(decisions.c.gate.is_(True), decisions.c.id > after).order_by(decisions.c.id).limit(limit)
            found: list[Told] = [records.record_of(row) for row in connection.execute(moved)]
            found += [_decision(*row) for row in connection.execute(gates)]
            found.sort(key=lambda entry: entry.id)
            upto = found[limit - 1].id if len(found) >= limit else max(after, _last(connection))
            return Page(found[:limit], upto)

    def begin(self, channel: str, at: datetime) -> None:
        """Where no row speaks of the channel, it starts now: one row says so."""
        with self._database.read() as connection:
            if _upto(connection, channel) is not None:
                return
        with self._database.write() as connection:
            if _upto(connection, channel) is None:
                _insert(connection, [Dispatch(channel, State.STARTED, at, _last(connection))])

    def standing(self, channel: str) -> Standing:
        """How it stands with the channel: what waits is searched for, what was delivered is not read."""
        with self._database.read() as connection:
            last = connection.scalar(select(func.max(dispatches.c.id))) or 0
            waiting = _letters(connection, channel, OPEN)
            return Standing(channel, _upto(connection, channel) or 0, last, {str(each.event): each for each in waiting})

    def rows(self, channel: str, after: int) -> Sequence[Dispatch]:
        """The rows of the channel behind that one, in order, a portion at a time."""
        behind = select(dispatches).where(dispatches.c.id > after, dispatches.c.channel == channel)
        with self._database.read() as connection:
            return [_dispatch(row) for row in connection.execute(behind.order_by(dispatches.c.id).limit(_PAGE))]

    def keep(self, news: Iterable[Dispatch]) -> Sequence[Dispatch]:
        """Record what became of events: all or none."""
        with self._database.write() as connection:
            return _insert(connection, news)

    def letters(self, channel: str | None = None, *, dead: bool = False, limit: int = 1_000) -> Sequence[Dispatch]:
        """What waits or is dead (`dead`: only that), the newest last."""
        with self._database.read() as connection:
            return _letters(connection, channel, (State.DEAD,) if dead else (*OPEN, State.DEAD), limit)

    def letter(self, number: int) -> Dispatch | None:
        """The last row of the event and channel that the row of that number is about."""
        asked = dispatches.alias("asked")
        one = select(dispatches).where(
            asked.c.id == number, dispatches.c.channel == asked.c.channel, dispatches.c.event == asked.c.event
        )
        with self._database.read() as connection:
            row = connection.execute(one.order_by(dispatches.c.id.desc()).limit(1)).one_or_none()
            return _dispatch(row) if row else None

    def counts(self) -> dict[tuple[str, str], int]:
        """How many events wait, and how many are dead, by channel and state."""
        counted: dict[tuple[str, str], int] = {}
        undone = select(dispatches.c.channel, dispatches.c.state, func.count().label("many"))
        undone = undone.where(_last_of_event((*OPEN, State.DEAD))).group_by(dispatches.c.channel, dispatches.c.state)
        with self._database.read() as connection:
            for row in connection.execute(undone):
                key = (row.channel, State.DEAD if row.state == State.DEAD else State.WAITING)
                counted[key] = counted.get(key, 0) + int(row.many)
        return counted


def _last_of_event(states: Sequence[State]) -> ColumnElement[bool]:
    """The rows with one of these states behind which nothing is said of the event any more."""
    later = dispatches.alias("later")
    newer = exists().where(
        later.c.channel == dispatches.c.channel, later.c.event == dispatches.c.event, later.c.id > dispatches.c.id
    )
    return dispatches.c.state.in_([each.value for each in states]) & ~newer


def _letters(connection: Connection, channel: str | None, states: Sequence[State], limit: int | None = None) -> list[Dispatch]:
    # Sorted by an expression: by the column, SQLite would walk all rows of the channel rather than search for the few.
    found = select(dispatches).where(_last_of_event(states)).order_by((dispatches.c.id + 0).desc()).limit(limit)
    if channel is not None:
        found = found.where(dispatches.c.channel == channel)
    return [_dispatch(row) for row in reversed(connection.execute(found).all())]


def _upto(connection: Connection, channel: str) -> int | None:
    found: int | None = connection.scalar(select(func.max(dispatches.c.entry)).where(dispatches.c.channel == channel))
    return found


def _last(connection: Connection) -> int:
    """The number of the last entry that can have been an event. Numbers ascend in the order of commits."""
    found = [connection.scalar(select(func.max(table.c.id))) or 0 for table in (record_table, decisions)]
    return max(found)


def _insert(connection: Connection, news: Iterable[Dispatch]) -> list[Dispatch]:
    last = connection.scalar(select(func.max(dispatches.c.id))) or 0
    kept = [replace(each, id=number) for number, each in enumerate(news, start=last + 1)]
    if kept:
        connection.execute(insert(dispatches), [vars(each) | {"state": each.state.value} for each in kept])
    return kept


def _dispatch(row: Row[Any]) -> Dispatch:
    told = {name: getattr(row, name) for name in _NAMES}
    return Dispatch(**{**told, "state": State(told["state"])})


def _decision(number: int, body: str, hashed: str) -> RecordedDecision:
    """Without its evidence, which is large, and not told."""
    said = json.loads(body)
    return RecordedDecision(
        id=number,
        at=datetime.fromisoformat(said["at"]),
        revision=said.get("revision"),
        tree=said["tree"],
        evidence=None,
        evidence_digest=said.get("evidence"),
        gate=True,
        trigger=said.get("trigger"),
        tool=said.get("tool"),
        hash=hashed,
    )
