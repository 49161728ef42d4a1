"""Work items: the pieces of work of the daemon, what causes them, and which workers they are for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class WorkKind(StrEnum):
    """What a work item is about."""

    GIT = "git"
    """The watched branch."""
    REGISTRY = "registry"
    """Every managed model: one plan of all, which writes no alias."""
    MODEL = "model"
    """One model, by name."""
    PULLS = "pulls"
    """The list of open pull requests."""
    PULL = "pull"
    """The plan of one pull request, by number."""
    PROPOSALS = "proposals"
    """Promoter's own pull requests for one model, by the model's name."""
    RESULTS = "results"
    """What came of the commits of the branch, reported on the forge."""


@dataclass(frozen=True)
class WorkItem:
    """One piece of work for the controller. It carries no state: whatever it is about is read again."""

    kind: WorkKind
    name: str = ""
    """Which model or pull request, where the kind has several."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind.value


GIT, REGISTRY, PULLS = WorkItem(WorkKind.GIT), WorkItem(WorkKind.REGISTRY), WorkItem(WorkKind.PULLS)
RESULTS = WorkItem(WorkKind.RESULTS)

Trigger = str
"""What caused a piece of work, as the ledger records it: `poll`, `start`, `api`, `git`, or `webhook:SOURCE:DELIVERY`."""

_LANES = {
    WorkKind.GIT: "git",
    WorkKind.REGISTRY: "registry",
    WorkKind.MODEL: "models",
    WorkKind.PULLS: "pulls",
    WorkKind.PULL: "proposals",
    WorkKind.PROPOSALS: "proposals",
    WorkKind.RESULTS: "results",
}


def find_work_lane(item: WorkItem) -> str:
    """Return which workers the item is for: each poll has one of its own; models share theirs, and so do pull requests."""
    return _LANES[item.kind]


EnqueueWork = Callable[[WorkItem, Trigger], None]
"""Asks for a piece of work, soon. Work that waits already is not added twice."""


def enqueue_affected_models(enqueue: EnqueueWork, models: frozenset[str] | None, trigger: Trigger) -> None:
    """Ask for the work that follows from a new revision; `models` None: any model may be affected."""
    enqueue(PULLS, trigger)
    if models is None:
        enqueue(REGISTRY, trigger)
    for name in sorted(models or ()):
        enqueue(WorkItem(WorkKind.MODEL, name), trigger)
