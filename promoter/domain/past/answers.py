"""The past: where an alias stood at a moment and in a time, as far as its records say, and where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any

from promoter.domain.audit import AuditRecord, RecordKind, ChangeOutcome, is_alias_move
from promoter.domain.moment import format_utc_window, format_utc
from promoter.domain.past.history import (
    NO_INTENTS,
    IntentTimes,
    AliasSpan,
    build_span_before_first,
    collect_intent_times,
    find_earliest_time,
    build_span,
    build_alias_spans,
)

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
        which = " or ".join("absent" if version is None else f"v{version}" for version in self.versions)
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
        return " or ".join("absent" if version is None else f"v{version}" for version in self.versions)

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
    now = "absent" if fact.to_version is None else f"at v{fact.to_version}"
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
