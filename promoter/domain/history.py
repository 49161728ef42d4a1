"""The history of aliases: which version held an alias when, and where the ledger cannot know it."""

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
from promoter.domain.identity import PresentVersion, RememberedVersion
from promoter.domain.ledger.checkpoints import HEARTBEAT_INTERVAL, LifecycleEvent, LifecycleEventType
from promoter.domain.text import NO_VERSION, version_label

BEFORE_LEDGER = "before the ledger began"
IntentTimes = Mapping[int, datetime]
"""When the intents of these numbers were recorded: what they became happened after that."""
NO_INTENTS: IntentTimes = {}


@dataclass(frozen=True)
class AliasSpan:
    """A time in which a version held an alias."""

    version: int | None
    """The version; None where the alias was absent."""
    since: datetime | None
    """When its begin was recorded; None: before the ledger began."""
    until: datetime | None
    """When it ended; None: it still lasts."""
    revision: str | None
    """The commit that brought it."""
    actor: str | None
    """Who brought it."""
    reason: str | None
    """Why, as it was recorded."""
    review: Mapping[str, Any] | None = None
    """The pull request that brought it, as JSON."""
    not_before: datetime | None = None
    """It began between this moment and `since`; None: nobody recorded a moment before."""
    record: AuditRecord | None = None
    """The record that put the version there; None for a span from before the ledger began."""
    identity: str | None = None
    """The identity of the version, as `VersionIdentity.text` writes it; None: unknown."""

    @property
    def remembered_version(self) -> RememberedVersion:
        """The version as the span's begin remembers it; of a span from before the ledger began, as its end does."""
        return RememberedVersion(self.version, self.identity, self.since or self.until)


def collect_intent_times(records: Iterable[AuditRecord]) -> IntentTimes:
    """Return when each intent among these records was written."""
    return {record.id: record.fact.at for record in records if record.fact.outcome is ChangeOutcome.INTENDED}


def build_alias_spans(records: Sequence[AuditRecord], intents: IntentTimes = NO_INTENTS) -> list[AliasSpan]:
    """Return the spans of one alias, oldest first, from its records in ascending order.

    `intents` has the times of intents that are not among the records themselves.
    """
    moves, known = [record for record in records if is_alias_move(record)], {**collect_intent_times(records), **intents}
    found = [build_span(move, then, known) for move, then in zip(moves, [*moves[1:], None], strict=False)]
    before = build_span_before_first(moves[0]) if moves else None
    return [before, *found] if before else found


def build_span(record: AuditRecord, then: AuditRecord | None, intents: IntentTimes) -> AliasSpan:
    """Return the span that `record` began and `then` ended."""
    fact = record.fact
    end = then.fact.at if then else None
    origin = (fact.revision, fact.actor, fact.reason, fact.review)
    earliest = find_earliest_time(record, intents)
    return AliasSpan(fact.to_version, fact.at, end, *origin, earliest, record, fact.to_identity)


def find_earliest_time(record: AuditRecord, intents: IntentTimes) -> datetime | None:
    """Return the earliest moment at which the recorded move can have happened; None where nobody recorded one."""
    return record.fact.not_before or intents.get(record.intent or 0)


def build_span_before_first(first: AuditRecord) -> AliasSpan | None:
    """Return the span before the first record, where that record names the version; its begin is unknown."""
    if first.fact.from_version is None:
        return None
    fact = first.fact
    return AliasSpan(fact.from_version, None, fact.at, None, None, BEFORE_LEDGER, identity=fact.from_identity)


def find_longest_stretch(records: Sequence[AuditRecord], version: PresentVersion, at: datetime) -> HeldStretch | None:
    """Return the longest unbroken time in which the version held the alias; None where it never did.

    The time before the ledger began does not count, since nobody knows how long it was. Nor does the time of another version
    that had the number before.
    """
    spans = (span for span in build_alias_spans(records) if span.version == version.number)
    held = [span for span in spans if span.since is not None and span.remembered_version.is_still(version)]
    found = [HeldStretch(span.since, span.until) for span in held if span.since is not None]
    return max(found, key=lambda stretch: (stretch.until or at) - stretch.since, default=None)


NO_RECORD = "unknown: there is no record of it"
_SHOWN_UNCERTAINTY = timedelta(minutes=1)


@dataclass(frozen=True)
class Uncertainty:
    """A time in which the alias had one of several versions, and nobody recorded which."""

    since: datetime
    """Its begin."""
    until: datetime
    """Its end."""
    versions: tuple[int | None, ...]
    """The possible versions; None among them: absent."""
    record: AuditRecord
    """The record that ends it."""
    unseen: bool = False
    """Whether the alias had a version in between that no record put there."""

    def covers_moment(self, moment: datetime) -> bool:
        """Return whether the moment lies in it."""
        return self.since <= moment < self.until

    @property
    def is_worth_showing(self) -> bool:
        """Return whether people should see it: a write of Promoter's own that went well takes only milliseconds."""
        own = self.record.fact.outcome is ChangeOutcome.APPLIED and not self.unseen
        return not own or self.until - self.since >= _SHOWN_UNCERTAINTY

    @property
    def description(self) -> str:
        """Return the sentence that people read."""
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


def find_uncertainty(last: AuditRecord, then: AuditRecord, intents: IntentTimes = NO_INTENTS) -> Uncertainty | None:
    """Return what is unknown between two successive records of an alias; None where nothing is."""
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
    """How certain a version is. EITHER: one of several. NO: the moment is before the first record, or there is none."""

    YES = "yes"
    NO = "no"
    EITHER = "either"


