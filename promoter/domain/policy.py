"""A policy: what a version must show before an alias may point at it. `policies/NAME.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from promoter.domain.approvers import NO_APPROVERS, ApproverDirectory
from promoter.domain.document import Document, FormatVersion
from promoter.domain.evidence import Need
from promoter.domain.faults import DocumentPath
from promoter.domain.limits import Freeze, Limits
from promoter.domain.metrics import MetricRef, SourceName
from promoter.domain.names import AliasName
from promoter.domain.rules import BaseRule, Rule
from promoter.domain.rules.base import RankOrder, RuleContext
from promoter.domain.waivers import Waiver

ANY_NEWER = "any"

Enforcement = Literal["enforce", "audit"]


class Rank(Document):
    """Which candidate is the best: by this metric, in this order."""

    metric: str = Field(min_length=1, max_length=250)
    order: RankOrder


class Candidates(Document):
    """Where rotation looks: at the holder of another alias, or at `any` version newer than the alias's own."""

    from_: AliasName = Field(alias="from")
    rank: Rank | None = None


class MetricSource(Document):
    """Where metrics are read: the training run, or the logged model, of which on one dataset."""

    source: SourceName = "run"
    dataset: str | None = Field(default=None, min_length=1, max_length=500)

    @model_validator(mode="after")
    def _check_dataset_source(self) -> MetricSource:
        if self.dataset is not None and self.source == "run":
            raise ValueError("`dataset` goes with `source: logged_model`: MLflow keeps one value of a metric for a run")
        return self


class PolicyDocument(Document):
    """`policies/NAME.yaml` as it is written."""

    version: FormatVersion
    description: str = ""
    enforcement: Enforcement = "enforce"
    candidates: Candidates | None = None
    metrics: MetricSource = MetricSource()
    rules: tuple[Rule, ...] = Field(min_length=1, max_length=200, strict=False)
    guards: tuple[Rule, ...] = Field(default=(), max_length=50, strict=False)
    limits: Limits = Limits()
    freeze: tuple[Freeze, ...] = Field(default=(), max_length=20, strict=False)
    waivers: tuple[Waiver, ...] = Field(default=(), max_length=1_000, strict=False)

    @property
    def candidate_rank(self) -> Rank | None:
        """How candidates compare; None: the newest is the best."""
        return self.candidates.rank if self.candidates else None

    @property
    def rule_context(self) -> RuleContext:
        """What the rules may know of their policy, as far as the document says it."""
        order = self.candidate_rank.order if self.candidate_rank else None
        return RuleContext(order=order, source=self.metrics.source, dataset=self.metrics.dataset)

    def find_faults(self) -> list[tuple[DocumentPath, str]]:
        """What no single field shows: where in the document, and what is wrong."""
        setting = self.rule_context
        found: list[tuple[DocumentPath, str]] = []
        for part, rules in (("rules", self.rules), ("guards", self.guards)):
            found += [((part, index), message) for index, rule in enumerate(rules) for message in rule.find_faults(setting)]
        return [*found, *self._find_guard_faults(), *self._find_waiver_faults()]

    def _find_guard_faults(self) -> Iterator[tuple[DocumentPath, str]]:
        for index, rule in enumerate(self.rules):
            if any(each.has_guard_terms for each in rule.walk_rules()):
                yield ("rules", index), "`for` and `every` belong to a guard: a rule is asked once for each decision"
        for index, rule in enumerate(self.guards):
            if any(each.has_guard_terms for each in list(rule.walk_rules())[1:]):
                yield ("guards", index), "`for` and `every` belong to the guard as a whole, not to a rule inside"
            if any(each.kind == "approval" for each in rule.walk_rules()):
                message = "an approval cannot guard: it does not fail, and says nothing of how a version serves"
                yield ("guards", index), message
            if any(each.kind == "review" for each in rule.walk_rules()):
                message = "a review cannot guard: it is over when the version has the alias, and says nothing of how it serves"
                yield ("guards", index), message

    def _find_waiver_faults(self) -> Iterator[tuple[DocumentPath, str]]:
        for index, waiver in enumerate(self.waivers):
            count = sum(is_rule_called(rule, waiver.rule) for rule in self.rules)
            if count != 1:
                matches = "no rule of this policy" if not count else f"{count} rules: give the one that is meant a `name`"
                yield ("waivers", index, "rule"), f"`{waiver.rule:.80}` names {matches} (a rule's text is what `explain` shows)"


def is_rule_called(rule: BaseRule, called: str) -> bool:
    """Whether a rule goes by that name or text."""
    return called in (rule.name, str(rule))


@dataclass(frozen=True)
class Policy:
    """A policy at a revision: its name is its file's, its digest the SHA-256 of the file's bytes.

    `approvers` are those of the same revision. `source` and `approvers_source` are the two files' texts, for the ledger: None
    where there is no such file, or nobody read one.
    """

    name: str
    digest: str
    document: PolicyDocument
    approvers: ApproverDirectory = NO_APPROVERS
    source: str | None = field(default=None, compare=False, repr=False)
    approvers_source: str | None = field(default=None, compare=False, repr=False)

    @cached_property
    def rule_context(self) -> RuleContext:
        """What its rules may know."""
        bare = self.document.rule_context
        used = {metric for rule in self.document.rules for metric in rule.used_metrics(bare)}
        used |= {self.rank_metric} if self.rank_metric else set()
        return replace(bare, policy=self.name, digest=self.digest, approvers=self.approvers, used=tuple(sorted(used, key=str)))

    @property
    def rank_metric(self) -> MetricRef | None:
        """The metric that candidates are ranked by; None: by number."""
        rank, metrics = self.document.candidate_rank, self.document.metrics
        return MetricRef(rank.metric, metrics.source, metrics.dataset) if rank else None

    @cached_property
    def needed_evidence(self) -> Need:
        """The evidence that its rules and its rank look at."""
        metric = self.rank_metric
        need = Need(run=metric is not None, logged_model=metric is not None and metric.source == "logged_model")
        for rule in self.document.rules:
            need |= rule.needed_evidence(self.rule_context)
        return need

    @cached_property
    def guard_policy(self) -> Policy | None:
        """The guards, as a policy that a holder is judged by; None where there are none."""
        document = self.document
        if not document.guards:
            return None
        bare = {"rules": document.guards, "guards": (), "limits": Limits(), "freeze": (), "waivers": ()}
        return replace(self, document=document.model_copy(update=bare))
