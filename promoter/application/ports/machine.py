"""What the machine gives: time, and locks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The one place that time comes from."""

    def now(self) -> datetime:
        """Now, aware, in UTC."""
        ...


class Locks(Protocol):
    """Mutual exclusion by key, across threads and processes; released by the system when the holder dies."""

    def hold(self, key: str) -> AbstractContextManager[None]:
        """Wait for the key, and hold it. Raises `TransientError` when that takes too long."""
        ...
