"""The past: who held an alias when, and what Promoter cannot know of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

from promoter.domain.audit import AuditRecord, ChangeOutcome, RecordKind, is_alias_move
from promoter.domain.evidence import HeldStretch
from promoter.domain.fields import format_utc, format_utc_window
from promoter.domain.ledger.checkpoints import HEARTBEAT_INTERVAL, LifecycleEvent, LifecycleEventType
from promoter.domain.text import NO_VERSION, version_label

BEFORE_LEDGER = "before the ledger began"
IntentTimes = Mapping[int, datetime]
"""When the intents of these numbers were recorded: what they became happened after that."""
NO_INTENTS: IntentTimes = {}


@dataclass(frozen=True)
class AliasSpan:
    """A stretch of time in which a version held an alias. `since` None: before the ledger began. `until` None: still.

    `since` is when that was recorded. It began between `not_before` and then; `not_before` None: nobody recorded more.
    `record` is the one that put the version there; None for what was before the ledger began.
    """

    version: int | None
    since: datetime | None
    until: datetime | None
    revision: str | None
    actor: str | None
    reason: str | None
    review: Mapping[str, Any] | None = None
    not_before: datetime | None = None
    record: AuditRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """The shape of `history --format json`; `record` is the record's number."""
        return {
            "version": self.version,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "not_before": self.not_before.isoformat() if self.not_before else None,
            "revision": self.revision,
            "actor": self.actor,
            "reason": self.reason,
            "review": self.review,
            "record": self.record.id if self.record else None,
            "hash": self.record.hash if self.record else None,
        }


def collect_intent_times(records: Iterable[AuditRecord]) -> IntentTimes:
    """Of the intents among these records."""
    return {record.id: record.fact.at for record in records if record.fact.outcome is ChangeOutcome.INTENDED}


def build_alias_spans(records: Sequence[AuditRecord], intents: IntentTimes = NO_INTENTS) -> list[AliasSpan]:
    """Who held one alias when, oldest first, from that alias's records in ascending order.

    `intents`: those that are not among the records, though what they became is.
    """
    moves, known = [record for record in records if is_alias_move(record)], {**collect_intent_times(records), **intents}
    found = [build_span(move, then, known) for move, then in zip(moves, [*moves[1:], None], strict=False)]
    before = build_span_before_first(moves[0]) if moves else None
    return [before, *found] if before else found


def build_span(record: AuditRecord, then: AuditRecord | None, intents: IntentTimes) -> AliasSpan:
    """The one that this record began, and `then` ended."""
    fact = record.fact
    end = then.fact.at if then else None
    origin = (fact.revision, fact.actor, fact.reason, fact.review)
    return AliasSpan(fact.to_version, fact.at, end, *origin, find_earliest_time(record, intents), record)


def find_earliest_time(record: AuditRecord, intents: IntentTimes) -> datetime | None:
    """When at the earliest it happened; None: nobody recorded it."""
    return record.fact.not_before or intents.get(record.intent or 0)


def build_span_before_first(first: AuditRecord) -> AliasSpan | None:
    """What was before the first record, where that says so: since when, nobody knows."""
    if first.fact.from_version is None:
        return None
    return AliasSpan(first.fact.from_version, None, first.fact.at, None, None, BEFORE_LEDGER)


def find_longest_stretch(records: Sequence[AuditRecord], version: int, at: datetime) -> HeldStretch | None:
    """The longest time without a break in which the version held the alias of these moves; None where it never did.

    What was before the ledger began does not count, since nobody knows how long it was.
    """
    held = [span for span in build_alias_spans(records) if span.version == version and span.since is not None]
    found = [HeldStretch(span.since, span.until) for span in held if span.since is not None]
    return max(found, key=lambda stretch: (stretch.until or at) - stretch.since, default=None)


NO_RECORD = "unknown: there is no record of it"
_SHOWN_UNCERTAINTY = timedelta(minutes=1)


