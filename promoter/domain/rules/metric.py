"""`metric`: a number of the version's run against a bound, or against the holder of an alias."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from promoter.domain.evidence import Evidence, Need, VersionEvidence
from promoter.domain.names import AliasName
from promoter.domain.rules.base import BaseRule, Order, Setting
from promoter.domain.verdict import Finding, Verdict

_SHARE = re.compile(r"\d{1,6}(\.\d{1,9})?%")


def _margin(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a margin is a number, or a share such as `1%`")  # noqa: TRY004  # pydantic wants ValueError
    if isinstance(value, str) and not _SHARE.fullmatch(value):
        raise ValueError("a share is written like `1%` or `0.5%`; an absolute margin has no quotes")
    if not isinstance(value, str) and not (math.isfinite(value) and value >= 0):
        raise ValueError("a margin is not negative: the direction comes from `order`")
    return value


Margin = Annotated[int | float | str, BeforeValidator(_margin)]
Number = Annotated[FiniteFloat, Field(strict=False)]


def _not_a_flag(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("this is a number")  # noqa: TRY004  # pydantic wants ValueError
    return value


Bound = Annotated[Number, BeforeValidator(_not_a_flag)]


class MetricRule(BaseRule):
    """`{metric: val_auc, at_least: 0.9}`, `{..., at_most: ...}`, or `{..., beats: champion, by: 0.005}`.

    `beats` compares the last value of the same metric on the holder's run. `by` is absolute, or a share of the size of
    the holder's value (`1%`). Which direction is better is the `order` of the policy's rank, or the rule's own.
    Numbers are compared in decimal as MLflow shows them, so that 0.905 beats 0.9 by 0.005.
    """

    kind: ClassVar[str] = "metric"

    metric: str = Field(min_length=1, max_length=250)
    at_least: Bound | None = None
    at_most: Bound | None = None
    beats: AliasName | None = None
    by: Margin = 0
    order: Order | None = None

    @model_validator(mode="after")
    def _one_comparison(self) -> MetricRule:
        said = [key for key in ("at_least", "at_most", "beats") if getattr(self, key) is not None]
        if len(said) != 1:
            raise ValueError("a metric rule has exactly one of `at_least`, `at_most` and `beats`")
        if self.beats is None and {"by", "order"} & self.model_fields_set:
            raise ValueError("`by` and `order` go with `beats`")
        return self

    def __str__(self) -> str:
        """As it is written."""
        if self.beats is not None:
            margin = f" by {self.by}" if self.by else ""
            return f"metric {self.metric} beats {self.beats}{margin}"
        return f"metric {self.metric} {self._bound_in_words()}"

    @property
    def need(self) -> Need:
        """The run, and for `beats` the holder's run."""
        return Need(run=True, holders=frozenset({self.beats} if self.beats else ()))

    def faults(self, setting: Setting) -> list[str]:
        """`beats` needs a direction."""
        if self.beats and not (self.order or setting.order):
            return ["`beats` needs to know which direction is better: give `candidates.rank`, or `order: highest` here"]
        return []

    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """Absent is pending, NaN and infinities are errors; with `beats`, an alias that nobody holds is beaten."""
        if self.beats is None:
            return self._against_bound(evidence.candidate)
        if self.beats not in evidence.holders:
            return self.found(Verdict.ERROR, None, f"who holds {self.beats} to be known")
        holder = evidence.holders[self.beats]
        seen = evidence.candidate.metrics.get(self.metric)
        if holder is None:
            return self.found(Verdict.PASS, seen, f"better than {self.beats} (nobody else holds it)")
        return self._against_holder(evidence.candidate, holder, self.order or setting.order)

    def _bound_in_words(self) -> str:
        return f"at_least {self.at_least:g}" if self.at_least is not None else f"at_most {self.at_most:g}"

    def _against_bound(self, candidate: VersionEvidence) -> Finding:
        expected = self._bound_in_words().replace("_", " ")
        value = candidate.metrics.get(self.metric)
        unusable = _unusable(value)
        if unusable or value is None:
            return self.found(unusable or Verdict.PENDING, value, expected)
        met = value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)
        return self.found(Verdict.PASS if met else Verdict.FAIL, value, expected)

    def _against_holder(self, candidate: VersionEvidence, holder: VersionEvidence, order: Order | None) -> Finding:
        ours, theirs = candidate.metrics.get(self.metric), holder.metrics.get(self.metric)
        whom = f"{self.beats} v{holder.version}"
        if candidate.version == holder.version:
            return self.found(Verdict.FAIL, ours, f"better than {whom}, which is this very version")
        if theirs is None or _unusable(theirs):
            has = "no value" if theirs is None else str(theirs)
            verdict = Verdict.PENDING if theirs is None else Verdict.ERROR
            return self.found(verdict, ours, f"better than {whom}, which has {has}")
        if order is None:
            return self.found(Verdict.ERROR, ours, "a direction: `order: highest` or `lowest`")
        base, sign = Decimal(repr(theirs)), 1 if order == "highest" else -1
        margin = self._margin_of(base)
        reach = base + sign * margin
        expected = f"at {'least' if sign > 0 else 'most'} {reach.normalize():f} ({whom} has {theirs!r})"
        expected = expected if margin else f"better than {theirs!r} ({whom})"
        unusable = _unusable(ours)
        if unusable or ours is None:
            return self.found(unusable or Verdict.PENDING, ours, expected)
        gain = sign * (Decimal(repr(ours)) - base)
        return self.found(Verdict.PASS if gain > 0 and gain >= margin else Verdict.FAIL, ours, expected)

    def _margin_of(self, base: Decimal) -> Decimal:
        if isinstance(self.by, str):
            return abs(base) * Decimal(self.by.removesuffix("%")) / 100
        return Decimal(repr(self.by))


def _unusable(value: float | None) -> Verdict | None:
    if value is None:
        return Verdict.PENDING
    return None if math.isfinite(value) else Verdict.ERROR
