"""Letters: what could not be delivered, for people who look after it; and a try on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from promoter.application.ports import Clock
from promoter.application.ports.outbox import Channel, Outbox
from promoter.domain.faults import Refused
from promoter.domain.notices.dispatches import Dispatch, State, again
from promoter.domain.notices.events import Event, Teller

WHAT = "notifications"


def put_back(outbox: Outbox, clock: Clock, number: int) -> list[Dispatch]:
    """Put back the one whose row has that number. Raises `Refused` where there is none, or where it has arrived."""
    last = outbox.letter(number)
    if last is None:
        fix = "`promoter notifications list` shows which there are"
        raise Refused(WHAT, f"there is no event with the number {number}", fix)
    if last.state is State.DELIVERED:
        raise Refused(WHAT, f"event {last.event} has reached {last.channel} by now")
    return list(outbox.keep([again(last, clock.now())]))


def put_all_back(outbox: Outbox, clock: Clock, channel: str | None = None) -> list[Dispatch]:
    """Put back all that are dead."""
    done: list[Dispatch] = []
    while dead := outbox.letters(channel, dead=True):
        done += outbox.keep(again(each, clock.now()) for each in dead)
    return done


def send_test(channels: Sequence[Channel], name: str, teller: Teller, clock: Clock) -> Event:
    """Send a channel an event that says nothing. Raises `Unavailable` or `Refused` where it does not arrive."""
    channel = next((each for each in channels if each.name == name), None)
    if channel is None:
        known = ", ".join(each.name for each in channels) or "none"
        raise Refused(WHAT, f"no channel is called {name}", f"the settings name: {known}")
    event = teller.test(str(uuid4()), clock.now())
    channel.send(event)
    return event
