"""The shape of a rule: the YAML it is written as, the evidence it needs, and how it finds."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from promoter.domain.document import Document
from promoter.domain.evidence import Evidence, Need
from promoter.domain.verdict import Finding, Scalar, Verdict

Order = Literal["highest", "lowest"]


@dataclass(frozen=True)
class Setting:
    """What a rule may know of the policy that it stands in: which direction of a metric is better (None: not said)."""

    order: Order | None = None


class BaseRule(Document):
    """One rule. `kind` is the key that it is recognised by; a new kind is one file beside this one."""

    kind: ClassVar[str]

    @property
    def need(self) -> Need:
        """The evidence that `evaluate` looks at."""
        return Need()

    def faults(self, setting: Setting) -> list[str]:
        """What makes this rule impossible in that policy, in words."""
        del setting
        return []

    @abstractmethod
    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """Pure: the same evidence gives the same finding. Anything unknown is never a pass."""

    def found(self, verdict: Verdict, value: Scalar, expected: str) -> Finding:
        """A finding of this rule."""
        return Finding(str(self), verdict, value, expected)
