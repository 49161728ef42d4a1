"""Watching: when a daemon saw what moves in the registry, from the milestones that it left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from promoter.domain.evidence import HeldStretch
from promoter.domain.ledger.milestones import HEARTBEAT_INTERVAL, LifecycleEventType, LifecycleEvent
from promoter.domain.moment import format_utc

WATCH_EVENTS = frozenset({LifecycleEventType.STARTED, LifecycleEventType.WATCHING, LifecycleEventType.STOPPED})
_SILENCE_LIMIT = 2 * HEARTBEAT_INTERVAL
"""After that long without a word a run is taken for dead: killed, or asleep with its machine."""
_POLL_INTERVAL = HEARTBEAT_INTERVAL / 4
"""So long may pass between two looks of a run that goes on."""


@dataclass(frozen=True)
class WatchGap:
    """Nobody is known to have watched from `since` (None: ever before) up to `until` (None: up to now)."""

    since: datetime | None
    until: datetime | None

    @property
    def description(self) -> str:
        """In words."""
        if self.until is None and self.since is not None:
            return (
                f"nobody is known to have watched since {format_utc(self.since)}: a move after that may not have been seen yet"
            )
        if self.until is None:
            return "nobody is known to have watched at any time: a move and its return would not have been seen"
        when = f"from {format_utc(self.since)} to" if self.since else "before"
        return (
            f"nobody is known to have watched {when} {format_utc(self.until)}: "
            "a move and its return in between would not have been seen"
        )

    def to_json(self) -> dict[str, Any]:
        """`from`, `to`, `note`."""
        return {
            "from": self.since.isoformat() if self.since else None,
            "to": self.until.isoformat() if self.until else None,
            "note": self.description,
        }


def find_watched_stretches(milestones: Iterable[LifecycleEvent], now: datetime) -> list[HeldStretch]:
    """When somebody watched, oldest first, apart from each other. `until` None: a run still does."""
    runs: dict[str, list[LifecycleEvent]] = {}
    for each in sorted((each for each in milestones if each.event in WATCH_EVENTS), key=lambda each: (each.at, each.id)):
        runs.setdefault(str(each.facts.get("run")), []).append(each)
    return _join_stretches(
        piece for run in runs.values() for piece in _join_stretches(_split_run_stretches(run, now), across=True)
    )


def find_watch_gaps(stretches: list[HeldStretch], begin: datetime, end: datetime) -> list[WatchGap]:
    """Where nobody watched at some time from `begin` up to `end`; whole, so that they may begin before and end after it."""
    edges: list[HeldStretch | None] = [None, *stretches, None]
    found = []
    for one, other in pairwise(edges):
        since = one.until if one else None
        until = other.since if other else None
        over = one is not None and since is None
        if not over and (since is None or since < end) and (until is None or until > begin):
            found.append(WatchGap(since, until))
    return found


def _split_run_stretches(run: list[LifecycleEvent], now: datetime) -> Iterator[HeldStretch]:
    """From one word of a run to the last look before its next word; after its last word as long as it is taken for alive."""
    for one, other in pairwise(run):
        looked = _parse_observed_until(other)
        if looked is not None and one.at < looked and other.at - one.at <= _SILENCE_LIMIT:
            yield HeldStretch(one.at, looked)
    last = run[-1]
    if last.event is not LifecycleEventType.STOPPED and now - last.at <= _SILENCE_LIMIT:
        yield HeldStretch(last.at)


def _join_stretches(pieces: Iterable[HeldStretch], *, across: bool = False) -> list[HeldStretch]:
    """Those that touch, as one. `across`: also where a look was a poll ago."""
    found: list[HeldStretch] = []
    for piece in sorted(pieces, key=lambda each: each.since):
        last = found[-1] if found else None
        if last and (last.until is None or piece.since - last.until <= (_POLL_INTERVAL if across else timedelta())):
            ends = (last.until, piece.until)
            found[-1] = HeldStretch(last.since, None if None in ends else max(end for end in ends if end))
        else:
            found.append(piece)
    return found


def _parse_observed_until(milestone: LifecycleEvent) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(milestone.facts.get("looked")))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
