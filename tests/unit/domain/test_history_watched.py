"""Watching: when a daemon saw what moves, from its milestones."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count

import pytest

from promoter.application.responses.registry import GapResponse
from promoter.domain.history import find_watch_gaps, find_watched_stretches
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from tests.support.strategies.plans import NOW

_NUMBERS = count(1)
STARTED, WATCHING, STOPPED = LifecycleEventType.STARTED, LifecycleEventType.WATCHING, LifecycleEventType.STOPPED


def hour(number: float) -> datetime:
    """That many hours from now."""
    return NOW + timedelta(hours=number)


def word(at: float, event: LifecycleEventType, looked: float | None = None, run: str = "a") -> LifecycleEvent:
    """What a run says; it has looked just now, unless told otherwise."""
    told = {"run": run, "looked": hour(at if looked is None else looked).isoformat()}
    return LifecycleEvent(hour(at), event, told, next(_NUMBERS))


A_DAY = [word(0, STARTED), word(1, WATCHING), word(2, WATCHING), word(2.5, STOPPED)]


@pytest.mark.parametrize(
    ("milestones", "expected"),
    [
        ([], []),
        (A_DAY, [(0, 2.5)]),
        ([word(0, STARTED), word(1, WATCHING)], [(0, 1)]),
        ([word(0, STARTED)], []),
        ([word(18.5, STARTED)], [(18.5, None)]),
        ([word(18.5, STARTED), word(19.5, STOPPED)], [(18.5, 19.5)]),
        ([word(17, STARTED), word(18, WATCHING), word(19, WATCHING)], [(17, None)]),
        ([*A_DAY, word(5, STARTED, run="b"), word(6, STOPPED, run="b")], [(0, 2.5), (5, 6)]),
        ([*A_DAY, word(2, STARTED, run="b"), word(3, STOPPED, run="b")], [(0, 3)]),
        ([word(0, STARTED), word(1, WATCHING, 0.98), word(2, WATCHING, 1.97)], [(0, 1.97)]),
        ([word(0, STARTED), word(1, WATCHING, 0.5), word(2, WATCHING, 0.5), word(3, WATCHING)], [(0, 0.5), (2, 3)]),
        ([word(0, STARTED), word(1, WATCHING), word(9, WATCHING), word(10, STOPPED)], [(0, 1), (9, 10)]),
        ([word(0, STARTED), LifecycleEvent(hour(1), WATCHING, {"run": "a", "looked": None})], []),
        ([LifecycleEvent(hour(1), LifecycleEventType.OPENED), LifecycleEvent(hour(2), LifecycleEventType.RETENTION)], []),
    ],
    ids=["nobody", "a run", "killed", "killed at once", "just started", "just stopped", "goes on", "two apart", "two at once",
         "looks before it tells", "the registry was down", "asleep", "has not looked", "other milestones"],
)  # fmt: skip
def test_when_somebody_watched(milestones: list[LifecycleEvent], expected: list[tuple[float, float | None]]) -> None:
    """As of the twentieth hour: what a run saw for certain."""
    found = [(each.since, each.until) for each in find_watched_stretches(reversed(milestones), hour(20))]
    assert found == [(hour(since), None if until is None else hour(until)) for since, until in expected]


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (1, 1, []),
        (2.5, 2.5, []),
        (3, 3, [(2.5, 5)]),
        (1, 5.5, [(2.5, 5)]),
        (-1, -1, [(None, 0)]),
        (7, 7, [(6, None)]),
        (-1, 9, [(None, 0), (2.5, 5), (6, None)]),
    ],
)
def test_gaps_are_told_whole(begin: float, end: float, expected: list[tuple[float | None, float | None]]) -> None:
    """Of a moment and of a time."""
    stretches = find_watched_stretches([*A_DAY, word(5, STARTED, run="b"), word(6, STOPPED, run="b")], hour(20))
    found = [(gap.since, gap.until) for gap in find_watch_gaps(stretches, hour(begin), hour(end))]
    assert found == [tuple(None if each is None else hour(each) for each in pair) for pair in expected]


def test_a_run_that_goes_on_leaves_no_gap_behind_it() -> None:
    """Up to now; and where nobody ever watched there is one, without ends."""
    still = find_watched_stretches([word(18, STARTED), word(19, WATCHING)], hour(20))
    assert find_watch_gaps(still, hour(19.9), hour(19.9)) == []
    (ever,) = find_watch_gaps([], hour(1), hour(1))
    assert GapResponse.from_value(ever).to_json() == {
        "from": None,
        "to": None,
        "note": "nobody is known to have watched at any time: a move and its return would not have been seen",
    }


def test_gaps_in_words() -> None:
    """With both ends, or with one."""
    stretches = find_watched_stretches(A_DAY, hour(20))
    before, after = find_watch_gaps(stretches, hour(-1), hour(9))
    assert before.description.startswith(
        "nobody is known to have watched before 2026-11-23 12:00:00 UTC: a move and its return in between"
    )
    assert after.description == (
        "nobody is known to have watched since 2026-11-23 14:30:00 UTC: a move after that may not have been seen yet"
    )
