"""What notifications need: the ledger's entries as they come, what became of each event, and the channels to send on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from promoter.domain.notifications import ChannelCursor, DeliveryAttempt, EventType, NotificationEvent, SourceEntry


@dataclass(frozen=True)
class SourceEntryPage:
    """Entries that may be events, in order. `upto`: whatever comes to the ledger later has a higher number."""

    entries: Sequence[SourceEntry]
    upto: int


class EventOutbox(Protocol):
    """The ledger as a source of events, and what became of them. Raises `TransientError` where it cannot be asked now."""

    def read_ledger_name(self) -> str:
        """The ledger's name."""
        ...

    def read_source_entries(self, after: int, limit: int) -> SourceEntryPage:
        """The entries behind that number that may be events, at most so many."""
        ...

    def start_channel(self, channel: str, at: datetime) -> None:
        """Where no row speaks of the channel, it starts now: one row says so."""
        ...

    def read_channel_cursor(self, channel: str) -> ChannelCursor:
        """How it stands with the channel. Costs as much as waits, not as much as was ever sent."""
        ...

    def read_delivery_attempts(self, channel: str, after: int) -> Sequence[DeliveryAttempt]:
        """The rows of the channel behind that one, in order, a portion at a time."""
        ...

    def record_delivery_attempts(self, dispatches: Iterable[DeliveryAttempt]) -> Sequence[DeliveryAttempt]:
        """Record what became of events: all or none. The same with their numbers."""
        ...

    def list_undelivered_events(
        self, channel: str | None = None, *, dead: bool = False, limit: int = 1_000
    ) -> Sequence[DeliveryAttempt]:
        """What waits or is dead (`dead`: only that), the newest last: the last row of each event, at most so many."""
        ...

    def find_undelivered_event(self, number: int) -> DeliveryAttempt | None:
        """The last row of the event and channel that the row of that number is about; None where there is none."""
        ...

    def count_undelivered_events(self) -> dict[tuple[str, str], int]:
        """How many events wait, and how many are dead, by channel and state."""
        ...


class NotificationChannel(Protocol):
    """One place that is told of events."""

    @property
    def name(self) -> str:
        """As the settings name it."""
        ...

    @property
    def wanted_event_types(self) -> frozenset[EventType]:
        """The types that it is told of."""
        ...

    def send_event(self, event: NotificationEvent) -> None:
        """Send it once. Raises `TransientError` or `PermanentError`; whatever else returns, it has arrived."""
        ...
