"""The part of the port that is about audit records: intents, outcomes, overrides, and what others moved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from promoter.adapters.ledger import decisions, overrides, records, settlements
from promoter.adapters.ledger.opened import Opened
from promoter.domain.audit import AuditRecord, NewRecord, Outcome, RecordFilter
from promoter.domain.override import Override
from promoter.domain.plan import Cause
from promoter.domain.verdict import Decision


class Recording(Opened):
    """Audit records."""

    def intend(self, record: NewRecord, decision: Decision | None) -> int:
        """Make an intent durable before its write; the intent's id. Records the decision behind it, once."""
        with self._database.append() as chain:
            basis = decisions.insert_once(chain, decision, record.revision, record.trigger) if decision else None
            return records.insert_intent(chain, record, basis)

    def close(self, intent: int, outcome: str, at: datetime, detail: str | None = None) -> None:
        """The outcome of an intent: `applied`, `failed` or `recovered`. A second one is refused.

        `detail` becomes its reason; without one, the intent's reason stays. What moved as intended is settled with it, unless
        git does not say so yet: an override stands in for it.
        """
        closing = Outcome(outcome)
        if closing is Outcome.INTENDED:
            raise ValueError("an intent is closed by an outcome, not by another intent")
        with self._database.append() as chain:
            fact = records.insert_outcome(chain, intent, closing, at, detail)
            if closing is not Outcome.FAILED and fact.cause != Cause.OVERRIDE:
                said = [(fact.model, fact.alias, fact.to_version)]
                agreed = settlements.not_yet_settled(chain.connection, said, only_first=False)
                settlements.insert_settled(chain, agreed, fact.revision, at)

    def override(self, record: NewRecord) -> int:
        """Record that an override begins: its version, person, reason and end; its id."""
        with self._database.append() as chain:
            return overrides.insert_begin(chain, record)

    def overrides(self, models: Collection[str] | None = None) -> Sequence[Override]:
        """Those that nothing has ended yet, expired ones too, oldest first."""
        with self._database.read() as connection:
            return overrides.find_open(connection, models)

    def end_override(self, override: int, at: datetime, reason: str, *, revision: str | None = None) -> None:
        """Record that it is over, and why; one that has ended is no error. `revision`: git says by now what it said."""
        with self._database.append() as chain:
            fact = overrides.insert_end(chain, override, at, reason)
            if fact is not None and revision is not None:
                said = [(fact.model, fact.alias, fact.to_version)]
                agreed = settlements.not_yet_settled(chain.connection, said, only_first=False)
                settlements.insert_settled(chain, agreed, revision, at)

    def open_intents(self, models: Collection[str] | None = None) -> Sequence[AuditRecord]:
        """Intents without an outcome: a crash, or a write under way."""
        with self._database.read() as connection:
            return records.find_open(connection, models)

    def observe(self, news: Iterable[NewRecord], *, only_first: bool = False, only_next: bool = False) -> None:
        """Record alias changes that the registry shows and Promoter did not make.

        `only_first`: skip those for whose model and alias anything is recorded already; `only_next`: those that do not begin
        where the ledger last saw the alias, since somebody else has recorded them meanwhile. In the same transaction.
        """
        waiting = list(news)
        if only_first and waiting:
            with self._database.read() as connection:
                waiting = records.not_yet_recorded(connection, waiting)
        if not waiting:
            return
        with self._database.append() as chain:
            fresh = records.not_yet_recorded(chain.connection, waiting) if only_first else waiting
            records.insert_observed(chain, records.next_moves(chain.connection, fresh) if only_next else fresh)

    def known_at(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], datetime]:
        """When the ledger last recorded where each of these aliases stands; nothing for one that it never did."""
        with self._database.read() as connection:
            return records.known_at(connection, asked)

    def last_known(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """Model to alias to the version that the ledger last saw it at (None: deleted)."""
        with self._database.read() as connection:
            return records.last_moves(connection, models)

    def moves(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[AuditRecord]]:
        """The records that say that an alias did move, oldest first, for each model and alias that is asked for."""
        with self._database.read() as connection:
            return records.find_moves(connection, asked)

    def stood(self, at: datetime, models: Collection[str] | None = None) -> Mapping[tuple[str, str], AuditRecord]:
        """The last record up to that moment that says that an alias moved, by model and alias."""
        with self._database.read() as connection:
            return records.stood(connection, at, models)

    def moved_next(self, at: datetime, models: Collection[str] | None = None) -> Mapping[tuple[str, str], AuditRecord]:
        """The first record after that moment that says that an alias moved, by model and alias."""
        with self._database.read() as connection:
            return records.moved_next(connection, at, models)

    def around(self, model: str, alias: str, at: datetime) -> tuple[AuditRecord | None, AuditRecord | None]:
        """Of one alias: the last record up to that moment that says that it moved, and the first after it."""
        with self._database.read() as connection:
            return records.around(connection, model, alias, at)

    def record(self, number: int) -> AuditRecord | None:
        """The audit record of that number."""
        with self._database.read() as connection:
            return records.find_one(connection, number)

    def records(self, where: RecordFilter) -> Sequence[AuditRecord]:
        """Audit records in ascending order of id."""
        with self._database.read() as connection:
            return records.find(connection, where)
