"""Every kind of rule: one file each, recognised by its first key. A new kind is its file and its line here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import Discriminator, Field, Tag

from promoter.domain.decision import RuleFinding, Verdict, combine_all_of, combine_any_of, negate_verdict
from promoter.domain.evidence import Evidence, Need
from promoter.domain.observed import MetricRef
from promoter.domain.policy.rules.age import AgeRule
from promoter.domain.policy.rules.approval import ApprovalRule
from promoter.domain.policy.rules.base import BaseRule, RuleContext
from promoter.domain.policy.rules.expression import ExpressionRule
from promoter.domain.policy.rules.loads import LoadsRule
from promoter.domain.policy.rules.metric import MetricRule
from promoter.domain.policy.rules.review import ReviewRule
from promoter.domain.policy.rules.run import RunRule
from promoter.domain.policy.rules.signature import SignatureRule
from promoter.domain.policy.rules.soak import SoakRule
from promoter.domain.policy.rules.tag import TagRule

__all__ = [
    "RULES",
    "AgeRule",
    "AllOf",
    "AnyOf",
    "ApprovalRule",
    "BaseRule",
    "ExpressionRule",
    "LoadsRule",
    "MetricRule",
    "Not",
    "ReviewRule",
    "Rule",
    "RuleContext",
    "RunRule",
    "SignatureRule",
    "SoakRule",
    "TagRule",
]


class _RuleGroup(BaseRule):
    """A rule that holds rules."""

    @property
    def inner_rules(self) -> tuple[BaseRule, ...]:
        """The rules inside."""
        raise NotImplementedError

    def needed_evidence(self, setting: RuleContext) -> Need:
        """What the rules inside need."""
        need = Need()
        for rule in self.inner_rules:
            need |= rule.needed_evidence(setting)
        return need

    def used_metrics(self, setting: RuleContext) -> frozenset[MetricRef]:
        """What the rules inside look at."""
        return frozenset(metric for rule in self.inner_rules for metric in rule.used_metrics(setting))

    def walk_rules(self) -> Iterator[BaseRule]:
        """This rule, and those inside."""
        yield self
        for rule in self.inner_rules:
            yield from rule.walk_rules()

    def find_faults(self, setting: RuleContext) -> list[str]:
        """What the rules inside lack."""
        return [fault for rule in self.inner_rules for fault in rule.find_faults(setting)]

    def __str__(self) -> str:
        """The key; the rules inside are told as children."""
        return self.kind

    def _build_group_finding(self, verdict: Verdict, children: tuple[RuleFinding, ...], expected: str) -> RuleFinding:
        passed = sum(child.verdict is Verdict.PASS for child in children)
        return RuleFinding(str(self), verdict, f"{passed} of {len(children)} pass", expected, children)


class AnyOf(_RuleGroup):
    """`any_of: [...]`: one of the rules inside passes."""

    kind: ClassVar[str] = "any_of"

    any_of: tuple[Rule, ...] = Field(min_length=1, max_length=100, strict=False)

    @property
    def inner_rules(self) -> tuple[BaseRule, ...]:
        """The rules inside."""
        return self.any_of

    def evaluate(self, evidence: Evidence, setting: RuleContext) -> RuleFinding:
        """Strong Kleene disjunction."""
        children = tuple(rule.evaluate(evidence, setting) for rule in self.any_of)
        return self._build_group_finding(combine_any_of(child.verdict for child in children), children, "at least one passes")


class AllOf(_RuleGroup):
    """`all_of: [...]`: every rule inside passes."""

    kind: ClassVar[str] = "all_of"

    all_of: tuple[Rule, ...] = Field(min_length=1, max_length=100, strict=False)

    @property
    def inner_rules(self) -> tuple[BaseRule, ...]:
        """The rules inside."""
        return self.all_of

    def evaluate(self, evidence: Evidence, setting: RuleContext) -> RuleFinding:
        """Strong Kleene conjunction."""
        children = tuple(rule.evaluate(evidence, setting) for rule in self.all_of)
        return self._build_group_finding(combine_all_of(child.verdict for child in children), children, "all pass")


class Not(_RuleGroup):
    """`not: {...}`: the rule inside fails. What is pending or an error stays so."""

    kind: ClassVar[str] = "not"

    not_: Rule = Field(alias="not")

    @property
    def inner_rules(self) -> tuple[BaseRule, ...]:
        """The one rule inside."""
        return (self.not_,)

    def evaluate(self, evidence: Evidence, setting: RuleContext) -> RuleFinding:
        """Negation."""
        child = self.not_.evaluate(evidence, setting)
        return self._build_group_finding(negate_verdict(child.verdict), (child,), "it fails")


RULES: tuple[type[BaseRule], ...] = (
    MetricRule,
    TagRule,
    RunRule,
    AgeRule,
    SoakRule,
    SignatureRule,
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


Rule = Annotated[
    Annotated[MetricRule, Tag("metric")]
    | Annotated[TagRule, Tag("tag")]
    | Annotated[RunRule, Tag("run")]
    | Annotated[AgeRule, Tag("age")]
    | Annotated[SoakRule, Tag("soak")]
    | Annotated[SignatureRule, Tag("signature")]
    | Annotated[LoadsRule, Tag("loads")]
    | Annotated[ExpressionRule, Tag("expression")]
    | Annotated[ApprovalRule, Tag("approval")]
    | Annotated[ReviewRule, Tag("review")]
    | Annotated[AnyOf, Tag("any_of")]
    | Annotated[AllOf, Tag("all_of")]
    | Annotated[Not, Tag("not")],
    Discriminator(
        _find_rule_kind,
        custom_error_type="unknown_rule",
        custom_error_message="not a rule: one of " + ", ".join(f"`{rule.kind}`" for rule in RULES) + " says which",
    ),
]

for _group in (AnyOf, AllOf, Not):
    _group.model_rebuild()
