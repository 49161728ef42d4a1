"""The report of a replay: what to tell of every model and policy, in numbers and as JSON."""

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
    """One policy on one alias. `list_assumed_held_aliases` counts versions by the alias that they are taken to have held."""

    lens: ReplayPolicy
    simulation: RotationSimulation
    past: PastPromotions
    supposed_held: tuple[tuple[str, int], ...] = ()

    @property
    def policy_name(self) -> str:
        """Its name."""
        return self.lens.policy.name

    @property
    def final_holder(self) -> int | None:
        """Who would hold the alias now."""
        return self.simulation.spans[-1].version if self.simulation.spans else None

    @property
    def move_count(self) -> int:
        """How often the alias would have moved."""
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
    """One alias of one model: what was, as far as the ledger knows, and what each policy would have made of it."""

    model: str
    alias: str
    held_now: int | None
    began: datetime | None
    actual: tuple[AliasSpan, ...]
    replays: tuple[PolicyReplay, ...]

    @property
    def start_holder(self) -> AliasHolder:
        """Who held the alias when the replay began: the same for every policy."""
        return self.replays[0].simulation.start


@dataclass(frozen=True)
class RejectionCount:
    """How often one rule kept a version from passing, by what it found."""

    policy: str
    rule: str
    found: tuple[int, ...]
    """In the order of TURNING_DOWN."""


@dataclass(frozen=True)
class ReplayReport:
    """Everything. `lenses` are the policies, the one that was asked for first; `dropped` is what retention has taken."""

    since: datetime
    until: datetime
    lenses: tuple[ReplayPolicy, ...]
    models: tuple[ModelReplay, ...]
    unreadable: int = 0
    dropped: EvidenceRetention | None = None

    def list_replays_of(self, lens: ReplayPolicy) -> Iterator[tuple[ModelReplay, PolicyReplay]]:
        """Every model under one policy."""
        for model in self.models:
            yield from ((model, each) for each in model.replays if each.lens is lens)

    def list_evidence_sources(self) -> list[tuple[datetime, EvidenceSource]]:
        """When each judgement was made, and what it rests on: the last one of each version, and each past promotion's."""
        found = []
        for _, replayed in self.list_all_replays():
            found += [(each.at, each.source) for each in replayed.simulation.judged]
            found += [(each.at, each.source) for each in replayed.past.promotions]
        return found

    def count_rejecting_rules(self) -> list[RejectionCount]:
        """Which rules turned versions down, the most frequent first."""
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
        """Policy, rule, and for how many versions it was taken as passing."""
        counts: Counter[tuple[str, str]] = Counter()
        for _, replayed in self.list_all_replays():
            for judged in replayed.simulation.judged:
                counts.update((replayed.policy_name, rule) for rule in replayed.lens.name_rules_of_kinds(judged.supposed))
        return [(policy, rule, count) for (policy, rule), count in counts.items()]

    def count_evidence_bases(self) -> dict[str, int]:
        """How many judgements rest on evidence of each kind."""
        counts = Counter(source.basis for _, source in self.list_evidence_sources())
        return {basis.value: counts[basis] for basis in EvidenceBasis}

    def list_all_replays(self) -> Iterator[tuple[ModelReplay, PolicyReplay]]:
        """Every model under every policy."""
        return ((model, each) for model in self.models for each in model.replays)


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
    return f"Evidence of {format_count(len(sources), 'judgement')}: {', '.join(parts)}."


def list_replay_notes(report: ReplayReport) -> list[str]:
    """Every assumption that was made, and everything that was left out."""
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
        yield f"Under {policy}, {format_count(count, 'version')} {since}."
    for lens in report.lenses:
        never = sum(len(each.simulation.never) for _, each in report.list_replays_of(lens))
        if never:
            yield f"Under {lens.policy.name}, {format_count(never, 'version')} never became a candidate."
    ungated = sum(model.replays[0].past.ungated for model in report.models)
    if ungated:
        yield f"{format_count(ungated, 'move')} put drift back, or returned a version under a hold: no policy is asked about these."


def _note_policies(report: ReplayReport) -> Iterator[str]:
    for policy, rule, count in report.count_assumed_rules():
        yield f"Not replayed: `{rule}` of {policy} is taken as passing for {format_count(count, 'version')}; the ledger cannot tell."
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
