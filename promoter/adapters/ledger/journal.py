"""Webhook deliveries, revisions and milestones, in SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Row, select

from promoter.adapters.ledger.chain import Chain
from promoter.adapters.ledger.schema import deliveries, milestones, revisions, same
from promoter.domain.audit import Delivery, RevisionState
from promoter.domain.ledger.milestones import Event, Milestone

_WHOLE: Sequence[Column[Any]] = (milestones.c.id, milestones.c.body)
_RECENT = 100
_OWN = frozenset({"id", "previous", "table", "at", "event"})


def delivered(connection: Connection, delivery: Delivery) -> bool:
    """Whether a delivery of that source and id is recorded."""
    of_id = same((deliveries.c.source, delivery.source), (deliveries.c.delivery, delivery.id))
    return bool(connection.scalar(select(select(deliveries.c.id).where(of_id).exists())))


def insert_delivery(chain: Chain, delivery: Delivery) -> None:
    """One entry."""
    told = {"source": delivery.source, "delivery": delivery.id, "at": delivery.at}
    chain.append(deliveries, {**told, "event": delivery.event, "model": delivery.model})


def last_revision(connection: Connection, state: RevisionState) -> str | None:
    """The revision last marked with that state."""
    newest = select(revisions.c.revision).where(revisions.c.state == state.value).order_by(revisions.c.id.desc())
    found: str | None = connection.scalar(newest.limit(1))
    return found


def marked(connection: Connection, revision: str, state: RevisionState, detail: str | None) -> bool:
    """Whether that is the last thing said of the revision, and the revision the last with that state."""
    query = select(revisions).where(revisions.c.revision == revision).order_by(revisions.c.id.desc()).limit(1)
    last = connection.execute(query).one_or_none()
    return (
        last is not None and (last.state, last.detail) == (state.value, detail) and last_revision(connection, state) == revision
    )


def insert_mark(chain: Chain, revision: str, state: RevisionState, at: datetime, detail: str | None) -> None:
    """One entry."""
    chain.append(revisions, {"revision": revision, "state": state.value, "at": at, "detail": detail})


def insert_milestone(chain: Chain, milestone: Milestone) -> int:
    """One entry; its number."""
    return chain.append(milestones, {**milestone.told, "at": milestone.at, "event": milestone.event.value})


def find_milestones(connection: Connection, since: datetime | None, until: datetime | None) -> Sequence[Milestone]:
    """Those from one moment up to another, in order."""
    query = select(*_WHOLE).order_by(milestones.c.id)
    query = query if since is None else query.where(milestones.c.at >= since)
    query = query if until is None else query.where(milestones.c.at <= until)
    return [_milestone(row) for row in connection.execute(query)]


def last_looked(connection: Connection) -> datetime | None:
    """The latest moment up to which one of the last milestones says that everything is recorded."""
    watches = milestones.c.event.in_([Event.STARTED.value, Event.WATCHING.value, Event.STOPPED.value])
    newest = select(*_WHOLE).where(watches).order_by(milestones.c.id.desc()).limit(_RECENT)
    looked = (_milestone(row).told.get("looked") for row in connection.execute(newest))
    return max((datetime.fromisoformat(each) for each in looked if each), default=None)


def ledger_name(connection: Connection) -> str:
    """What the ledger was called when it was opened; empty where it never was. Also of a ledger that somebody tampered with."""
    query = select(milestones.c.body).order_by(milestones.c.id)
    first = connection.scalar(query.limit(1))
    name = _opened(first or "")
    if name is None and first:
        # Somebody put another one in its place, or made it unreadable: which of them it is, no column can be asked.
        name = next((found for body in connection.scalars(query) if (found := _opened(body)) is not None), None)
    return name or ""


def _opened(body: str) -> str | None:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return str(said.get("ledger", "")) if isinstance(said, dict) and said.get("event") == Event.OPENED else None


def _milestone(row: Row[Any]) -> Milestone:
    said = json.loads(row.body)
    told = {name: fact for name, fact in said.items() if name not in _OWN}
    return Milestone(datetime.fromisoformat(said["at"]), Event(said["event"]), told, int(row.id))
