"""The outbox in SQL: the ledger as a source of events for notifications, and the attempts to deliver them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, insert, select

from promoter.adapters.ledger.chain import list_bound_workspaces, read_ledger_name
from promoter.adapters.ledger.database import SqlRepository, reading
from promoter.adapters.ledger.decisions import DECISION_COLUMNS, parse_decision_row
from promoter.adapters.ledger.history import RECORD_COLUMNS, parse_record_row
from promoter.adapters.ledger.observations import EVENT_COLUMNS, parse_lifecycle_event
from promoter.adapters.ledger.schema import (
    MOVED,
    OVERRIDE,
    REPLACED,
    build_equality_condition,
    contents,
    decisions,
    dispatches,
    last_applied,
    lifecycle_events,
    records,
)
from promoter.application.ports.outbox import SourceEntryPage
from promoter.domain.audit import AuditRecord, RecordedDecision, RecordKind
from promoter.domain.identity import RememberedVersion
from promoter.domain.ledger.checkpoints import LifecycleEvent
from promoter.domain.notifications import (
    LIFECYCLE_SOURCES,
    NO_CONTEXT,
    OPEN_STATES,
    ChannelCursor,
    DeliveryAttempt,
    DeliveryState,
    EntryContext,
    SourceEntry,
    is_blocked_change,
    may_be_return,
)

_PAGE_SIZE = 500
_SEARCHED_MOVES = 20
"""So many earlier moves to a version are read to see whether one of them meant the same: nearly always the last one did."""
_DISPATCH_FIELDS = tuple(each.name for each in fields(DeliveryAttempt))


class SqlOutbox(SqlRepository):
    """The port `EventOutbox` on the ledger's database."""

    @reading
    def read_ledger_name(self, connection: Connection) -> str:
        """Read the ledger's name, also of a ledger that somebody forged."""
        return read_ledger_name(connection)

    @reading
    def read_source_entries(self, connection: Connection, after: int, limit: int) -> SourceEntryPage:
        """Read the entries that may be events: records of moves, replacements and overrides, and others that wait for a person.

        The decisions that changes waited for come without their evidence.
        """
        found: list[SourceEntry] = []
        for which in (MOVED, REPLACED, OVERRIDE):
            wanted = select(*RECORD_COLUMNS).where(which, records.c.id > after)
            found += [parse_record_row(row) for row in connection.execute(wanted.order_by(records.c.id).limit(limit))]
        gates = select(*DECISION_COLUMNS).where(decisions.c.gate.is_(True), decisions.c.id > after)
        gate_rows = connection.execute(gates.order_by(decisions.c.id).limit(limit))
        found += [parse_decision_row(row, json.loads(row.body)) for row in gate_rows]
        of_people = lifecycle_events.c.event.in_([each.value for each in LIFECYCLE_SOURCES])
        occurred = select(*EVENT_COLUMNS).where(of_people, lifecycle_events.c.id > after)
        found += map(parse_lifecycle_event, connection.execute(occurred.order_by(lifecycle_events.c.id).limit(limit)))
        found.sort(key=lambda entry: entry.id)
        upto = found[limit - 1].id if len(found) >= limit else max(after, _find_last_event_entry(connection))
        entries = found[:limit]
        named = [] if all(isinstance(each, AuditRecord) for each in entries) else list_bound_workspaces(connection)
        contexts = {each.id: _read_context(connection, each, named) for each in entries}
        return SourceEntryPage(entries, upto, {number: each for number, each in contexts.items() if each != NO_CONTEXT})

    def start_channel(self, channel: str, at: datetime) -> None:
        """Insert a row that the channel starts with the entries to come, unless it has any row."""
        with self._database.read_transaction() as connection:
            if _find_cursor_entry(connection, channel) is not None:
                return
        with self._database.write_transaction() as connection:
            if _find_cursor_entry(connection, channel) is None:
                started = DeliveryAttempt(channel, DeliveryState.STARTED, at, _find_last_event_entry(connection))
                _insert_dispatches(connection, [started])

    @reading
    def read_channel_cursor(self, connection: Connection, channel: str) -> ChannelCursor:
        """Read how far the channel is: what waits is searched for, what was delivered is not read."""
        last = connection.scalar(select(func.max(dispatches.c.id))) or 0
        waiting = {str(each.event): each for each in _find_last_dispatches(connection, channel, OPEN_STATES)}
        return ChannelCursor(channel, _find_cursor_entry(connection, channel) or 0, last, waiting)

    @reading
    def read_delivery_attempts(self, connection: Connection, channel: str, after: int) -> Sequence[DeliveryAttempt]:
        """Read a page of the channel's rows behind that one, in order."""
        behind = select(dispatches).where(dispatches.c.id > after, dispatches.c.channel == channel)
        return [_parse_dispatch(row) for row in connection.execute(behind.order_by(dispatches.c.id).limit(_PAGE_SIZE))]

    def record_delivery_attempts(self, attempts: Iterable[DeliveryAttempt]) -> Sequence[DeliveryAttempt]:
        """Insert a row for each attempt, all or none, and return the attempts with their numbers."""
        with self._database.write_transaction() as connection:
            return _insert_dispatches(connection, attempts)

    @reading
    def list_undelivered_events(
        self, connection: Connection, channel: str | None = None, *, dead: bool = False, limit: int = 1_000
    ) -> Sequence[DeliveryAttempt]:
        """List the last row of each event that waits or is dead, the newest last."""
        states = (DeliveryState.DEAD,) if dead else (*OPEN_STATES, DeliveryState.DEAD)
        return _find_last_dispatches(connection, channel, states, limit)

    @reading
    def find_undelivered_event(self, connection: Connection, number: int) -> DeliveryAttempt | None:
        """Find the last row of the event and channel that the row of that number is about."""
        given = dispatches.alias("given")
        rows = select(dispatches).where(
            given.c.id == number, dispatches.c.channel == given.c.channel, dispatches.c.event == given.c.event
        )
        row = connection.execute(rows.order_by(dispatches.c.id.desc()).limit(1)).one_or_none()
        return _parse_dispatch(row) if row else None

    @reading
    def count_undelivered_events(self, connection: Connection) -> dict[tuple[str, str], int]:
        """Count the events that wait and those that are dead, by channel and state."""
        counted: dict[tuple[str, str], int] = {}
        undelivered = _is_last_of_event((*OPEN_STATES, DeliveryState.DEAD))
        query = select(dispatches.c.channel, dispatches.c.state, func.count().label("many")).where(undelivered)
        for row in connection.execute(query.group_by(dispatches.c.channel, dispatches.c.state)):
            key = (row.channel, DeliveryState.DEAD if row.state == DeliveryState.DEAD else DeliveryState.WAITING)
            counted[key] = counted.get(key, 0) + int(row.many)
        return counted


