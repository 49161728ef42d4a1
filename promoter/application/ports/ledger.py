"""The append-only record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from promoter.domain.audit import AuditRecord, NewAuditRecord, RecordedDecision, RecordFilter, RevisionState, WebhookDelivery
from promoter.domain.decision import Decision
from promoter.domain.desired import Override
from promoter.domain.evidence import TagObservation
from promoter.domain.ledger.chain import LedgerEntry, LedgerHead
from promoter.domain.ledger.checkpoints import LifecycleEvent
from promoter.domain.ledger.export import ExportedText
from promoter.domain.ledger.problems import EntryRow
from promoter.domain.ledger.witnesses import TextReference
from promoter.domain.policy.guards import GuardCheck


class Ledger(Protocol):
    """The append-only record. Raises `TransientError` where it cannot be written or read now."""

    def record_intent(self, record: NewAuditRecord, decision: Decision | None) -> int:
        """Make an intent durable before its write; the intent's id. Records the decision behind it, once."""
        ...

    def record_outcome(self, intent: int, outcome: str, at: datetime, detail: str | None = None) -> None:
        """The outcome of an intent: `applied`, `failed` or `recovered`. A second outcome of one intent is refused.

        With the first and the last, git and the registry agree on what was intended: the same transaction settles it, except
        where an override stands in for git.
        """
        ...

    def record_override(self, record: NewAuditRecord) -> int:
        """Record that an override begins (kind `override`): its version, person, reason and end; its id."""
        ...

    def find_open_overrides(self, models: Collection[str] | None = None) -> Sequence[Override]:
        """Those that nothing has ended yet, expired ones too, oldest first."""
        ...

    def end_override(self, override: int, at: datetime, reason: str, *, revision: str | None = None) -> None:
        """Record that it is over, and why; one that has ended is no error.

        `revision`: the one at which git says what the override said: they are settled on it in the same transaction.
        """
        ...

    def find_open_intents(self, models: Collection[str] | None = None) -> Sequence[AuditRecord]:
        """Intents without an outcome: a crash, or a write under way."""
        ...

    def record_observed_moves(
        self, records: Iterable[NewAuditRecord], *, only_first: bool = False, only_next: bool = False
    ) -> None:
        """Record alias changes that the registry shows and Promoter did not make.

        `only_first`: skip those for whose model and alias anything is recorded already; `only_next`: those that do not begin
        where the ledger last saw the alias, since somebody else has recorded them meanwhile. In the same transaction.
        """
        ...

    def last_recorded_at(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], datetime]:
        """When the ledger last recorded where each of these aliases stands; nothing for one that it never did."""
        ...

    def read_last_known_versions(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """Model to alias to the version that the ledger last saw it at (None: deleted)."""
        ...

    def record_last_applied(
        self,
        statements: Mapping[str, Mapping[str, int | None]],
        revision: str | None,
        at: datetime,
        *,
        only_first: bool = False,
    ) -> None:
        """Git and the registry agree: model to alias to version (None: absent)."""
        ...

    def forget_last_applied(self, aliases: Mapping[str, Collection[str]], revision: str | None, at: datetime) -> None:
        """Git says nothing of these aliases any more, by model: what it may say of them later is a new decision."""
        ...

    def read_last_applied(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """What git and the registry last agreed on, by model and alias."""
        ...

    def has_held_alias(self, model: str, alias: str, version: int) -> bool:
        """Whether that version ever held the alias, as far as the ledger knows."""
        ...

    def last_applied_revision(self, model: str, alias: str) -> str | None:
        """The revision at which git and the registry last agreed on the alias; None where they never did."""
        ...

    def find_alias_moves(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[AuditRecord]]:
        """The records that say that an alias did move, oldest first, by model and alias. Read in bulk."""
        ...

    def find_tag_observations(self, models: Collection[str]) -> Mapping[str, Sequence[TagObservation]]:
        """What was seen of the watched tags of these models' versions, oldest first, by model."""
        ...

    def record_tag_observations(self, sightings: Iterable[TagObservation]) -> None:
        """Record what was seen; what repeats the last sighting of the same tag of the same version is skipped."""
        ...

    def find_guard_checks(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[GuardCheck]]:
        """The last 1,000 checks of guards of each alias, oldest first, by model and alias."""
        ...

    def record_guard_checks(self, checks: Iterable[GuardCheck]) -> None:
        """Record checks of guards."""
        ...

    def iterate_decisions_with_evidence(self, models: Collection[str] | None = None) -> Iterator[RecordedDecision]:
        """Every recorded decision that has evidence, oldest first, streamed."""
        ...

    def iterate_decisions(self) -> Iterator[RecordedDecision]:
        """Every recorded decision, also one whose evidence was dropped, oldest first, streamed."""
        ...

    def record_decisions(self, decisions: Iterable[Decision], revision: str | None, trigger: str | None = None) -> None:
        """Record decisions with their evidence; one that says what the last of its model, alias and version said is skipped."""
        ...

    def find_decision(self, number: int) -> RecordedDecision | None:
        """The decision of that number, or the one behind the audit record of that number; None where there is neither."""
        ...

    def list_recent_decisions(
        self, model: str | None = None, alias: str | None = None, limit: int = 100
    ) -> Sequence[RecordedDecision]:
        """The newest decisions first."""
        ...

    def find_blob_text(self, digest: str) -> str | None:
        """A text by its SHA-256: a policy, approvers.yaml, a piece of evidence; None where it is not there (any more)."""
        ...

    def count_evidence_before(self, before: datetime) -> int:
        """How many pieces of evidence only decisions before that moment refer to."""
        ...

    def drop_evidence_before(self, before: datetime, actor: str, at: datetime) -> int:
        """Drop them, and record that: how many it was. Digests stay, and so does every entry of the chain."""
        ...

    def find_audit_record(self, number: int) -> AuditRecord | None:
        """The audit record of that number."""
        ...

    def last_moves_at(self, at: datetime, models: Collection[str] | None = None) -> Mapping[tuple[str, str], AuditRecord]:
        """The last record up to that moment that says that an alias moved, by model and alias."""
        ...

    def first_moves_after(self, at: datetime, models: Collection[str] | None = None) -> Mapping[tuple[str, str], AuditRecord]:
        """The first record after that moment that says that an alias moved, by model and alias."""
        ...

    def moves_around(self, model: str, alias: str, at: datetime) -> tuple[AuditRecord | None, AuditRecord | None]:
        """Of one alias: the last record up to that moment that says that it moved, and the first after it."""
        ...

    def read_chain_head(self) -> LedgerHead:
        """The last entry of the chain."""
        ...

    def iterate_entries(self, after: int = 0) -> Iterator[LedgerEntry]:
        """Every entry of the chain behind that number, in order, streamed, as it is kept: nothing is taken for granted."""
        ...

    def iterate_entries_and_texts(self, after: int = 0) -> Iterator[LedgerEntry | ExportedText]:
        """Every entry behind that number in order, and then every text that these refer to, as of one moment, streamed."""
        ...

    def iterate_verifiable_parts(self) -> Iterator[Sequence[EntryRow] | TextReference]:
        """The chain, many entries at a time; then each text that a decision names and that is altered, or is not there.

        All as one moment sees it, streamed. Each entry comes as it is kept: nothing is taken for granted.
        """
        ...

    def record_lifecycle_event(self, milestone: LifecycleEvent) -> int:
        """Record something that happened to the ledger itself, or to who watches; its number."""
        ...

    def find_lifecycle_events(self, since: datetime | None = None, until: datetime | None = None) -> Sequence[LifecycleEvent]:
        """Those from a moment up to another, oldest first."""
        ...

    def observed_until(self) -> datetime | None:
        """Whatever moved before this moment is recorded, as the last one who watched said; None: nobody said so."""
        ...

    def find_audit_records(self, where: RecordFilter) -> Sequence[AuditRecord]:
        """Audit records in ascending order of id."""
        ...

    def record_delivery(self, delivery: WebhookDelivery) -> bool:
        """Record a webhook delivery; False where that id was recorded before."""
        ...

    def record_revision_state(self, revision: str, state: RevisionState, at: datetime, detail: str | None = None) -> None:
        """Record a revision as attempted, applied (in force) or refused; the same again is skipped."""
        ...

    def find_last_revision(self, state: RevisionState) -> str | None:
        """The revision last marked with that state."""
        ...
