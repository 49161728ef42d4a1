"""Notes: what to know of a replay before one believes it, in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta

from promoter.domain.duration import in_words
from promoter.domain.moment import in_utc
from promoter.domain.replay.memory import Basis
from promoter.domain.replay.report import ModelReplay, Report

_SHOWN = 3
_ALWAYS = (
    "A version is judged when it is registered and the waits that the policy asks for are over, and again whenever something "
    "about it changes. Moves by hand, holds and quarantines are not replayed, nor are versions that were deleted."
)


def evidence_told(report: Report) -> str:
    """One sentence: how much of the evidence is as of then, recorded later, and as of now."""
    sources = [source for _, source in report.sources()]
    if not sources:
        return "No version was judged."
    counts = Counter(each.basis for each in sources)
    told = [f"{counts[Basis.THEN]} as of then (ledger)"] if counts[Basis.THEN] else []
    if counts[Basis.LATER]:
        lag = max(source.as_of - at for at, source in report.sources() if source.as_of)
        whole = timedelta(seconds=math.ceil(lag.total_seconds()))
        told.append(f"{counts[Basis.LATER]} as first recorded after that (ledger, up to {in_words(whole)} later)")
    told += [f"{counts[Basis.NOW]} as of now (MLflow)"] if counts[Basis.NOW] else []
    return f"Evidence of {_count(len(sources), 'judgement')}: {', '.join(told)}."


def notes(report: Report) -> list[str]:
    """Every assumption that was made, and everything that was left out."""
    unreadable = f"{_count(report.unreadable, 'record')} of the ledger could not be read as evidence."
    return [
        *_on_the_start(report),
        *_on_candidates(report),
        *_on_policies(report),
        *([unreadable] if report.unreadable else []),
        *_on_retention(report),
        _ALWAYS,
    ]


def _on_the_start(report: Report) -> Iterator[str]:
    when = f"Who held the alias on {report.since:%Y-%m-%d %H:%M} UTC"
    if unknown := [each for each in report.models if each.start.basis is None]:
        yield f"{when} is not known for {_names(unknown)}: the replay begins with nobody there, whom every version beats."
    if guessed := [each for each in report.models if each.start.basis is Basis.NOW]:
        yield f"{when} is concluded from who was seen there first, or is there now, for {_names(guessed)}."
    if blind := [each for each in report.models if each.began is None]:
        yield f"The ledger knows no move of {_names(blind)}: past promotions of it cannot be judged."


def _on_retention(report: Report) -> Iterator[str]:
    if report.dropped:
        what = f"Evidence from before {in_utc(report.dropped.before)} was dropped (retention, entry {report.dropped.entry})"
        yield f"{what}: what the ledger knew then is judged by what it, or MLflow, says later."


def _on_candidates(report: Report) -> Iterator[str]:
    held: Counter[tuple[str, str]] = Counter()
    for _, replayed in report.every():
        held.update({(replayed.policy, alias): count for alias, count in replayed.supposed_held})
    for (policy, alias), count in sorted(held.items()):
        verb = "is" if count == 1 else "are"
        since = f"{verb} taken to have held {alias} from registration on, since the ledger cannot tell"
        yield f"Under {policy}, {_count(count, 'version')} {since}."
    for lens in report.lenses:
        never = sum(len(each.simulation.never) for _, each in report.of(lens))
        if never:
            yield f"Under {lens.policy.name}, {_count(never, 'version')} never became a candidate."
    ungated = sum(model.replays[0].past.ungated for model in report.models)
    if ungated:
        yield f"{_count(ungated, 'move')} put drift back, or returned a version under a hold: no policy is asked about these."


def _on_policies(report: Report) -> Iterator[str]:
    for policy, rule, count in report.not_replayed():
        yield f"Not replayed: `{rule}` of {policy} is taken as passing for {_count(count, 'version')}; the ledger cannot tell."
    for lens in report.lenses:
        name, document = lens.policy.name, lens.policy.document
        if document.enforcement == "audit":
            yield f"{name} only watches (`enforcement: audit`): what it would have blocked, it would have told."
        if document.guards:
            yield f"The guards of {name} are not replayed: nobody is rolled back."
        if document.candidates is None:
            yield f"{name} names no `candidates`: every newer version is taken for one."


def _names(models: Iterable[ModelReplay]) -> str:
    names = [f"{each.model}@{each.alias}" for each in models]
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
