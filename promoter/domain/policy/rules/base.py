"""The shape of a rule: the YAML it is written as, the evidence it needs, and how it finds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field

from promoter.domain.approvals import NO_APPROVERS, ApproverDirectory
from promoter.domain.decision import FindingValue, RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need
from promoter.domain.fields import Document, Duration
from promoter.domain.observed import MetricRef, SourceName

RankOrder = Literal["highest", "lowest"]

DEFAULT_CHECK_INTERVAL = timedelta(seconds=60)
"""How far apart two checks of a guard are at least, for both to count."""


@dataclass(frozen=True)
class RuleContext:
    """What a rule may know of the policy that it stands in.

    `order` is the direction in which the ranked metric is better (None: not said), `source` and `dataset` where metrics are
    read unless the rule says otherwise, `used` every metric of the candidate that the policy looks at.
    """

    order: RankOrder | None = None
    source: SourceName = "run"
    dataset: str | None = None
    policy: str = ""
    digest: str = ""
    approvers: ApproverDirectory = NO_APPROVERS
    used: tuple[MetricRef, ...] = ()


class BaseRule(Document):
    """One rule. `kind` is the key that it is recognised by; a new kind is one file beside this one.

    `name` is what a waiver calls it, where its text is not enough. `for` and `every` belong to guards: how many checks in a
    row must fail, and how far apart two of them are at least.
    """

    kind: ClassVar[str]

    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="What a waiver or a test calls the rule, where its text is not enough.",
    )
    for_: int | None = Field(
        default=None, alias="for", ge=1, le=1_000, description="Of a guard: how many checks in a row must fail."
    )
    every: Duration | None = Field(default=None, description="Of a guard: how far apart two checks are at least, such as `1h`.")

    @property
    def has_guard_terms(self) -> bool:
        """Whether it says what only a guard may say."""
        return self.for_ is not None or self.every is not None

    def needed_evidence(self, setting: RuleContext) -> Need:
        """The evidence that `evaluate` looks at."""
        del setting
        return Need()

    def used_metrics(self, setting: RuleContext) -> frozenset[MetricRef]:
        """The metrics of the candidate that `evaluate` looks at."""
        del setting
        return frozenset()

    def find_faults(self, setting: RuleContext) -> list[str]:
        """What makes this rule impossible in that policy, in words."""
        del setting
        return []

    def walk_rules(self) -> Iterator[BaseRule]:
        """This rule, and those inside."""
        yield self

    @abstractmethod
    def evaluate(self, evidence: Evidence, setting: RuleContext) -> RuleFinding:
        """Pure: the same evidence gives the same finding. Anything unknown is never a pass."""

    def build_finding(self, verdict: Verdict, value: FindingValue, expected: str) -> RuleFinding:
        """A finding of this rule."""
        return RuleFinding(str(self), verdict, value, expected)
