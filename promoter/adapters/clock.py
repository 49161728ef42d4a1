"""The system's clock."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """Now, aware, in UTC."""

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC)
