"""Guarding: whether what has an alias still holds what its policy's guards say; and if not, where to return to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from promoter.application.evidence import PolicyQuestion
from promoter.application.ports import Ledger, Registry
from promoter.domain.declaration import Declaration
from promoter.domain.desired import AliasIntent, ModelIntent
from promoter.domain.guards import (
    GuardStatus,
    find_earlier_versions,
    find_rollback_obstacle,
    add_rollback_proposal,
    evaluate_guards,
)
from promoter.domain.observed import ObservedModel
from promoter.domain.readiness import check_readiness
from promoter.domain.verdict import Decision, DecisionPurpose, Verdict


@dataclass(frozen=True)
class GuardedAlias:
    """An alias whose policy has guards, and the question that its holder is asked."""

    intent: AliasIntent
    question: PolicyQuestion


def find_guarded_aliases(declaration: Declaration, intent: ModelIntent, observed: ObservedModel) -> Iterable[GuardedAlias]:
    """The aliases of a model that have a holder and guards."""
    for alias in sorted(intent.aliases.values(), key=lambda each: each.alias):
        policy = declaration.policies.get(alias.policy) if alias.policy else None
        held = observed.aliases.get(alias.alias)
        if policy and policy.guard_policy and held is not None:
            yield GuardedAlias(
                alias, PolicyQuestion(observed, alias.alias, held, policy.guard_policy, purpose=DecisionPurpose.GUARD)
            )


class GuardEvaluator:
    """Counts failures, and finds the version to return to. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger) -> None:
        """Takes the ports that it reads."""
        self._registry = registry
        self._ledger = ledger

    def __call__(
        self, watched: Iterable[GuardedAlias], decisions: Mapping[PolicyQuestion, Decision], at: datetime
    ) -> dict[str, tuple[GuardStatus, ...]]:
        """Where the guards stand, by model."""
        asked = list(watched)
        keys = {(each.intent.model, each.intent.alias) for each in asked}
        checks = self._ledger.find_guard_checks(keys) if keys else {}
        found: dict[str, tuple[GuardStatus, ...]] = {}
        for each in asked:
            model, alias = each.intent.model, each.intent.alias
            rules = each.question.policy.document.rules
            standing = evaluate_guards(decisions[each.question], rules, checks.get((model, alias), ()))
            if standing.broken_guards:
                standing = self._add_return_proposal(each, standing, at)
            found[model] = (*found.get(model, ()), standing)
        return found

    def _add_return_proposal(self, each: GuardedAlias, standing: GuardStatus, at: datetime) -> GuardStatus:
        """With a proposal, or with the reason why there is none."""
        observed, intent = each.question.observed, each.intent
        why_not = "`enforcement: audit` only watches" if standing.decision.enforcement == "audit" else None
        why_not = why_not or find_rollback_obstacle(intent, observed, at)
        if why_not:
            return replace(standing, reason=why_not)
        moves = self._ledger.find_alias_moves({(intent.model, intent.alias)}).get((intent.model, intent.alias), ())
        reasons = []
        for version in find_earlier_versions(intent, observed, moves, standing.version):
            found = check_readiness(self._registry.check_readiness(intent.model, version))
            if found.verdict is Verdict.PASS:
                return add_rollback_proposal(standing, version)
            reasons.append(f"v{version} is not ready ({found.value})")
        return replace(standing, reason="; ".join(reasons) or "the ledger knows no earlier version to return to")
