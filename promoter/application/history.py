"""History from the ledger: an alias at a moment or in a period, and the whole registry at a moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

from promoter.application.ports import AuditLog, Ledger, ObservationLog
from promoter.domain.audit import AliasKey, AuditRecord, ChangeOutcome, RecordedDecision, RecordFilter, is_alias_move
from promoter.domain.desired import Override
from promoter.domain.errors import PermanentError
from promoter.domain.evidence import HeldStretch
from promoter.domain.fields import format_utc_minute
from promoter.domain.history import (
    AliasPeriod,
    AliasStateAt,
    Certainty,
    WatchGap,
    build_alias_period,
    build_alias_state_at,
    find_watch_gaps,
    find_watched_stretches,
)
from promoter.domain.ledger.checkpoints import HEARTBEAT_INTERVAL
from promoter.domain.text import version_label

_NO_LIMIT = 1_000_000
_NAMES_SHOWN = 3
_LONGEST_WRITE = timedelta(hours=1)
"""No write takes longer than that, unless a crash is in it."""
_FIRST_REACH = 3 * HEARTBEAT_INTERVAL
_REACH_FACTOR = 6
_LAST_REACH = timedelta(days=200)
_SHORTEST_TIME = timedelta(microseconds=1)
_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class AliasAt:
    """One alias at a moment."""

    model: str
    alias: str
    state: AliasStateAt
    decision: RecordedDecision | None = None
    """The decision behind the record that put the version there."""
    gap: WatchGap | None = None
    """The time around the moment in which no daemon watched."""

    @property
    def placing_record(self) -> AuditRecord | None:
        """The audit record that put the version there."""
        return self.state.span.record if self.state.span else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known, in words."""
        return (*self.state.uncertainty_notes, *([self.gap.description] if self.gap else ()))


