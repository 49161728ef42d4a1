"""What the use cases need of the world. Each port is implemented in one room of `adapters`."""

from promoter.application.ports.copies import VersionCopies
from promoter.application.ports.forge import (
    PullRequestComment,
    PullRequestDraft,
    Forge,
    PullRequest,
    PullRequestState,
    CommitStatus,
    CommitStatusState,
)
from promoter.application.ports.ledger import Ledger
from promoter.application.ports.machine import Clock, Locks
from promoter.application.ports.registry import EvidenceTarget, VersionKey, Registry
from promoter.application.ports.repository import (
    GitCommit,
    DeclarationDocuments,
    MergePreview,
    Repository,
    Sources,
    UnsignedCommit,
)

__all__ = [
    "Clock",
    "PullRequestComment",
    "GitCommit",
    "VersionCopies",
    "DeclarationDocuments",
    "PullRequestDraft",
    "EvidenceTarget",
    "Forge",
    "VersionKey",
    "Ledger",
    "Locks",
    "MergePreview",
    "PullRequest",
    "Registry",
    "Repository",
    "Sources",
    "PullRequestState",
    "CommitStatus",
    "CommitStatusState",
    "UnsignedCommit",
]
