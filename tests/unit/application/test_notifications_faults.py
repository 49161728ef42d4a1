"""Notifying where something breaks: a crash at any call, a ledger that is not there, a mistake in a channel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from promoter.application.ports.outbox import EventOutbox
from promoter.domain.errors import TransientError
from promoter.domain.notifications import CHANNEL_EVENT_TYPES, NotificationEvent
from tests.support.fakes.registry import FreeLocks
from tests.support.notifier_app import Inbox, NotifierApp, opened


@pytest.fixture
def inbox() -> Inbox:
    """It takes everything."""
    return Inbox()


@pytest.fixture
def notifier_app(tmp_path: Path, inbox: Inbox) -> Iterator[NotifierApp]:
    """One channel, which has begun."""
    yield from opened(tmp_path, inbox)


class NotifierCrash(BaseException):
    """The program is gone."""


@dataclass
class Mortal:
    """An outbox that is that of the ledger, but for the `nth` call of one method: the program dies before or after it."""

    own: EventOutbox
    call: str
    nth: int
    after: bool

    def __getattr__(self, name: str) -> object:
        """The ledger's own."""
        found = getattr(self.own, name)
        if name != self.call:
            return found

        def deadly(*args: object) -> object:
            self.nth -= 1
            if self.nth:
                return found(*args)
            if self.after:
                found(*args)
            raise NotifierCrash

        return deadly


@pytest.mark.slow_except(
    "start_channel-1-before",
    "read_source_entries-1-after",
    "record_delivery_attempts-1-before",
    "record_delivery_attempts-2-after",
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", range(1, 4))
@pytest.mark.parametrize(
    "call",
    ["start_channel", "read_channel_cursor", "read_delivery_attempts", "read_source_entries", "record_delivery_attempts"],
)
def test_a_crash_at_any_call_loses_nothing(
    notifier_app: NotifierApp, inbox: Inbox, call: str, nth: int, *, after: bool
) -> None:
    """Each event arrives; at most what was under way arrives twice, with the same id."""
    inbox.wanted_event_types = frozenset(CHANNEL_EVENT_TYPES)
    news = notifier_app.move(4)
    notifier_app.start(Mortal(notifier_app.ledger.outbox, call, nth, after))  # type: ignore[arg-type]
    try:
        notifier_app.go_on(5)
    except NotifierCrash:
        pass
    else:
        assert call in ("start_channel", "read_channel_cursor")
    notifier_app.start()
    notifier_app.go_on(5)
    ids = [each.id for each in inbox.came]
    assert sorted({each.entry for each in inbox.came}) == news
    assert len(set(ids)) == 2 * len(news)
    assert len(ids) - len(set(ids)) in (0, 2)
    assert (len(ids) > len(set(ids))) == (call == "record_delivery_attempts" and not after)


class FullDiskLocks(FreeLocks):
    """Locks on a disk that is full."""

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """As the port says."""
        if key:
            raise TransientError("ledger", "disk full")
        yield


def test_a_ledger_that_cannot_be_had_is_asked_again(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """With pauses that grow; nothing is lost, and nothing raised."""
    news = notifier_app.move(2)
    notifier_app.locks = FullDiskLocks()
    notifier_app.start()
    assert [notifier_app.run() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert inbox.came == []
    notifier_app.locks = FreeLocks()
    notifier_app.start()
    notifier_app.run()
    assert inbox.entries == news


def test_an_unforeseen_mistake_concerns_one_event(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """The others arrive; the one waits, and its reason tells no secret."""
    bad, good = notifier_app.move(2)

    def mistake(event: NotificationEvent) -> None:
        if event.entry == bad:
            raise TypeError("hunter2")

    inbox.on = mistake
    notifier_app.run()
    assert inbox.entries == [good]
    (letter,) = notifier_app.ledger.outbox.list_undelivered_events()
    assert letter.detail == "unforeseen: TypeError, see the log"