@dataclass(frozen=True)
class AliasBetween:
    """One alias in a period, with the gaps in which no daemon watched."""

    model: str
    alias: str
    period: AliasPeriod
    gaps: tuple[WatchGap, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known, in words."""
        return (*self.period.uncertainty_notes, *(gap.description for gap in self.gaps))


@dataclass(frozen=True)
class RegistryAt:
    """Every alias that existed at a moment, or may have."""

    at: datetime
    aliases: tuple[AliasAt, ...]
    gap: WatchGap | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known of the whole, in words."""
        return (self.gap.description,) if self.gap else ()


def require_known_alias(ledger: AuditLog, model: str, alias: str) -> None:
    """Raise `PermanentError`, with near names, where the ledger has no record of a move of the alias."""
    aliases = ledger.read_last_known_versions({model}).get(model)
    if not aliases:
        names = ledger.read_last_known_versions()
        raise PermanentError("ledger", f"it has no record of a model `{model}`", _suggest_names(model, names))
    if alias not in aliases:
        problem = f"it has no record of an alias `{alias}` of `{model}`"
        raise PermanentError("ledger", problem, _suggest_names(alias, aliases))


def _suggest_names(name: str, known: Collection[str]) -> str:
    """Suggest names that are nearly the same, or else say which there are, or that there is none."""
    near = get_close_matches(name, known, _NAMES_SHOWN) or [each for each in sorted(known) if each.lower() == name.lower()]
    shown = ", ".join(f"`{each}`" for each in near or sorted(known)[:_NAMES_SHOWN])
    more = ", and others" if not near and len(known) > _NAMES_SHOWN else ""
    return f"did you mean {shown}?" if near else f"it knows {shown}{more}" if shown else "it knows none yet"


def find_alias_at(ledger: Ledger, model: str, alias: str, moment: datetime, now: datetime) -> AliasAt:
    """Return the version that the alias had at the moment, what put it there, and the decision behind that."""
    last, then = ledger.moves_around(model, alias, moment)
    found = build_alias_state_at(moment, last, then, _find_intent_times(ledger, [each for each in (last, then) if each]))
    decision = ledger.find_decision(last.decision) if last and last.decision else None
    gap = None if found.known is Certainty.NO else _find_gap_at(ledger, moment, now)
    return AliasAt(model, alias, found, decision, gap)


def describe_overrides(ledger: Ledger, model: str, alias: str, now: datetime) -> tuple[str, ...]:
    """Return a sentence on the override of the alias that nothing has ended yet, by the ledger alone; nothing without one."""
    found = [each for each in ledger.find_open_overrides({model}) if each.alias == alias]
    stated = ledger.read_last_applied({model}).get(model, {}).get(alias)
    then = f"git counts again, which stated {version_label(stated.number)} last" if stated else "git counts again"
    return tuple(_describe_override(each, then, now) for each in found[-1:])


def _describe_override(override: Override, then: str, now: datetime) -> str:
    version, end, by = f"v{override.version}", format_utc_minute(override.until), f"by {override.by}: {override.reason}"
    if override.is_in_force(now):
        serves = f"{version} serves under an override until {end}, {by}"
        return f"{serves}. Unless git states {version} by then, the override ends, and {then}"
    return f"an override to {version} was in force until {end}, {by}. The next reconcile records its end, and {then}"


def find_alias_between(ledger: Ledger, model: str, alias: str, begin: datetime, end: datetime, now: datetime) -> AliasBetween:
    """Return who held the alias from `begin` up to `end`, at the latest up to now."""
    end = min(end, now)
    inside = ledger.find_audit_records(RecordFilter(model, alias, since=begin, until=end, limit=_NO_LIMIT))
    last, _ = ledger.moves_around(model, alias, begin)
    _, then = ledger.moves_around(model, alias, end - _SHORTEST_TIME)
    around = {each.id: each for each in (last, *inside, then) if each}
    records = [around[number] for number in sorted(around)]
    period = build_alias_period(records, begin, end, _find_intent_times(ledger, records))
    open_ones = find_watch_gaps(_find_watched_periods(ledger, begin, end, now), begin, end) if period.spans else []
    return AliasBetween(model, alias, period, tuple(open_ones))


def find_registry_at(ledger: Ledger, moment: datetime, now: datetime, models: Collection[str] | None = None) -> RegistryAt:
    """Return every alias at the moment, by model, champion first; those that were certainly absent are left out."""
    lasts, nexts = ledger.last_moves_at(moment, models), ledger.first_moves_after(moment, models)
    thens = {place: _find_next_move(ledger, place, lasts.get(place), then) for place, then in nexts.items()}
    intents = _find_intent_times(ledger, [each for each in thens.values() if each and _may_be_under_way(each, moment)])
    found = []
    for model, alias in sorted({*lasts, *thens}, key=lambda place: (place[0], place[1] != "champion", place[1])):
        there = build_alias_state_at(moment, lasts.get((model, alias)), thens.get((model, alias)), intents)
        if not there.is_certainly_absent:
            found.append(AliasAt(model, alias, there))
    known = any(each.state.known is not Certainty.NO for each in found)
    return RegistryAt(moment, tuple(found), _find_gap_at(ledger, moment, now) if known else None)


def _find_next_move(
    ledger: AuditLog, place: AliasKey, last: AuditRecord | None, then: AuditRecord | None
) -> AuditRecord | None:
    """The first behind `last`. By the clock alone it may be one before it, where a replica's clock was ahead."""
    while last and then and then.id < last.id:
        then = ledger.first_moves_after(then.fact.at, [place[0]]).get(place)
    return then


def _may_be_under_way(record: AuditRecord, moment: datetime) -> bool:
    """Whether the move of the record may have been under way at that moment before it."""
    return record.fact.outcome is ChangeOutcome.RECOVERED or record.fact.at - moment <= _LONGEST_WRITE


def _find_intent_times(ledger: AuditLog, records: Iterable[AuditRecord]) -> dict[int, datetime]:
    """When the intents of these records were recorded, as far as they are not among them."""
    known = list(records)
    asked = {each.intent for each in known if each.intent and is_alias_move(each)} - {each.id for each in known}
    found = (ledger.find_audit_record(number) for number in sorted(asked))
    return {record.id: record.fact.at for record in found if record}


def _find_gap_at(ledger: ObservationLog, moment: datetime, now: datetime) -> WatchGap | None:
    return next(iter(find_watch_gaps(_find_watched_periods(ledger, moment, moment, now), moment, moment)), None)


def _find_watched_periods(ledger: ObservationLog, begin: datetime, end: datetime, now: datetime) -> list[HeldStretch]:
    """Return when a daemon watched, at least as far around as it takes to find the ends of the gaps at both ends."""
    reach = _FIRST_REACH
    while reach < _LAST_REACH:
        seen = find_watched_stretches(ledger.find_lifecycle_events(begin - min(reach, begin - _FIRST_MOMENT), end + reach), now)
        if any(each.since <= begin for each in seen) and (
            end + reach >= now or any(each.until is None or each.until >= end for each in seen)
        ):
            return seen
        reach *= _REACH_FACTOR
    return find_watched_stretches(ledger.find_lifecycle_events(), now)
