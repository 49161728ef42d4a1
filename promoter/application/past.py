"""The past, asked of the ledger: an alias at a moment or in a time, and the whole registry at a moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from promoter.application.ports import Ledger
from promoter.domain.audit import AuditRecord, Outcome, RecordedDecision, RecordFilter, moved
from promoter.domain.evidence import Stretch
from promoter.domain.ledger.milestones import BEAT
from promoter.domain.past.answers import Known, Period, Stood, between, stood
from promoter.domain.past.watching import Gap, gaps, watched

_EVERY = 1_000_000
_WRITE = timedelta(hours=1)
"""No write takes longer than that, unless a crash is in it."""
_NEAR = 3 * BEAT
_STEP = 6
_FAR = timedelta(days=200)
_TICK = timedelta(microseconds=1)
_FIRST = datetime.min.replace(tzinfo=UTC)

Place = tuple[str, str]
"""Model and alias."""


@dataclass(frozen=True)
class AliasThen:
    """One alias at a moment. `decision` is the one behind the record that put the version there; `gap`: nobody watched then."""

    model: str
    alias: str
    stood: Stood
    decision: RecordedDecision | None = None
    gap: Gap | None = None

    @property
    def record(self) -> AuditRecord | None:
        """The one that put the version there."""
        return self.stood.span.record if self.stood.span else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known, in words."""
        return (*self.stood.notes, *([self.gap.told] if self.gap else ()))

    def as_json(self) -> dict[str, Any]:
        """The shape of `history --at TIME --format json`."""
        decision = self.decision
        return {
            "model": self.model,
            "alias": self.alias,
            "at": self.stood.at.isoformat(),
            **self.stood.as_json(),
            "record": self.record.as_json() if self.record else None,
            "decision": {"id": decision.id, "revision": decision.revision, **decision.tree} if decision else None,
            "gap": self.gap.as_json() if self.gap else None,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class AliasMeanwhile:
    """One alias in a time. `gaps`: nobody watched then."""

    model: str
    alias: str
    period: Period
    gaps: tuple[Gap, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known, in words."""
        return (*self.period.notes, *(gap.told for gap in self.gaps))

    def as_json(self) -> dict[str, Any]:
        """The shape of `history --between FROM TO --format json`. Spans are whole."""
        period = self.period
        return {
            "model": self.model,
            "alias": self.alias,
            "from": period.begin.isoformat(),
            "to": period.end.isoformat(),
            "known_from": period.first.fact.at.isoformat() if period.first else None,
            "spans": [span.as_json() for span in period.spans],
            "doubts": [doubt.as_json() for doubt in period.doubts],
            "gaps": [gap.as_json() for gap in self.gaps],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class RegistryThen:
    """Every alias that there was at a moment, or may have been."""

    at: datetime
    aliases: tuple[AliasThen, ...]
    gap: Gap | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known of the whole, in words."""
        return (self.gap.told,) if self.gap else ()

    def as_json(self) -> dict[str, Any]:
        """The shape of `state --format json`."""
        told = [
            {"model": each.model, "alias": each.alias, **each.stood.as_json(), "notes": list(each.notes)}
            for each in self.aliases
        ]
        gap = self.gap.as_json() if self.gap else None
        return {"at": self.at.isoformat(), "aliases": told, "gap": gap, "notes": list(self.notes)}


def alias_at(ledger: Ledger, model: str, alias: str, moment: datetime, now: datetime) -> AliasThen:
    """Where the alias stood at the moment, what put it there, and what was decided."""
    last, then = ledger.around(model, alias, moment)
    found = stood(moment, last, then, _begun(ledger, [each for each in (last, then) if each]))
    decision = ledger.decision(last.decision) if last and last.decision else None
    gap = None if found.known is Known.NO else _gap_at(ledger, moment, now)
    return AliasThen(model, alias, found, decision, gap)


def alias_between(ledger: Ledger, model: str, alias: str, begin: datetime, end: datetime, now: datetime) -> AliasMeanwhile:
    """Who held the alias from `begin` up to `end`. What is yet to come is left out."""
    end = min(end, now)
    inside = ledger.records(RecordFilter(model, alias, since=begin, until=end, limit=_EVERY))
    last, _ = ledger.around(model, alias, begin)
    _, then = ledger.around(model, alias, end - _TICK)
    around = {each.id: each for each in (last, *inside, then) if each}
    records = [around[number] for number in sorted(around)]
    period = between(records, begin, end, _begun(ledger, records))
    open_ones = gaps(_watching(ledger, begin, end, now), begin, end) if period.spans else []
    return AliasMeanwhile(model, alias, period, tuple(open_ones))


def registry_at(ledger: Ledger, moment: datetime, now: datetime, models: Collection[str] | None = None) -> RegistryThen:
    """Every alias at the moment, by model, champion first; those that were certainly absent are left out."""
    lasts, nexts = ledger.stood(moment, models), ledger.moved_next(moment, models)
    thens = {place: _after(ledger, place, lasts.get(place), then) for place, then in nexts.items()}
    intents = _begun(ledger, [each for each in thens.values() if each and _may_be_open(each, moment)])
    found = []
    for model, alias in sorted({*lasts, *thens}, key=lambda place: (place[0], place[1] != "champion", place[1])):
        there = stood(moment, lasts.get((model, alias)), thens.get((model, alias)), intents)
        if not there.absent:
            found.append(AliasThen(model, alias, there))
    known = any(each.stood.known is not Known.NO for each in found)
    return RegistryThen(moment, tuple(found), _gap_at(ledger, moment, now) if known else None)


def _after(ledger: Ledger, place: Place, last: AuditRecord | None, then: AuditRecord | None) -> AuditRecord | None:
    """The first behind `last`. By the clock alone it may be one before it, where a replica's clock was ahead."""
    while last and then and then.id < last.id:
        then = ledger.moved_next(then.fact.at, [place[0]]).get(place)
    return then


def _may_be_open(record: AuditRecord, moment: datetime) -> bool:
    """Whether what the record tells may have been under way at that moment before it."""
    return record.fact.outcome is Outcome.RECOVERED or record.fact.at - moment <= _WRITE


def _begun(ledger: Ledger, records: Iterable[AuditRecord]) -> dict[int, datetime]:
    """When the intents of these records were recorded, as far as they are not among them."""
    known = list(records)
    asked = {each.intent for each in known if each.intent and moved(each)} - {each.id for each in known}
    found = (ledger.record(number) for number in sorted(asked))
    return {record.id: record.fact.at for record in found if record}


def _gap_at(ledger: Ledger, moment: datetime, now: datetime) -> Gap | None:
    return next(iter(gaps(_watching(ledger, moment, moment, now), moment, moment)), None)


def _watching(ledger: Ledger, begin: datetime, end: datetime, now: datetime) -> list[Stretch]:
    """When somebody watched, at least as far around as it takes to see where the gaps at both ends begin and end."""
    reach = _NEAR
    while reach < _FAR:
        seen = watched(ledger.milestones(begin - min(reach, begin - _FIRST), end + reach), now)
        if any(each.since <= begin for each in seen) and (
            end + reach >= now or any(each.until is None or each.until >= end for each in seen)
        ):
            return seen
        reach *= _STEP
    return watched(ledger.milestones(), now)
