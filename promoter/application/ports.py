"""What the use cases need of the world. Each port is implemented in one room of `adapters`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from promoter.domain.audit import AuditRecord, Delivery, NewRecord, RecordedDecision, RecordFilter, RevisionState
from promoter.domain.declaration import Declaration
from promoter.domain.guards import GuardCheck
from promoter.domain.metrics import MetricRef, Series
from promoter.domain.observed import Loading, LoggedModel, ModelVersion, ObservedModel, Run, Signature, Unread
from promoter.domain.proposal import Edit
from promoter.domain.sightings import Sighting
from promoter.domain.verdict import Decision, Finding

Sources = Mapping[str, bytes]
"""The files of a revision that Promoter reads, by path: `registry.yaml`, `approvers.yaml` and `policies/*.yaml`, as bytes."""


class Clock(Protocol):
    """The one place that time comes from."""

    def now(self) -> datetime:
        """Now, aware, in UTC."""
        ...


@dataclass(frozen=True)
class Evidenced:
    """A version whose evidence is asked for: what a read of models told of it, and the name that it goes by."""

    model: str
    version: ModelVersion

    @property
    def key(self) -> tuple[str, int]:
        """Name and number."""
        return self.model, self.version.number


Key = tuple[str, int]
"""A version: the model's name, and its number."""


class Registry(Protocol):
    """MLflow's model registry and its runs. Raises `Unavailable` (retry) or `Refused` (a person must act)."""

    def observe(self, names: Collection[str] | None = None) -> Mapping[str, ObservedModel]:
        """The named models (those that exist), or all; prompts are left out. Read in bulk."""
        ...

    def runs(self, run_ids: Collection[str], *, experiments: bool = False) -> Mapping[str, Run]:
        """The runs that exist, by id, with the last value of each metric. Read in bulk. `experiments`: with their names."""
        ...

    def logged_models(self, versions: Collection[Evidenced]) -> Mapping[Key, LoggedModel | Unread | None]:
        """The logged model behind each version (through copies of copies), None where it was registered from none."""
        ...

    def series(self, versions: Collection[Evidenced], metrics: Collection[MetricRef]) -> Mapping[Key, tuple[Series, ...]]:
        """Every value of these metrics over the steps of each version's run; the last one of a step. Absent ones are left out.

        Of a metric of the logged model, those that were logged for it, on that dataset.
        """
        ...

    def signatures(self, versions: Collection[Evidenced]) -> Mapping[Key, Signature | Unread | None]:
        """The signature in each version's artifact; None where it has none. What was read once is remembered."""
        ...

    def loading(self, model: str, version: ModelVersion) -> Loading:
        """Load the version's artifact in a process of its own, within a time limit. A success is remembered."""
        ...

    def set_tag(self, model: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version: the approval of a person, by `promoter approve`. No alias moves by it."""
        ...

    def aliases(self, model: str) -> Mapping[str, int] | None:
        """Alias to version of one model, read now; None where the model does not exist."""
        ...

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point the alias at the version. MLflow has no compare-and-set: the caller reads before and after."""
        ...

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove the alias; an absent one is no error."""
        ...

    def readiness(self, model: str, version: int) -> Finding:
        """Whether the version's artifact is there and can be read as a model: for a version that returns under a hold."""
        ...


@dataclass(frozen=True)
class Commit:
    """One commit of the watched branch. `author` is `Name <mail>`."""

    revision: str
    author: str
    at: datetime
    subject: str
    trailers: Mapping[str, str] = field(default_factory=dict)
    """The trailers of its message, by key; the last one of a key."""


class Repository(Protocol):
    """The user's GitOps repository: one branch of one remote. Raises `Unavailable`, `Refused` or `Overtaken`."""

    def fetch(self) -> str:
        """Fetch the branch; the revision (full object id) of its head."""
        ...

    def read(self, revision: str) -> Sources:
        """The files of that revision that Promoter reads, without a checkout."""
        ...

    def commits(self, base: str | None, head: str, path: str) -> Sequence[Commit]:
        """First-parent commits after `base` up to `head` that touch `path`, oldest first (only the last one without base)."""
        ...

    def commit(self, base: str, path: str, content: bytes, message: str) -> str:
        """Commit the file on top of `base`, push to the branch if its head is still `base`; the new revision.

        Raises `Overtaken` where the remote's head is not `base` any more.
        """
        ...


class Documents(Protocol):
    """The two files as text: parsed strictly, edited by bytes."""

    def parse(self, sources: Sources, revision: str | None) -> Declaration:
        """The desired state and the policies. Raises `Faults` with every fault, each with file, line and column."""
        ...

    def edit(self, content: bytes, edit: Edit) -> bytes:
        """`registry.yaml` with what the edit asks for, and every other byte as it was.

        Raises `Faults` where the file cannot be edited safely.
        """
        ...


class Ledger(Protocol):
    """The append-only record. Raises `Unavailable` where it cannot be written or read now."""

    def intend(self, record: NewRecord, decision: Decision | None) -> int:
        """Make an intent durable before its write; the intent's id. Records the decision behind it, once."""
        ...

    def close(self, intent: int, outcome: str, at: datetime, detail: str | None = None) -> None:
        """The outcome of an intent: `applied`, `failed` or `recovered`. A second outcome of one intent is refused.

        With the first and the last, git and the registry agree on what was intended: the same transaction settles it.
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


class Locks(Protocol):
    """Mutual exclusion by key, across threads and processes; released by the system when the holder dies."""

    def hold(self, key: str) -> AbstractContextManager[None]:
        """Wait for the key, and hold it. Raises `Unavailable` when that takes too long."""
        ...
