"""Send each event of the ledger to each channel, at least once. An attempt is recorded after it was made.

The ledger itself is the outbox: an event is a function of an entry, so recording the outcome records the event. A channel
remembers up to which entry it is done, and which events wait for another attempt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import structlog

from promoter.application.ports import Clock, Locks
from promoter.application.ports.outbox import EventOutbox, NotificationChannel
from promoter.domain.backoff import compute_backoff
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from promoter.domain.links import NO_ADDRESSES, MlflowAddresses
from promoter.domain.notifications import (
    DEFAULT_PATIENCE,
    ChannelCursor,
    DeliveryAttempt,
    DeliveryState,
    EntryContext,
    EventBuilder,
    NotificationEvent,
    SourceEntry,
    build_failed_attempt,
    build_redelivery,
)

log = structlog.get_logger(__name__)


POLL_SECONDS = 5.0
"""Seconds between two looks where nobody says that there is something: other programs write to the ledger, too."""
RETRY_BUDGET = timedelta(seconds=5)
"""How long retries may take before what is new is looked for again."""
PAGE_SIZE = 100
MAX_WAITING_EVENTS = 10_000
"""So many events may wait; then what is new waits too, in the ledger, so that memory stays flat."""
PROGRESS_STRIDE = 1_000
"""After so many entries without an event a row says that the channel is through with them."""
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 60.0
_LOCK = "lock"


def random_jitter() -> float:
    """Return a random factor, up to a quarter more or less than one."""
    return random.uniform(0.75, 1.25)  # noqa: S311  # jitter, not cryptography


@dataclass(frozen=True)
class DeliveryTerms:
    """How channels are served."""

    patience: timedelta = DEFAULT_PATIENCE
    """How long an event is tried before it is dead."""
    url: str | None = None
    """The address of this Promoter."""
    mlflow: MlflowAddresses = NO_ADDRESSES
    """The addresses of its MLflow server."""
    spread: Callable[[], float] = random_jitter
    """Returns a factor by which a pause is scaled."""


class ChannelNotifier:
    """Serves all channels. Rounds of one channel never overlap, across replicas as far as locks reach."""

    def __init__(
        self,
        channels: Sequence[NotificationChannel],
        terms: DeliveryTerms,
        *,
        outbox: EventOutbox,
        locks: Locks,
        clock: Clock,
    ) -> None:
        self._outbox = outbox
        self._locks = locks
        self._clock = clock
        self._senders = {each.name: _ChannelSender(each, terms, outbox, clock) for each in channels}
        self._failures = dict.fromkeys(self._senders, 0)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Return the names of the channels."""
        return tuple(self._senders)

    @property
    def event_counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many events wait and how many are dead, by channel and state; zero where there are none."""
        found = self._outbox.count_undelivered_events() if self._senders else {}
        return {
            (name, state): found.get((name, state), 0)
            for name in self._senders
            for state in (DeliveryState.WAITING, DeliveryState.DEAD)
        }

    def start_channels(self) -> None:
        """Start new channels here: they get what is recorded from now on."""
        now = self._clock.now()
        for name in self._senders:
            self._outbox.start_channel(name, now)

    def stop_sending(self) -> None:
        """End the rounds under way after the event that is being sent."""
        for post in self._senders.values():
            post.stopping = True

    def run_channel(self, name: str, trigger: str) -> float:
        """Run one round of a channel, and return the seconds until the next. External errors are logged, never raised."""
        del trigger  # it only says "look"
        post = self._senders[name]
        try:
            with self._locks.hold(name):
                delay = post.send_due_events()
        except ExternalError as error:
            post.forget_cursor()
            if isinstance(error, TransientError) and error.what == _LOCK:
                return POLL_SECONDS  # another replica has the channel
            failures = self._failures[name] = self._failures[name] + 1
            delay = compute_backoff(failures, _FIRST_BACKOFF, _LONGEST_BACKOFF)
            log.warning("notifications have to wait", channel=name, error=str(error), seconds=delay)
            return delay
        self._failures[name] = 0
        return delay


class _ChannelSender:
    """Sends to one channel, and remembers its cursor."""

    def __init__(self, channel: NotificationChannel, terms: DeliveryTerms, outbox: EventOutbox, clock: Clock) -> None:
        self.stopping = False
        self._channel = channel
        self._outbox = outbox
        self._clock = clock
        self._terms = terms
        self._cursor: ChannelCursor | None = None
        self._position = 0
        self._event_builder: EventBuilder | None = None

    def forget_cursor(self) -> None:
        """Drop the cursor, so that the next round reads it again."""
        self._cursor = None

    def send_due_events(self) -> float:
        """Send new events first, then those that are due again. Return the seconds until the next round."""
        standing = self._update_cursor()
        self._send_new_events(standing)
        more = self._retry_due_events(standing)
        if self.stopping:
            return POLL_SECONDS
        if self._position - standing.entry >= PROGRESS_STRIDE:
            self._record_attempts(
                [DeliveryAttempt(self._channel.name, DeliveryState.PASSED, self._clock.now(), self._position)]
            )
        if more:
            return 0.0
        due = standing.find_next_due_time()
        return min(POLL_SECONDS, max(0.0, (due - self._clock.now()).total_seconds())) if due else POLL_SECONDS

    def _update_cursor(self) -> ChannelCursor:
        """Return the cursor with what another replica, or a person who asked for redelivery, wrote meanwhile."""
        outbox, name = self._outbox, self._channel.name
        if self._cursor is None:
            outbox.start_channel(name, self._clock.now())
            self._cursor = outbox.read_channel_cursor(name)
            self._position = self._cursor.entry
        standing = self._cursor
        while rows := outbox.read_delivery_attempts(name, standing.row):
            for row in rows:
                standing.add_attempt(row)
        self._position = max(self._position, standing.entry)
        return standing

    def _send_new_events(self, standing: ChannelCursor) -> None:
        while len(standing.waiting) < MAX_WAITING_EVENTS and not self.stopping:
            page = self._outbox.read_source_entries(self._position, PAGE_SIZE)
            for entry in page.entries:
                if self.stopping:
                    return
                self._send_entry_events(entry, page.find_context(entry))
            self._position = max(self._position, page.upto)
            if len(page.entries) < PAGE_SIZE:
                return

    def _send_entry_events(self, entry: SourceEntry, context: EntryContext) -> None:
        """Send all events of an entry, and then record all attempts at once: after a crash in between, all are sent again."""
        name = self._channel.name
        wanted = [event for event in self._build_events(entry, context) if event.type in self._channel.wanted_event_types]
        attempts = [
            self._attempt_delivery(each, DeliveryAttempt(name, DeliveryState.AGAIN, each.at, each.entry, each.id))
            for each in wanted
        ]
        if attempts:
            self._record_attempts(attempts)

    def _retry_due_events(self, standing: ChannelCursor) -> bool:
        """Send what is due again. Return whether some events are left for the next round."""
        clock = self._clock
        started = clock.now()
        for last in standing.list_due_attempts(started):
            if self.stopping or clock.now() - started > RETRY_BUDGET:
                return True
            event = self._rebuild_event(last)
            if event is None:
                gone = "the ledger has no such entry"
                self._record_attempts(
                    [DeliveryAttempt(last.channel, DeliveryState.DEAD, clock.now(), last.entry, last.event, detail=gone)]
                )
            else:
                self._record_attempts([self._attempt_delivery(event, last)])
        return False

    def _rebuild_event(self, last: DeliveryAttempt) -> NotificationEvent | None:
        page = self._outbox.read_source_entries(last.entry - 1, 1)
        entries = (entry for entry in page.entries if entry.id == last.entry)
        found = [each for entry in entries for each in self._build_events(entry, page.find_context(entry))]
        return next((each for each in found if each.id == last.event), None)

    def _build_events(self, entry: SourceEntry, context: EntryContext) -> tuple[NotificationEvent, ...]:
        if self._event_builder is None:
            self._event_builder = EventBuilder(self._outbox.read_ledger_name(), self._terms.url, self._terms.mlflow)
        return self._event_builder.build_events(entry, context)

    def _attempt_delivery(self, event: NotificationEvent, last: DeliveryAttempt) -> DeliveryAttempt:
        """Send the event, and return the row for the outcome."""
        name, now = self._channel.name, self._clock.now
        try:
            self._channel.send_event(event)
        except ExternalError as error:
            why = error.message
        except Exception as error:
            # Whatever is wrong with this one, the others are told.
            log.exception("an event could not be sent, in an unforeseen way", channel=name, event_id=event.id)
            why = f"unforeseen: {type(error).__name__}, see the log"
        else:
            log.info("event delivered", channel=name, event_id=event.id)
            return DeliveryAttempt(name, DeliveryState.DELIVERED, now(), event.entry, event.id, last.attempts)
        row = build_failed_attempt(last, now(), why, patience=self._terms.patience, stretch=self._terms.spread())
        log.warning("event not delivered", channel=name, event_id=event.id, state=row.state.value, error=why)
        return row

    def _record_attempts(self, rows: list[DeliveryAttempt]) -> None:
        kept = self._outbox.record_delivery_attempts(rows)
        if self._cursor is not None:
            row = self._cursor.row  # others' rows may lie before these: all are read again, in order
            for each in kept:
                self._cursor.add_attempt(each)
            self._cursor.row = row


WHAT = "notifications"


def redeliver(outbox: EventOutbox, clock: Clock, number: int) -> list[DeliveryAttempt]:
    """Send the event of that row again. Raises `PermanentError` where there is none, or where it was delivered."""
    last = outbox.find_undelivered_event(number)
    if last is None:
        fix = "`promoter notifications list` shows which there are"
        raise PermanentError(WHAT, f"there is no event with the number {number}", fix)
    if last.state is DeliveryState.DELIVERED:
        raise PermanentError(WHAT, f"event {last.event} has reached {last.channel} by now")
    return list(outbox.record_delivery_attempts([build_redelivery(last, clock.now())]))


def redeliver_all(outbox: EventOutbox, clock: Clock, channel: str | None = None) -> list[DeliveryAttempt]:
    """Send all dead events again."""
    done: list[DeliveryAttempt] = []
    while dead := outbox.list_undelivered_events(channel, dead=True):
        done += outbox.record_delivery_attempts(build_redelivery(each, clock.now()) for each in dead)
    return done


def send_test_event(
    channels: Sequence[NotificationChannel], name: str, teller: EventBuilder, clock: Clock
) -> NotificationEvent:
    """Send a test event to the channel. Raises `TransientError` or `PermanentError` where it is not delivered."""
    channel = next((each for each in channels if each.name == name), None)
    if channel is None:
        known = ", ".join(each.name for each in channels) or "none"
        raise PermanentError(WHAT, f"no channel is called {name}", f"the settings name: {known}")
    event = teller.build_test_event(str(uuid4()), clock.now())
    channel.send_event(event)
    return event
