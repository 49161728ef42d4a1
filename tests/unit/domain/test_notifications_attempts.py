"""Dispatches: pauses between tries, when an event is given up, and how rows add up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from promoter.application.responses.operations import DeliveryResponse
from promoter.domain.notifications import (
    OPEN_STATES,
    ChannelCursor,
    DeliveryAttempt,
    DeliveryState,
    build_failed_attempt,
    build_redelivery,
    compute_retry_pause,
)

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NEW = DeliveryAttempt("ci", DeliveryState.AGAIN, NOW, 12, "led/12/changed")


def test_pauses_double_from_a_second_to_an_hour() -> None:
    """However often it failed."""
    assert [compute_retry_pause(attempts) for attempts in (0, 1, 2, 3, 12)] == [each * SECOND for each in (1, 1, 2, 4, 2048)]
    assert compute_retry_pause(13) == compute_retry_pause(10_000) == timedelta(hours=1)


def test_a_failure_is_tried_again_until_patience_ends() -> None:
    """Patience is counted from the first failure; what is put back has all of it again."""
    patience = timedelta(hours=24)
    last, tries = NEW, 0
    while last.state is not DeliveryState.DEAD:
        last = build_failed_attempt(last, last.due or NOW, "no", patience=patience, stretch=1.25)
        tries += 1
    assert (last.attempts, last.since, last.due, last.detail) == (tries, NOW, None, "no")
    assert timedelta(hours=24) <= last.at - NOW < timedelta(hours=26)
    assert 25 < tries < 40
    back = build_redelivery(last, last.at)
    assert (back.state, back.due, back.entry, back.event) == (DeliveryState.AGAIN, last.at, 12, "led/12/changed")
    assert build_failed_attempt(back, last.at, "no", patience=patience, stretch=1.0).state is DeliveryState.WAITING


def test_a_stretch_spreads_the_next_try() -> None:
    """What failed together is not tried together."""
    early, late = (build_failed_attempt(NEW, NOW, "no", patience=SECOND * 9, stretch=stretch).due for stretch in (0.75, 1.25))
    assert (early, late) == (NOW + 0.75 * SECOND, NOW + 1.25 * SECOND)


STATES = st.sampled_from([DeliveryState.DELIVERED, DeliveryState.WAITING, DeliveryState.DEAD, DeliveryState.AGAIN])


@given(st.lists(st.tuples(STATES, st.integers(1, 4)), max_size=30), st.integers(0, 30))
def test_rows_add_up_whatever_is_read_twice(rows: list[tuple[DeliveryState, int]], twice: int) -> None:
    """What waits are the events whose last row says so; rows from some point on may be taken in a second time."""
    dispatches = [
        DeliveryAttempt("ci", state, NOW, entry, f"e{entry}", id=number) for number, (state, entry) in enumerate(rows, 1)
    ]
    standing = ChannelCursor("ci")
    for each in [*dispatches, *dispatches[twice:]]:
        standing.add_attempt(each)
    last = {each.event: each for each in dispatches}
    assert standing.waiting == {event: each for event, each in last.items() if each.state in OPEN_STATES}
    assert standing.entry == max((entry for _, entry in rows), default=0)
    assert standing.row == len(rows)


def test_what_is_due() -> None:
    """The longest due first; when the next one is."""
    standing = ChannelCursor("ci")
    for number, due in enumerate((NOW + SECOND, NOW, NOW - SECOND), start=1):
        standing.add_attempt(DeliveryAttempt("ci", DeliveryState.WAITING, NOW, number, f"e{number}", due=due, id=number))
    assert [each.event for each in standing.list_due_attempts(NOW)] == ["e3", "e2"]
    assert standing.find_next_due_time() == NOW - SECOND
    assert ChannelCursor("ci").find_next_due_time() is None
    standing.add_attempt(DeliveryAttempt("ci", DeliveryState.PASSED, NOW, 99, id=4))
    assert (standing.entry, len(standing.waiting)) == (99, 3)


def test_as_json() -> None:
    """Times as text, states as words."""
    row = DeliveryResponse.from_value(replace(NEW, due=NOW, id=3)).to_json()
    assert row == {
        "id": 3,
        "channel": "ci",
        "event": "led/12/changed",
        "entry": 12,
        "state": "again",
        "at": NOW.isoformat(),
        "attempts": 0,
        "since": None,
        "due": NOW.isoformat(),
        "detail": None,
    }
