"""Retention: evidence that is older than somebody wants to keep it. Only its digests stay, so that the chain still verifies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from promoter.domain.ledger.milestones import LifecycleEventType, LifecycleEvent
from promoter.domain.moment import format_utc

YOUNGEST_DROPPABLE = timedelta(days=1)
"""What is younger is never dropped: a slip of the finger must not empty a ledger."""


@dataclass(frozen=True)
class EvidenceRetention:
    """Evidence of decisions before that moment was dropped; by whom, when, and in which entry of the ledger."""

    before: datetime
    actor: str
    at: datetime
    entry: int

    def __str__(self) -> str:
        """For people."""
        return f"{self.actor} on {format_utc(self.at)} (all from before {format_utc(self.before)}; entry {self.entry})"


def find_last_retention(milestones: Iterable[LifecycleEvent]) -> EvidenceRetention | None:
    """The one that reaches furthest; None where nothing was ever dropped."""
    found = [
        EvidenceRetention(datetime.fromisoformat(str(each.facts["before"])), str(each.facts.get("actor")), each.at, each.id)
        for each in milestones
        if each.event is LifecycleEventType.RETENTION
    ]
    return max(found, key=lambda each: each.before, default=None)
