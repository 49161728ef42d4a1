"""The part of the port that is about the ledger itself: its chain, milestones, and what came in from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from promoter.adapters.ledger import chain, contents, journal
from promoter.adapters.ledger.opened import OpenLedger
from promoter.domain.audit import WebhookDelivery, RevisionState
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead
from promoter.domain.ledger.export import ExportedText
from promoter.domain.ledger.milestones import LifecycleEvent


class SqlJournal(OpenLedger):
    """The chain, milestones, webhook deliveries, revisions."""

    def read_chain_head(self) -> LedgerHead:
        """The last entry of the chain."""
        with self._database.read_transaction() as connection:
            return replace(chain.read_chain_head(connection), ledger=journal.find_ledger_name(connection))

    def iterate_entries(self, after: int = 0) -> Iterator[LedgerEntry]:
        """Every entry behind that number in order, as it is kept, streamed in a transaction that ends with it."""
        with self._database.read_transaction() as connection:
            yield from chain.stream_entries(connection, after)

    def iterate_entries_and_texts(self, after: int = 0) -> Iterator[LedgerEntry | ExportedText]:
        """Every entry behind that number, and then every text that these refer to, streamed in one transaction."""
        with self._database.read_transaction() as connection:
            yield from chain.stream_entries(connection, after)
            yield from contents.stream_referenced_blobs(connection, after)

    def record_lifecycle_event(self, milestone: LifecycleEvent) -> int:
        """Record something that happened to the ledger itself, or to who watches; its number."""
        with self._database.append_transaction() as end:
            return journal.insert_lifecycle_event(end, milestone)

    def find_lifecycle_events(self, since: datetime | None = None, until: datetime | None = None) -> Sequence[LifecycleEvent]:
        """Those from a moment up to another, oldest first."""
        with self._database.read_transaction() as connection:
            return journal.find_lifecycle_events(connection, since, until)

    def observed_until(self) -> datetime | None:
        """Whatever moved before this moment is recorded, as the last one who watched said; None: nobody said so."""
        with self._database.read_transaction() as connection:
            return journal.find_observed_until(connection)

    def record_delivery(self, delivery: WebhookDelivery) -> bool:
        """Record a webhook delivery; False where that id was recorded before."""
        with self._database.append_transaction() as end:
            if journal.is_delivery_recorded(end.connection, delivery):
                return False
            journal.insert_delivery(end, delivery)
            return True

    def record_revision_state(self, revision: str, state: RevisionState, at: datetime, detail: str | None = None) -> None:
        """Record a revision as attempted, applied (in force) or refused; the same again is skipped."""
        with self._database.read_transaction() as connection:
            if journal.is_revision_marked(connection, revision, state, detail):
                return
        with self._database.append_transaction() as end:
            if not journal.is_revision_marked(end.connection, revision, state, detail):
                journal.insert_revision_mark(end, revision, state, at, detail)

    def find_last_revision(self, state: RevisionState) -> str | None:
        """The revision last marked with that state."""
        with self._database.read_transaction() as connection:
            return journal.find_last_revision(connection, state)
