"""A policy: what a version must show before an alias may point at it. `policies/NAME.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from promoter.domain.approvers import NOBODY, Approvers
from promoter.domain.document import Document, One
from promoter.domain.evidence import Need
from promoter.domain.faults import Path
from promoter.domain.limits import Freeze, Limits
from promoter.domain.metrics import MetricRef, SourceName
from promoter.domain.names import AliasName
from promoter.domain.rules import BaseRule, Rule
from promoter.domain.rules.base import Order, Setting
from promoter.domain.waivers import Waiver

ANY = "any"

Enforcement = Literal["enforce", "audit"]


class Rank(Document):
    """Which candidate is the best: by this metric, in this order."""

    metric: str = Field(min_length=1, max_length=250)
    order: Order


class Candidates(Document):
    """Where rotation looks: at the holder of another alias, or at `any` version newer than the alias's own."""

    from_: AliasName = Field(alias="from")
    rank: Rank | None = None


class MetricSource(Document):
    """Where metrics are read: the training run, or the logged model, of which on one dataset."""

    source: SourceName = "run"
    dataset: str | None = Field(default=None, min_length=1, max_length=500)

    @model_validator(mode="after")
    def _dataset_of_a_logged_model(self) -> MetricSource:
        if self.dataset is not None and self.source == "run":
            raise ValueError("`dataset` goes with `source: logged_model`: MLflow keeps one value of a metric for a run")
        return self


class PolicyDocument(Document):
    """`policies/NAME.yaml` as it is written."""

    version: One
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
    def rank(self) -> Rank | None:
        """How candidates compare; None: the newest is the best."""
        return self.candidates.rank if self.candidates else None

    @property
    def setting(self) -> Setting:
        """What the rules may know of their policy, as far as the document says it."""
        order = self.rank.order if self.rank else None
        return Setting(order=order, source=self.metrics.source, dataset=self.metrics.dataset)

    def faults(self) -> list[tuple[Path, str]]:
        """What no single field shows: where in the document, and what is wrong."""
        setting = self.setting
        found: list[tuple[Path, str]] = []
        for part, rules in (("rules", self.rules), ("guards", self.guards)):
            found += [((part, index), said) for index, rule in enumerate(rules) for said in rule.faults(setting)]
        return [*found, *self._guard_faults(), *self._waiver_faults()]

    def _guard_faults(self) -> Iterator[tuple[Path, str]]:
        for index, rule in enumerate(self.rules):
            if any(each.guards for each in rule.every_rule()):
                yield ("rules", index), "`for` and `every` belong to a guard: a rule is asked once for each decision"
        for index, rule in enumerate(self.guards):
            if any(each.guards for each in list(rule.every_rule())[1:]):
                yield ("guards", index), "`for` and `every` belong to the guard as a whole, not to a rule inside"
            if any(each.kind == "approval" for each in rule.every_rule()):
                said = "an approval cannot guard: it does not fail, and says nothing of how a version serves"
                yield ("guards", index), said
            if any(each.kind == "review" for each in rule.every_rule()):
                said = "a review cannot guard: it is over when the version has the alias, and says nothing of how it serves"
                yield ("guards", index), said

    def _waiver_faults(self) -> Iterator[tuple[Path, str]]:
        for index, waiver in enumerate(self.waivers):
            count = sum(answers_to(rule, waiver.rule) for rule in self.rules)
            if count != 1:
                said = "no rule of this policy" if not count else f"{count} rules: give the one that is meant a `name`"
                yield ("waivers", index, "rule"), f"`{waiver.rule:.80}` names {said} (a rule's text is what `explain` shows)"


def answers_to(rule: BaseRule, called: str) -> bool:
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
    approvers: Approvers = NOBODY
    source: str | None = field(default=None, compare=False, repr=False)
    approvers_source: str | None = field(default=None, compare=False, repr=False)

    @cached_property
    def setting(self) -> Setting:
        """What its rules may know."""
        bare = self.document.setting
        used = {metric for rule in self.document.rules for metric in rule.metrics(bare)}
        used |= {self.rank_metric} if self.rank_metric else set()
        return replace(bare, policy=self.name, digest=self.digest, approvers=self.approvers, used=tuple(sorted(used, key=str)))

    @property
    def rank_metric(self) -> MetricRef | None:
        """The metric that candidates are ranked by; None: by number."""
        rank, metrics = self.document.rank, self.document.metrics
        return MetricRef(rank.metric, metrics.source, metrics.dataset) if rank else None

    @cached_property
    def need(self) -> Need:
        """The evidence that its rules and its rank look at."""
        metric = self.rank_metric
        need = Need(run=metric is not None, logged_model=metric is not None and metric.source == "logged_model")
        for rule in self.document.rules:
            need |= rule.need(self.setting)
        return need

    @cached_property
    def guarding(self) -> Policy | None:
        """The guards, as a policy that a holder is judged by; None where there are none."""
        document = self.document
        if not document.guards:
            return None
        bare = {"rules": document.guards, "guards": (), "limits": Limits(), "freeze": (), "waivers": ()}
        return replace(self, document=document.model_copy(update=bare))
