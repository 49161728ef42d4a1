"""The report of a replay: what to tell of every model and policy, in numbers and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from promoter.domain.ledger.retention import Retention
from promoter.domain.past.history import Span
from promoter.domain.replay.holding import Holder
from promoter.domain.replay.memory import Basis, Source
from promoter.domain.replay.promotions import Past, Promotion
from promoter.domain.replay.simulate import Judged, Outcome, SimulatedSpan, Simulation
from promoter.domain.replay.supposing import Lens
from promoter.domain.verdict import Decision, Verdict

TURNING_DOWN = (Verdict.FAIL, Verdict.PENDING, Verdict.ERROR)


@dataclass(frozen=True)
class Replayed:
    """One policy on one alias. `supposed_held` counts versions by the alias that they are taken to have held."""

    lens: Lens
    simulation: Simulation
    past: Past
    supposed_held: tuple[tuple[str, int], ...] = ()

    @property
    def policy(self) -> str:
        """Its name."""
        return self.lens.policy.name

    @property
    def holder(self) -> int | None:
        """Who would hold the alias now."""
        return self.simulation.spans[-1].version if self.simulation.spans else None

    @property
    def moves(self) -> int:
        """How often the alias would have moved."""
        return sum(span.judged is not None for span in self.simulation.spans)

    @property
    def turned_down(self) -> list[Judged]:
        """The versions that did not pass."""
        return [each for each in self.simulation.judged if each.outcome is Outcome.TURNED_DOWN]

    @property
    def blocked(self) -> list[Promotion]:
        """The past promotions that it would have blocked."""
        return [each for each in self.past.promotions if each.blocked]


@dataclass(frozen=True)
class ModelReplay:
    """One alias of one model: what was, as far as the ledger knows, and what each policy would have made of it."""

    model: str
    alias: str
    held_now: int | None
    began: datetime | None
    actual: tuple[Span, ...]
    replays: tuple[Replayed, ...]

    @property
    def start(self) -> Holder:
        """Who held the alias when the replay began: the same for every policy."""
        return self.replays[0].simulation.start


@dataclass(frozen=True)
class RuleCount:
    """How often one rule kept a version from passing, by what it found."""

    policy: str
    rule: str
    found: tuple[int, ...]
    """In the order of TURNING_DOWN."""


@dataclass(frozen=True)
class Report:
    """Everything. `lenses` are the policies, the one that was asked for first; `dropped` is what retention has taken."""

    since: datetime
    until: datetime
    lenses: tuple[Lens, ...]
    models: tuple[ModelReplay, ...]
    unreadable: int = 0
    dropped: Retention | None = None

    def of(self, lens: Lens) -> Iterator[tuple[ModelReplay, Replayed]]:
        """Every model under one policy."""
        for model in self.models:
            yield from ((model, each) for each in model.replays if each.lens is lens)

    def sources(self) -> list[tuple[datetime, Source]]:
        """When each judgement was made, and what it rests on: the last one of each version, and each past promotion's."""
        found = []
        for _, replayed in self.every():
            found += [(each.at, each.source) for each in replayed.simulation.judged]
            found += [(each.at, each.source) for each in replayed.past.promotions]
        return found

    def rules(self) -> list[RuleCount]:
        """Which rules turned versions down, the most frequent first."""
        counts = []
        for lens in self.lenses:
            found: dict[str, Counter[Verdict]] = {}
            for _, replayed in self.of(lens):
                for judged in replayed.turned_down:
                    for finding in judged.decision.unmet:
                        found.setdefault(finding.rule, Counter())[finding.verdict] += 1
            rows = [
                RuleCount(lens.policy.name, rule, tuple(counter[verdict] for verdict in TURNING_DOWN))
                for rule, counter in found.items()
            ]
            counts += sorted(rows, key=lambda row: (-sum(row.found), row.rule))
        return counts

    def not_replayed(self) -> list[tuple[str, str, int]]:
        """Policy, rule, and for how many versions it was taken as passing."""
        counts: Counter[tuple[str, str]] = Counter()
        for _, replayed in self.every():
            for judged in replayed.simulation.judged:
                counts.update((replayed.policy, rule) for rule in replayed.lens.named(judged.supposed))
        return [(policy, rule, count) for (policy, rule), count in counts.items()]

    def as_json(self) -> dict[str, Any]:
        """The shape of `replay --format json`, without its `schema`."""
        counts = Counter(source.basis for _, source in self.sources())
        return {
            "policy": self.lenses[0].policy.name,
            "compare": self.lenses[1].policy.name if len(self.lenses) > 1 else None,
            "digests": {lens.policy.name: lens.policy.digest for lens in self.lenses},
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "evidence": {basis.value: counts[basis] for basis in Basis},
            "models": [_model_json(each) for each in self.models],
            "rules": [
                {"policy": row.policy, "rule": row.rule}
                | {verdict.value: count for verdict, count in zip(TURNING_DOWN, row.found, strict=True)}
                for row in self.rules()
            ],
            "not_replayed": [{"policy": policy, "rule": rule, "versions": n} for policy, rule, n in self.not_replayed()],
        }

    def every(self) -> Iterator[tuple[ModelReplay, Replayed]]:
        """Every model under every policy."""
        return ((model, each) for model in self.models for each in model.replays)


def _model_json(model: ModelReplay) -> dict[str, Any]:
    start = model.start
    return {
        "model": model.model,
        "alias": model.alias,
        "version": model.held_now,
        "ledger_since": model.began.isoformat() if model.began else None,
        "start": {"version": start.version, "basis": start.basis.value if start.basis else None},
        "spans": [span.as_json() for span in model.actual],
        "replays": [_replayed_json(each) for each in model.replays],
    }


def _replayed_json(replayed: Replayed) -> dict[str, Any]:
    return {
        "policy": replayed.policy,
        "version": replayed.holder,
        "spans": [_span_json(span) for span in replayed.simulation.spans],
        "promotions": [_promotion_json(each) for each in replayed.past.promotions],
        "judged": [_judged_json(each) for each in replayed.simulation.judged],
        "never_candidates": list(replayed.simulation.never),
    }


def _span_json(span: SimulatedSpan) -> dict[str, Any]:
    return {
        "version": span.version,
        "since": span.since.isoformat(),
        "until": span.until.isoformat() if span.until else None,
        "replaced_by": span.replaced_by,
        "why": span.why,
        "evidence": span.judged.source.as_json() if span.judged else None,
    }


def _promotion_json(promotion: Promotion) -> dict[str, Any]:
    return {
        "at": promotion.at.isoformat(),
        "from": promotion.from_version,
        "to": promotion.to_version,
        "actor": promotion.actor,
        "blocked": promotion.blocked,
        "verdict": promotion.decision.verdict.value,
        "rules": _unmet(promotion.decision),
        "evidence": promotion.source.as_json(),
        "not_replayed": sorted(promotion.supposed),
    }


def _judged_json(judged: Judged) -> dict[str, Any]:
    return {
        "version": judged.version,
        "at": judged.at.isoformat(),
        "outcome": judged.outcome.value,
        "verdict": judged.decision.verdict.value,
        "rules": _unmet(judged.decision),
        "evidence": judged.source.as_json(),
        "not_replayed": sorted(judged.supposed),
    }


def _unmet(decision: Decision) -> list[dict[str, Any]]:
    return [finding.as_json() for finding in decision.unmet]
