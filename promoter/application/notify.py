"""Notify: each event of the ledger to each channel, at least once. What was sent is recorded after it was sent.

The ledger itself is the outbox: an event is a function of an entry, so that to record the outcome is to record the event. A
channel remembers up to which entry it is through, and which events wait for another try.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import structlog

from promoter.application.ports import Clock, Locks
from promoter.application.ports.outbox import Channel, Outbox
from promoter.domain.faults import OutsideError, Unavailable
from promoter.domain.notices.dispatches import PATIENCE, Dispatch, Standing, State, failed
from promoter.domain.notices.events import Event, Teller, Told

log = structlog.get_logger(__name__)

TICK = 5.0
"""Seconds between two looks where nobody says that there is something: other programs write to the ledger, too."""
BUSY = timedelta(seconds=5)
"""How long retries may take before what is new is looked for again."""
PAGE = 100
MOST = 10_000
"""So many events may wait; then what is new waits too, in the ledger, so that memory stays flat."""
STRIDE = 1_000
"""After so many entries without an event a row says that the channel is through with them."""
_SLOWEST = 60.0
_DOUBLINGS = 6
_LOCK = "lock"


def spread() -> float:
    """A random quarter more or less."""
    return random.uniform(0.75, 1.25)  # noqa: S311  # jitter, not cryptography


@dataclass(frozen=True)
class Terms:
    """How long a channel is tried before an event is dead, what this Promoter's address is, and how pauses are spread."""

    patience: timedelta = PATIENCE
    url: str | None = None
    spread: Callable[[], float] = spread


class Rooms(NamedTuple):
    """What notifying works with."""

    outbox: Outbox
    locks: Locks
    clock: Clock


