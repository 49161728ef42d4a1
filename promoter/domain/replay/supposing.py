"""Supposing: a policy with the rules that a replay cannot ask taken as passing, and named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from promoter.domain.evidence import Evidence, Need
from promoter.domain.metrics import MetricRef
from promoter.domain.policy import ANY_NEWER, Policy
from promoter.domain.replay.memory import EvidencePart
from promoter.domain.rules import AllOf, AnyOf, ApprovalRule, ExpressionRule, LoadsRule, Not, ReviewRule, SoakRule, TagRule
from promoter.domain.rules.base import BaseRule, RuleContext
from promoter.domain.verdict import RuleFinding, Verdict

LOADS_KIND, APPROVAL_KIND, BOUND_KIND, REVIEW_KIND = "loads", "approval", "bound", "review"
UNKNOWN_FACTS = {
    LOADS_KIND: "whether its artifact loaded then",
    APPROVAL_KIND: "whether this very policy was approved for it then",
    BOUND_KIND: "when its tags were set",
    REVIEW_KIND: "who would have approved its pull request",
}
NOT_REPLAYED = "not replayed"


class AssumedRule(BaseRule):
    """A rule that cannot be asked: it passes, and says so; inside a `not`, where that would be a fail, it is an error."""

    kind: ClassVar[str] = "supposed"

    inner: BaseRule
    why: str
    negated: bool

    def __str__(self) -> str:
        """That of the rule."""
        return str(self.inner)

    def needed_evidence(self, setting: RuleContext) -> Need:
        """That of the rule."""
        return self.inner.needed_evidence(setting)

    def used_metrics(self, setting: RuleContext) -> frozenset[MetricRef]:
        """Those of the rule."""
        return self.inner.used_metrics(setting)

    def evaluate(self, evidence: Evidence, setting: RuleContext) -> RuleFinding:
        """Of a `bound` tag only the time cannot be asked: its value can."""
        unknown = f"the ledger to know {self.why}"
        if self.negated:
            return self.build_finding(Verdict.ERROR, NOT_REPLAYED, f"{unknown}: inside `not` nothing is taken for granted")
        if isinstance(self.inner, TagRule):
            eased = self.inner.model_copy(update={"bound": False}).evaluate(evidence, setting)
            expected = f"{eased.expected} ({NOT_REPLAYED}: {unknown})" if eased.verdict is Verdict.PASS else eased.expected
            return self.build_finding(eased.verdict, eased.value, expected)
        return self.build_finding(Verdict.PASS, NOT_REPLAYED, unknown)


def _assume_unknown_rules(rule: BaseRule, unknown: frozenset[str], *, negated: bool = False) -> BaseRule:
    if isinstance(rule, AnyOf):
        return rule.model_copy(
            update={"any_of": tuple(_assume_unknown_rules(each, unknown, negated=negated) for each in rule.any_of)}
        )
    if isinstance(rule, AllOf):
        return rule.model_copy(
            update={"all_of": tuple(_assume_unknown_rules(each, unknown, negated=negated) for each in rule.all_of)}
        )
    if isinstance(rule, Not):
        return rule.model_copy(update={"not_": _assume_unknown_rules(rule.not_, unknown, negated=True)})
    kind = _find_unknown_kind(rule)
    return AssumedRule(inner=rule, why=UNKNOWN_FACTS[kind], negated=negated, name=rule.name) if kind in unknown else rule


def _find_unknown_kind(rule: BaseRule) -> str:
    """Which of the kinds that may not be replayed it is; empty: none."""
    if isinstance(rule, LoadsRule):
        return LOADS_KIND
    if isinstance(rule, ApprovalRule):
        return APPROVAL_KIND
    if isinstance(rule, ReviewRule):
        return REVIEW_KIND
    return BOUND_KIND if isinstance(rule, TagRule) and rule.bound else ""


@dataclass(frozen=True)
class ReplayPolicy:
    """What a replay has to know of a policy: which parts of a version it looks at, and its variants.

    `tags` are the tags that it reads, None: it may read any.
    """

    policy: Policy
    parts: frozenset[EvidencePart]
    tags: frozenset[str] | None
    kinds: frozenset[str]
    rules: tuple[BaseRule, ...]
    _variants: dict[frozenset[str], Policy] = field(default_factory=dict, compare=False)

    @classmethod
    def from_policy(cls, policy: Policy) -> ReplayPolicy:
        """Reads the policy."""
        rules = tuple(each for rule in policy.document.rules for each in rule.walk_rules())
        need = policy.needed_evidence
        any_tag = any(isinstance(each, ApprovalRule | ExpressionRule) for each in rules)
        tags = frozenset(each.tag for each in rules if isinstance(each, TagRule))
        named = (("run", need.run), ("logged_model", need.logged_model), ("signature", need.signature))
        parts: set[EvidencePart] = {part for part, asked in named if asked}
        parts |= {"tags"} if tags or any_tag else set()
        return cls(
            policy, frozenset(parts | need.series), None if any_tag else tags, frozenset(_list_unknown_kinds(rules)), rules
        )

    @property
    def candidate_alias(self) -> str | None:
        """The alias that candidates come from; None: any newer version is one."""
        candidates = self.policy.document.candidates
        return None if candidates is None or candidates.from_ == ANY_NEWER else candidates.from_

    @property
    def soak_aliases(self) -> frozenset[str]:
        """The aliases that a version has to have held."""
        return frozenset(each.soak.alias for each in self.rules if isinstance(each, SoakRule))

    def assume_unknown(self, unknown: frozenset[str]) -> Policy:
        """The policy for a version of which the ledger cannot say these kinds."""
        if not unknown:
            return self.policy
        if unknown not in self._variants:
            rules = tuple(_assume_unknown_rules(rule, unknown) for rule in self.policy.document.rules)
            document = self.policy.document.model_copy(update={"rules": rules})
            self._variants[unknown] = replace(self.policy, document=document)
        return self._variants[unknown]

    def name_rules_of_kinds(self, unknown: frozenset[str]) -> list[str]:
        """The rules of these kinds, as they are written."""
        return list(dict.fromkeys(str(each) for each in self.rules if _find_unknown_kind(each) in unknown))


def _list_unknown_kinds(rules: tuple[BaseRule, ...]) -> Iterator[str]:
    return (kind for rule in rules if (kind := _find_unknown_kind(rule)))
