"""The ledger, the append-only record of what Promoter decided and did, as five roles: use cases name the one that they need.

Every method raises `TransientError` where the ledger cannot be read or written now, and `PermanentError` where trying again
would not help. Arguments named `models` restrict an answer to these models; None means all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from promoter.domain.audit import (
    AliasKey,
    AuditRecord,
    NewAuditRecord,
    RecordedDecision,
    RecordFilter,
    RevisionState,
    WebhookDelivery,
)
from promoter.domain.decision import Decision
from promoter.domain.desired import Override
from promoter.domain.evidence import TagObservation
from promoter.domain.identity import PresentVersion, RememberedVersion
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.ledger.export import ExportedText
from promoter.domain.ledger.problems import EntryRow
from promoter.domain.ledger.witnesses import TextReference
from promoter.domain.policy.guards import GuardCheck


class AuditLog(Protocol):
    """The record of alias changes: intents and their outcomes, moves that others made, overrides."""

    def record_intent(self, record: NewAuditRecord, decision: Decision | None) -> int:
        """Make an intent durable before its write, with the decision behind it, and return the intent's number."""
        ...

    def record_outcome(self, intent: int, outcome: str, at: datetime, detail: str | None = None) -> None:
        """Close an intent as `applied`, `failed` or `recovered`; `detail` replaces its reason.

        Raises `Conflict` where it has an outcome already: another run has closed it.
        Unless the write failed, git and the registry then agree on what was intended, and the same transaction records that as
        last applied; not for an override, which stands in for git.
        """
        ...

    def find_open_intents(self, models: Collection[str] | None = None) -> Sequence[AuditRecord]:
        """Find intents without an outcome: a crash came between, or the write is under way."""
        ...

    def record_observed_moves(
        self, moves: Iterable[NewAuditRecord], *, only_first: bool = False, only_next: bool = False
    ) -> None:
        """Record alias changes that the registry shows and Promoter did not make.

        `only_first` skips those for whose model and alias anything is recorded already. `only_next` skips those that do not
        begin where the ledger last saw the alias, since another replica has recorded them meanwhile. Both are checked in the
        transaction that records.
        """
        ...

    def select_new_replacements(self, replacements: Iterable[NewAuditRecord]) -> Sequence[NewAuditRecord]:
        """Select those that say something else than the last one that was recorded of their alias and number."""
        ...

    def record_replacements(self, replacements: Iterable[NewAuditRecord]) -> Sequence[NewAuditRecord]:
        """Record that numbers of aliases stand for other versions than those that were recorded, and return what is new.

        What `select_new_replacements` does not select is skipped.
        """
        ...

    def record_override(self, record: NewAuditRecord) -> int:
        """Record that an override begins: its version, person, reason and end. Return its number."""
        ...

    def end_override(self, override: int, at: datetime, reason: str, *, revision: str | None = None) -> None:
        """Record that an override has ended, and why; one that has ended before is no error.

        `revision`: the one at which git declares what the override did, which is then last applied, in the same transaction.
        """
        ...

    def find_open_overrides(self, models: Collection[str] | None = None) -> Sequence[Override]:
        """Find overrides that nothing has ended yet, expired ones too, oldest first."""
        ...

    def find_audit_record(self, number: int) -> AuditRecord | None:
        """Find the audit record of that number."""
        ...

    def find_audit_records(self, where: RecordFilter) -> Sequence[AuditRecord]:
        """Find audit records, in ascending order of their numbers."""
        ...

    def find_alias_moves(self, aliases: Collection[AliasKey]) -> Mapping[AliasKey, Sequence[AuditRecord]]:
        """Find the records that moved each of these aliases, oldest first."""
        ...

    def has_held_alias(self, model: str, alias: str, version: PresentVersion) -> bool:
        """Whether that version, and not another one of that number, ever held the alias, as far as the ledger knows."""
        ...

    def knows_other_version(self, model: str, version: PresentVersion) -> bool:
        """Whether the ledger knows another version of that number: one that held an alias, or that was decided on."""
        ...

    def last_recorded_at(self, aliases: Collection[AliasKey]) -> Mapping[AliasKey, datetime]:
        """When the ledger last recorded a move of each of these aliases; one that never moved is left out."""
        ...

    def read_last_known_versions(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, RememberedVersion]]:
        """Read, by model and alias, the version that the last recorded move left the alias at (its number None: deleted)."""
        ...

    def last_moves_at(self, at: datetime, models: Collection[str] | None = None) -> Mapping[AliasKey, AuditRecord]:
        """Find the last record of each alias that moved it up to that moment."""
        ...

    def first_moves_after(self, at: datetime, models: Collection[str] | None = None) -> Mapping[AliasKey, AuditRecord]:
        """Find the first record of each alias that moved it after that moment."""
        ...

    def moves_around(self, model: str, alias: str, at: datetime) -> tuple[AuditRecord | None, AuditRecord | None]:
        """Find the last record that moved one alias up to that moment, and the first that moved it afterwards."""
        ...


