"""Dispatches: what became of each event on each channel. Rows that are only ever added; the last one of an event counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(hours=1)
"""The first and the longest pause between two tries."""
DEFAULT_PATIENCE = timedelta(hours=24)
"""How long an event is tried for until it is dead, unless told otherwise."""
_DOUBLINGS = 20


class DeliveryState(StrEnum):
    """STARTED: the channel came to be, and is told what comes after that entry. PASSED: nothing for it up to that entry.

    DELIVERED, WAITING (for the next try), DEAD (given up): how it stands with an event. AGAIN: a person asked to try once more.
    """

    STARTED = "started"
    PASSED = "passed"
    DELIVERED = "delivered"
    WAITING = "waiting"
    DEAD = "dead"
    AGAIN = "again"


OPEN_STATES = (DeliveryState.WAITING, DeliveryState.AGAIN)
"""What still has to be sent."""


@dataclass(frozen=True)
class DeliveryAttempt:
    """One row. `event` is the event's id, None where the row is about the channel itself; `entry` the ledger's entry.

    `attempts` counts the failures in a row and `since` says when they began; `due` is when to try again, `detail` what was
    wrong. `id` is 0 before the row is kept.
    """

    channel: str
    state: DeliveryState
    at: datetime
    entry: int
    event: str | None = None
    attempts: int = 0
    since: datetime | None = None
    due: datetime | None = None
    detail: str | None = None
    id: int = 0

    def to_json(self) -> dict[str, object]:
        """For lists: `id`, `channel`, `event`, `entry`, `state`, `at`, `attempts`, `since`, `due`, `detail`."""
        row = {name: getattr(self, name) for name in ("id", "channel", "event", "entry", "state", "at", "attempts", "since")}
        row |= {"due": self.due, "detail": self.detail}
        return {name: each.isoformat() if isinstance(each, datetime) else each for name, each in row.items()}


@dataclass
class ChannelCursor:
    """How it stands with a channel: all rows of it, summed up.

    `entry`: of everything up to there it is known what became of it. `row`: the last row that is summed up. `waiting`: what
    is still to be sent, by the event's id.
    """

    channel: str
    entry: int = 0
    row: int = 0
    waiting: dict[str, DeliveryAttempt] = field(default_factory=dict)

    def add_attempt(self, dispatch: DeliveryAttempt) -> None:
        """Take in one more row. Rows come in order; one that was taken in before may come again with those after it."""
        self.entry = max(self.entry, dispatch.entry)
        self.row = max(self.row, dispatch.id)
        if dispatch.event is None:
            return
        if dispatch.state in OPEN_STATES:
            self.waiting[dispatch.event] = dispatch
        else:
            self.waiting.pop(dispatch.event, None)

    def list_due_attempts(self, now: datetime) -> list[DeliveryAttempt]:
        """What is to be tried now, the longest due first."""
        found = [each for each in self.waiting.values() if each.due is None or each.due <= now]
        return sorted(found, key=lambda each: (each.due or each.at, each.entry, each.event or ""))

    def find_next_due_time(self) -> datetime | None:
        """When the next try is due; None: nothing waits."""
        return min((each.due or each.at for each in self.waiting.values()), default=None)


def compute_retry_pause(attempts: int) -> timedelta:
    """From one try to the next after so many failures: doubling, from a second to an hour."""
    doublings = min(max(attempts, 1) - 1, _DOUBLINGS)
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << doublings))


def build_failed_attempt(
    last: DeliveryAttempt, at: datetime, detail: str, *, patience: timedelta, stretch: float
) -> DeliveryAttempt:
    """The row for a try that failed, behind the `last` one of the event: to be tried again, or given up.

    `stretch` scales the pause, so that what failed together is not tried again together.
    """
    since, attempts = last.since or at, last.attempts + 1
    dead = at - since >= patience
    due = None if dead else at + compute_retry_pause(attempts) * stretch
    state = DeliveryState.DEAD if dead else DeliveryState.WAITING
    return DeliveryAttempt(last.channel, state, at, last.entry, last.event, attempts, since, due, detail)


def build_redelivery(dead: DeliveryAttempt, at: datetime) -> DeliveryAttempt:
    """The row that puts an event back: to be tried at once, and for as long as a new one."""
    return DeliveryAttempt(dead.channel, DeliveryState.AGAIN, at, dead.entry, dead.event, due=at, detail=dead.detail)
