"""`SqlLedger`: the port `Ledger`, one transaction a call.

What may turn out to be nothing new is first looked up without a lock, and again under it: to change nothing costs no write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import text

from promoter.adapters.ledger import checks, decisions, journal, overrides, records, settlements, sightings
from promoter.adapters.ledger.database import Database
from promoter.adapters.ledger.stores import store_of
from promoter.adapters.ledger.upgrade import open_to_read, open_to_write
from promoter.domain.audit import AuditRecord, Delivery, NewRecord, Outcome, RecordedDecision, RecordFilter, RevisionState
from promoter.domain.guards import GuardCheck
from promoter.domain.override import Override
from promoter.domain.plan import Cause
from promoter.domain.sightings import Sighting
from promoter.domain.verdict import Decision

BUSY_TIMEOUT = 10.0


class SqlLedger:
    """The ledger in a SQL database; open it with `open`. Every method may raise `Unavailable` or `Refused`."""

    def __init__(self, database: Database) -> None:
        """Takes over the database, whose schema is up to date."""
        self._database = database

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, busy_timeout: float = BUSY_TIMEOUT) -> SqlLedger:
        """Open the database at the URL, and create and migrate it first if need be.

        `read_only` changes nothing at all: what is not there is an empty ledger. `busy_timeout` is in seconds.
        """
        store = store_of(url, busy_timeout)
        return cls(open_to_read(store) if read_only else open_to_write(store))

    @property
    def place(self) -> str:
        """Where it is, for people, without secrets."""
        return self._database.place

    def ping(self) -> None:
        """Returns where the ledger can be read now."""
        with self._database.read() as connection:
            connection.execute(text("SELECT id FROM records LIMIT 1"))

    def dispose(self) -> None:
        """Close every connection."""
        self._database.dispose()

    def intend(self, record: NewRecord, decision: Decision | None) -> int:
        """Make an intent durable before its write; the intent's id. Records the decision behind it, once."""
        with self._database.write() as connection:
            basis = decisions.insert_once(connection, decision, record.revision) if decision else None
            return records.insert_intent(connection, record, basis)

    def close(self, intent: int, outcome: str, at: datetime, detail: str | None = None) -> None:
        """The outcome of an intent: `applied`, `failed` or `recovered`. A second one is refused.

        `detail` becomes its reason; without one, the intent's reason stays. What moved as intended is settled with it, unless
        git does not say so yet: an override stands in for it.
        """
        closing = Outcome(outcome)
        if closing is Outcome.INTENDED:
            raise ValueError("an intent is closed by an outcome, not by another intent")
        with self._database.write() as connection:
            fact = records.insert_outcome(connection, intent, closing, at, detail)
            if closing is not Outcome.FAILED and fact.cause != Cause.OVERRIDE:
                agreed = settlements.not_yet_settled(connection, [(fact.model, fact.alias, fact.to_version)], only_first=False)
                settlements.insert_settled(connection, agreed, fact.revision, at)

    def override(self, record: NewRecord) -> int:
        """Record that an override begins: its version, person, reason and end; its id."""
        with self._database.write() as connection:
            return overrides.insert_begin(connection, record)

    def overrides(self, models: Collection[str] | None = None) -> Sequence[Override]:
        """Those that nothing has ended yet, expired ones too, oldest first."""
        with self._database.read() as connection:
            return overrides.find_open(connection, models)

    def end_override(self, override: int, at: datetime, reason: str, *, revision: str | None = None) -> None:
        """Record that it is over, and why; one that has ended is no error. `revision`: git says by now what it said."""
        with self._database.write() as connection:
            fact = overrides.insert_end(connection, override, at, reason)
            if fact is not None and revision is not None:
                agreed = settlements.not_yet_settled(connection, [(fact.model, fact.alias, fact.to_version)], only_first=False)
                settlements.insert_settled(connection, agreed, revision, at)

    def open_intents(self, models: Collection[str] | None = None) -> Sequence[AuditRecord]:
        """Intents without an outcome: a crash, or a write under way."""
        with self._database.read() as connection:
            return records.find_open(connection, models)

    def observe(self, news: Iterable[NewRecord], *, only_first: bool = False) -> None:
        """Record alias changes that the registry shows and Promoter did not make.

        `only_first`: skip those for whose model and alias anything is recorded already, in the same transaction.
        """
        waiting = list(news)
        if only_first and waiting:
            with self._database.read() as connection:
                waiting = records.not_yet_recorded(connection, waiting)
        if not waiting:
            return
        with self._database.write() as connection:
            fresh = records.not_yet_recorded(connection, waiting) if only_first else waiting
            records.insert_observed(connection, fresh)

    def last_known(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """Model to alias to the version that the ledger last saw it at (None: deleted)."""
        with self._database.read() as connection:
            return records.last_moves(connection, models)

    def settle(
        self,
        statements: Mapping[str, Mapping[str, int | None]],
        revision: str | None,
        at: datetime,
        *,
        only_first: bool = False,
    ) -> None:
        """Git and the registry agree: model to alias to version (None: absent). What they agreed on before is skipped."""
        news = [(model, alias, version) for model, said in statements.items() for alias, version in said.items()]
        with self._database.read() as connection:
            fresh = settlements.not_yet_settled(connection, news, only_first=only_first)
        if not fresh:
            return
        with self._database.write() as connection:
            fresh = settlements.not_yet_settled(connection, fresh, only_first=only_first)
            settlements.insert_settled(connection, fresh, revision, at)

    def unsettle(self, aliases: Mapping[str, Collection[str]], revision: str | None, at: datetime) -> None:
        """Git says nothing of these aliases any more, by model: what it may say of them later is a new decision."""
        with self._database.write() as connection:
            known = settlements.last_settled(connection, set(aliases))
            gone = [
                (model, alias, settlements.UNSTATED)
                for model, said in aliases.items()
                for alias in said
                if alias in known.get(model, {})
            ]
            settlements.insert_settled(connection, gone, revision, at)

    def settled(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """What git and the registry last agreed on, by model and alias."""
        with self._database.read() as connection:
            return settlements.last_settled(connection, models)

    def held_before(self, model: str, alias: str, version: int) -> bool:
        """Whether that version ever held the alias, as far as the ledger knows."""
        with self._database.read() as connection:
            held = settlements.settled_on(connection, model, alias, version)
            return held or records.moved_to(connection, model, alias, version)

    def settled_at(self, model: str, alias: str) -> str | None:
        """The revision at which git and the registry came to agree on the alias last; None where they never did."""
        with self._database.read() as connection:
            return settlements.last_agreement(connection, model, alias)

    def moves(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[AuditRecord]]:
        """The records that say that an alias did move, oldest first, for each model and alias that is asked for."""
        with self._database.read() as connection:
            return records.find_moves(connection, asked)

    def sightings(self, models: Collection[str]) -> Mapping[str, Sequence[Sighting]]:
        """What was seen of the watched tags of these models' versions, oldest first, for each model that is asked for."""
        with self._database.read() as connection:
            return sightings.find(connection, models)

    def sight(self, news: Iterable[Sighting]) -> None:
        """Record what was seen; what repeats the last sighting of the same tag of the same version is skipped."""
        with self._database.read() as connection:
            fresh = sightings.not_seen_last(connection, news)
        if not fresh:
            return
        with self._database.write() as connection:
            sightings.insert_all(connection, sightings.not_seen_last(connection, fresh))

    def checks(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[GuardCheck]]:
        """The last 1,000 checks of guards, oldest first, for each model and alias that is asked for."""
        with self._database.read() as connection:
            return checks.find(connection, asked)

    def check(self, news: Iterable[GuardCheck]) -> None:
        """Record checks of guards."""
        found = list(news)
        if found:
            with self._database.write() as connection:
                checks.insert_all(connection, found)

    def past_evidence(self, models: Collection[str] | None = None) -> Iterator[RecordedDecision]:
        """Every recorded decision that has evidence, oldest first, streamed in a transaction that ends with it."""
        with self._database.read() as connection:
            yield from decisions.evidenced(connection, models)

    def decide(self, news: Iterable[Decision], revision: str | None) -> None:
        """Record decisions with their evidence; one that says what the last of its model, alias and version said is skipped."""
        with self._database.read() as connection:
            fresh = decisions.not_said_last(connection, decisions.digested(news))
        if not fresh:
            return
        with self._database.write() as connection:
            decisions.insert_all(connection, decisions.not_said_last(connection, fresh), revision)

    def decisions(self, model: str | None = None, alias: str | None = None, limit: int = 100) -> Sequence[RecordedDecision]:
        """The newest decisions first."""
        with self._database.read() as connection:
            return decisions.find(connection, model, alias, limit)

    def records(self, where: RecordFilter) -> Sequence[AuditRecord]:
        """Audit records in ascending order of id."""
        with self._database.read() as connection:
            return records.find(connection, where)

    def deliver(self, delivery: Delivery) -> bool:
        """Record a webhook delivery; False where that id was recorded before."""
        with self._database.write() as connection:
            if journal.delivered(connection, delivery):
                return False
            journal.insert_delivery(connection, delivery)
            return True

    def mark_revision(self, revision: str, state: RevisionState, at: datetime, detail: str | None = None) -> None:
        """Record a revision as attempted, applied (in force) or refused; the same again is skipped."""
        with self._database.read() as connection:
            if journal.marked(connection, revision, state, detail):
                return
        with self._database.write() as connection:
            if not journal.marked(connection, revision, state, detail):
                journal.insert_mark(connection, revision, state, at, detail)

    def last_revision(self, state: RevisionState) -> str | None:
        """The revision last marked with that state."""
        with self._database.read() as connection:
            return journal.last_revision(connection, state)