class DecisionLog(Protocol):
    """Decisions, and the texts behind them: evidence, policies, approvers."""

    def record_decisions(self, decisions: Iterable[Decision], revision: str | None, trigger: str | None = None) -> None:
        """Record decisions with their texts; one that repeats the last of its model, alias and version is skipped."""
        ...

    def find_decision(self, number: int) -> RecordedDecision | None:
        """Find the decision of that number, or the one behind the audit record of that number."""
        ...

    def list_recent_decisions(
        self, model: str | None = None, alias: str | None = None, limit: int = 100
    ) -> Sequence[RecordedDecision]:
        """List decisions, the newest first."""
        ...

    def iterate_decisions(self) -> Iterator[RecordedDecision]:
        """Stream every decision, oldest first, also those whose evidence was dropped."""
        ...

    def iterate_decisions_with_evidence(self, models: Collection[str] | None = None) -> Iterator[RecordedDecision]:
        """Stream every decision whose evidence is there, oldest first."""
        ...

    def find_blob_text(self, digest: str) -> str | None:
        """Find a text by its SHA-256: a policy, approvers.yaml, evidence. None: it is not there, or was dropped."""
        ...

    def count_evidence_before(self, before: datetime) -> int:
        """Count the pieces of evidence that only decisions before that moment refer to."""
        ...

    def drop_evidence_before(self, before: datetime, actor: str, at: datetime) -> int:
        """Drop that evidence, record who did, and return how many pieces it was. Digests and entries stay."""
        ...


class LastApplied(Protocol):
    """What git and the registry last agreed on, and which revisions of git were tried, are in force, or were refused."""

    def record_last_applied(
        self,
        statements: Mapping[str, Mapping[str, RememberedVersion]],
        revision: str | None,
        at: datetime,
        *,
        only_first: bool = False,
    ) -> None:
        """Record the versions that git and the registry agree on, by model and alias (its number None: the alias is absent).

        What repeats the last agreement is skipped; `only_first` also skips aliases that have one, unless the same version
        was agreed on before identities were recorded.
        """
        ...

    def forget_last_applied(self, aliases: Mapping[str, Collection[str]], revision: str | None, at: datetime) -> None:
        """Record, by model, that git no longer declares these aliases: a later declaration is a new decision."""
        ...

    def read_last_applied(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, RememberedVersion]]:
        """Read the last agreements, by model and alias."""
        ...

    def last_applied_revision(self, model: str, alias: str) -> str | None:
        """Return the revision of the last agreement on an alias; None where there is none, or it came from no revision."""
        ...

    def record_revision_state(
        self, revision: str, state: RevisionState, at: datetime, detail: str | None = None, *, trigger: str | None = None
    ) -> None:
        """Record a revision as attempted, applied or refused; what repeats its last state is skipped.

        `trigger`: the webhook delivery that brought the revision.
        """
        ...

    def find_last_revision(self, state: RevisionState) -> str | None:
        """Find the revision that was last recorded with that state."""
        ...


