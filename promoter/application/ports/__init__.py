"""What the use cases need of the world. Each port is implemented in one room of `adapters`."""

from promoter.application.ports.copies import Copies
from promoter.application.ports.forge import Comment, Draft, Forge, PullRequest, State, Status, StatusState
from promoter.application.ports.ledger import Ledger
from promoter.application.ports.machine import Clock, Locks
from promoter.application.ports.registry import Evidenced, Key, Registry
from promoter.application.ports.repository import Commit, Documents, Merge, Repository, Sources, Unsigned

__all__ = [
    "Clock",
    "Comment",
    "Commit",
    "Copies",
    "Documents",
    "Draft",
    "Evidenced",
    "Forge",
    "Key",
    "Ledger",
    "Locks",
    "Merge",
    "PullRequest",
    "Registry",
    "Repository",
    "Sources",
    "State",
    "Status",
    "StatusState",
    "Unsigned",
]
