"""What notifications need: the ledger's entries as they come, what became of each event, and the channels to send on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from promoter.domain.notices.dispatches import Dispatch, Standing
from promoter.domain.notices.events import Event, Told, Type


@dataclass(frozen=True)
class Page:
    """Entries that may be events, in order. `upto`: whatever comes to the ledger later has a higher number."""

    entries: Sequence[Told]
    upto: int


class Outbox(Protocol):
    """The ledger as a source of events, and what became of them. Raises `Unavailable` where it cannot be asked now."""

    def ledger(self) -> str:
        """The ledger's name."""
        ...

    def listen(self, call: Callable[[], None]) -> None:
        """Call that whenever this program has added to the ledger. It must not raise, and returns at once."""
        ...

    def happened(self, after: int, limit: int) -> Page:
        """The entries behind that number that may be events, at most so many."""
        ...

    def begin(self, channel: str, at: datetime) -> None:
        """Where no row speaks of the channel, it starts now: one row says so."""
        ...

    def standing(self, channel: str) -> Standing:
        """How it stands with the channel. Costs as much as waits, not as much as was ever sent."""
        ...

    def rows(self, channel: str, after: int) -> Sequence[Dispatch]:
        """The rows of the channel behind that one, in order, a portion at a time."""
        ...

    def keep(self, dispatches: Iterable[Dispatch]) -> Sequence[Dispatch]:
        """Record what became of events: all or none. The same with their numbers."""
        ...

    def letters(self, channel: str | None = None, *, dead: bool = False, limit: int = 1_000) -> Sequence[Dispatch]:
        """What waits or is dead (`dead`: only that), the newest last: the last row of each event, at most so many."""
        ...

    def letter(self, number: int) -> Dispatch | None:
        """The last row of the event and channel that the row of that number is about; None where there is none."""
        ...

    def counts(self) -> dict[tuple[str, str], int]:
        """How many events wait, and how many are dead, by channel and state."""
        ...


class Channel(Protocol):
    """One place that is told of events."""

    @property
    def name(self) -> str:
        """As the settings name it."""
        ...

    @property
    def wants(self) -> frozenset[Type]:
        """The types that it is told of."""
        ...

    def send(self, event: Event) -> None:
        """Send it once. Raises `Unavailable` or `Refused`; whatever else returns, it has arrived."""
        ...