class Notifier:
    """All channels. `run` is one round of one; rounds of one channel never overlap, across replicas as far as locks reach."""

    def __init__(self, channels: Sequence[Channel], rooms: Rooms, terms: Terms) -> None:
        """Reads nothing yet."""
        self.put: Callable[[str, str], None] = lambda _name, _trigger: None
        """Where rounds are asked for."""
        self._rooms = rooms
        self._posts = {each.name: _Post(each, rooms, terms) for each in channels}
        self._failures = dict.fromkeys(self._posts, 0)

    @property
    def names(self) -> tuple[str, ...]:
        """The channels."""
        return tuple(self._posts)

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How many events wait, and how many are dead, by channel and state; zero where there are none."""
        found = self._rooms.outbox.counts() if self._posts else {}
        return {(name, state): found.get((name, state), 0) for name in self._posts for state in (State.WAITING, State.DEAD)}

    def begin(self) -> None:
        """Channels that are new start here: what is recorded from now on, they are told."""
        self._rooms.outbox.listen(self.wake)
        now = self._rooms.clock.now()
        for name in self._posts:
            self._rooms.outbox.begin(name, now)

    def wake(self) -> None:
        """Something was recorded."""
        for name in self._posts:
            self.put(name, "recorded")

    def stop(self) -> None:
        """Rounds under way end after what is being sent."""
        for post in self._posts.values():
            post.stopping = True

    def run(self, name: str, trigger: str) -> float:
        """One round; the seconds until the next. Faults of the world are logged, never raised."""
        del trigger  # it only says "look"
        post = self._posts[name]
        try:
            with self._rooms.locks.hold(name):
                delay = post.round()
        except OutsideError as error:
            post.forget()
            if isinstance(error, Unavailable) and error.what == _LOCK:
                return TICK  # another replica has the channel
            failures = self._failures[name] = self._failures[name] + 1
            delay = min(_SLOWEST, 2.0 ** min(failures - 1, _DOUBLINGS))
            log.warning("notifications have to wait", channel=name, error=str(error), seconds=delay)
            return delay
        self._failures[name] = 0
        return delay


class _Post:
    """One channel, and what this program knows of how it stands."""

    def __init__(self, channel: Channel, rooms: Rooms, terms: Terms) -> None:
        self.stopping = False
        self._channel = channel
        self._rooms = rooms
        self._terms = terms
        self._standing: Standing | None = None
        self._position = 0
        self._teller: Teller | None = None

    def forget(self) -> None:
        """Whatever is known may be wrong: the next round reads it again."""
        self._standing = None

    def round(self) -> float:
        """What is new first, then what is due again. The seconds until the next round."""
        standing = self._caught_up()
        self._news(standing)
        more = self._retries(standing)
        if self.stopping:
            return TICK
        if self._position - standing.entry >= STRIDE:
            self._keep([Dispatch(self._channel.name, State.PASSED, self._rooms.clock.now(), self._position)])
        if more:
            return 0.0
        due = standing.next_due()
        return min(TICK, max(0.0, (due - self._rooms.clock.now()).total_seconds())) if due else TICK

    def _caught_up(self) -> Standing:
        """With what others did since: another replica, or a person who put an event back."""
        outbox, name = self._rooms.outbox, self._channel.name
        if self._standing is None:
            outbox.begin(name, self._rooms.clock.now())
            self._standing = outbox.standing(name)
            self._position = self._standing.entry
        standing = self._standing
        while rows := outbox.rows(name, standing.row):
            for row in rows:
                standing.take(row)
        self._position = max(self._position, standing.entry)
        return standing

    def _news(self, standing: Standing) -> None:
        while len(standing.waiting) < MOST and not self.stopping:
            page = self._rooms.outbox.happened(self._position, PAGE)
            for entry in page.entries:
                if self.stopping:
                    return
                self._tell(entry)
            self._position = max(self._position, page.upto)
            if len(page.entries) < PAGE:
                return

    def _tell(self, entry: Told) -> None:
        """All events of an entry, and then one record of all: in between, a crash makes it all come again."""
        name = self._channel.name
        wanted = [event for event in self._events(entry) if event.type in self._channel.wants]
        told = [self._attempt(each, Dispatch(name, State.AGAIN, each.at, each.entry, each.id)) for each in wanted]
        if told:
            self._keep(told)

    def _retries(self, standing: Standing) -> bool:
        """Whether some were left for the next round."""
        clock = self._rooms.clock
        started = clock.now()
        for last in standing.due(started):
            if self.stopping or clock.now() - started > BUSY:
                return True
            event = self._again(last)
            if event is None:
                gone = "the ledger has no such entry"
                self._keep([Dispatch(last.channel, State.DEAD, clock.now(), last.entry, last.event, detail=gone)])
            else:
                self._keep([self._attempt(event, last)])
        return False

    def _again(self, last: Dispatch) -> Event | None:
        page = self._rooms.outbox.happened(last.entry - 1, 1)
        found = [each for entry in page.entries if entry.id == last.entry for each in self._events(entry)]
        return next((each for each in found if each.id == last.event), None)

    def _events(self, entry: Told) -> tuple[Event, ...]:
        if self._teller is None:
            self._teller = Teller(self._rooms.outbox.ledger(), self._terms.url)
        return self._teller.events(entry)

    def _attempt(self, event: Event, last: Dispatch) -> Dispatch:
        """Send it; the row for what came of it."""
        name, now = self._channel.name, self._rooms.clock.now
        try:
            self._channel.send(event)
        except OutsideError as error:
            why = error.message
        except Exception as error:
            # Whatever is wrong with this one, the others are told.
            log.exception("an event could not be sent, in an unforeseen way", channel=name, event_id=event.id)
            why = f"unforeseen: {type(error).__name__}, see the log"
        else:
            log.info("event delivered", channel=name, event_id=event.id)
            return Dispatch(name, State.DELIVERED, now(), event.entry, event.id, last.attempts)
        row = failed(last, now(), why, patience=self._terms.patience, stretch=self._terms.spread())
        log.warning("event not delivered", channel=name, event_id=event.id, state=row.state.value, error=why)
        return row

    def _keep(self, rows: list[Dispatch]) -> None:
        kept = self._rooms.outbox.keep(rows)
        if self._standing is not None:
            row = self._standing.row  # others' rows may lie before these: all are read again, in order
            for each in kept:
                self._standing.take(each)
            self._standing.row = row
