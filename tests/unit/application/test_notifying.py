"""Notifying: each event at least once on each channel, none held up by another, and a restart at any point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from promoter.adapters.file_locks import create_channel_locks
from promoter.adapters.ledger import SqlLedger
from promoter.application import notifications
from promoter.application.notifications import ChannelNotifier, NotifierDeps, redeliver, redeliver_all, send_test_event
from promoter.domain.errors import PermanentError
from promoter.domain.notifications import (
    ALIAS_EVENT_TYPES,
    DeliveryAttempt,
    DeliveryState,
    EventBuilder,
    EventType,
    NotificationEvent,
)
from tests.unit.application.desks import DAY, STEADY, Desk, Mailbox, opened
from tests.unit.application.fakes import START


@pytest.fixture
def box() -> Mailbox:
    """It takes everything."""
    return Mailbox()


@pytest.fixture
def desk(tmp_path: Path, box: Mailbox) -> Iterator[Desk]:
    """One channel, which has begun."""
    yield from opened(tmp_path, box)


def test_a_channel_is_told_of_what_comes_after_it(desk: Desk, box: Mailbox) -> None:
    """In order, once each, whatever was before it began."""
    news = desk.move(3)
    assert desk.run() == notifications.POLL_SECONDS
    assert (box.entries, desk.states()) == (news, ["started", *["delivered"] * 3])
    desk.boxes = (*desk.boxes, Mailbox("late"))
    desk.start()
    desk.notifier.start_channels()
    later = desk.move()
    desk.run("late")
    desk.run()
    assert (desk.boxes[1].entries, box.entries) == (later, news + later)
    assert desk.locks.taken[-2:] == ["late", "ci"]


def test_a_restart_tells_nothing_twice_and_leaves_nothing_out(desk: Desk, box: Mailbox) -> None:
    """What is delivered is remembered, what waits too, and what came meanwhile is found."""
    first = desk.move(2)
    desk.run()
    box.down()
    second = desk.move()
    desk.run()
    desk.start()
    third = desk.move()
    box.up()
    desk.time.pass_time(seconds=10)
    desk.run()
    assert sorted(box.entries) == first + second + third
    assert desk.states() == ["started", "delivered", "delivered", "waiting", "delivered", "delivered"]


def test_one_that_waits_holds_nothing_up(desk: Desk, box: Mailbox) -> None:
    """The rest arrives in the same round; the one is tried again with pauses that grow, and arrives in the end."""
    bad, *good = desk.move(5)
    box.down(to=[bad], error=PermanentError("ci", "status 400"))
    assert desk.run() == 1.0
    assert box.entries == good
    delays: list[float] = []
    for _ in range(4):
        desk.time.pass_time(seconds=1 if not delays else delays[-1])
        delays.append(desk.run())
    assert delays == [2.0, 4.0, 5.0, 3.0]  # never longer than a tick, so that others are told in time
    box.up()
    desk.go_on(10)
    assert box.entries == [*good, bad]


def test_what_never_arrives_is_dead_and_can_be_put_back(desk: Desk, box: Mailbox) -> None:
    """After a day; once it is put back it is tried at once, and for as long as a new one."""
    (number,) = desk.move()
    box.down()
    began = desk.time.now()
    while desk.notifier.event_counts["ci", DeliveryState.DEAD] == 0:
        desk.run()
        waiting = [each.due for each in desk.ledger.outbox.list_undelivered_events() if each.due]
        desk.time.at = max([desk.time.at, *waiting])
    assert DAY <= desk.time.now() - began <= DAY + timedelta(hours=2)
    (letter,) = desk.ledger.outbox.list_undelivered_events(dead=True)
    event = f"{desk.ledger.outbox.read_ledger_name()}/{number}/changed"
    assert (letter.entry, letter.detail, letter.event) == (number, "status 503", event)
    assert len(desk.states()) < 45
    box.up()
    desk.go_on(20)
    assert box.came == [], "given up is given up"
    assert [each.state for each in redeliver(desk.ledger.outbox, desk.time, letter.id)] == [DeliveryState.AGAIN]
    assert desk.notifier.event_counts == {("ci", DeliveryState.WAITING): 1, ("ci", DeliveryState.DEAD): 0}
    desk.run()
    assert box.entries == [number]
    with pytest.raises(PermanentError, match="has reached ci by now"):
        redeliver(desk.ledger.outbox, desk.time, letter.id)
    with pytest.raises(PermanentError, match="no event with the number 4711"):
        redeliver(desk.ledger.outbox, desk.time, 4711)


def test_what_is_put_back_while_something_is_sent_is_not_missed(desk: Desk, box: Mailbox) -> None:
    """Its row lies before the one of what was sent just then."""
    desk.terms = replace(STEADY, patience=timedelta(0))
    desk.start()
    box.down()
    (old,) = desk.move()
    desk.run()
    (letter,) = desk.ledger.outbox.list_undelivered_events(dead=True)
    (new,) = desk.move()

    def meanwhile(event: NotificationEvent) -> None:
        if event.entry == new:
            redeliver(desk.ledger.outbox, desk.time, letter.id)

    box.on = meanwhile
    desk.go_on(3)
    assert box.entries == [new, old]


def test_all_that_is_dead_is_put_back(desk: Desk, box: Mailbox) -> None:
    """Of one channel, or of all; what waits stays as it is."""
    desk.terms = replace(STEADY, patience=timedelta(0))
    desk.start()
    box.down()
    news = desk.move(3)
    desk.run()
    assert desk.states() == ["started", "dead", "dead", "dead"]
    assert redeliver_all(desk.ledger.outbox, desk.time, "mail") == []
    assert len(redeliver_all(desk.ledger.outbox, desk.time)) == 3
    assert redeliver_all(desk.ledger.outbox, desk.time) == []
    box.up()
    desk.run()
    assert box.entries == news


def test_a_channel_gets_the_types_that_it_wants(tmp_path: Path) -> None:
    """Both events of an entry where it wants both, in one record; nothing of what it does not want."""
    every, drift, blocked = (
        Mailbox("ci", frozenset(ALIAS_EVENT_TYPES)),
        Mailbox("drift", frozenset({EventType.DRIFTED})),
        Mailbox("blocked", frozenset({EventType.BLOCKED})),
    )
    desk = Desk(SqlLedger.open(f"sqlite:///{tmp_path / 'p.db'}"), every, drift, blocked)
    desk.notifier.start_channels()
    desk.move()
    for box in desk.boxes:
        desk.run(box.name)
    assert [[each.type.short_name for each in box.came] for box in desk.boxes] == [["changed", "drifted"], ["drifted"], []]
    desk.ledger.close_connections()


def test_a_channel_without_news_remembers_how_far_it_is(desk: Desk, box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a start does not read all that was not for it."""
    monkeypatch.setattr(notifications, "PROGRESS_STRIDE", 10)
    box.wanted_event_types = frozenset({EventType.BLOCKED})
    desk.move(8)
    desk.run()
    assert desk.states() == ["started"]
    last = desk.move()[-1]
    desk.run()
    assert desk.states() == ["started", "passed"]
    assert desk.ledger.outbox.read_channel_cursor("ci").entry == last


