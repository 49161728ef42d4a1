"""The base of every kind of rule: the YAML that it is written as, the evidence that it needs, and its evaluation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from pydantic import Field

from promoter.domain.approvals import NO_APPROVERS, ApproverDirectory
from promoter.domain.decision import FindingValue, RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need
from promoter.domain.fields import Document, Duration
from promoter.domain.observed import MetricRef, SourceName

RankOrder = Literal["highest", "lowest"]
REVERSED_ORDERS: Mapping[RankOrder, RankOrder] = {"highest": "lowest", "lowest": "highest"}

DEFAULT_CHECK_INTERVAL = timedelta(seconds=60)
"""How far apart two checks of a guard are at least, for both to count."""


@dataclass(frozen=True)
class RuleContext:
    """What a rule may know of its policy."""

    order: RankOrder | None = None
    """The direction in which the ranked metric is better; None: the policy has no rank."""
    source: SourceName = "run"
    """Where metrics are read, unless the rule states it."""
    dataset: str | None = None
    """The dataset of the logged model whose metrics are read, unless the rule states it."""
    policy: str = ""
    """The policy's name."""
    digest: str = ""
    """The SHA-256 of the policy's file."""
    approvers: ApproverDirectory = NO_APPROVERS
    used: tuple[MetricRef, ...] = ()
    """Every metric of the candidate that the policy uses."""


@dataclass(frozen=True)
class RecordedFacts:
    """What the ledger recorded of a version, as far as it decides which rules can be replayed."""

    parts: Collection[object]
    """The parts of its evidence that decisions saw, such as `tags`, `run` and `loading`."""
    was_judged: bool
    """Whether this very policy, as it is, decided on the version."""
    tags_observed: bool
    """Whether its tags were observed, apart from decisions."""


@dataclass(frozen=True)
class ReplayGap:
    """What a rule asks of the past that the ledger may not have recorded."""

    kind: str
    """The word for it in the report of a replay."""
    fact: str
    """What the ledger would have to know."""
    is_closed: Callable[[RecordedFacts], bool]
    """Whether the ledger knows it of a version of which it recorded these facts."""


class BaseRule(Document):
    """One rule. `kind` is the key that it is recognised by; a new kind is a file beside this one and a line in `RULES`.

    `name` is what a waiver calls it, where its text is not enough. `for` and `every` belong to guards: how many checks in a
    row must fail, and how far apart two of them are at least.

    Whatever else needs to know of a kind asks the type: bulk gathering of evidence `needed_evidence`, the reader of policies
    `find_faults`, `guard_objection` and the `..._key(s)`, a replay `used_tags`, `replay_gap`, `list_wait_ends` and `is_dated`.
    """

    kind: ClassVar[str]
    guard_objection: ClassVar[str | None] = None
    """Why a rule of this kind cannot guard; None: it can."""
    approver_keys: ClassVar[tuple[str, ...]] = ()
    """The keys that lead to a list of names of approvers or their groups; none: it names no approvers."""
    pattern_key: ClassVar[str | None] = None
    """The key whose text is compiled as a regular expression, so that a file can be bounded in the size of all of them."""
    expression_key: ClassVar[str | None] = None
    """The key whose text is compiled as an expression, so that a file can be bounded in their number."""
    is_dated: ClassVar[bool] = False
    """Whether its evidence counts from a time that it bears itself, so that it counts before it was first recorded."""

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
        """Whether it has keys that only a guard may have."""
        return self.for_ is not None or self.every is not None

    def is_named_by(self, text: str) -> bool:
        """Return whether a waiver or a test that gives this text means this rule: its name, or its text."""
        return text in (self.name, str(self))

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return the evidence that `evaluate` needs."""
        del context
        return Need()

    def used_metrics(self, context: RuleContext) -> frozenset[MetricRef]:
        """Return the metrics of the candidate that `evaluate` uses."""
        del context
        return frozenset()

    def list_metric_orders(self, context: RuleContext) -> Iterator[tuple[MetricRef, RankOrder]]:
        """Yield in which direction metrics get nearer to passing, for those metrics of which the rule says so."""
        for rule in self.inner_rules:
            for metric, order in rule.list_metric_orders(context):
                yield metric, REVERSED_ORDERS[order] if self.negates_inner_rules else order

    def used_tags(self) -> frozenset[str] | None:
        """Return the tags whose values `evaluate` reads; None: it may read any."""
        return frozenset()

    @property
    def replay_gap(self) -> ReplayGap | None:
        """What the rule asks of the past that may not be recorded; None: a replay has all that it needs."""
        return None

    def without_replay_gap(self) -> BaseRule | None:
        """Return the rule without what a replay cannot ask; None where nothing is left of it."""
        return None

    def list_wait_ends(self, created_at: datetime, held_since: Callable[[str], Iterable[datetime]]) -> Iterator[datetime]:
        """Yield when a wait that the rule asks for is over; `held_since` tells since when the version held an alias."""
        del created_at, held_since
        yield from ()

    def find_faults(self, context: RuleContext) -> list[str]:
        """Return what makes this rule impossible in that policy, one sentence each."""
        del context
        return []

    @property
    def inner_rules(self) -> tuple[BaseRule, ...]:
        """The rules inside; a rule that holds others has at least one."""
        return ()

    def replace_inner_rules(self, rules: tuple[BaseRule, ...]) -> BaseRule:
        """Return the rule with these in the place of the rules inside."""
        del rules
        return self

    @property
    def negates_inner_rules(self) -> bool:
        """Whether a rule inside that passes lets this one fail."""
        return False

    def walk_rules(self) -> Iterator[BaseRule]:
        """Yield this rule, and those inside, however deep."""
        yield self
        for rule in self.inner_rules:
            yield from rule.walk_rules()

    @abstractmethod
    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return the finding, which depends on these arguments only. Anything unknown is never a pass."""

    def describe_remedy(self, finding: RuleFinding, model: str, version: int) -> str | None:
        """Return what a person can do so that the rule passes for a version that git states already, in words.

        `finding`: what the rule found of it, which is no pass. None: nothing but another version, or another policy.
        """
        del finding, model, version
        return None

    def build_finding(self, verdict: Verdict, value: FindingValue, expected: str) -> RuleFinding:
        """Return a finding of this rule."""
        return RuleFinding(str(self), verdict, value, expected)
