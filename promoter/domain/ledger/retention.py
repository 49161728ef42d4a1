"""Retention: evidence that is older than somebody wants to keep it. Only its digests stay, so that the chain still verifies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from promoter.domain.ledger.milestones import Event, Milestone
from promoter.domain.moment import in_utc

YOUNGEST = timedelta(days=1)
"""What is younger is never dropped: a slip of the finger must not empty a ledger."""


@dataclass(frozen=True)
class Retention:
    """Evidence of decisions before that moment was dropped; by whom, when, and in which entry of the ledger."""

    before: datetime
    actor: str
    at: datetime
    entry: int

    def __str__(self) -> str:
        """For people."""
        return f"{self.actor} on {in_utc(self.at)} (all from before {in_utc(self.before)}; entry {self.entry})"


def last_retention(milestones: Iterable[Milestone]) -> Retention | None:
    """The one that reaches furthest; None where nothing was ever dropped."""
    found = [
        Retention(datetime.fromisoformat(str(each.told["before"])), str(each.told.get("actor")), each.at, each.id)
        for each in milestones
        if each.event is Event.RETENTION
    ]
    return max(found, key=lambda each: each.before, default=None)
