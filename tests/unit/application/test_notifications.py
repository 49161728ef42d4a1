"""Notifying: each event at least once on each channel, none held up by another, and a restart at any point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.file_locks import FileLocks
from promoter.adapters.ledger import SqlLedger
from promoter.application import notifications
from promoter.application.notifications import ChannelNotifier, redeliver, redeliver_all, send_test_event
from promoter.container import Container
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.errors import PermanentError
from promoter.domain.notifications import (
    CHANNEL_EVENT_TYPES,
    DeliveryAttempt,
    DeliveryState,
    EventBuilder,
    EventType,
    NotificationEvent,
)
from promoter.settings import ChannelSettings, Settings
from tests.support.fakes.registry import START
from tests.support.notifier_app import DAY, STEADY, Inbox, NotifierApp, opened
from tests.support.remembered import numbers


@pytest.fixture
def inbox() -> Inbox:
    """It takes everything."""
    return Inbox()


@pytest.fixture
def notifier_app(tmp_path: Path, inbox: Inbox) -> Iterator[NotifierApp]:
    """One channel, which has begun."""
    yield from opened(tmp_path, inbox)


def test_a_channel_is_told_of_what_comes_after_it(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """In order, once each, whatever was before it began."""
    news = notifier_app.move(3)
    assert notifier_app.run() == notifications.POLL_SECONDS
    assert (inbox.entries, notifier_app.states()) == (news, ["started", *["delivered"] * 3])
    notifier_app.inboxes = (*notifier_app.inboxes, Inbox("late"))
    notifier_app.start()
    notifier_app.notifier.start_channels()
    later = notifier_app.move()
    notifier_app.run("late")
    notifier_app.run()
    assert (notifier_app.inboxes[1].entries, inbox.entries) == (later, news + later)
    assert notifier_app.locks.taken[-2:] == ["late", "ci"]


def test_a_restart_tells_nothing_twice_and_leaves_nothing_out(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """What is delivered is remembered, what waits too, and what came meanwhile is found."""
    first = notifier_app.move(2)
    notifier_app.run()
    inbox.down()
    second = notifier_app.move()
    notifier_app.run()
    notifier_app.start()
    third = notifier_app.move()
    inbox.up()
    notifier_app.time.pass_time(seconds=10)
    notifier_app.run()
    assert sorted(inbox.entries) == first + second + third
    assert notifier_app.states() == ["started", "delivered", "delivered", "waiting", "delivered", "delivered"]


def test_one_that_waits_holds_nothing_up(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """The rest arrives in the same round; the one is tried again with pauses that grow, and arrives in the end."""
    bad, *good = notifier_app.move(5)
    inbox.down(to=[bad], error=PermanentError("ci", "status 400"))
    assert notifier_app.run() == 1.0
    assert inbox.entries == good
    delays: list[float] = []
    for _ in range(4):
        notifier_app.time.pass_time(seconds=1 if not delays else delays[-1])
        delays.append(notifier_app.run())
    assert delays == [2.0, 4.0, 5.0, 3.0]  # never longer than a tick, so that others are told in time
    inbox.up()
    notifier_app.go_on(10)
    assert inbox.entries == [*good, bad]


def test_what_never_arrives_is_dead_and_can_be_put_back(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """After a day; once it is put back it is tried at once, and for as long as a new one."""
    (number,) = notifier_app.move()
    inbox.down()
    began = notifier_app.time.now()
    while notifier_app.notifier.event_counts["ci", DeliveryState.DEAD] == 0:
        notifier_app.run()
        waiting = [each.due for each in notifier_app.ledger.outbox.list_undelivered_events() if each.due]
        notifier_app.time.at = max([notifier_app.time.at, *waiting])
    assert DAY <= notifier_app.time.now() - began <= DAY + timedelta(hours=2)
    (letter,) = notifier_app.ledger.outbox.list_undelivered_events(dead=True)
    event = f"{notifier_app.ledger.outbox.read_ledger_name()}/{number}/changed"
    assert (letter.entry, letter.detail, letter.event) == (number, "status 503", event)
    assert len(notifier_app.states()) < 45
    inbox.up()
    notifier_app.go_on(20)
    assert inbox.came == [], "given up is given up"
    assert [each.state for each in redeliver(notifier_app.ledger.outbox, notifier_app.time, letter.id)] == [DeliveryState.AGAIN]
    assert notifier_app.notifier.event_counts == {("ci", DeliveryState.WAITING): 1, ("ci", DeliveryState.DEAD): 0}
    notifier_app.run()
    assert inbox.entries == [number]
    with pytest.raises(PermanentError, match="has reached ci by now"):
        redeliver(notifier_app.ledger.outbox, notifier_app.time, letter.id)
    with pytest.raises(PermanentError, match="no event with the number 4711"):
        redeliver(notifier_app.ledger.outbox, notifier_app.time, 4711)


def test_what_is_put_back_while_something_is_sent_is_not_missed(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """Its row lies before the one of what was sent just then."""
    notifier_app.terms = replace(STEADY, patience=timedelta(0))
    notifier_app.start()
    inbox.down()
    (old,) = notifier_app.move()
    notifier_app.run()
    (letter,) = notifier_app.ledger.outbox.list_undelivered_events(dead=True)
    (new,) = notifier_app.move()

    def meanwhile(event: NotificationEvent) -> None:
        if event.entry == new:
            redeliver(notifier_app.ledger.outbox, notifier_app.time, letter.id)

    inbox.on = meanwhile
    notifier_app.go_on(3)
    assert inbox.entries == [new, old]


def test_all_that_is_dead_is_put_back(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """Of one channel, or of all; what waits stays as it is."""
    notifier_app.terms = replace(STEADY, patience=timedelta(0))
    notifier_app.start()
    inbox.down()
    news = notifier_app.move(3)
    notifier_app.run()
    assert notifier_app.states() == ["started", "dead", "dead", "dead"]
    assert redeliver_all(notifier_app.ledger.outbox, notifier_app.time, "mail") == []
    assert len(redeliver_all(notifier_app.ledger.outbox, notifier_app.time)) == 3
    assert redeliver_all(notifier_app.ledger.outbox, notifier_app.time) == []
    inbox.up()
    notifier_app.run()
    assert inbox.entries == news


def test_a_channel_gets_the_types_that_it_wants(tmp_path: Path) -> None:
    """Both events of an entry where it wants both, in one record; nothing of what it does not want."""
    every, drift, blocked = (
        Inbox("ci", frozenset(CHANNEL_EVENT_TYPES)),
        Inbox("drift", frozenset({EventType.DRIFTED})),
        Inbox("blocked", frozenset({EventType.BLOCKED})),
    )
    notifier_app = NotifierApp(SqlLedger.open(f"sqlite:///{tmp_path / 'p.db'}"), every, drift, blocked)
    notifier_app.notifier.start_channels()
    notifier_app.move()
    for inbox in notifier_app.inboxes:
        notifier_app.run(inbox.name)
    assert [[each.type.short_name for each in inbox.came] for inbox in notifier_app.inboxes] == [
        ["changed", "drifted"],
        ["drifted"],
        [],
    ]
    notifier_app.ledger.close_connections()


def test_a_channel_without_news_remembers_how_far_it_is(
    notifier_app: NotifierApp, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a start does not read all that was not for it."""
    monkeypatch.setattr(notifications, "PROGRESS_STRIDE", 10)
    inbox.wanted_event_types = frozenset({EventType.BLOCKED})
    notifier_app.move(8)
    notifier_app.run()
    assert notifier_app.states() == ["started"]
    last = notifier_app.move(2)[-1]
    notifier_app.run()
    assert notifier_app.states() == ["started", "passed"]
    assert notifier_app.ledger.outbox.read_channel_cursor("ci").entry == last


