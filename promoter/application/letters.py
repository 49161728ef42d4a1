"""Letters: what could not be delivered, for people who look after it; and a try on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from promoter.application.ports import Clock
from promoter.application.ports.outbox import NotificationChannel, EventOutbox
from promoter.domain.faults import PermanentError
from promoter.domain.notices.dispatches import DeliveryAttempt, DeliveryState, build_redelivery
from promoter.domain.notices.events import NotificationEvent, EventBuilder

WHAT = "notifications"


def redeliver(outbox: EventOutbox, clock: Clock, number: int) -> list[DeliveryAttempt]:
    """Put back the one whose row has that number. Raises `PermanentError` where there is none, or where it has arrived."""
    last = outbox.find_undelivered_event(number)
    if last is None:
        fix = "`promoter notifications list` shows which there are"
        raise PermanentError(WHAT, f"there is no event with the number {number}", fix)
    if last.state is DeliveryState.DELIVERED:
        raise PermanentError(WHAT, f"event {last.event} has reached {last.channel} by now")
    return list(outbox.record_delivery_attempts([build_redelivery(last, clock.now())]))


def redeliver_all(outbox: EventOutbox, clock: Clock, channel: str | None = None) -> list[DeliveryAttempt]:
    """Put back all that are dead."""
    done: list[DeliveryAttempt] = []
    while dead := outbox.list_undelivered_events(channel, dead=True):
        done += outbox.record_delivery_attempts(build_redelivery(each, clock.now()) for each in dead)
    return done


def send_test_event(
    channels: Sequence[NotificationChannel], name: str, teller: EventBuilder, clock: Clock
) -> NotificationEvent:
    """Send a channel an event that says nothing. Raises `TransientError` or `PermanentError` where it does not arrive."""
    channel = next((each for each in channels if each.name == name), None)
    if channel is None:
        known = ", ".join(each.name for each in channels) or "none"
        raise PermanentError(WHAT, f"no channel is called {name}", f"the settings name: {known}")
    event = teller.build_test_event(str(uuid4()), clock.now())
    channel.send_event(event)
    return event
