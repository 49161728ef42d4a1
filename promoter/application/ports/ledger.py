"""The append-only record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from promoter.domain.audit import AuditRecord, Delivery, NewRecord, RecordedDecision, RecordFilter, RevisionState
from promoter.domain.guards import GuardCheck
from promoter.domain.ledger.chain import Entry, Head
from promoter.domain.ledger.entries import Row
from promoter.domain.ledger.export import Text
from promoter.domain.ledger.milestones import Milestone
from promoter.domain.ledger.references import Reference
from promoter.domain.override import Override
from promoter.domain.sightings import Sighting
from promoter.domain.verdict import Decision


class Ledger(Protocol):
    """The append-only record. Raises `Unavailable` where it cannot be written or read now."""

    def intend(self, record: NewRecord, decision: Decision | None) -> int:
        """Make an intent durable before its write; the intent's id. Records the decision behind it, once."""
        ...

    def close(self, intent: int, outcome: str, at: datetime, detail: str | None = None) -> None:
        """The outcome of an intent: `applied`, `failed` or `recovered`. A second outcome of one intent is refused.

        With the first and the last, git and the registry agree on what was intended: the same transaction settles it, except
        where an override stands in for git.
        """
        ...

    def override(self, record: NewRecord) -> int:
        """Record that an override begins (kind `override`): its version, person, reason and end; its id."""
        ...

    def overrides(self, models: Collection[str] | None = None) -> Sequence[Override]:
        """Those that nothing has ended yet, expired ones too, oldest first."""
        ...

    def end_override(self, override: int, at: datetime, reason: str, *, revision: str | None = None) -> None:
        """Record that it is over, and why; one that has ended is no error.

        `revision`: the one at which git says what the override said: they are settled on it in the same transaction.
        """
        ...

    def open_intents(self, models: Collection[str] | None = None) -> Sequence[AuditRecord]:
        """Intents without an outcome: a crash, or a write under way."""
        ...

    def observe(self, records: Iterable[NewRecord], *, only_first: bool = False, only_next: bool = False) -> None:
        """Record alias changes that the registry shows and Promoter did not make.

        `only_first`: skip those for whose model and alias anything is recorded already; `only_next`: those that do not begin
        where the ledger last saw the alias, since somebody else has recorded them meanwhile. In the same transaction.
        """
        ...

    def known_at(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], datetime]:
        """When the ledger last recorded where each of these aliases stands; nothing for one that it never did."""
        ...

    def last_known(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """Model to alias to the version that the ledger last saw it at (None: deleted)."""
        ...

    def settle(
        self,
        statements: Mapping[str, Mapping[str, int | None]],
        revision: str | None,
        at: datetime,
        *,
        only_first: bool = False,
    ) -> None:
        """Git and the registry agree: model to alias to version (None: absent)."""
        ...

    def unsettle(self, aliases: Mapping[str, Collection[str]], revision: str | None, at: datetime) -> None:
        """Git says nothing of these aliases any more, by model: what it may say of them later is a new decision."""
        ...

    def settled(self, models: Collection[str] | None = None) -> Mapping[str, Mapping[str, int | None]]:
        """What git and the registry last agreed on, by model and alias."""
        ...

    def held_before(self, model: str, alias: str, version: int) -> bool:
        """Whether that version ever held the alias, as far as the ledger knows."""
        ...

    def settled_at(self, model: str, alias: str) -> str | None:
        """The revision at which git and the registry last agreed on the alias; None where they never did."""
        ...

    def moves(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[AuditRecord]]:
        """The records that say that an alias did move, oldest first, by model and alias. Read in bulk."""
        ...

    def sightings(self, models: Collection[str]) -> Mapping[str, Sequence[Sighting]]:
        """What was seen of the watched tags of these models' versions, oldest first, by model."""
        ...

    def sight(self, sightings: Iterable[Sighting]) -> None:
        """Record what was seen; what repeats the last sighting of the same tag of the same version is skipped."""
        ...

    def checks(self, asked: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[GuardCheck]]:
        """The last 1,000 checks of guards of each alias, oldest first, by model and alias."""
        ...

    def check(self, checks: Iterable[GuardCheck]) -> None:
        """Record checks of guards."""
        ...

    def past_evidence(self, models: Collection[str] | None = None) -> Iterator[RecordedDecision]:
        """Every recorded decision that has evidence, oldest first, streamed."""
        ...

    def every_decision(self) -> Iterator[RecordedDecision]:
        """Every recorded decision, also one whose evidence was dropped, oldest first, streamed."""
        ...

    def decide(self, decisions: Iterable[Decision], revision: str | None, trigger: str | None = None) -> None:
        """Record decisions with their evidence; one that says what the last of its model, alias and version said is skipped."""
        ...

    def decision(self, number: int) -> RecordedDecision | None:
        """The decision of that number, or the one behind the audit record of that number; None where there is neither."""
        ...

    def decisions(self, model: str | None = None, alias: str | None = None, limit: int = 100) -> Sequence[RecordedDecision]:
        """The newest decisions first."""
        ...

    def content(self, digest: str) -> str | None:
        """A text by its SHA-256: a policy, approvers.yaml, a piece of evidence; None where it is not there (any more)."""
        ...

    def old_evidence(self, before: datetime) -> int:
        """How many pieces of evidence only decisions before that moment refer to."""
        ...

    def drop_evidence(self, before: datetime, actor: str, at: datetime) -> int:
        """Drop them, and record that: how many it was. Digests stay, and so does every entry of the chain."""
        ...

    def record(self, number: int) -> AuditRecord | None:
        """The audit record of that number."""
        ...

    def stood(self, at: datetime, models: Collection[str] | None = None) -> Mapping[tuple[str, str], AuditRecord]:
        """The last record up to that moment that says that an alias moved, by model and alias."""
        ...

    def moved_next(self, at: datetime, models: Collection[str] | None = None) -> Mapping[tuple[str, str], AuditRecord]:
        """The first record after that moment that says that an alias moved, by model and alias."""
        ...

    def around(self, model: str, alias: str, at: datetime) -> tuple[AuditRecord | None, AuditRecord | None]:
        """Of one alias: the last record up to that moment that says that it moved, and the first after it."""
        ...

    def head(self) -> Head:
        """The last entry of the chain."""
        ...

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """Every entry of the chain behind that number, in order, streamed, as it is kept: nothing is taken for granted."""
        ...

    def whole(self, after: int = 0) -> Iterator[Entry | Text]:
        """Every entry behind that number in order, and then every text that these refer to, as of one moment, streamed."""
        ...

    def verifiable(self) -> Iterator[Sequence[Row] | Reference]:
        """The chain, many entries at a time; then each text that a decision names and that is altered, or is not there.

        All as one moment sees it, streamed. Each entry comes as it is kept: nothing is taken for granted.
        """
        ...

    def mark(self, milestone: Milestone) -> int:
        """Record something that happened to the ledger itself, or to who watches; its number."""
        ...

    def milestones(self, since: datetime | None = None, until: datetime | None = None) -> Sequence[Milestone]:
        """Those from a moment up to another, oldest first."""
        ...

    def looked(self) -> datetime | None:
        """Whatever moved before this moment is recorded, as the last one who watched said; None: nobody said so."""
        ...

    def records(self, where: RecordFilter) -> Sequence[AuditRecord]:
        """Audit records in ascending order of id."""
        ...

    def deliver(self, delivery: Delivery) -> bool:
        """Record a webhook delivery; False where that id was recorded before."""
        ...

    def mark_revision(self, revision: str, state: RevisionState, at: datetime, detail: str | None = None) -> None:
        """Record a revision as attempted, applied (in force) or refused; the same again is skipped."""
        ...

    def last_revision(self, state: RevisionState) -> str | None:
        """The revision last marked with that state."""
        ...
