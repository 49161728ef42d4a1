"""Every kind of rule: one file each, recognised by its first key. A new kind is its file and its line here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import Discriminator, Field, Tag

from promoter.domain.evidence import Evidence, Need
from promoter.domain.metrics import MetricRef
from promoter.domain.rules.age import AgeRule
from promoter.domain.rules.approval import ApprovalRule
from promoter.domain.rules.base import BaseRule, Setting
from promoter.domain.rules.expression import ExpressionRule
from promoter.domain.rules.loads import LoadsRule
from promoter.domain.rules.metric import MetricRule
from promoter.domain.rules.review import ReviewRule
from promoter.domain.rules.run import RunRule
from promoter.domain.rules.signature import SignatureRule
from promoter.domain.rules.soak import SoakRule
from promoter.domain.rules.tag import TagRule
from promoter.domain.verdict import Finding, Verdict, all_of, any_of, negated

__all__ = [
    "KINDS",
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
    "RunRule",
    "Setting",
    "SignatureRule",
    "SoakRule",
    "TagRule",
]


class _Group(BaseRule):
    """A rule that holds rules."""

    @property
    def inner(self) -> tuple[BaseRule, ...]:
        """The rules inside."""
        raise NotImplementedError

    def need(self, setting: Setting) -> Need:
        """What the rules inside need."""
        need = Need()
        for rule in self.inner:
            need |= rule.need(setting)
        return need

    def metrics(self, setting: Setting) -> frozenset[MetricRef]:
        """What the rules inside look at."""
        return frozenset(metric for rule in self.inner for metric in rule.metrics(setting))

    def every_rule(self) -> Iterator[BaseRule]:
        """This rule, and those inside."""
        yield self
        for rule in self.inner:
            yield from rule.every_rule()

    def faults(self, setting: Setting) -> list[str]:
        """What the rules inside lack."""
        return [fault for rule in self.inner for fault in rule.faults(setting)]

    def __str__(self) -> str:
        """The key; the rules inside are told as children."""
        return self.kind

    def _of(self, verdict: Verdict, children: tuple[Finding, ...], expected: str) -> Finding:
        passed = sum(child.verdict is Verdict.PASS for child in children)
        return Finding(str(self), verdict, f"{passed} of {len(children)} pass", expected, children)


class AnyOf(_Group):
    """`any_of: [...]`: one of the rules inside passes."""

    kind: ClassVar[str] = "any_of"

    any_of: tuple[Rule, ...] = Field(min_length=1, max_length=100, strict=False)

    @property
    def inner(self) -> tuple[BaseRule, ...]:
        """The rules inside."""
        return self.any_of

    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """Strong Kleene disjunction."""
        children = tuple(rule.evaluate(evidence, setting) for rule in self.any_of)
        return self._of(any_of(child.verdict for child in children), children, "at least one passes")


class AllOf(_Group):
    """`all_of: [...]`: every rule inside passes."""

    kind: ClassVar[str] = "all_of"

    all_of: tuple[Rule, ...] = Field(min_length=1, max_length=100, strict=False)

    @property
    def inner(self) -> tuple[BaseRule, ...]:
        """The rules inside."""
        return self.all_of

    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """Strong Kleene conjunction."""
        children = tuple(rule.evaluate(evidence, setting) for rule in self.all_of)
        return self._of(all_of(child.verdict for child in children), children, "all pass")


class Not(_Group):
    """`not: {...}`: the rule inside fails. What is pending or an error stays so."""

    kind: ClassVar[str] = "not"

    not_: Rule = Field(alias="not")

    @property
    def inner(self) -> tuple[BaseRule, ...]:
        """The one rule inside."""
        return (self.not_,)

    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """Negation."""
        child = self.not_.evaluate(evidence, setting)
        return self._of(negated(child.verdict), (child,), "it fails")


KINDS: tuple[type[BaseRule], ...] = (
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


def _kind(value: object) -> str | None:
    if isinstance(value, BaseRule):
        return value.kind
    if not isinstance(value, Mapping):
        return None
    return next((rule.kind for rule in KINDS if rule.kind in value), None)


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
        _kind,
        custom_error_type="unknown_rule",
        custom_error_message="not a rule: one of " + ", ".join(f"`{rule.kind}`" for rule in KINDS) + " says which",
    ),
]

for _group in (AnyOf, AllOf, Not):
    _group.model_rebuild()
