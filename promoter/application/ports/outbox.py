"""What notifications need: the ledger's entries as a source of events, the attempts to deliver these, and the channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from promoter.domain.notifications import (
    NO_CONTEXT,
    ChannelCursor,
    DeliveryAttempt,
    EntryContext,
    EventType,
    NotificationEvent,
    SourceEntry,
)


@dataclass(frozen=True)
class SourceEntryPage:
    """A page of entries that may be events."""

    entries: Sequence[SourceEntry]
    """The entries, in order."""
    upto: int
    """The number up to which the page is complete: whatever the ledger records later has a higher one."""
    contexts: Mapping[int, EntryContext] = field(default_factory=dict)
    """What the ledger tells of entries beyond what they say themselves, by their numbers."""

    def find_context(self, entry: SourceEntry) -> EntryContext:
        """Return what the ledger tells of the entry beyond what it says itself."""
        return self.contexts.get(entry.id, NO_CONTEXT)


class EventOutbox(Protocol):
    """The ledger as a source of events, and the attempts to deliver them. Raises `TransientError` where that fails for now."""

    def read_ledger_name(self) -> str:
        """Read the ledger's name; empty before its first entry."""
        ...

    def read_source_entries(self, after: int, limit: int) -> SourceEntryPage:
        """Read the entries behind that number that may be events, at most `limit`."""
        ...

    def start_channel(self, channel: str, at: datetime) -> None:
        """Record that a new channel starts with the entries to come; one that is known goes on where it was."""
        ...

    def read_channel_cursor(self, channel: str) -> ChannelCursor:
        """Read how far the channel is. The cost grows with the events that wait, not with those that were ever sent."""
        ...

    def read_delivery_attempts(self, channel: str, after: int) -> Sequence[DeliveryAttempt]:
        """Read a page of the channel's rows behind that one, in order."""
        ...

    def record_delivery_attempts(self, attempts: Iterable[DeliveryAttempt]) -> Sequence[DeliveryAttempt]:
        """Record attempts to deliver events, all or none, and return them with their numbers."""
        ...

    def list_undelivered_events(
        self, channel: str | None = None, *, dead: bool = False, limit: int = 1_000
    ) -> Sequence[DeliveryAttempt]:
        """List the last row of each event that waits or is dead (`dead`: only these), the newest last, at most `limit`."""
        ...

    def find_undelivered_event(self, number: int) -> DeliveryAttempt | None:
        """Find the last row of the event and channel that the row of that number is about."""
        ...

    def count_undelivered_events(self) -> dict[tuple[str, str], int]:
        """Count the events that wait and those that are dead, by channel and state."""
        ...


class NotificationChannel(Protocol):
    """One receiver of events, as the settings define it."""

    @property
    def name(self) -> str:
        """The name that the settings give it."""
        ...

    @property
    def wanted_event_types(self) -> frozenset[EventType]:
        """The types of events that it receives."""
        ...

    def send_event(self, event: NotificationEvent) -> None:
        """Send an event once. Raises `TransientError` or `PermanentError` where it has not arrived."""
        ...
