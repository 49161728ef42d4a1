"""A policy: what a version must show before an alias may point at it. `policies/NAME.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from promoter.domain.document import Document
from promoter.domain.evidence import Need
from promoter.domain.faults import Path
from promoter.domain.names import AliasName
from promoter.domain.rules import Rule
from promoter.domain.rules.base import Order, Setting

ANY = "any"


class Rank(Document):
    """Which candidate is the best: by this metric, in this order."""

    metric: str = Field(min_length=1, max_length=250)
    order: Order


class Candidates(Document):
    """Where rotation looks: at the holder of another alias, or at `any` version newer than the alias's own."""

    from_: AliasName = Field(alias="from")
    rank: Rank | None = None


class MetricSource(Document):
    """Where metrics are read: the training run."""

    source: Literal["run"] = "run"


class PolicyDocument(Document):
    """`policies/NAME.yaml` as it is written."""

    version: Literal[1]
    description: str = ""
    enforcement: Literal["enforce"] = "enforce"
    candidates: Candidates | None = None
    metrics: MetricSource = MetricSource()
    rules: tuple[Rule, ...] = Field(min_length=1, max_length=200, strict=False)

    @property
    def rank(self) -> Rank | None:
        """How candidates compare; None: the newest is the best."""
        return self.candidates.rank if self.candidates else None

    @property
    def setting(self) -> Setting:
        """What the rules may know of their policy."""
        return Setting(order=self.rank.order if self.rank else None)

    def faults(self) -> list[tuple[Path, str]]:
        """What no single field shows: where in the document, and what is wrong."""
        return [(("rules", index), said) for index, rule in enumerate(self.rules) for said in rule.faults(self.setting)]


@dataclass(frozen=True)
class Policy:
    """A policy at a revision: its name is its file's, its digest the SHA-256 of the file's bytes."""

    name: str
    digest: str
    document: PolicyDocument

    @property
    def need(self) -> Need:
        """The evidence that its rules and its rank look at."""
        need = Need(run=self.document.rank is not None)
        for rule in self.document.rules:
            need |= rule.need
        return need
