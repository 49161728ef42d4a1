"""Guarding: whether what has an alias still holds what its policy's guards say; and if not, where to return to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from promoter.application.evidence import Question
from promoter.application.ports import Ledger, Registry
from promoter.domain.declaration import Declaration
from promoter.domain.desired import AliasIntent, ModelIntent
from promoter.domain.guards import GuardStanding, earlier, refusal, roll_back, stand
from promoter.domain.observed import ObservedModel
from promoter.domain.readiness import ready
from promoter.domain.verdict import Decision, Purpose, Verdict


@dataclass(frozen=True)
class Guarded:
    """An alias whose policy has guards, and the question that its holder is asked."""

    intent: AliasIntent
    question: Question


def guarded(declaration: Declaration, intent: ModelIntent, observed: ObservedModel) -> Iterable[Guarded]:
    """The aliases of a model that have a holder and guards."""
    for alias in sorted(intent.aliases.values(), key=lambda each: each.alias):
        policy = declaration.policies.get(alias.policy) if alias.policy else None
        held = observed.aliases.get(alias.alias)
        if policy and policy.guarding and held is not None:
            yield Guarded(alias, Question(observed, alias.alias, held, policy.guarding, purpose=Purpose.GUARD))


class Guarding:
    """Counts failures, and finds the version to return to. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger) -> None:
        """Takes the ports that it reads."""
        self._registry = registry
        self._ledger = ledger

    def __call__(
        self, watched: Iterable[Guarded], decisions: Mapping[Question, Decision], at: datetime
    ) -> dict[str, tuple[GuardStanding, ...]]:
        """Where the guards stand, by model."""
        asked = list(watched)
        keys = {(each.intent.model, each.intent.alias) for each in asked}
        checks = self._ledger.checks(keys) if keys else {}
        found: dict[str, tuple[GuardStanding, ...]] = {}
        for each in asked:
            model, alias = each.intent.model, each.intent.alias
            rules = each.question.policy.document.rules
            standing = stand(decisions[each.question], rules, checks.get((model, alias), ()))
            if standing.broken:
                standing = self._returned(each, standing, at)
            found[model] = (*found.get(model, ()), standing)
        return found

    def _returned(self, each: Guarded, standing: GuardStanding, at: datetime) -> GuardStanding:
        """With a proposal, or with the reason why there is none."""
        observed, intent = each.question.observed, each.intent
        why_not = "`enforcement: audit` only watches" if standing.decision.enforcement == "audit" else None
        why_not = why_not or refusal(intent, observed, at)
        if why_not:
            return replace(standing, reason=why_not)
        moves = self._ledger.moves({(intent.model, intent.alias)}).get((intent.model, intent.alias), ())
        told = []
        for version in earlier(intent, observed, moves, standing.version):
            found = ready(self._registry.readiness(intent.model, version))
            if found.verdict is Verdict.PASS:
                return roll_back(standing, version)
            told.append(f"v{version} is not ready ({found.value})")
        return replace(standing, reason="; ".join(told) or "the ledger knows no earlier version to return to")
