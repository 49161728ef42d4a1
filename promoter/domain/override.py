"""Overrides: a rollback that could not wait for git. Recorded, expiring, and over as soon as its pull request is decided."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

DEFAULT_OVERRIDE_DURATION = timedelta(hours=24)
"""How long an override stands unless told otherwise; the longest is a week."""
LONGEST_OVERRIDE = timedelta(days=7)


@dataclass(frozen=True)
class Override:
    """In the place of what git says of one alias. `id` is its audit record's, `replaces` the version that it took away."""

    id: int
    at: datetime
    model: str
    alias: str
    version: int
    replaces: int | None
    reason: str
    by: str
    until: datetime

    @property
    def description(self) -> str:
        """For people: what stands, until when, by whom, and why."""
        return f"v{self.version} until {self.until:%Y-%m-%d %H:%M} UTC, by {self.by}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """For the API: `id`, `version`, `replaces`, `since`, `until`, `by`, `reason`."""
        return {
            "id": self.id,
            "version": self.version,
            "replaces": self.replaces,
            "since": self.at.isoformat(),
            "until": self.until.isoformat(),
            "by": self.by,
            "reason": self.reason,
        }

    def is_in_force(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return now < self.until
