"""`metric`: a number of the version's run or logged model, against a bound, or against the holder of an alias."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, FiniteFloat, WithJsonSchema, model_validator

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need, VersionEvidence
from promoter.domain.fields import AliasName, forbid_together, require_exactly_one, require_key
from promoter.domain.observed import MetricRef, MetricValue, SourceName, Unreadable
from promoter.domain.policy.confidence import compare_step_values
from promoter.domain.policy.rules.base import BaseRule, RankOrder, RuleContext
from promoter.domain.text import format_number

_SHARE = re.compile(r"\d{1,6}(\.\d{1,9})?%")
_WRITTEN_NUMBER = re.compile(r"-?\d{1,400}(\.\d{1,400})?(e[+-]?\d{1,3})?")
_LARGEST_NUMBER = sys.float_info.max  # YAML knows integers beyond it


def _validate_margin(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a margin is a number, or a share such as `1%`")  # noqa: TRY004  # pydantic wants ValueError
    if isinstance(value, str) and not _SHARE.fullmatch(value):
        raise ValueError("a share is written like `1%` or `0.5%`; an absolute margin has no quotes")
    if not isinstance(value, str) and not 0 <= value <= _LARGEST_NUMBER:
        raise ValueError("a margin is finite and not negative: the direction comes from `order`")
    return value


Margin = Annotated[
    int | float | str,
    BeforeValidator(_validate_margin),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,9})?%$"}],
            "examples": [0.005, "1%"],
        }
    ),
]
Number = Annotated[FiniteFloat, Field(strict=False)]


def _reject_flag(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("this is a number")  # noqa: TRY004  # pydantic wants ValueError
    if isinstance(value, int) and abs(value) <= _LARGEST_NUMBER and int(float(value)) != value:
        raise ValueError(f"metrics are doubles, and none is {value}: the nearest one is {int(float(value))}")
    return value


Bound = Annotated[Number, BeforeValidator(_reject_flag)]
Confidence = Annotated[Number, BeforeValidator(_reject_flag), Field(ge=0.5, lt=1)]


class MetricRule(BaseRule):
    """`{metric: val_auc, at_least: 0.9}`, `{..., at_most: ...}`, or `{..., beats: champion, by: 0.005}`.

    `beats` compares the last values of the same metric, from the same source and dataset. `by` is absolute, or a share of
    the size of the holder's value (`1%`). Which direction is better is the `order` of the policy's rank, or the rule's own.
    Numbers are compared in decimal as MLflow shows them, so that 0.905 beats 0.9 by 0.005. With `confidence: 0.95` the
    values of every step are compared in pairs instead; see `promoter.domain.policy.confidence`.
    """

    model_config = ConfigDict(
        json_schema_extra=require_exactly_one("at_least", "at_most", "beats")
        | forbid_together(require_key("dataset"), require_key("source", {"const": "run"}))
        | {"dependentRequired": {"by": ["beats"], "order": ["beats"], "confidence": ["beats"], "steps": ["confidence"]}}
    )
    kind: ClassVar[str] = "metric"

    metric: str = Field(min_length=1, max_length=250, description="The metric's name: `{metric: val_auc, at_least: 0.9}`.")
    at_least: Bound | None = Field(default=None, description="The least value that passes.")
    at_most: Bound | None = Field(default=None, description="The greatest value that passes.")
    beats: AliasName | None = Field(
        default=None, description="The alias whose holder must be beaten, in the direction of `order`."
    )
    by: Margin = Field(default=0, description="By how much it must be beaten: `0.005`, or a share of the holder's value, `1%`.")
    order: RankOrder | None = Field(
        default=None, description="Which values are better: highest or lowest. Left out: as the policy's rank says."
    )
    confidence: Confidence | None = Field(
        default=None, description="Compare the values of every step in pairs, at that confidence: `0.95`."
    )
    steps: Literal["folds", "independent"] = Field(
        default="folds", description="What the steps are: folds (of the same data), or independent."
    )
    source: SourceName | None = Field(
        default=None, description="run, or logged_model: where the metric is read. Left out: as the policy says."
    )
    dataset: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="The dataset of the logged model that the metric was measured on.",
    )

    @model_validator(mode="after")
    def _check_one_comparison(self) -> MetricRule:
        comparisons = [key for key in ("at_least", "at_most", "beats") if getattr(self, key) is not None]
        if len(comparisons) != 1:
            raise ValueError("a metric rule has exactly one of `at_least`, `at_most` and `beats`")
        if self.beats is None and {"by", "order", "confidence"} & self.model_fields_set:
            raise ValueError("`by`, `order` and `confidence` go with `beats`")
        if self.confidence is None and "steps" in self.model_fields_set:
            raise ValueError("`steps` goes with `confidence`")
        if self.dataset is not None and self.source == "run":
            raise ValueError("`dataset` goes with `source: logged_model`: MLflow keeps one value of a metric for a run")
        return self

    def __str__(self) -> str:
        where = f" on {self.dataset}" if self.dataset else f" of the {self.source}" if self.source else ""
        where = where.replace("_", " ")
        if self.beats is None:
            return f"metric {self.metric}{where} {self._format_bound()}"
        margin = f" by {self.by}" if self.by else ""
        sure = f" with confidence {self.confidence!r}" if self.confidence else ""
        sure += " over independent steps" if self.steps == "independent" else ""
        return f"metric {self.metric}{where} beats {self.beats}{margin}{sure}"

    def build_metric_ref(self, context: RuleContext) -> MetricRef:
        """Return the metric: of the rule's own source, or of the policy's. A dataset is always the logged model's."""
        if self.dataset is not None:
            return MetricRef(self.metric, "logged_model", self.dataset)
        if self.source is not None:
            return MetricRef(self.metric, self.source, context.dataset if self.source == context.source else None)
        return MetricRef(self.metric, context.source, context.dataset)

    def used_metrics(self, context: RuleContext) -> frozenset[MetricRef]:
        """Return its one metric."""
        return frozenset({self.build_metric_ref(context)})

    def list_metric_orders(self, context: RuleContext) -> Iterator[tuple[MetricRef, RankOrder]]:
        """Yield the direction of its bound, or of its comparison."""
        order = self.order or context.order
        if self.beats is None:
            order = "highest" if self.at_most is None else "lowest"
        if order is not None:
            yield self.build_metric_ref(context), order

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return the metric's source, for `beats` the holder, and for `confidence` all values over the steps."""
        ref = self.build_metric_ref(context)
        return Need(
            run=True,
            logged_model=ref.source == "logged_model",
            series=frozenset({ref} if self.confidence else ()),
            holders=frozenset({self.beats} if self.beats else ()),
        )

    def find_faults(self, context: RuleContext) -> list[str]:
        """Return a fault where `beats` has no direction."""
        if self.beats and not (self.order or context.order):
            return ["`beats` needs to know which direction is better: give `candidates.rank`, or `order: highest` here"]
        return []

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Return pending for an absent metric, error for NaN and infinity; `beats` passes where nobody holds the alias."""
        ref = self.build_metric_ref(context)
        if self.beats is None:
            return self._compare_with_bound(evidence.candidate, ref)
        if self.beats not in evidence.holders:
            return self.build_finding(Verdict.ERROR, None, f"who holds {self.beats} to be known")
        holder = evidence.holders[self.beats]
        if holder is None:
            return self.build_finding(
                Verdict.PASS, _find_metric_value(evidence.candidate, ref), f"better than {self.beats} (nobody else holds it)"
            )
        return self._compare_with_version(evidence.candidate, holder, ref, self.order or context.order)

    def describe_remedy(self, finding: RuleFinding, model: str, version: int) -> str | None:
        """Return which metric is missing; a figure that is too bad has no remedy."""
        missing = finding.verdict is Verdict.PENDING and finding.value is None
        return f"log the metric `{self.metric}` for version {version} of {model}" if missing else None

    def is_named_by(self, text: str) -> bool:
        """Return whether a text names the rule: also one whose bound is the same number in other digits, such as `1e+06`."""
        bound = self.at_most if self.at_least is None else self.at_least
        before, _, digits = text.rpartition(" ")
        if super().is_named_by(text) or bound is None or not _WRITTEN_NUMBER.fullmatch(digits):
            return super().is_named_by(text)
        return float(digits) == bound and super().is_named_by(f"{before} {format_number(bound)}")

    def _format_bound(self) -> str:
        bound = self.at_most if self.at_least is None else self.at_least
        return f"{'at_most' if self.at_least is None else 'at_least'} {format_number(bound or 0.0)}"

    def _compare_with_bound(self, candidate: VersionEvidence, ref: MetricRef) -> RuleFinding:
        expected = self._format_bound().replace("_", " ")
        trouble = find_unreadable_metric(candidate, ref, "this version")
        if trouble:
            return self.build_finding(Verdict.ERROR, None, f"{expected}, and {trouble}")
        measured = candidate.find_measurement(ref)
        if measured is None:
            return self.build_finding(Verdict.PENDING, None, expected)
        value = measured.value
        if not math.isfinite(value):
            return self.build_finding(Verdict.ERROR, value, expected)
        met = value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)
        return self.build_finding(Verdict.PASS if met else Verdict.FAIL, value, expected)

    def _compare_with_version(
        self, candidate: VersionEvidence, holder: VersionEvidence, ref: MetricRef, order: RankOrder | None
    ) -> RuleFinding:
        whom, value = f"{self.beats} v{holder.version}", _find_metric_value(candidate, ref)
        if candidate.version == holder.version:
            return self.build_finding(Verdict.FAIL, value, f"better than {whom}, which is this very version")
        if order is None:
            return self.build_finding(Verdict.ERROR, value, "a direction: `order: highest` or `lowest`")
        trouble = find_unreadable_metric(candidate, ref, "this version") or find_unreadable_metric(holder, ref, whom)
        if trouble:
            return self.build_finding(Verdict.ERROR, value, trouble)
        if self.confidence is None:
            return self._compare_last_values(candidate.find_measurement(ref), holder.find_measurement(ref), whom, order)
        if other := describe_other_data(candidate.find_measurement(ref), holder.find_measurement(ref), whom):
            return self.build_finding(Verdict.ERROR, None, f"values {other}")
        comparison = compare_step_values(
            candidate.find_step_values(ref),
            holder.find_step_values(ref),
            order=order,
            margin=self._compute_margin,
            confidence=self.confidence,
            steps=self.steps,
            whom=whom,
        )
        return RuleFinding(str(self), comparison.verdict, comparison.value, comparison.expected, interval=comparison.interval)

    def _compare_last_values(
        self, ours: MetricValue | None, theirs: MetricValue | None, whom: str, order: RankOrder
    ) -> RuleFinding:
        seen = ours.value if ours else None
        if theirs is None:
            return self.build_finding(Verdict.PENDING, seen, f"better than {whom}, which has no value")
        if not math.isfinite(theirs.value):
            return self.build_finding(Verdict.ERROR, seen, f"better than {whom}, which has {theirs.value}")
        base, sign = Decimal(repr(theirs.value)), 1 if order == "highest" else -1
        margin = self._compute_margin(base)
        reach = base + sign * margin
        expected = f"at {'least' if sign > 0 else 'most'} {reach.normalize():f} ({whom} has {theirs.value!r})"
        expected = expected if margin else f"better than {theirs.value!r} ({whom})"
        if ours is None:
            return self.build_finding(Verdict.PENDING, None, expected)
        if not math.isfinite(ours.value):
            return self.build_finding(Verdict.ERROR, ours.value, expected)
        if other := describe_other_data(ours, theirs, whom):
            return self.build_finding(Verdict.ERROR, ours.value, f"{expected}, {other}")
        gain = sign * (Decimal(repr(ours.value)) - base)
        return self.build_finding(Verdict.PASS if gain > 0 and gain >= margin else Verdict.FAIL, ours.value, expected)

    def _compute_margin(self, base: Decimal) -> Decimal:
        if isinstance(self.by, str):
            return abs(base) * Decimal(self.by.removesuffix("%")) / 100
        return Decimal(repr(self.by))


def _find_metric_value(version: VersionEvidence, ref: MetricRef) -> float | None:
    measured = version.find_measurement(ref)
    return measured.value if measured else None


def describe_other_data(ours: MetricValue | None, theirs: MetricValue | None, whom: str) -> str | None:
    """Return the expectation where the two were measured on different data, as far as MLflow knows; else None."""
    if ours is None or theirs is None or ours.digest == theirs.digest:
        return None
    return f"measured on the data of {whom}: digest {theirs.digest or 'unknown'}, not {ours.digest or 'unknown'}"


def find_unreadable_metric(version: VersionEvidence, ref: MetricRef, whom: str) -> str | None:
    """Return why that version's metric can never be read as the rule means it; None where it exists, or may yet come."""
    if ref.source == "logged_model":
        if isinstance(version.logged_model, Unreadable):
            return f"the logged model of {whom} to be readable: {version.logged_model.reason}"
        if version.logged_model is None:
            return f"a logged model, and {whom} was registered from none"
    if (
        version.find_measurement(ref) is None
        and not version.find_step_values(ref)
        and (found := version.find_other_sources(ref))
    ):
        places = ", ".join(_describe_metric_place(each) for each in found[:3])
        return f"{ref.name} {_describe_metric_place(ref)}, and {whom} has it {places} only"
    return None


def _describe_metric_place(ref: MetricRef) -> str:
    return f"on dataset {ref.dataset}" if ref.dataset else "on the run" if ref.source == "run" else "on no dataset"
