"""The part of the port that is about the ledger itself: its chain, milestones, and what came in from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, delete, except_, func, select, text

from promoter.adapters.ledger import chain
from promoter.adapters.ledger.chain import ChainWriter
from promoter.adapters.ledger.database import OpenLedger
from promoter.adapters.ledger.engines import LEDGER
from promoter.adapters.ledger.schema import (
    build_equality_condition,
    contents,
    decisions,
    deliveries,
    lifecycle_events,
    revisions,
    split_in_conditions,
)
from promoter.domain.audit import RevisionState, WebhookDelivery
from promoter.domain.errors import PermanentError
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.ledger.export import ExportedText

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


class SqlJournal(OpenLedger):
    """The chain, milestones, webhook deliveries, revisions."""

    def read_chain_head(self) -> LedgerHead:
        """The last entry of the chain."""
        with self._database.read_transaction() as connection:
            return replace(chain.read_chain_head(connection), ledger=find_ledger_name(connection))

    def iterate_entries(self, after: int = 0) -> Iterator[LedgerEntry]:
        """Every entry behind that number in order, as it is kept, streamed in a transaction that ends with it."""
        with self._database.read_transaction() as connection:
            yield from chain.stream_entries(connection, after)

    def iterate_entries_and_texts(self, after: int = 0) -> Iterator[LedgerEntry | ExportedText]:
        """Every entry behind that number, and then every text that these refer to, streamed in one transaction."""
        with self._database.read_transaction() as connection:
            yield from chain.stream_entries(connection, after)
            yield from chain.stream_referenced_blobs(connection, after)

    def record_lifecycle_event(self, milestone: LifecycleEvent) -> int:
        """Record something that happened to the ledger itself, or to who watches; its number."""
        with self._database.append_transaction() as end:
            return insert_lifecycle_event(end, milestone)

    def find_lifecycle_events(self, since: datetime | None = None, until: datetime | None = None) -> Sequence[LifecycleEvent]:
        """Those from a moment up to another, oldest first."""
        with self._database.read_transaction() as connection:
            return find_lifecycle_events(connection, since, until)

    def observed_until(self) -> datetime | None:
        """Whatever moved before this moment is recorded, as the last one who watched said; None: nobody said so."""
        with self._database.read_transaction() as connection:
            return find_observed_until(connection)

    def record_delivery(self, delivery: WebhookDelivery) -> bool:
        """Record a webhook delivery; False where that id was recorded before."""
        with self._database.append_transaction() as end:
            if is_delivery_recorded(end.connection, delivery):
                return False
            insert_delivery(end, delivery)
            return True

    def record_revision_state(self, revision: str, state: RevisionState, at: datetime, detail: str | None = None) -> None:
        """Record a revision as attempted, applied (in force) or refused; the same again is skipped."""
        with self._database.read_transaction() as connection:
            if is_revision_marked(connection, revision, state, detail):
                return
        with self._database.append_transaction() as end:
            if not is_revision_marked(end.connection, revision, state, detail):
                insert_revision_mark(end, revision, state, at, detail)

    def find_last_revision(self, state: RevisionState) -> str | None:
        """The revision last marked with that state."""
        with self._database.read_transaction() as connection:
            return find_last_revision(connection, state)


EVIDENCE = "evidence"
DROP_BATCH_SIZE = 1_000
"""How many texts go in one transaction: other writers wait for that long, about a tenth of a second."""
_DELETE_RIGHT_QUERY = text("SELECT current_user, has_table_privilege('contents', 'DELETE')")


class SqlRetention(OpenLedger):
    """Evidence that only old decisions refer to. Texts of policies and approvers stay: they are few and shared."""

    def count_evidence_before(self, before: datetime) -> int:
        """How many texts `drop_evidence_before` would drop."""
        with self._database.read_transaction() as connection:
            return connection.scalar(select(func.count()).select_from(_select_old_evidence(before).subquery())) or 0

    def drop_evidence_before(self, before: datetime, actor: str, at: datetime) -> int:
        """Drop the evidence that only decisions before that moment refer to; how many texts that was.

        In portions, so that nobody who writes waits for long. Each says in its own transaction what it dropped: whatever stops
        it, every text that is missing is accounted for, and the next call goes on. Nothing to drop, nothing to record.
        """
        with self._database.read_transaction() as connection:
            _check_delete_right(connection)
            waiting = iter(list(connection.scalars(_select_old_evidence(before))))
        dropped = 0
        while portion := list(islice(waiting, DROP_BATCH_SIZE)):
            dropped += self._drop_evidence_batch(portion, before, actor, at)
        return dropped

    def _drop_evidence_batch(self, portion: Sequence[str], before: datetime, actor: str, at: datetime) -> int:
        with self._database.append_transaction() as end:
            gone = sum(
                end.connection.execute(delete(contents).where(each, contents.c.kind == EVIDENCE)).rowcount
                for each in split_in_conditions(contents.c.digest, portion)
                if each is not None
            )
            if gone:
                facts = {"before": before, "dropped": gone, "actor": actor}
                insert_lifecycle_event(end, LifecycleEvent(at, LifecycleEventType.RETENTION, facts))
            return gone


def _select_old_evidence(before: datetime) -> Select[Any]:
    """The digests of the evidence that is there, and that no decision from that moment on refers to."""
    referred = decisions.c.evidence
    only_old = except_(
        select(referred).where(decisions.c.at < before, referred.is_not(None)),
        select(referred).where(decisions.c.at >= before, referred.is_not(None)),
    )
    return select(contents.c.digest).where(contents.c.kind == EVIDENCE, contents.c.digest.in_(only_old))


def _check_delete_right(connection: Connection) -> None:
    """The role of the daemon may not delete anything, and is not meant to."""
    if connection.dialect.name != "postgresql":
        return
    role, may = connection.execute(_DELETE_RIGHT_QUERY).one()
    if not may:
        fix = "give PROMOTER_DATABASE_URL of a role with the right to DELETE on `contents`: see docs/evidence.md"
        raise PermanentError(LEDGER, f"the role {role} may not drop evidence", fix)
