"""Evidence: what a decision may look at, gathered beforehand, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Need:
    """What rules ask for, so that evidence for many candidates is gathered in bulk, and only that.

    `holders` are the aliases whose holder a rule compares with.
    """

    run: bool = False
    holders: frozenset[str] = frozenset()

    def __or__(self, other: Need) -> Need:
        """What both ask for."""
        return Need(self.run or other.run, self.holders | other.holders)


@dataclass(frozen=True)
class VersionEvidence:
    """What is known of one version: tags of the version, status and metrics of its run (None: no run to be read)."""

    version: int
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    run_status: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the ledger. NaN and infinities become text, since JSON has no word for them."""
        return {
            "version": self.version,
            "tags": dict(self.tags),
            "run_id": self.run_id,
            "run_status": self.run_status,
            "metrics": {key: value if abs(value) < float("inf") else str(value) for key, value in self.metrics.items()},
        }


@dataclass(frozen=True)
class Evidence:
    """The candidate, and who holds the aliases that it is compared with (None: nobody)."""

    at: datetime
    candidate: VersionEvidence
    holders: Mapping[str, VersionEvidence | None] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the ledger."""
        return {
            "at": self.at.isoformat(),
            "candidate": self.candidate.as_json(),
            "holders": {alias: held.as_json() if held else None for alias, held in self.holders.items()},
        }
