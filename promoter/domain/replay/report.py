"""The result of a replay in numbers and sentences: what every policy would have done to every alias."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from promoter.domain.decision import Verdict
from promoter.domain.fields import format_duration, format_utc
from promoter.domain.history import AliasSpan
from promoter.domain.ledger.checkpoints import EvidenceRetention
from promoter.domain.replay.as_of import AliasHolder, EvidenceBasis, EvidenceSource, ReplayPolicy
from promoter.domain.replay.simulate import (
    CandidateOutcome,
    JudgedPromotion,
    JudgedVersion,
    PastPromotions,
    RotationSimulation,
)
from promoter.domain.text import format_count

REJECTING_VERDICTS = (Verdict.FAIL, Verdict.PENDING, Verdict.ERROR)


@dataclass(frozen=True)
class PolicyReplay:
    """What one policy would have done to one alias."""

    lens: ReplayPolicy
    simulation: RotationSimulation
    past: PastPromotions
    supposed_held: tuple[tuple[str, int], ...] = ()
    """Aliases, each with the number of versions that are assumed to have held it."""

    @property
    def policy_name(self) -> str:
        """The name of the policy."""
        return self.lens.policy.name

    @property
    def final_holder(self) -> int | None:
        """The version that would hold the alias now."""
        return self.simulation.spans[-1].version if self.simulation.spans else None

    @property
    def move_count(self) -> int:
        """The number of times that the alias would have moved."""
        return sum(span.judged is not None for span in self.simulation.spans)

    @property
    def rejected_versions(self) -> list[JudgedVersion]:
        """The versions that did not pass."""
        return [each for each in self.simulation.judged if each.outcome is CandidateOutcome.TURNED_DOWN]

    @property
    def blocked_promotions(self) -> list[JudgedPromotion]:
        """The past promotions that it would have blocked."""
        return [each for each in self.past.promotions if each.is_blocked]


@dataclass(frozen=True)
class ModelReplay:
    """One alias of one model: what happened, as far as the ledger knows, and what each policy would have done."""

    model: str
    alias: str
    held_now: int | None
    """The version that holds the alias in the registry."""
    began: datetime | None
    """When the ledger first recorded a move of the alias."""
    actual: tuple[AliasSpan, ...]
    """Who held the alias when, as the ledger knows it."""
    replays: tuple[PolicyReplay, ...]

    @property
    def start_holder(self) -> AliasHolder:
        """The holder when the replay began, which is the same for every policy."""
        return self.replays[0].simulation.start


@dataclass(frozen=True)
class RejectionCount:
    """The number of versions that one rule kept from passing, by its verdict."""

    policy: str
    rule: str
    found: tuple[int, ...]
    """Counts in the order of REJECTING_VERDICTS."""


@dataclass(frozen=True)
class ReplayReport:
    """The replay of all aliases under all policies."""

    since: datetime
    until: datetime
    lenses: tuple[ReplayPolicy, ...]
    """The policies: the requested one, then the one to compare it with."""
    models: tuple[ModelReplay, ...]
    unreadable: int = 0
    """The number of records that could not be read as evidence."""
    dropped: EvidenceRetention | None = None
    """The evidence that retention has dropped."""

    def list_replays_of(self, lens: ReplayPolicy) -> Iterator[tuple[ModelReplay, PolicyReplay]]:
        """Yield the replays of one policy, each with its model."""
        for model in self.models:
            yield from ((model, each) for each in model.replays if each.lens is lens)

    def list_evidence_sources(self) -> list[tuple[datetime, EvidenceSource]]:
        """List moment and evidence of each judgement: the last one of each version, and that of each past promotion."""
        found = []
        for _, replayed in self.list_all_replays():
            found += [(each.at, each.source) for each in replayed.simulation.judged]
            found += [(each.at, each.source) for each in replayed.past.promotions]
        return found

    def count_rejecting_rules(self) -> list[RejectionCount]:
        """Count the versions that each rule rejected, the most frequent rule first."""
        counts = []
        for lens in self.lenses:
            found: dict[str, Counter[Verdict]] = {}
            for _, replayed in self.list_replays_of(lens):
                for judged in replayed.rejected_versions:
                    for finding in judged.decision.unmet_findings:
                        found.setdefault(finding.rule, Counter())[finding.verdict] += 1
            rows = [
                RejectionCount(lens.policy.name, rule, tuple(counter[verdict] for verdict in REJECTING_VERDICTS))
                for rule, counter in found.items()
            ]
            counts += sorted(rows, key=lambda row: (-sum(row.found), row.rule))
        return counts

    def count_assumed_rules(self) -> list[tuple[str, str, int]]:
        """Count, by policy and rule, the versions for which the rule was assumed to pass."""
        counts: Counter[tuple[str, str]] = Counter()
        for _, replayed in self.list_all_replays():
            for judged in replayed.simulation.judged:
                counts.update((replayed.policy_name, rule) for rule in replayed.lens.name_rules_of_kinds(judged.supposed))
        return [(policy, rule, count) for (policy, rule), count in counts.items()]

    def count_evidence_bases(self) -> dict[str, int]:
        """Count the judgements by the kind of their evidence."""
        counts = Counter(source.basis for _, source in self.list_evidence_sources())
        return {basis.value: counts[basis] for basis in EvidenceBasis}

    def list_all_replays(self) -> Iterator[tuple[ModelReplay, PolicyReplay]]:
        """Yield every replay of every model."""
        return ((model, each) for model in self.models for each in model.replays)


_NAMES_SHOWN = 3
_STANDING_NOTE = (
    "A version is judged when it is registered and the waits that the policy asks for are over, and again whenever something "
    "about it changes. Moves by hand, holds and quarantines are not replayed, nor are versions that were deleted."
)


def describe_evidence_sources(report: ReplayReport) -> str:
    """Write a sentence on how much of the evidence is as of then, recorded later, or as of now."""
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
    return f"Evidence of {format_count(len(sources), 'judgement')}: {', '.join(parts)}."


def list_replay_notes(report: ReplayReport) -> list[str]:
    """List every assumption that was made, and everything that was left out."""
    unreadable = f"{format_count(report.unreadable, 'record')} of the ledger could not be read as evidence."
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
        names = _join_alias_names(unknown)
        yield f"{when} is not known for {names}: the replay begins with nobody there, whom every version beats."
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
        yield f"Under {policy}, {format_count(count, 'version')} {since}."
    for lens in report.lenses:
        never = sum(len(each.simulation.never) for _, each in report.list_replays_of(lens))
        if never:
            yield f"Under {lens.policy.name}, {format_count(never, 'version')} never became a candidate."
    ungated = sum(model.replays[0].past.ungated for model in report.models)
    if ungated:
        moves = format_count(ungated, "move")
        yield f"{moves} put drift back, or returned a version under a hold: no policy is asked about these."


def _note_policies(report: ReplayReport) -> Iterator[str]:
    for policy, rule, count in report.count_assumed_rules():
        versions = format_count(count, "version")
        yield f"Not replayed: `{rule}` of {policy} is taken as passing for {versions}; the ledger cannot tell."
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
