"""The part of the port that is about the ledger itself: its chain, milestones, and what came in from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from promoter.adapters.ledger import chain, contents, journal
from promoter.adapters.ledger.opened import Opened
from promoter.domain.audit import Delivery, RevisionState
from promoter.domain.ledger.chain import Entry, Head
from promoter.domain.ledger.export import Text
from promoter.domain.ledger.milestones import Milestone


class Keeping(Opened):
    """The chain, milestones, webhook deliveries, revisions."""

    def head(self) -> Head:
        """The last entry of the chain."""
        with self._database.read() as connection:
            return replace(chain.last(connection), ledger=journal.ledger_name(connection))

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """Every entry behind that number in order, as it is kept, streamed in a transaction that ends with it."""
        with self._database.read() as connection:
            yield from chain.walk(connection, after)

    def whole(self, after: int = 0) -> Iterator[Entry | Text]:
        """Every entry behind that number, and then every text that these refer to, streamed in one transaction."""
        with self._database.read() as connection:
            yield from chain.walk(connection, after)
            yield from contents.referred(connection, after)

    def mark(self, milestone: Milestone) -> int:
        """Record something that happened to the ledger itself, or to who watches; its number."""
        with self._database.append() as end:
            return journal.insert_milestone(end, milestone)

    def milestones(self, since: datetime | None = None, until: datetime | None = None) -> Sequence[Milestone]:
        """Those from a moment up to another, oldest first."""
        with self._database.read() as connection:
            return journal.find_milestones(connection, since, until)

    def looked(self) -> datetime | None:
        """Whatever moved before this moment is recorded, as the last one who watched said; None: nobody said so."""
        with self._database.read() as connection:
            return journal.last_looked(connection)

    def deliver(self, delivery: Delivery) -> bool:
        """Record a webhook delivery; False where that id was recorded before."""
        with self._database.append() as end:
            if journal.delivered(end.connection, delivery):
                return False
            journal.insert_delivery(end, delivery)
            return True

    def mark_revision(self, revision: str, state: RevisionState, at: datetime, detail: str | None = None) -> None:
        """Record a revision as attempted, applied (in force) or refused; the same again is skipped."""
        with self._database.read() as connection:
            if journal.marked(connection, revision, state, detail):
                return
        with self._database.append() as end:
            if not journal.marked(end.connection, revision, state, detail):
                journal.insert_mark(end, revision, state, at, detail)

    def last_revision(self, state: RevisionState) -> str | None:
        """The revision last marked with that state."""
        with self._database.read() as connection:
            return journal.last_revision(connection, state)