@dataclass(frozen=True)
class Uncertainty:
    """From `since` up to `until` the alias had one of these versions (None: it was absent), and nobody recorded which.

    `record` is the one that ends it. `unseen`: in between it had a version that no record put there.
    """

    since: datetime
    until: datetime
    versions: tuple[int | None, ...]
    record: AuditRecord
    unseen: bool = False

    def covers_moment(self, moment: datetime) -> bool:
        """Whether the moment lies in it."""
        return self.since <= moment < self.until

    @property
    def is_worth_showing(self) -> bool:
        """Whether it is worth a line: a write of Promoter's own that went well takes some milliseconds."""
        own = self.record.fact.outcome is ChangeOutcome.APPLIED and not self.unseen
        return not own or self.until - self.since >= _SHOWN_UNCERTAINTY

    @property
    def description(self) -> str:
        """In words."""
        fact = self.record.fact
        which = " or ".join(map(version_label, self.versions))
        since, until = format_utc_window(self.since, self.until)
        when = f"between {since} and {until}"
        if self.unseen or (fact.kind is RecordKind.OBSERVED and fact.not_before is None):
            return f"{which}: somebody moved it {when}, and nobody recorded when"
        if fact.kind is RecordKind.OBSERVED:
            return f"{which}: somebody moved it {when}, when it was seen"
        crash = "; a crash kept it from recording when" if fact.outcome is ChangeOutcome.RECOVERED else ""
        return f"{which}: Promoter moved it {when}{crash}"

    def to_json(self) -> dict[str, Any]:
        """`from`, `to`, `versions`, `record` (the number of the one that ends it), `note`."""
        return {
            "from": self.since.isoformat(),
            "to": self.until.isoformat(),
            "versions": list(self.versions),
            "record": self.record.id,
            "note": self.description,
        }


def find_uncertainty(last: AuditRecord, then: AuditRecord, intents: IntentTimes = NO_INTENTS) -> Uncertainty | None:
    """What is not known between two records of an alias that follow each other; None where all is."""
    was, fact = last.fact, then.fact
    unseen = fact.from_version != was.to_version
    at_once = fact.kind is RecordKind.CHANGE and fact.outcome is ChangeOutcome.APPLIED
    after = find_earliest_time(then, intents) or (fact.at if at_once else was.at)
    since = was.at if unseen else max(after, was.at)
    versions = tuple(dict.fromkeys((was.to_version, fact.from_version, fact.to_version)))
    if since >= fact.at or len(versions) == 1:
        return None
    return Uncertainty(since, fact.at, versions, then, unseen)


class Certainty(StrEnum):
    """YES: one version is certain. EITHER: one of several. NO: the moment is before the first record, or there is none."""

    YES = "yes"
    NO = "no"
    EITHER = "either"


@dataclass(frozen=True)
class AliasStateAt:
    """Where an alias stood at a moment, as far as its records say.

    `versions`: those that it may have had; None among them: absent. `span`: the one that the records put the moment in.
    `doubt`: why it is not certain, where it is not. `first`: the first record, where the moment is before it.
    """

    at: datetime
    known: Certainty
    versions: tuple[int | None, ...] = ()
    span: AliasSpan | None = None
    doubt: Uncertainty | None = None
    first: AuditRecord | None = None

    @property
    def certain_version(self) -> int | None:
        """The one that is certain; None also where it is certain that the alias was absent."""
        return self.versions[0] if self.known is Certainty.YES else None

    @property
    def is_certainly_absent(self) -> bool:
        """Whether it is certain that there was no such alias."""
        return self.versions == (None,)

    @property
    def version_text(self) -> str:
        """The version, in words."""
        if self.known is Certainty.NO:
            return "unknown"
        return " or ".join(map(version_label, self.versions))

    def to_json(self) -> dict[str, Any]:
        """`known`, `version`, `versions`, `span`, `doubt`."""
        return {
            "known": self.known.value,
            "version": self.certain_version,
            "versions": list(self.versions),
            "span": self.span.to_json() if self.span else None,
            "doubt": self.doubt.to_json() if self.doubt else None,
        }

    @property
    def uncertainty_notes(self) -> tuple[str, ...]:
        """Why it is not known for certain, in words."""
        if self.doubt:
            return (self.doubt.description,)
        if self.known is Certainty.NO:
            return (describe_unknown_before(self.first) if self.first else NO_RECORD,)
        return ()


