"""Webhook deliveries and revisions, in SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from promoter.adapters.ledger.schema import deliveries, revisions, same
from promoter.domain.audit import Delivery, RevisionState


def delivered(connection: Connection, delivery: Delivery) -> bool:
    """Whether a delivery of that source and id is recorded."""
    of_id = same((deliveries.c.source, delivery.source), (deliveries.c.id, delivery.id))
    return bool(connection.scalar(select(select(deliveries.c.id).where(of_id).exists())))


def insert_delivery(connection: Connection, delivery: Delivery) -> None:
    """One row."""
    connection.execute(insert(deliveries).values(vars(delivery)))


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


def insert_mark(connection: Connection, revision: str, state: RevisionState, at: datetime, detail: str | None) -> None:
    """One row."""
    connection.execute(insert(revisions).values(revision=revision, state=state.value, at=at, detail=detail))
