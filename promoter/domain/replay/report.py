"""The report of a replay: what to tell of every model and policy, in numbers and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from promoter.domain.ledger.retention import EvidenceRetention
from promoter.domain.past.history import AliasSpan
from promoter.domain.replay.holding import AliasHolder
from promoter.domain.replay.memory import EvidenceBasis, EvidenceSource
from promoter.domain.replay.promotions import PastPromotions, JudgedPromotion
from promoter.domain.replay.simulate import JudgedVersion, CandidateOutcome, SimulatedSpan, RotationSimulation
from promoter.domain.replay.supposing import ReplayPolicy
from promoter.domain.verdict import Decision, Verdict

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

    def to_json(self) -> dict[str, Any]:
        """The shape of `replay --format json`, without its `schema`."""
        counts = Counter(source.basis for _, source in self.list_evidence_sources())
        return {
            "policy": self.lenses[0].policy.name,
            "compare": self.lenses[1].policy.name if len(self.lenses) > 1 else None,
            "digests": {lens.policy.name: lens.policy.digest for lens in self.lenses},
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "evidence": {basis.value: counts[basis] for basis in EvidenceBasis},
            "models": [_model_to_json(each) for each in self.models],
            "rules": [
                {"policy": row.policy, "rule": row.rule}
                | {verdict.value: count for verdict, count in zip(REJECTING_VERDICTS, row.found, strict=True)}
                for row in self.count_rejecting_rules()
            ],
            "not_replayed": [{"policy": policy, "rule": rule, "versions": n} for policy, rule, n in self.count_assumed_rules()],
        }

    def list_all_replays(self) -> Iterator[tuple[ModelReplay, PolicyReplay]]:
        """Every model under every policy."""
        return ((model, each) for model in self.models for each in model.replays)


def _model_to_json(model: ModelReplay) -> dict[str, Any]:
    start = model.start_holder
    return {
        "model": model.model,
        "alias": model.alias,
        "version": model.held_now,
        "ledger_since": model.began.isoformat() if model.began else None,
        "start": {"version": start.version, "basis": start.basis.value if start.basis else None},
        "spans": [span.to_json() for span in model.actual],
        "replays": [_policy_replay_to_json(each) for each in model.replays],
    }


def _policy_replay_to_json(replayed: PolicyReplay) -> dict[str, Any]:
    return {
        "policy": replayed.policy_name,
        "version": replayed.final_holder,
        "spans": [_simulated_span_to_json(span) for span in replayed.simulation.spans],
        "promotions": [_promotion_to_json(each) for each in replayed.past.promotions],
        "judged": [_judged_version_to_json(each) for each in replayed.simulation.judged],
        "never_candidates": list(replayed.simulation.never),
    }


def _simulated_span_to_json(span: SimulatedSpan) -> dict[str, Any]:
    return {
        "version": span.version,
        "since": span.since.isoformat(),
        "until": span.until.isoformat() if span.until else None,
        "replaced_by": span.replaced_by,
        "why": span.why,
        "evidence": span.judged.source.to_json() if span.judged else None,
    }


def _promotion_to_json(promotion: JudgedPromotion) -> dict[str, Any]:
    return {
        "at": promotion.at.isoformat(),
        "from": promotion.from_version,
        "to": promotion.to_version,
        "actor": promotion.actor,
        "blocked": promotion.is_blocked,
        "verdict": promotion.decision.verdict.value,
        "rules": _unmet_findings_to_json(promotion.decision),
        "evidence": promotion.source.to_json(),
        "not_replayed": sorted(promotion.supposed),
    }


def _judged_version_to_json(judged: JudgedVersion) -> dict[str, Any]:
    return {
        "version": judged.version,
        "at": judged.at.isoformat(),
        "outcome": judged.outcome.value,
        "verdict": judged.decision.verdict.value,
        "rules": _unmet_findings_to_json(judged.decision),
        "evidence": judged.source.to_json(),
        "not_replayed": sorted(judged.supposed),
    }


def _unmet_findings_to_json(decision: Decision) -> list[dict[str, Any]]:
    return [finding.to_json() for finding in decision.unmet_findings]