def _read_context(connection: Connection, entry: SourceEntry, named: Sequence[tuple[int, str | None]]) -> EntryContext:
    """Read what the entries before one, and its evidence, tell of it. `named`: the entries that name the ledger's workspace."""
    if isinstance(entry, AuditRecord):
        return EntryContext(is_return=_has_stood_before(connection, entry)) if may_be_return(entry) else NO_CONTEXT
    workspace = next((name for number, name in reversed(named) if number < entry.id), None)
    if isinstance(entry, LifecycleEvent):
        started = connection.scalar(select(records.c.body).where(records.c.id == entry.facts.get("override"), OVERRIDE))
        return EntryContext(run_id=json.loads(started).get("run_id") if started else None, workspace=workspace)
    if not is_blocked_change(entry):
        return NO_CONTEXT
    digest = entry.evidence_digest
    text = connection.scalar(select(contents.c.body).where(contents.c.digest == digest)) if digest else None
    evidence = json.loads(text) if text else {}
    run, origin = (evidence.get("candidate") or {}).get("run_id"), evidence.get("origin")
    url = origin.get("url") if isinstance(origin, dict) else None
    return EntryContext(_find_holder(connection, entry), run, url, workspace=workspace)


def _find_holder(connection: Connection, decision: RecordedDecision) -> int | None:
    """Find the version that the alias had when the decision was recorded."""
    key = build_equality_condition((records.c.model, decision.tree["model"]), (records.c.alias, decision.tree["alias"]))
    last = select(records.c.to_version).where(MOVED, key, records.c.id < decision.id)
    return connection.scalar(last.order_by(records.c.id.desc()).limit(1))


def _has_stood_before(connection: Connection, record: AuditRecord) -> bool:
    """Find out whether the version that a change put there had stood there before, as git stated it, or as the ledger began.

    That somebody put it there past git does not count, unless git came to say the same. Nor does another version of its number.
    """
    fact, number = record.fact, record.fact.to_version
    of_alias = build_equality_condition((records.c.model, fact.model), (records.c.alias, fact.alias))
    first = select(func.min(records.c.id)).where(MOVED, of_alias).scalar_subquery()
    put_there = (records.c.kind == RecordKind.CHANGE.value) & (records.c.to_version == number)
    moved = select(*RECORD_COLUMNS).where(MOVED, of_alias, records.c.id < record.id, put_there | (records.c.id == first))
    for row in connection.execute(moved.order_by(records.c.id.desc()).limit(_SEARCHED_MOVES)):
        earlier = parse_record_row(row).fact
        if earlier.target.may_be(fact.target) or earlier.origin.may_be(fact.target):
            return True
    agreed = build_equality_condition(
        (last_applied.c.model, fact.model), (last_applied.c.alias, fact.alias), (last_applied.c.version, number)
    )
    bodies = connection.scalars(select(last_applied.c.body).where(agreed, last_applied.c.id < record.id))
    return any(RememberedVersion(number, json.loads(body).get("identity")).may_be(fact.target) for body in bodies)


def _is_last_of_event(states: Sequence[DeliveryState]) -> ColumnElement[bool]:
    """Build the condition that a row has one of these states and is the last one of its event and channel."""
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
    """Find the last entry that may be an event; whatever is committed later has a higher number."""
    found = [connection.scalar(select(func.max(table.c.id))) or 0 for table in (records, decisions, lifecycle_events)]
    return max(found)


def _insert_dispatches(connection: Connection, attempts: Iterable[DeliveryAttempt]) -> list[DeliveryAttempt]:
    last = connection.scalar(select(func.max(dispatches.c.id))) or 0
    numbered = [replace(each, id=number) for number, each in enumerate(attempts, start=last + 1)]
    if numbered:
        connection.execute(insert(dispatches), [vars(each) | {"state": each.state.value} for each in numbered])
    return numbered


def _parse_dispatch(row: Row[Any]) -> DeliveryAttempt:
    values = {name: getattr(row, name) for name in _DISPATCH_FIELDS}
    return DeliveryAttempt(**{**values, "state": DeliveryState(values["state"])})
