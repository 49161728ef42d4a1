"""The append-only record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from promoter.domain.audit import AuditRecord, Delivery, NewRecord, RecordedDecision, RecordFilter, RevisionState
from promoter.domain.guards import GuardCheck
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

    def observe(self, records: Iterable[NewRecord], *, only_first: bool = False) -> None:
        """Record alias changes that the registry shows and Promoter did not make.

        `only_first`: skip those for whose model and alias anything is recorded already, in the same transaction.
        """
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

    def decide(self, decisions: Iterable[Decision], revision: str | None) -> None:
        """Record decisions with their evidence; one that says what the last of its model, alias and version said is skipped."""
        ...

    def decisions(self, model: str | None = None, alias: str | None = None, limit: int = 100) -> Sequence[RecordedDecision]:
        """The newest decisions first."""
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
