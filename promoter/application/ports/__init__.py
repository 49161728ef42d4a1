"""The ports: what the use cases need from outside. Each is implemented in one package of `adapters`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from promoter.application.ports.forge import (
    CommitStatus,
    CommitStatusName,
    Forge,
    PullRequest,
    PullRequestComment,
    PullRequestDraft,
    PullRequestState,
)
from promoter.application.ports.ledger import AuditLog, ChainReader, DecisionLog, LastApplied, Ledger, ObservationLog
from promoter.application.ports.registry import (
    DEFAULT_WORKSPACE,
    Absence,
    EvidenceTarget,
    ModelLabels,
    Registry,
    RegistryServer,
    VersionCopies,
    VersionKey,
    describe_place,
)
from promoter.application.ports.repository import (
    DeclarationDocuments,
    GitCommit,
    MergePreview,
    Repository,
    Sources,
    UnsignedCommit,
    UnusableFile,
    require_content,
)


class Clock(Protocol):
    """The one place that time comes from."""

    def now(self) -> datetime:
        """Now, aware, in UTC."""
        ...


class HostSystem(Protocol):
    """The host that this program runs on."""

    @property
    def host_name(self) -> str:
        """The name of the host."""
        ...

    @property
    def process_id(self) -> int:
        """The number of this program's process."""
        ...

    def is_alive(self, process: int) -> bool:
        """Whether a process of that number runs on this host, whosever it is."""
        ...


class Locks(Protocol):
    """Mutual exclusion by key, across all threads, processes and hosts that work on one ledger.

    Whoever keeps the lock frees it when the holder dies or cannot be reached any more. A holder that was only stopped may not
    know that: it checks the lock again right before it does what nobody else may do at the same time.
    """

    def hold(self, key: str) -> AbstractContextManager[None]:
        """Wait for the key, and hold it. Raises `TransientError` when that takes too long."""
        ...

    def require_held(self, key: str) -> None:
        """Check, where the lock is kept, that this thread still holds the key. Raises `TransientError` where it was lost."""
        ...


__all__ = [
    "DEFAULT_WORKSPACE",
    "Absence",
    "AuditLog",
    "ChainReader",
    "Clock",
    "CommitStatus",
    "CommitStatusName",
    "DecisionLog",
    "DeclarationDocuments",
    "EvidenceTarget",
    "Forge",
    "GitCommit",
    "HostSystem",
    "LastApplied",
    "Ledger",
    "Locks",
    "MergePreview",
    "ModelLabels",
    "ObservationLog",
    "PullRequest",
    "PullRequestComment",
    "PullRequestDraft",
    "PullRequestState",
    "Registry",
    "RegistryServer",
    "Repository",
    "Sources",
    "UnsignedCommit",
    "UnusableFile",
    "VersionCopies",
    "VersionKey",
    "describe_place",
    "require_content",
]