def describe_unknown_before(first: AuditRecord) -> str:
    """That nobody knows what was before that record, in words."""
    fact = first.fact
    now = NO_VERSION if fact.to_version is None else f"at v{fact.to_version}"
    if fact.from_version is not None:
        left = f"which left v{fact.from_version}; since when it was there is not recorded"
    elif fact.kind is RecordKind.OBSERVED:
        left = f"when it was first seen, {now}"
    else:
        left = f"when Promoter made it, {now}"
    return f"unknown: before the first record of it, of {format_utc(fact.at)}, {left}"


def build_alias_state_at(
    moment: datetime, last: AuditRecord | None, then: AuditRecord | None, intents: IntentTimes = NO_INTENTS
) -> AliasStateAt:
    """Where it stood, from the last record up to the moment that moved it, and the first after it."""
    if last is None:
        return AliasStateAt(moment, Certainty.NO, span=build_span_before_first(then) if then else None, first=then)
    span = build_span(last, then, intents)
    open_ = find_uncertainty(last, then, intents) if then else None
    if open_ and open_.covers_moment(moment):
        return AliasStateAt(moment, Certainty.EITHER, open_.versions, span, open_)
    return AliasStateAt(moment, Certainty.YES, (span.version,), span)


def find_alias_state_at(records: Sequence[AuditRecord], moment: datetime) -> AliasStateAt:
    """The same, from all records of the alias in ascending order."""
    last, then = None, None
    for record in filter(is_alias_move, records):
        if record.fact.at <= moment:
            last, then = record, None  # a clock may have gone back: the later record is the one that counts
        elif then is None:
            then = record
    return build_alias_state_at(moment, last, then, collect_intent_times(records))


@dataclass(frozen=True)
class AliasPeriod:
    """Who held an alias in a time, oldest first. The spans that overlap it are whole: they may begin before, and end after it.

    `doubts` are what is not known inside of it. `first`: the first record ever, where the time begins before it.
    """

    begin: datetime
    end: datetime
    spans: tuple[AliasSpan, ...] = ()
    doubts: tuple[Uncertainty, ...] = ()
    first: AuditRecord | None = None

    @property
    def uncertainty_notes(self) -> tuple[str, ...]:
        """Where it is not known for certain, in words."""
        if not self.spans and not self.first:
            return (NO_RECORD,)
        doubts = (each.description for each in self.doubts if each.is_worth_showing)
        return (*([describe_unknown_before(self.first)] if self.first else ()), *doubts)


def build_alias_period(
    records: Sequence[AuditRecord], begin: datetime, end: datetime, intents: IntentTimes = NO_INTENTS
) -> AliasPeriod:
    """The period from `begin` up to `end`. The records are the alias's own in ascending order.

    They may be all, or begin with the last that is not after `begin`, and end with the first that is not before `end`.
    """
    moves, known = [record for record in records if is_alias_move(record)], {**collect_intent_times(records), **intents}
    found = [
        span
        for span in build_alias_spans(records, intents)
        if (span.since is None or span.since < end) and (span.until is None or span.until > begin)
    ]
    open_ones = (find_uncertainty(one, other, known) for one, other in pairwise(moves))
    doubts = [each for each in open_ones if each and each.since < end and each.until > begin]
    first = moves[0] if moves and moves[0].fact.at > begin else None
    return AliasPeriod(begin, end, tuple(found), tuple(doubts), first)


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
