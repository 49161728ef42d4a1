"""The part of the port that is about audit records: intents, outcomes, overrides, and what others moved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from promoter.adapters.ledger import decisions, overrides, records, settlements
from promoter.adapters.ledger.opened import OpenLedger
from promoter.domain.audit import AuditRecord, NewAuditRecord, ChangeOutcome, RecordFilter
from promoter.domain.override import Override
from promoter.domain.plan import ChangeCause
from promoter.domain.verdict import Decision


class SqlAuditLog(OpenLedger):
    """Audit records."""

    def record_intent(self, record: NewAuditRecord, decision: Decision | None) -> int:
        """Make an intent durable before its write; the intent's id. Records the decision behind it, once."""
        with self._database.append_transaction() as chain:
            basis = decisions.insert_decision_once(chain, decision, record.revision, record.trigger) if decision else None
            return records.insert_intent(chain, record, basis)

    def record_outcome(self, intent: int, outcome: str, at: datetime, detail: str | None = None) -> None:
        """The outcome of an intent: `applied`, `failed` or `recovered`. A second one is refused.

        `detail` becomes its reason; without one, the intent's reason stays. What moved as intended is settled with it, unless
        git does not say so yet: an override stands in for it.
        """
        closing = ChangeOutcome(outcome)
        if closing is ChangeOutcome.INTENDED:
            raise ValueError("an intent is closed by an outcome, not by another intent")
        with self._database.append_transaction() as chain:
            fact = records.insert_outcome(chain, intent, closing, at, detail)
            if closing is not ChangeOutcome.FAILED and fact.cause != ChangeCause.OVERRIDE:
                applied = [(fact.model, fact.alias, fact.to_version)]
                agreed = settlements.select_new_last_applied(chain.connection, applied, only_first=False)
                settlements.insert_last_applied(chain, agreed, fact.revision, at)

    def record_override(self, record: NewAuditRecord) -> int:
        """Record that an override begins: its version, person, reason and end; its id."""
        with self._database.append_transaction() as chain:
            return overrides.insert_override_start(chain, record)

    def find_open_overrides(self, models: Collection[str] | None = None) -> Sequence[Override]:
        """Those that nothing has ended yet, expired ones too, oldest first."""
        with self._database.read_transaction() as connection:
            return overrides.find_open_overrides(connection, models)

    def end_override(self, override: int, at: datetime, reason: str, *, revision: str | None = None) -> None:
        """Record that it is over, and why; one that has ended is no error. `revision`: git says by now what it said."""
        with self._database.append_transaction() as chain:
            fact = overrides.insert_override_end(chain, override, at, reason)
            if fact is not None and revision is not None:
                applied = [(fact.model, fact.alias, fact.to_version)]
                agreed = settlements.select_new_last_applied(chain.connection, applied, only_first=False)
                settlements.insert_last_applied(chain, agreed, revision, at)

    def find_open_intents(self, models: Collection[str] | None = None) -> Sequence[AuditRecord]:
        """Intents without an outcome: a crash, or a write under way."""
        with self._database.read_transaction() as connection:
            return records.find_open_intents(connection, models)

    def record_observed_moves(
        self, news: Iterable[NewAuditRecord], *, only_first: bool = False, only_next: bool = False
    ) -> None:
        """Record alias changes that the registry shows and Promoter did not make.

        `only_first`: skip those for whose model and alias anything is recorded already; `only_next`: those that do not begin
        where the ledger last saw the alias, since somebody else has recorded them meanwhile. In the same transaction.
        """
        waiting = list(news)
        if only_first and waiting:
            with self._database.read_transaction() as connection:
                waiting = records.select_unrecorded(connection, waiting)
        if not waiting:
            return
        with self._database.append_transaction() as chain:
            fresh = records.select_unrecorded(chain.connection, waiting) if only_first else waiting
            records.insert_observed_moves(
                chain, records.select_continuing_moves(chain.connection, fresh) if only_next else fresh
            )

    def last_recorded_at(self, aliases: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], datetime]:
        """When the ledger last recorded where each of these aliases stands; nothing for one that it never did."""
        with self._database.read_transaction() as connection:
            return records.find_last_recorded_times(connection, aliases)

    def read_last_known_versions(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """Model to alias to the version that the ledger last saw it at (None: deleted)."""
        with self._database.read_transaction() as connection:
            return records.find_last_versions(connection, models)

    def find_alias_moves(self, aliases: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[AuditRecord]]:
        """The records that say that an alias did move, oldest first, for each model and alias that is asked for."""
        with self._database.read_transaction() as connection:
            return records.find_alias_moves(connection, aliases)

    def last_moves_at(self, at: datetime, models: Collection[str] | None = None) -> Mapping[tuple[str, str], AuditRecord]:
        """The last record up to that moment that says that an alias moved, by model and alias."""
        with self._database.read_transaction() as connection:
            return records.find_last_moves_at(connection, at, models)

    def first_moves_after(self, at: datetime, models: Collection[str] | None = None) -> Mapping[tuple[str, str], AuditRecord]:
        """The first record after that moment that says that an alias moved, by model and alias."""
        with self._database.read_transaction() as connection:
            return records.find_first_moves_after(connection, at, models)

    def moves_around(self, model: str, alias: str, at: datetime) -> tuple[AuditRecord | None, AuditRecord | None]:
        """Of one alias: the last record up to that moment that says that it moved, and the first after it."""
        with self._database.read_transaction() as connection:
            return records.find_moves_around(connection, model, alias, at)

    def find_audit_record(self, number: int) -> AuditRecord | None:
        """The audit record of that number."""
        with self._database.read_transaction() as connection:
            return records.find_record(connection, number)

    def find_audit_records(self, where: RecordFilter) -> Sequence[AuditRecord]:
        """Audit records in ascending order of id."""
        with self._database.read_transaction() as connection:
            return records.find_records(connection, where)
