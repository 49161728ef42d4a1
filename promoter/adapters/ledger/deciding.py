"""The part of the port that is about decisions, and about the texts that they stand on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from promoter.adapters.ledger import contents, decisions
from promoter.adapters.ledger.opened import OpenLedger
from promoter.domain.audit import RecordedDecision
from promoter.domain.verdict import Decision


class SqlDecisionLog(OpenLedger):
    """Decisions."""

    def iterate_decisions_with_evidence(self, models: Collection[str] | None = None) -> Iterator[RecordedDecision]:
        """Every recorded decision that has evidence, oldest first, streamed in a transaction that ends with it."""
        with self._database.read_transaction() as connection:
            yield from decisions.stream_decisions_with_evidence(connection, models)

    def iterate_decisions(self) -> Iterator[RecordedDecision]:
        """Every recorded decision, oldest first, streamed in a transaction that ends with it."""
        with self._database.read_transaction() as connection:
            yield from decisions.stream_all_decisions(connection)

    def record_decisions(self, news: Iterable[Decision], revision: str | None, trigger: str | None = None) -> None:
        """Record decisions with their evidence; one that says what the last of its model, alias and version said is skipped."""
        with self._database.read_transaction() as connection:
            fresh = decisions.select_changed_decisions(connection, decisions.compute_decision_digests(news))
        if not fresh:
            return
        with self._database.append_transaction() as chain:
            decisions.insert_decisions(chain, decisions.select_changed_decisions(chain.connection, fresh), revision, trigger)

    def find_decision(self, number: int) -> RecordedDecision | None:
        """The decision of that number, or the one behind the audit record of that number; None where there is neither."""
        with self._database.read_transaction() as connection:
            return decisions.find_decision(connection, number)

    def list_recent_decisions(
        self, model: str | None = None, alias: str | None = None, limit: int = 100
    ) -> Sequence[RecordedDecision]:
        """The newest decisions first."""
        with self._database.read_transaction() as connection:
            return decisions.find_decisions(connection, model, alias, limit)

    def find_blob_text(self, digest: str) -> str | None:
        """A text by its SHA-256; None where it is not there (any more)."""
        with self._database.read_transaction() as connection:
            return contents.find_blobs(connection, [digest]).get(digest)
