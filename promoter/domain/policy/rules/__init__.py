"""Every kind of rule: one file each, recognised by its first key. A new kind is its file and its line in RULES."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Discriminator, Field, Tag

from promoter.domain.decision import RuleFinding, Verdict, combine_all_of, combine_any_of, negate_verdict
from promoter.domain.evidence import Evidence, Need
from promoter.domain.observed import MetricRef
from promoter.domain.policy.rules.age import AgeRule
from promoter.domain.policy.rules.approval import ApprovalRule
from promoter.domain.policy.rules.base import BaseRule, RuleContext
from promoter.domain.policy.rules.description import DescriptionRule
from promoter.domain.policy.rules.expression import ExpressionRule
from promoter.domain.policy.rules.loads import LoadsRule
from promoter.domain.policy.rules.metric import MetricRule
from promoter.domain.policy.rules.review import ReviewRule
from promoter.domain.policy.rules.run import RunRule
from promoter.domain.policy.rules.signature import SignatureRule
from promoter.domain.policy.rules.soak import SoakRule
from promoter.domain.policy.rules.tag import TagRule

__all__ = ["RULES", "BaseRule", "Rule", "RuleContext"]


class _RuleGroup(BaseRule):
    """A rule that holds rules."""

    remedy_link: ClassVar[str] = "; and "
    """What stands between the remedies of the rules inside."""

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return what the rules inside need."""
        need = Need()
        for rule in self.inner_rules:
            need |= rule.needed_evidence(context)
        return need

    def used_metrics(self, context: RuleContext) -> frozenset[MetricRef]:
        """Return what the rules inside use."""
        return frozenset(metric for rule in self.inner_rules for metric in rule.used_metrics(context))

    def find_faults(self, context: RuleContext) -> list[str]:
        """Return the faults of the rules inside."""
        return [fault for rule in self.inner_rules for fault in rule.find_faults(context)]

    def describe_remedy(self, finding: RuleFinding, model: str, version: int) -> str | None:
        """Return what helps the rules inside that do not pass."""
        pairs = zip(self.inner_rules, finding.children, strict=False)
        unmet = [(rule, each) for rule, each in pairs if each.verdict is not Verdict.PASS]
        found = [remedy for rule, each in unmet if (remedy := rule.describe_remedy(each, model, version))]
        return self.remedy_link.join(found) or None

    def __str__(self) -> str:
        return self.kind

    def _build_group_finding(self, verdict: Verdict, children: tuple[RuleFinding, ...], expected: str) -> RuleFinding:
        passed = sum(child.verdict is Verdict.PASS for child in children)
        return RuleFinding(str(self), verdict, f"{passed} of {len(children)} pass", expected, children)


class AnyOf(_RuleGroup):
    """`any_of: [...]`: one of the rules inside passes."""

    kind: ClassVar[str] = "any_of"
    remedy_link: ClassVar[str] = "; or "

    any_of: tuple[Rule, ...] = Field(min_length=1, max_length=100, strict=False)

    @property
    def inner_rules(self) -> tuple[BaseRule, ...]:
        return self.any_of

    def replace_inner_rules(self, rules: tuple[BaseRule, ...]) -> BaseRule:
        return self.model_copy(update={"any_of": rules})

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Combine the rules inside by Strong Kleene disjunction."""
        children = tuple(rule.evaluate(evidence, context) for rule in self.any_of)
        return self._build_group_finding(combine_any_of(child.verdict for child in children), children, "at least one passes")


class AllOf(_RuleGroup):
    """`all_of: [...]`: every rule inside passes."""

    kind: ClassVar[str] = "all_of"

    all_of: tuple[Rule, ...] = Field(min_length=1, max_length=100, strict=False)

    @property
    def inner_rules(self) -> tuple[BaseRule, ...]:
        return self.all_of

    def replace_inner_rules(self, rules: tuple[BaseRule, ...]) -> BaseRule:
        return self.model_copy(update={"all_of": rules})

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Combine the rules inside by Strong Kleene conjunction."""
        children = tuple(rule.evaluate(evidence, context) for rule in self.all_of)
        return self._build_group_finding(combine_all_of(child.verdict for child in children), children, "all pass")


class Not(_RuleGroup):
    """`not: {...}`: the rule inside fails. What is pending or an error stays so."""

    kind: ClassVar[str] = "not"

    def describe_remedy(self, finding: RuleFinding, model: str, version: int) -> None:
        """Return nothing: what helps the rule inside is the opposite of what is asked for."""

    not_: Rule = Field(alias="not")

    @property
    def inner_rules(self) -> tuple[BaseRule, ...]:
        return (self.not_,)

    def replace_inner_rules(self, rules: tuple[BaseRule, ...]) -> BaseRule:
        return self.model_copy(update={"not_": rules[0]})

    @property
    def negates_inner_rules(self) -> bool:
        return True

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Negate the rule inside."""
        child = self.not_.evaluate(evidence, context)
        return self._build_group_finding(negate_verdict(child.verdict), (child,), "it fails")


RULES: tuple[type[BaseRule], ...] = (
    MetricRule,
    TagRule,
    RunRule,
    AgeRule,
    SoakRule,
    SignatureRule,
    DescriptionRule,
    LoadsRule,
    ExpressionRule,
    ApprovalRule,
    ReviewRule,
    AnyOf,
    AllOf,
    Not,
)


def _find_rule_kind(value: object) -> str | None:
    if isinstance(value, BaseRule):
        return value.kind
    if not isinstance(value, Mapping):
        return None
    return next((rule.kind for rule in RULES if rule.kind in value), None)


if TYPE_CHECKING:
    Rule = BaseRule
else:
    Rule = Annotated[
        reduce(or_, (Annotated[rule, Tag(rule.kind)] for rule in RULES)),
        Discriminator(
            _find_rule_kind,
            custom_error_type="unknown_rule",
            custom_error_message="not a rule: one of " + ", ".join(f"`{rule.kind}`" for rule in RULES) + " says which",
        ),
    ]
    """A rule of any kind, as a field of a document."""

for _group in (AnyOf, AllOf, Not):
    _group.model_rebuild()