class ObservationLog(Protocol):
    """What Promoter observed: watched tags, checks of guards, webhook deliveries, and from when to when it watched."""

    def record_tag_observations(self, observations: Iterable[TagObservation]) -> None:
        """Record observed tags; what repeats the last observation of the same tag of the same version is skipped."""
        ...

    def find_tag_observations(self, models: Collection[str]) -> Mapping[str, Sequence[TagObservation]]:
        """Find what was observed of the watched tags of each of these models' versions, oldest first."""
        ...

    def record_guard_checks(self, checks: Iterable[GuardCheck]) -> None:
        """Record checks of guards."""
        ...

    def find_guard_checks(self, aliases: Collection[AliasKey]) -> Mapping[AliasKey, Sequence[GuardCheck]]:
        """Find the last 1,000 checks of guards of each of these aliases, oldest first."""
        ...

    def record_delivery(self, delivery: WebhookDelivery) -> bool:
        """Take a webhook delivery, which the first entry that it leads to records; False where that sender's id is known.

        Of deliveries that lead to nothing, only the newest are known, to this program, until it ends.
        """
        ...

    def record_lifecycle_event(self, event: LifecycleEvent) -> int:
        """Record an event in the life of the ledger or of a daemon, and return its number."""
        ...

    def find_lifecycle_events(self, since: datetime | None = None, until: datetime | None = None) -> Sequence[LifecycleEvent]:
        """Find lifecycle events from one moment up to another, oldest first."""
        ...

    def find_rewrites(self, limit: int = 100) -> Sequence[LifecycleEvent]:
        """Find the last events of the type `rewritten`, oldest first."""
        ...

    def find_commit_requests(self, revisions: Collection[str]) -> Sequence[LifecycleEvent]:
        """Find who asked for these commits of Promoter's own: events of the type `requested`, oldest first."""
        ...

    def find_refusal_events(self, after: int = 0) -> Sequence[LifecycleEvent]:
        """Find the events of the types `refused` and `reconsidered` behind that number, oldest first."""
        ...

    def find_last_lifecycle_event(self, event: LifecycleEventType) -> LifecycleEvent | None:
        """Find the last lifecycle event of that type; None where there is none."""
        ...

    def find_announced_overrides(self, numbers: Collection[int]) -> frozenset[int]:
        """Find those of these overrides whose end is announced: an event of the type `override-expiring` names them."""
        ...

    def announce_expiring_override(self, event: LifecycleEvent) -> None:
        """Record an event of the type `override-expiring`, unless there is one of that override."""
        ...

    def observed_until(self) -> datetime | None:
        """Return the moment before which every move is recorded, as the daemons stated it; None where none did."""
        ...


class ChainReader(Protocol):
    """The chain of all entries as it is stored, for export and verification: nothing is taken for granted."""

    def read_chain_head(self) -> LedgerHead:
        """Read the last entry of the chain, and the ledger's name."""
        ...

    def iterate_entries(self, after: int = 0) -> Iterator[LedgerEntry]:
        """Stream every entry behind that number, in order."""
        ...

    def iterate_entries_and_texts(self, after: int = 0) -> Iterator[LedgerEntry | ExportedText]:
        """Stream every entry behind that number, and then every text that these refer to, as of one moment."""
        ...

    def iterate_verifiable_parts(self) -> Iterator[Sequence[EntryRow] | TextReference]:
        """Stream the chain, many entries at a time, and then each text of a decision that is altered or missing.

        All parts are of one moment.
        """
        ...


class Ledger(AuditLog, DecisionLog, LastApplied, ObservationLog, ChainReader, Protocol):
    """All five roles, for who needs several."""
