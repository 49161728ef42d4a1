"""Notifying where something breaks: a crash at any call, a ledger that is not there, a mistake in a channel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from promoter.application.ports.outbox import EventOutbox
from promoter.domain.errors import TransientError
from promoter.domain.notifications import ALIAS_EVENT_TYPES, NotificationEvent
from tests.unit.application.desks import Desk, Mailbox, opened
from tests.unit.application.fakes import FreeLocks


@pytest.fixture
def box() -> Mailbox:
    """It takes everything."""
    return Mailbox()


@pytest.fixture
def desk(tmp_path: Path, box: Mailbox) -> Iterator[Desk]:
    """One channel, which has begun."""
    yield from opened(tmp_path, box)


class Crash(BaseException):
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
            raise Crash

        return deadly


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("nth", range(1, 4))
@pytest.mark.parametrize(
    "call",
    ["start_channel", "read_channel_cursor", "read_delivery_attempts", "read_source_entries", "record_delivery_attempts"],
)
def test_a_crash_at_any_call_loses_nothing(desk: Desk, box: Mailbox, call: str, nth: int, *, after: bool) -> None:
    """Each event arrives; at most what was under way arrives twice, with the same id."""
    box.wanted_event_types = frozenset(ALIAS_EVENT_TYPES)
    news = desk.move(4)
    desk.start(Mortal(desk.ledger.outbox, call, nth, after))  # type: ignore[arg-type]
    try:
        desk.go_on(5)
    except Crash:
        pass
    else:
        assert call in ("start_channel", "read_channel_cursor")
    desk.start()
    desk.go_on(5)
    ids = [each.id for each in box.came]
    assert sorted({each.entry for each in box.came}) == news
    assert len(set(ids)) == 2 * len(news)
    assert len(ids) - len(set(ids)) in (0, 2)
    assert (len(ids) > len(set(ids))) == (call == "record_delivery_attempts" and not after)


class Full(FreeLocks):
    """Locks on a disk that is full."""

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """As the port says."""
        if key:
            raise TransientError("ledger", "disk full")
        yield


def test_a_ledger_that_cannot_be_had_is_asked_again(desk: Desk, box: Mailbox) -> None:
    """With pauses that grow; nothing is lost, and nothing raised."""
    news = desk.move(2)
    desk.locks = Full()
    desk.start()
    assert [desk.run() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert box.came == []
    desk.locks = FreeLocks()
    desk.start()
    desk.run()
    assert box.entries == news


def test_an_unforeseen_mistake_concerns_one_event(desk: Desk, box: Mailbox) -> None:
    """The others arrive; the one waits, and its reason tells no secret."""
    bad, good = desk.move(2)

    def mistake(event: NotificationEvent) -> None:
        if event.entry == bad:
            raise TypeError("hunter2")

    box.on = mistake
    desk.run()
    assert box.entries == [good]
    (letter,) = desk.ledger.outbox.list_undelivered_events()
    assert letter.detail == "unforeseen: TypeError, see the log"
