"""Watching: when a daemon saw what moves in the registry, from the milestones that it left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from promoter.domain.evidence import Stretch
from promoter.domain.ledger.milestones import BEAT, Event, Milestone
from promoter.domain.moment import in_utc

WATCHES = frozenset({Event.STARTED, Event.WATCHING, Event.STOPPED})
_SILENT = 2 * BEAT
"""After that long without a word a run is taken for dead: killed, or asleep with its machine."""
_POLL = BEAT / 4
"""So long may pass between two looks of a run that goes on."""


@dataclass(frozen=True)
class Gap:
    """Nobody is known to have watched from `since` (None: ever before) up to `until` (None: up to now)."""

    since: datetime | None
    until: datetime | None

    @property
    def told(self) -> str:
        """In words."""
        if self.until is None and self.since is not None:
            return f"nobody is known to have watched since {in_utc(self.since)}: a move after that may not have been seen yet"
        if self.until is None:
            return "nobody is known to have watched at any time: a move and its return would not have been seen"
        when = f"from {in_utc(self.since)} to" if self.since else "before"
        return (
            f"nobody is known to have watched {when} {in_utc(self.until)}: "
            "a move and its return in between would not have been seen"
        )

    def as_json(self) -> dict[str, Any]:
        """`from`, `to`, `note`."""
        return {
            "from": self.since.isoformat() if self.since else None,
            "to": self.until.isoformat() if self.until else None,
            "note": self.told,
        }


def watched(milestones: Iterable[Milestone], now: datetime) -> list[Stretch]:
    """When somebody watched, oldest first, apart from each other. `until` None: a run still does."""
    runs: dict[str, list[Milestone]] = {}
    for each in sorted((each for each in milestones if each.event in WATCHES), key=lambda each: (each.at, each.id)):
        runs.setdefault(str(each.told.get("run")), []).append(each)
    return _joined(piece for run in runs.values() for piece in _joined(_pieces(run, now), across=True))


def gaps(stretches: list[Stretch], begin: datetime, end: datetime) -> list[Gap]:
    """Where nobody watched at some time from `begin` up to `end`; whole, so that they may begin before and end after it."""
    edges: list[Stretch | None] = [None, *stretches, None]
    found = []
    for one, other in pairwise(edges):
        since = one.until if one else None
        until = other.since if other else None
        over = one is not None and since is None
        if not over and (since is None or since < end) and (until is None or until > begin):
            found.append(Gap(since, until))
    return found


def _pieces(run: list[Milestone], now: datetime) -> Iterator[Stretch]:
    """From one word of a run to the last look before its next word; after its last word as long as it is taken for alive."""
    for one, other in pairwise(run):
        looked = _looked(other)
        if looked is not None and one.at < looked and other.at - one.at <= _SILENT:
            yield Stretch(one.at, looked)
    last = run[-1]
    if last.event is not Event.STOPPED and now - last.at <= _SILENT:
        yield Stretch(last.at)


def _joined(pieces: Iterable[Stretch], *, across: bool = False) -> list[Stretch]:
    """Those that touch, as one. `across`: also where a look was a poll ago."""
    found: list[Stretch] = []
    for piece in sorted(pieces, key=lambda each: each.since):
        last = found[-1] if found else None
        if last and (last.until is None or piece.since - last.until <= (_POLL if across else timedelta())):
            ends = (last.until, piece.until)
            found[-1] = Stretch(last.since, None if None in ends else max(end for end in ends if end))
        else:
            found.append(piece)
    return found


def _looked(milestone: Milestone) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(milestone.told.get("looked")))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
