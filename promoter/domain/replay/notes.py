"""Notes: what to know of a replay before one believes it, in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta

from promoter.domain.duration import format_duration
from promoter.domain.moment import format_utc
from promoter.domain.replay.memory import EvidenceBasis
from promoter.domain.replay.report import ModelReplay, ReplayReport

_NAMES_SHOWN = 3
_STANDING_NOTE = (
    "A version is judged when it is registered and the waits that the policy asks for are over, and again whenever something "
    "about it changes. Moves by hand, holds and quarantines are not replayed, nor are versions that were deleted."
)


def describe_evidence_sources(report: ReplayReport) -> str:
    """One sentence: how much of the evidence is as of then, recorded later, and as of now."""
    sources = [source for _, source in report.list_evidence_sources()]
    if not sources:
        return "No version was judged."
    counts = Counter(each.basis for each in sources)
    parts = [f"{counts[EvidenceBasis.THEN]} as of then (ledger)"] if counts[EvidenceBasis.THEN] else []
    if counts[EvidenceBasis.LATER]:
        lag = max(source.as_of - at for at, source in report.list_evidence_sources() if source.as_of)
        whole = timedelta(seconds=math.ceil(lag.total_seconds()))
        parts.append(
            f"{counts[EvidenceBasis.LATER]} as first recorded after that (ledger, up to {format_duration(whole)} later)"
        )
    parts += [f"{counts[EvidenceBasis.NOW]} as of now (MLflow)"] if counts[EvidenceBasis.NOW] else []
    return f"Evidence of {_format_count(len(sources), 'judgement')}: {', '.join(parts)}."


def list_replay_notes(report: ReplayReport) -> list[str]:
    """Every assumption that was made, and everything that was left out."""
    unreadable = f"{_format_count(report.unreadable, 'record')} of the ledger could not be read as evidence."
    return [
        *_note_start_holders(report),
        *_note_candidates(report),
        *_note_policies(report),
        *([unreadable] if report.unreadable else []),
        *_note_retention(report),
        _STANDING_NOTE,
    ]


def _note_start_holders(report: ReplayReport) -> Iterator[str]:
    when = f"Who held the alias on {report.since:%Y-%m-%d %H:%M} UTC"
    if unknown := [each for each in report.models if each.start_holder.basis is None]:
        yield f"{when} is not known for {_join_alias_names(unknown)}: the replay begins with nobody there, whom every version beats."
    if guessed := [each for each in report.models if each.start_holder.basis is EvidenceBasis.NOW]:
        yield f"{when} is concluded from who was seen there first, or is there now, for {_join_alias_names(guessed)}."
    if blind := [each for each in report.models if each.began is None]:
        yield f"The ledger knows no move of {_join_alias_names(blind)}: past promotions of it cannot be judged."


def _note_retention(report: ReplayReport) -> Iterator[str]:
    if report.dropped:
        what = f"Evidence from before {format_utc(report.dropped.before)} was dropped (retention, entry {report.dropped.entry})"
        yield f"{what}: what the ledger knew then is judged by what it, or MLflow, says later."


def _note_candidates(report: ReplayReport) -> Iterator[str]:
    held: Counter[tuple[str, str]] = Counter()
    for _, replayed in report.list_all_replays():
        held.update({(replayed.policy_name, alias): count for alias, count in replayed.supposed_held})
    for (policy, alias), count in sorted(held.items()):
        verb = "is" if count == 1 else "are"
        since = f"{verb} taken to have held {alias} from registration on, since the ledger cannot tell"
        yield f"Under {policy}, {_format_count(count, 'version')} {since}."
    for lens in report.lenses:
        never = sum(len(each.simulation.never) for _, each in report.list_replays_of(lens))
        if never:
            yield f"Under {lens.policy.name}, {_format_count(never, 'version')} never became a candidate."
    ungated = sum(model.replays[0].past.ungated for model in report.models)
    if ungated:
        yield f"{_format_count(ungated, 'move')} put drift back, or returned a version under a hold: no policy is asked about these."


def _note_policies(report: ReplayReport) -> Iterator[str]:
    for policy, rule, count in report.count_assumed_rules():
        yield f"Not replayed: `{rule}` of {policy} is taken as passing for {_format_count(count, 'version')}; the ledger cannot tell."
    for lens in report.lenses:
        name, document = lens.policy.name, lens.policy.document
        if document.enforcement == "audit":
            yield f"{name} only watches (`enforcement: audit`): what it would have blocked, it would have told."
        if document.guards:
            yield f"The guards of {name} are not replayed: nobody is rolled back."
        if document.candidates is None:
            yield f"{name} names no `candidates`: every newer version is taken for one."


def _join_alias_names(models: Iterable[ModelReplay]) -> str:
    names = [f"{each.model}@{each.alias}" for each in models]
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _format_count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
