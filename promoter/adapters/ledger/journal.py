"""Webhook deliveries, revisions and milestones, in SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Row, select

from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.schema import deliveries, lifecycle_events, revisions, build_equality_condition
from promoter.domain.audit import WebhookDelivery, RevisionState
from promoter.domain.ledger.milestones import LifecycleEventType, LifecycleEvent

_EVENT_COLUMNS: Sequence[Column[Any]] = (lifecycle_events.c.id, lifecycle_events.c.body)
_RECENT_EVENT_LIMIT = 100
_ENVELOPE_KEYS = frozenset({"id", "previous", "table", "at", "event"})


def is_delivery_recorded(connection: Connection, delivery: WebhookDelivery) -> bool:
    """Whether a delivery of that source and id is recorded."""
    of_id = build_equality_condition((deliveries.c.source, delivery.source), (deliveries.c.delivery, delivery.id))
    return bool(connection.scalar(select(select(deliveries.c.id).where(of_id).exists())))


def insert_delivery(chain: ChainWriter, delivery: WebhookDelivery) -> None:
    """One entry."""
    facts = {"source": delivery.source, "delivery": delivery.id, "at": delivery.at}
    chain.append_entry(deliveries, {**facts, "event": delivery.event, "model": delivery.model})


def find_last_revision(connection: Connection, state: RevisionState) -> str | None:
    """The revision last marked with that state."""
    newest = select(revisions.c.revision).where(revisions.c.state == state.value).order_by(revisions.c.id.desc())
    found: str | None = connection.scalar(newest.limit(1))
    return found


def is_revision_marked(connection: Connection, revision: str, state: RevisionState, detail: str | None) -> bool:
    """Whether that is the last thing said of the revision, and the revision the last with that state."""
    query = select(revisions).where(revisions.c.revision == revision).order_by(revisions.c.id.desc()).limit(1)
    last = connection.execute(query).one_or_none()
    return (
        last is not None
        and (last.state, last.detail) == (state.value, detail)
        and find_last_revision(connection, state) == revision
    )


def insert_revision_mark(chain: ChainWriter, revision: str, state: RevisionState, at: datetime, detail: str | None) -> None:
    """One entry."""
    chain.append_entry(revisions, {"revision": revision, "state": state.value, "at": at, "detail": detail})


def insert_lifecycle_event(chain: ChainWriter, event: LifecycleEvent) -> int:
    """One entry; its number."""
    return chain.append_entry(lifecycle_events, {**event.facts, "at": event.at, "event": event.event.value})


def find_lifecycle_events(connection: Connection, since: datetime | None, until: datetime | None) -> Sequence[LifecycleEvent]:
    """Those from one moment up to another, in order."""
    query = select(*_EVENT_COLUMNS).order_by(lifecycle_events.c.id)
    query = query if since is None else query.where(lifecycle_events.c.at >= since)
    query = query if until is None else query.where(lifecycle_events.c.at <= until)
    return [_parse_lifecycle_event(row) for row in connection.execute(query)]


def find_observed_until(connection: Connection) -> datetime | None:
    """The latest moment up to which one of the last milestones says that everything is recorded."""
    watches = lifecycle_events.c.event.in_(
        [LifecycleEventType.STARTED.value, LifecycleEventType.WATCHING.value, LifecycleEventType.STOPPED.value]
    )
    newest = select(*_EVENT_COLUMNS).where(watches).order_by(lifecycle_events.c.id.desc()).limit(_RECENT_EVENT_LIMIT)
    moments = (_parse_lifecycle_event(row).facts.get("looked") for row in connection.execute(newest))
    return max((datetime.fromisoformat(each) for each in moments if each), default=None)


def find_ledger_name(connection: Connection) -> str:
    """What the ledger was called when it was opened; empty where it never was. Also of a ledger that somebody tampered with."""
    query = select(lifecycle_events.c.body).order_by(lifecycle_events.c.id)
    first = connection.scalar(query.limit(1))
    name = _parse_ledger_name(first or "")
    if name is None and first:
        # Somebody put another one in its place, or made it unreadable: which of them it is, no column can be asked.
        name = next((found for body in connection.scalars(query) if (found := _parse_ledger_name(body)) is not None), None)
    return name or ""


def _parse_ledger_name(body: str) -> str | None:
    try:
        entry = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return str(entry.get("ledger", "")) if isinstance(entry, dict) and entry.get("event") == LifecycleEventType.OPENED else None


def _parse_lifecycle_event(row: Row[Any]) -> LifecycleEvent:
    entry = json.loads(row.body)
    facts = {name: fact for name, fact in entry.items() if name not in _ENVELOPE_KEYS}
    return LifecycleEvent(datetime.fromisoformat(entry["at"]), LifecycleEventType(entry["event"]), facts, int(row.id))
