"""Supposing: a policy with the rules that a replay cannot ask taken as passing, and named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from promoter.domain.evidence import Evidence, Need
from promoter.domain.metrics import MetricRef
from promoter.domain.policy import ANY, Policy
from promoter.domain.replay.memory import Part
from promoter.domain.rules import AllOf, AnyOf, ApprovalRule, ExpressionRule, LoadsRule, Not, ReviewRule, SoakRule, TagRule
from promoter.domain.rules.base import BaseRule, Setting
from promoter.domain.verdict import Finding, Verdict

LOADS, APPROVAL, BOUND, REVIEW = "loads", "approval", "bound", "review"
WHY = {
    LOADS: "whether its artifact loaded then",
    APPROVAL: "whether this very policy was approved for it then",
    BOUND: "when its tags were set",
    REVIEW: "who would have approved its pull request",
}
NOT_REPLAYED = "not replayed"


class Supposed(BaseRule):
    """A rule that cannot be asked: it passes, and says so; inside a `not`, where that would be a fail, it is an error."""

    kind: ClassVar[str] = "supposed"

    inner: BaseRule
    why: str
    negated: bool

    def __str__(self) -> str:
        """That of the rule."""
        return str(self.inner)

    def need(self, setting: Setting) -> Need:
        """That of the rule."""
        return self.inner.need(setting)

    def metrics(self, setting: Setting) -> frozenset[MetricRef]:
        """Those of the rule."""
        return self.inner.metrics(setting)

    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """Of a `bound` tag only the time cannot be asked: its value can."""
        unknown = f"the ledger to know {self.why}"
        if self.negated:
            return self.found(Verdict.ERROR, NOT_REPLAYED, f"{unknown}: inside `not` nothing is taken for granted")
        if isinstance(self.inner, TagRule):
            eased = self.inner.model_copy(update={"bound": False}).evaluate(evidence, setting)
            expected = f"{eased.expected} ({NOT_REPLAYED}: {unknown})" if eased.verdict is Verdict.PASS else eased.expected
            return self.found(eased.verdict, eased.value, expected)
        return self.found(Verdict.PASS, NOT_REPLAYED, unknown)


def _suppose(rule: BaseRule, unknown: frozenset[str], *, negated: bool = False) -> BaseRule:
    if isinstance(rule, AnyOf):
        return rule.model_copy(update={"any_of": tuple(_suppose(each, unknown, negated=negated) for each in rule.any_of)})
    if isinstance(rule, AllOf):
        return rule.model_copy(update={"all_of": tuple(_suppose(each, unknown, negated=negated) for each in rule.all_of)})
    if isinstance(rule, Not):
        return rule.model_copy(update={"not_": _suppose(rule.not_, unknown, negated=True)})
    kind = _kind(rule)
    return Supposed(inner=rule, why=WHY[kind], negated=negated, name=rule.name) if kind in unknown else rule


def _kind(rule: BaseRule) -> str:
    """Which of the kinds that may not be replayed it is; empty: none."""
    if isinstance(rule, LoadsRule):
        return LOADS
    if isinstance(rule, ApprovalRule):
        return APPROVAL
    if isinstance(rule, ReviewRule):
        return REVIEW
    return BOUND if isinstance(rule, TagRule) and rule.bound else ""


@dataclass(frozen=True)
class Lens:
    """What a replay has to know of a policy: which parts of a version it looks at, and its variants.

    `tags` are the tags that it reads, None: it may read any.
    """

    policy: Policy
    parts: frozenset[Part]
    tags: frozenset[str] | None
    kinds: frozenset[str]
    rules: tuple[BaseRule, ...]
    _variants: dict[frozenset[str], Policy] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, policy: Policy) -> Lens:
        """Reads the policy."""
        rules = tuple(each for rule in policy.document.rules for each in rule.every_rule())
        need = policy.need
        any_tag = any(isinstance(each, ApprovalRule | ExpressionRule) for each in rules)
        tags = frozenset(each.tag for each in rules if isinstance(each, TagRule))
        named = (("run", need.run), ("logged_model", need.logged_model), ("signature", need.signature))
        parts: set[Part] = {part for part, asked in named if asked}
        parts |= {"tags"} if tags or any_tag else set()
        return cls(policy, frozenset(parts | need.series), None if any_tag else tags, frozenset(_kinds(rules)), rules)

    @property
    def source(self) -> str | None:
        """The alias that candidates come from; None: any newer version is one."""
        candidates = self.policy.document.candidates
        return None if candidates is None or candidates.from_ == ANY else candidates.from_

    @property
    def soaks(self) -> frozenset[str]:
        """The aliases that a version has to have held."""
        return frozenset(each.soak.alias for each in self.rules if isinstance(each, SoakRule))

    def supposing(self, unknown: frozenset[str]) -> Policy:
        """The policy for a version of which the ledger cannot say these kinds."""
        if not unknown:
            return self.policy
        if unknown not in self._variants:
            rules = tuple(_suppose(rule, unknown) for rule in self.policy.document.rules)
            document = self.policy.document.model_copy(update={"rules": rules})
            self._variants[unknown] = replace(self.policy, document=document)
        return self._variants[unknown]

    def named(self, unknown: frozenset[str]) -> list[str]:
        """The rules of these kinds, as they are written."""
        return list(dict.fromkeys(str(each) for each in self.rules if _kind(each) in unknown))


def _kinds(rules: tuple[BaseRule, ...]) -> Iterator[str]:
    return (kind for rule in rules if (kind := _kind(rule)))