def test_memory_is_bounded(notifier_app: NotifierApp, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too much waits, the rest waits in the ledger, and is told later."""
    monkeypatch.setattr(notifications, "MAX_WAITING_EVENTS", 5)
    monkeypatch.setattr(notifications, "PAGE_SIZE", 2)
    inbox.down()
    news = notifier_app.move(20)
    notifier_app.run()
    assert notifier_app.ledger.outbox.count_undelivered_events() == {("ci", "waiting"): 6}
    inbox.up()
    notifier_app.go_on(20)
    assert sorted(inbox.entries) == news


def test_one_replica_at_a_time(notifier_app: NotifierApp, inbox: Inbox, tmp_path: Path) -> None:
    """The other one comes by again, and knows then what was done; a channel keeps no model waiting."""
    locks = FileLocks(tmp_path, timeout=0.5, digits=64)
    one, other = (
        ChannelNotifier(notifier_app.inboxes, STEADY, outbox=notifier_app.ledger.outbox, locks=locks, clock=notifier_app.time)
        for _ in range(2)
    )
    first = notifier_app.move()
    assert other.run_channel("ci", "test") == notifications.POLL_SECONDS
    inbox.on = lambda _event: inbox.came.clear() if other.run_channel("ci", "test") else None
    with pytest.raises(RuntimeError, match="holds 'ci' already"), locks.hold("ci"):
        one.run_channel("ci", "test")
    inbox.up()
    second = notifier_app.move()
    one.run_channel("ci", "test")
    other.run_channel("ci", "test")
    assert inbox.entries == first + second


def test_whoever_records_wakes_every_channel(tmp_path: Path) -> None:
    """At once, through the ledger itself; reading wakes nobody."""
    woken: list[tuple[str, str]] = []
    channels = [ChannelSettings(name=name, url="https://ci.example", secret=SecretStr("s")) for name in ("ci", "mail")]
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'woken.db'}", notifications=channels)
    container = Container(settings, enqueue_channel=lambda *asked: woken.append(asked))
    container.ledger.record_observed_moves([NewAuditRecord(START, RecordKind.OBSERVED, "m", "champion", None, 1)])
    assert numbers(container.ledger.read_last_known_versions()) == {"m": {"champion": 1}}
    assert woken == [("ci", "recorded"), ("mail", "recorded")]


def test_a_stop_ends_a_round_after_what_is_being_sent(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """What is left is sent after the next start."""
    news = notifier_app.move(3)
    inbox.on = lambda _event: notifier_app.notifier.stop_sending()
    assert notifier_app.run() == notifications.POLL_SECONDS
    assert inbox.entries == news[:1]
    inbox.up()
    notifier_app.start()
    notifier_app.run()
    assert inbox.entries == news


def test_news_are_looked_for_between_retries(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """A receiver that takes long for each of many old ones does not hold up what is new."""
    old = notifier_app.move(6)
    inbox.down()
    notifier_app.run()
    order: list[int] = []

    def slow(event: NotificationEvent) -> None:
        order.append(event.entry)
        notifier_app.time.pass_time(seconds=4)
        if len(order) == 1:
            order.extend(-number for number in notifier_app.move())

    inbox.on = slow
    notifier_app.time.pass_time(seconds=60)
    while len(inbox.came) < 7:
        notifier_app.time.pass_time(seconds=notifier_app.run())
    new = -order[1]
    assert order[2:].index(new) <= 1
    assert sorted(inbox.entries) == [*old, new]


def test_an_entry_that_is_gone_is_given_up(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """A database that was replaced by another one: its old numbers are nobody's."""
    notifier_app.ledger.outbox.record_delivery_attempts(
        [DeliveryAttempt("ci", DeliveryState.WAITING, START, 4_000, "other/4000/changed", due=START)]
    )
    notifier_app.run()
    (letter,) = notifier_app.ledger.outbox.list_undelivered_events(dead=True)
    assert (letter.detail, inbox.came) == ("the ledger has no such entry", [])


def test_a_test_goes_to_the_channel_that_is_named(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """At once, whatever it wants, and without a row; a name that no channel has is refused with those that there are."""
    event = send_test_event(notifier_app.inboxes, "ci", EventBuilder("led"), notifier_app.time)
    assert inbox.came == [event]
    assert notifier_app.states() == ["started"]
    with pytest.raises(PermanentError, match="no channel is called mail") as caught:
        send_test_event(notifier_app.inboxes, "mail", EventBuilder("led"), notifier_app.time)
    assert caught.value.fix == "the settings name: ci"


def test_nothing_is_asked_of_the_ledger_without_a_channel(tmp_path: Path) -> None:
    """Nor counted."""
    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'p.db'}")
    notifier_app = NotifierApp(ledger)
    notifier_app.notifier.start_channels()
    assert (notifier_app.notifier.channel_names, notifier_app.notifier.event_counts) == ((), {})
    ledger.close_connections()


def test_what_others_did_is_known_before_a_round(notifier_app: NotifierApp, inbox: Inbox) -> None:
    """Another replica delivered what waits here: it is not sent again."""
    inbox.down()
    notifier_app.move(2)
    notifier_app.run()
    waiting: Iterable[DeliveryAttempt] = notifier_app.ledger.outbox.list_undelivered_events()
    notifier_app.ledger.outbox.record_delivery_attempts(replace(each, state=DeliveryState.DELIVERED) for each in waiting)
    inbox.up()
    notifier_app.go_on(5)
    assert inbox.came == []