@dataclass(frozen=True)
class AliasStateAt:
    """The state of an alias at a moment, as far as its records tell."""

    at: datetime
    """The moment."""
    known: Certainty
    """How certain the version is."""
    versions: tuple[int | None, ...] = ()
    """The possible versions; None among them: absent."""
    span: AliasSpan | None = None
    """The span that covers the moment by the records."""
    doubt: Uncertainty | None = None
    """Why the version is not certain; None where it is."""
    first: AuditRecord | None = None
    """The first record of the alias, where the moment is before it."""

    @property
    def certain_version(self) -> int | None:
        """Return the certain version; None also where the alias was certainly absent."""
        return self.versions[0] if self.known is Certainty.YES else None

    @property
    def is_certainly_absent(self) -> bool:
        """Return whether the alias certainly did not exist."""
        return self.versions == (None,)

    @property
    def version_text(self) -> str:
        """Return the possible versions as people read them."""
        if self.known is Certainty.NO:
            return "unknown"
        return " or ".join(map(version_label, self.versions))

    @property
    def uncertainty_notes(self) -> tuple[str, ...]:
        """Return the sentences that say why the version is not certain."""
        if self.doubt:
            return (self.doubt.description,)
        if self.known is Certainty.NO:
            return (describe_unknown_before(self.first) if self.first else NO_RECORD,)
        return ()


def describe_unknown_before(first: AuditRecord) -> str:
    """Return the sentence that nothing is known from before that record."""
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
    """Return the state at the moment, from the last record up to it that moved the alias, and the first one after it."""
    if last is None:
        return AliasStateAt(moment, Certainty.NO, span=build_span_before_first(then) if then else None, first=then)
    span = build_span(last, then, intents)
    open_ = find_uncertainty(last, then, intents) if then else None
    if open_ and open_.covers_moment(moment):
        return AliasStateAt(moment, Certainty.EITHER, open_.versions, span, open_)
    return AliasStateAt(moment, Certainty.YES, (span.version,), span)


def find_alias_state_at(records: Sequence[AuditRecord], moment: datetime) -> AliasStateAt:
    """Return the state at the moment, from all records of the alias in ascending order."""
    last, then = None, None
    for record in filter(is_alias_move, records):
        if record.fact.at <= moment:
            last, then = record, None  # a clock may have gone back: the later record is the one that counts
        elif then is None:
            then = record
    return build_alias_state_at(moment, last, then, collect_intent_times(records))


@dataclass(frozen=True)
class AliasPeriod:
    """Which versions held an alias during a period. A span may begin before the period, and end after it."""

    begin: datetime
    """The begin of the period."""
    end: datetime
    """The end of the period."""
    spans: tuple[AliasSpan, ...] = ()
    """The spans that overlap the period, oldest first."""
    doubts: tuple[Uncertainty, ...] = ()
    """What is not known inside the period."""
    first: AuditRecord | None = None
    """The first record ever, where the period begins before it."""

    @property
    def uncertainty_notes(self) -> tuple[str, ...]:
        """Return the sentences that say where the version is not certain."""
        if not self.spans and not self.first:
            return (NO_RECORD,)
        doubts = (each.description for each in self.doubts if each.is_worth_showing)
        return (*([describe_unknown_before(self.first)] if self.first else ()), *doubts)


def build_alias_period(
    records: Sequence[AuditRecord], begin: datetime, end: datetime, intents: IntentTimes = NO_INTENTS
) -> AliasPeriod:
    """Return the period from `begin` up to `end`, from the alias's records in ascending order.

    The records may be all, or reach from the last one up to `begin` to the first one from `end` on.
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
    """A time in which nobody is known to have watched the registry."""

    since: datetime | None
    """Its begin; None: ever before."""
    until: datetime | None
    """Its end; None: it still lasts."""

    @property
    def description(self) -> str:
        """Return the sentence that people read."""
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


def find_watched_stretches(milestones: Iterable[LifecycleEvent], now: datetime) -> list[HeldStretch]:
    """Return when a daemon watched, oldest first and without overlaps. `until` None: a run still watches."""
    runs: dict[str, list[LifecycleEvent]] = {}
    for each in sorted((each for each in milestones if each.event in WATCH_EVENTS), key=lambda each: (each.at, each.id)):
        runs.setdefault(str(each.facts.get("run")), []).append(each)
    return _join_stretches(
        piece for run in runs.values() for piece in _join_stretches(_split_run_stretches(run, now), across=True)
    )


def find_watch_gaps(stretches: list[HeldStretch], begin: datetime, end: datetime) -> list[WatchGap]:
    """Return each gap that overlaps the time from `begin` to `end`. A gap may begin before and end after it."""
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
    """Yield the time from each event of a run to its next one. After its last event, a run counts as alive for a while."""
    for one, other in pairwise(run):
        looked = _parse_observed_until(other)
        if looked is not None and one.at < looked and other.at - one.at <= _SILENCE_LIMIT:
            yield HeldStretch(one.at, looked)
    last = run[-1]
    if last.event is not LifecycleEventType.STOPPED and now - last.at <= _SILENCE_LIMIT:
        yield HeldStretch(last.at)


def _join_stretches(pieces: Iterable[HeldStretch], *, across: bool = False) -> list[HeldStretch]:
    """Return the stretches with those that touch joined; `across` also joins those that are one poll apart."""
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
