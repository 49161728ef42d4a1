"""The end of the chain, behind which entries are appended, and the texts that decisions name by their digest."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Table, insert, select, text

from promoter.adapters.ledger.schema import (
    CHAINED,
    build_equality_condition,
    contents,
    deliveries,
    fetch_rows,
    lifecycle_events,
    split_in_conditions,
)
from promoter.domain.audit import WebhookDelivery
from promoter.domain.ledger.chain import LedgerHead, advance_head, digest_bytes, seal_entry
from promoter.domain.ledger.checkpoints import LifecycleEventType

_INSERT_BATCH_SIZE = 1_000
_LAST_ENTRIES_SQL = " UNION ALL ".join(
    f"SELECT id, hash FROM {table.name} WHERE id = (SELECT max(id) FROM {table.name})"  # noqa: S608  # constants
    for table in CHAINED
)
_HEAD_QUERY = text(f"SELECT id, hash FROM ({_LAST_ENTRIES_SQL}) AS lasts ORDER BY id DESC LIMIT 1")  # noqa: S608  # constants


class RecentDeliveries:
    """The newest webhook deliveries, in memory: most of them lead to nothing, and the chain keeps only those that do."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._by_trigger: OrderedDict[str, WebhookDelivery] = OrderedDict()
        self._lock = Lock()

    def add(self, delivery: WebhookDelivery) -> bool:
        """Remember the delivery; False where it is remembered already."""
        with self._lock:
            if delivery.trigger in self._by_trigger:
                return False
            self._by_trigger[delivery.trigger] = delivery
            if len(self._by_trigger) > self._limit:
                self._by_trigger.popitem(last=False)
            return True

    def find(self, trigger: str) -> WebhookDelivery | None:
        """Find the delivery that the trigger names, where it is remembered."""
        return self._by_trigger.get(trigger)


class BoundWorkspace:
    """The workspace that the ledger is about, as of the last entry that was looked at: each entry is looked at once."""

    def __init__(self) -> None:
        self._upto = 0
        self._workspace: str | None = None
        self._lock = Lock()

    def read(self, connection: Connection, last: int) -> str | None:
        """Read it as of the entry `last`, the newest one; None where the ledger names no workspace."""
        with self._lock:
            if last > self._upto:
                for _, workspace in list_bound_workspaces(connection, self._upto):
                    self._workspace = workspace
                self._upto = last
            return self._workspace


def list_bound_workspaces(connection: Connection, after: int = 0) -> list[tuple[int, str | None]]:
    """List the entries behind that one that bind the ledger to a registry: their numbers and workspaces, in order."""
    number, event = lifecycle_events.c.id, lifecycle_events.c.event
    binding = select(number, lifecycle_events.c.body).where(number > after, event == LifecycleEventType.REGISTRY.value)
    return [(row.id, json.loads(row.body).get("workspace")) for row in connection.execute(binding.order_by(number))]


class ChainWriter:
    """The end of the chain in one write transaction, which no other writer shares."""

    def __init__(
        self, connection: Connection, recent: RecentDeliveries | None = None, bound: BoundWorkspace | None = None
    ) -> None:
        """`recent`: deliveries that are appended in front of the first entry that names one as its trigger."""
        self.connection = connection
        self._recent = recent
        self._bound = bound or BoundWorkspace()
        self._chained_triggers: set[str] = set()
        self._head = read_head(connection)

    def read_workspace(self) -> str | None:
        """Read the workspace that the ledger is about; None where it names none."""
        return self._bound.read(self.connection, self._head.entry)

    def append_entry(self, table: Table, facts: Mapping[str, Any]) -> int:
        """Append an entry of these facts, without those that are None, and return its number."""
        self.append_entries(table, [facts])
        return self._head.entry

    def append_entries(self, table: Table, entries: Iterable[Mapping[str, Any]]) -> None:
        """Append one entry for each set of facts, in order."""
        rows: list[dict[str, Any]] = []
        for facts in entries:
            if trigger := facts.get("trigger"):
                self._append_delivery(trigger)
            entry = seal_entry(self._head, table.name, {name: fact for name, fact in facts.items() if fact is not None})
            self._head = advance_head(self._head, entry)
            rows.append({"id": entry.id, "body": entry.body.decode(), "hash": entry.hash})
            if len(rows) == _INSERT_BATCH_SIZE:
                self.connection.execute(insert(table), rows)
                rows.clear()
        if rows:
            self.connection.execute(insert(table), rows)

    def _append_delivery(self, trigger: str) -> None:
        delivery = self._recent.find(trigger) if self._recent and trigger not in self._chained_triggers else None
        if delivery is None:
            return
        self._chained_triggers.add(trigger)
        if not has_delivery(self.connection, delivery):
            self.append_entry(deliveries, build_delivery_facts(delivery))


def build_delivery_facts(delivery: WebhookDelivery) -> dict[str, Any]:
    """Build the facts of a delivery's entry, without those that are None."""
    facts = {"source": delivery.source, "delivery": delivery.id, "at": delivery.at, "event": delivery.event}
    return facts | ({"model": delivery.model} if delivery.model is not None else {})


def has_delivery(connection: Connection, delivery: WebhookDelivery) -> bool:
    """Whether the chain has a delivery of that source and id."""
    of_id = build_equality_condition((deliveries.c.source, delivery.source), (deliveries.c.delivery, delivery.id))
    return bool(connection.scalar(select(select(deliveries.c.id).where(of_id).exists())))


def read_head(connection: Connection) -> LedgerHead:
    """Read the last entry, of whichever table; the ledger's name, which costs a query more, is left empty."""
    row = connection.execute(_HEAD_QUERY).one_or_none()
    return LedgerHead("", int(row.id), row.hash) if row else LedgerHead()


def read_ledger_name(connection: Connection) -> str:
    """Read the name that the ledger's first entry gives it; empty where none does. Works on a forged ledger too."""
    query = select(lifecycle_events.c.body).order_by(lifecycle_events.c.id)
    first = connection.scalar(query.limit(1))
    name = _parse_ledger_name(first or "")
    if name is None and first:
        # Somebody put another entry in its place, or made it unreadable: no column can be trusted to find the right one.
        name = next((found for body in connection.scalars(query) if (found := _parse_ledger_name(body)) is not None), None)
    return name or ""


def _parse_ledger_name(body: str) -> str | None:
    try:
        entry = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return str(entry.get("ledger", "")) if isinstance(entry, dict) and entry.get("event") == LifecycleEventType.OPENED else None


@dataclass(frozen=True)
class TextBlob:
    """A text that is stored once, under its digest."""

    kind: str
    """`evidence`, `policy` or `approvers`."""
    body: str

    @property
    def digest(self) -> str:
        """SHA-256 of its UTF-8 bytes."""
        return digest_bytes(self.body.encode())


def insert_missing_blobs(connection: Connection, blobs: Iterable[TextBlob]) -> None:
    """Insert the texts that are not there yet, each once."""
    by_digest = {blob.digest: blob for blob in blobs}
    known = find_blobs(connection, by_digest).keys()
    rows = [
        {"digest": digest, "kind": blob.kind, "body": blob.body} for digest, blob in by_digest.items() if digest not in known
    ]
    if rows:
        connection.execute(insert(contents), rows)


def find_blobs(connection: Connection, digests: Collection[str]) -> Mapping[str, str]:
    """Find the texts that are there, by digest."""
    query = select(contents.c.digest, contents.c.body)
    return {row.digest: row.body for row in fetch_rows(connection, query, split_in_conditions(contents.c.digest, digests))}
