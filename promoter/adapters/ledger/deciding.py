"""The part of the port that is about decisions, and about the texts that they stand on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from promoter.adapters.ledger import contents, decisions
from promoter.adapters.ledger.opened import Opened
from promoter.domain.audit import RecordedDecision
from promoter.domain.verdict import Decision


class Deciding(Opened):
    """Decisions."""

    def past_evidence(self, models: Collection[str] | None = None) -> Iterator[RecordedDecision]:
        """Every recorded decision that has evidence, oldest first, streamed in a transaction that ends with it."""
        with self._database.read() as connection:
            yield from decisions.evidenced(connection, models)

    def every_decision(self) -> Iterator[RecordedDecision]:
        """Every recorded decision, oldest first, streamed in a transaction that ends with it."""
        with self._database.read() as connection:
            yield from decisions.every(connection)

    def decide(self, news: Iterable[Decision], revision: str | None, trigger: str | None = None) -> None:
        """Record decisions with their evidence; one that says what the last of its model, alias and version said is skipped."""
        with self._database.read() as connection:
            fresh = decisions.not_said_last(connection, decisions.digested(news))
        if not fresh:
            return
        with self._database.append() as chain:
            decisions.insert_all(chain, decisions.not_said_last(chain.connection, fresh), revision, trigger)

    def decision(self, number: int) -> RecordedDecision | None:
        """The decision of that number, or the one behind the audit record of that number; None where there is neither."""
        with self._database.read() as connection:
            return decisions.find_one(connection, number)

    def decisions(self, model: str | None = None, alias: str | None = None, limit: int = 100) -> Sequence[RecordedDecision]:
        """The newest decisions first."""
        with self._database.read() as connection:
            return decisions.find(connection, model, alias, limit)

    def content(self, digest: str) -> str | None:
        """A text by its SHA-256; None where it is not there (any more)."""
        with self._database.read() as connection:
            return contents.found(connection, [digest]).get(digest)