def test_memory_is_bounded(desk: Desk, box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too much waits, the rest waits in the ledger, and is told later."""
    monkeypatch.setattr(notifications, "MAX_WAITING_EVENTS", 5)
    monkeypatch.setattr(notifications, "PAGE_SIZE", 2)
    box.down()
    news = desk.move(20)
    desk.run()
    assert desk.ledger.outbox.count_undelivered_events() == {("ci", "waiting"): 6}
    box.up()
    desk.go_on(20)
    assert sorted(box.entries) == news


def test_one_replica_at_a_time(desk: Desk, box: Mailbox, tmp_path: Path) -> None:
    """The other one comes by again, and knows then what was done; a channel keeps no model waiting."""
    locks = create_channel_locks(f"sqlite:///{tmp_path / 'promoter.db'}")
    rooms = NotifierDeps(desk.ledger.outbox, locks, desk.time)
    one, other = (ChannelNotifier(desk.boxes, rooms, STEADY) for _ in range(2))
    first = desk.move()
    assert other.run_channel("ci", "test") == notifications.POLL_SECONDS
    box.on = lambda _event: box.came.clear() if other.run_channel("ci", "test") else None
    with pytest.raises(RuntimeError, match="holds 'ci' already"), locks.hold("ci"):
        one.run_channel("ci", "test")
    box.up()
    second = desk.move()
    one.run_channel("ci", "test")
    other.run_channel("ci", "test")
    assert box.entries == first + second


def test_whoever_records_wakes_every_channel(desk: Desk) -> None:
    """At once, through the ledger itself."""
    woken: list[tuple[str, str]] = []
    desk.notifier.enqueue = lambda *asked: woken.append(asked)
    desk.move()
    assert woken == [("ci", "recorded")]


def test_a_stop_ends_a_round_after_what_is_being_sent(desk: Desk, box: Mailbox) -> None:
    """What is left is sent after the next start."""
    news = desk.move(3)
    box.on = lambda _event: desk.notifier.stop_sending()
    assert desk.run() == notifications.POLL_SECONDS
    assert box.entries == news[:1]
    box.up()
    desk.start()
    desk.run()
    assert box.entries == news


def test_news_are_looked_for_between_retries(desk: Desk, box: Mailbox) -> None:
    """A receiver that takes long for each of many old ones does not hold up what is new."""
    old = desk.move(6)
    box.down()
    desk.run()
    order: list[int] = []

    def slow(event: NotificationEvent) -> None:
        order.append(event.entry)
        desk.time.pass_time(seconds=4)
        if len(order) == 1:
            order.extend(-number for number in desk.move())

    box.on = slow
    desk.time.pass_time(seconds=60)
    while len(box.came) < 7:
        desk.time.pass_time(seconds=desk.run())
    new = -order[1]
    assert order[2:].index(new) <= 1
    assert sorted(box.entries) == [*old, new]


def test_an_entry_that_is_gone_is_given_up(desk: Desk, box: Mailbox) -> None:
    """A database that was replaced by another one: its old numbers are nobody's."""
    desk.ledger.outbox.record_delivery_attempts(
        [DeliveryAttempt("ci", DeliveryState.WAITING, START, 4_000, "other/4000/changed", due=START)]
    )
    desk.run()
    (letter,) = desk.ledger.outbox.list_undelivered_events(dead=True)
    assert (letter.detail, box.came) == ("the ledger has no such entry", [])


def test_a_test_goes_to_the_channel_that_is_named(desk: Desk, box: Mailbox) -> None:
    """At once, whatever it wants, and without a row; a name that no channel has is refused with those that there are."""
    event = send_test_event(desk.boxes, "ci", EventBuilder("led"), desk.time)
    assert box.came == [event]
    assert desk.states() == ["started"]
    with pytest.raises(PermanentError, match="no channel is called mail") as caught:
        send_test_event(desk.boxes, "mail", EventBuilder("led"), desk.time)
    assert caught.value.fix == "the settings name: ci"


def test_nothing_is_asked_of_the_ledger_without_a_channel(tmp_path: Path) -> None:
    """Nor counted."""
    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'p.db'}")
    desk = Desk(ledger)
    desk.notifier.start_channels()
    assert (desk.notifier.channel_names, desk.notifier.event_counts) == ((), {})
    ledger.close_connections()


def test_what_others_did_is_known_before_a_round(desk: Desk, box: Mailbox) -> None:
    """Another replica delivered what waits here: it is not sent again."""
    box.down()
    desk.move(2)
    desk.run()
    waiting: Iterable[DeliveryAttempt] = desk.ledger.outbox.list_undelivered_events()
    desk.ledger.outbox.record_delivery_attempts(replace(each, state=DeliveryState.DELIVERED) for each in waiting)
    box.up()
    desk.go_on(5)
    assert box.came == []
