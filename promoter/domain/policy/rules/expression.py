"""`expression`: a condition in CEL, where no other rule says what is meant."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from promoter.domain.decision import RuleFinding, Verdict
from promoter.domain.evidence import Evidence, Need, VersionEvidence
from promoter.domain.fields import AliasName
from promoter.domain.observed import SOURCE_OWN_TAG_PREFIX, MetricRef
from promoter.domain.policy.cel import (
    EXPRESSION_LIMIT,
    MESSAGE_LIMIT,
    NamedReading,
    Variables,
    compile_expression,
    find_named_readings,
)
from promoter.domain.policy.rules.base import BaseRule, RuleContext
from promoter.domain.policy.rules.metric import describe_other_data, find_unreadable_metric

MetricName = Annotated[str, Field(min_length=1, max_length=250)]

_RUN_FIELDS = ("status", "experiment", "user")
_INFINITE_TEXT = re.compile(r"[+-]?(nan(\(.*\))?|inf(inity)?|0x.*)", re.IGNORECASE)
_DECIMAL_TEXT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_SHARED_VARIABLES: Variables = (("tags", "texts"), ("params", "texts"), *((f"run.{key}", "text") for key in _RUN_FIELDS))


@dataclass(frozen=True)
class MissingValue:
    """A value that an expression needs and that there is not."""

    verdict: Verdict
    """The verdict where the result hinges on it."""
    words: str
    """What was expected instead."""


@dataclass
class ExpressionScope:
    """The values that an expression reads, by variable, and the reasons where there is none."""

    values: dict[str, object] = field(default_factory=dict)
    lacks: dict[str, MissingValue] = field(default_factory=dict)

    def set_variable(self, variable: str, value: object) -> None:
        """Set the value of a variable, or the reason why there is none."""
        if isinstance(value, MissingValue):
            self.lacks[variable] = value
        else:
            self.values[variable] = value


class ExpressionRule(BaseRule):
    """`{expression: "metrics.val_auc > holders.champion.metrics.val_auc * 1.01", metrics: [val_auc], holders: [champion]}`.

    An expression sees `version` (`number`, `age`, `copied`, `tags`, `params`, `run.status`, `run.experiment`, `run.user`), of
    `metrics` those that the rule names, from the policy's source, and of `holders` the aliases that it names: null where
    nobody else holds the alias, else `version`, `metrics`, `tags`, `params` and `run` of the holder. Values are not bent:
    metrics are decimal numbers (`1.0`), parameters and tags are text (`double(version.params.rate)`), the age is a duration
    (`version.age > duration("24h")`).

    A tag that came along with a copy does not count until the ledger sees it set anew, as with the rule `tag`.
    """

    kind: ClassVar[str] = "expression"
    expression_key: ClassVar[str | None] = "expression"

    metrics_: tuple[MetricName, ...] = Field(
        default=(),
        alias="metrics",
        max_length=50,
        strict=False,
        description="The metrics that the expression sees: `[val_auc]`.",
    )
    holders: tuple[AliasName, ...] = Field(
        default=(), max_length=10, strict=False, description="The aliases whose holders the expression sees: `[champion]`."
    )
    expression: str = Field(
        min_length=1,
        max_length=EXPRESSION_LIMIT,
        description="A condition in CEL: `metrics.val_auc > holders.champion.metrics.val_auc * 1.01`.",
    )

    @field_validator("expression")
    @classmethod
    def _check_compiles(cls, source: str, info: ValidationInfo) -> str:
        if {"metrics_", "holders"} <= info.data.keys():  # else these have faults of their own, which come first
            compile_expression(source, _declare_variables(info.data["metrics_"], info.data["holders"]))
            find_named_readings(source)
        return source

    def __str__(self) -> str:
        return f"expression {' '.join(self.expression.split())}"

    def needed_evidence(self, context: RuleContext) -> Need:
        """Return the run and the logged model where it reads them, its holders, and when the tags of a copy were set."""
        logged_model = bool(self.metrics_) and context.source == "logged_model"
        runs = bool(self.metrics_) or "run" in self.expression or "params" in self.expression
        return Need(
            run=runs,
            experiment="experiment" in self.expression,
            logged_model=logged_model,
            holders=frozenset(self.holders),
            tags=self._tags_read,
        )

    def used_tags(self) -> None:
        """Return None: what an expression reads of the tags may depend on them."""

    @property
    def _tags_read(self) -> frozenset[str]:
        """The tags of the version that it reads."""
        return frozenset(
            each.name for each in find_named_readings(self.expression) if each.whose is None and each.part == "tags"
        )

    def used_metrics(self, context: RuleContext) -> frozenset[MetricRef]:
        """Return the metrics that it names."""
        return frozenset(_build_metric_ref(name, context) for name in self.metrics_)

    def evaluate(self, evidence: Evidence, context: RuleContext) -> RuleFinding:
        """Pass where it is true, fail where it is false. Every metric that it names must exist; other values only if needed."""
        unknown = next((alias for alias in self.holders if alias not in evidence.holders), None)
        if unknown is not None:
            return self.build_finding(Verdict.ERROR, None, f"true, and who holds {unknown} to be known")
        seen = self._describe_seen_metrics(evidence, context)
        candidate = evidence.candidate
        lacks = [*self._find_missing_values(candidate, context), *self._find_infinite_texts(evidence)]
        if lacks:
            verdict = Verdict.ERROR if any(each.verdict is Verdict.ERROR for each in lacks) else Verdict.PENDING
            missing = " and ".join(each.words for each in lacks if each.verdict is verdict)
            return self.build_finding(verdict, seen, f"true, and {missing}")
        scope = self._build_scope(evidence, context)
        outcome = compile_expression(self.expression, _declare_variables(self.metrics_, self.holders)).evaluate_with(
            scope.values
        )
        if outcome.unset is not None:
            lack = scope.lacks.get(outcome.unset, MissingValue(Verdict.ERROR, f"{outcome.unset} to be known"))
            return self.build_finding(lack.verdict, seen, f"true, and {lack.words}")
        absent = next((tag for tag in self._tags_read - candidate.tags.keys() if f'"{tag}"' in (outcome.error or "")), None)
        if absent is not None:
            at_source = candidate.copied and SOURCE_OWN_TAG_PREFIX + absent in candidate.tags
            where = " set on this version: the tag of its source does not count here" if at_source else ""
            return self.build_finding(Verdict.PENDING, seen, f"true, and the tag {absent}{where}")
        if not isinstance(outcome.value, bool):
            reason = outcome.error or f"the value {outcome.value!r:.40}"
            return self.build_finding(Verdict.ERROR, seen, f"true or false, not: {reason}")
        verdict = Verdict.PASS if outcome.value else Verdict.FAIL
        return self.build_finding(verdict, seen or str(outcome.value).lower(), "true")

    def _find_missing_values(self, candidate: VersionEvidence, context: RuleContext) -> list[MissingValue]:
        """Return why the candidate cannot be evaluated, or not yet, whatever the value of the expression."""
        found = [_find_finite_value(candidate, _build_metric_ref(name, context), "this version") for name in self.metrics_]
        came_along = [
            MissingValue(
                Verdict.PENDING, f"the tag {tag} set on this version: it came with the copy (delete it and set it anew)"
            )
            for tag in sorted(self._tags_read)
            if candidate.copied and tag in candidate.tags and tag not in candidate.witnessed
        ]
        return [each for each in found if isinstance(each, MissingValue)] + came_along

    def _find_infinite_texts(self, evidence: Evidence) -> Iterator[MissingValue]:
        """Yield the texts that `double` would take for NaN or for infinite."""
        for each in sorted(find_named_readings(self.expression), key=str) if "double" in self.expression else ():
            version = evidence.holders[each.whose] if each.whose else evidence.candidate
            texts = version.tags if version and each.part == "tags" else version.run.params if version and version.run else {}
            text = texts.get(each.name, "").strip()
            if _INFINITE_TEXT.fullmatch(text) or (_DECIMAL_TEXT.fullmatch(text) and not math.isfinite(float(text))):
                whom = f"{each.whose} v{version.version}" if each.whose and version else "this version"
                yield MissingValue(Verdict.ERROR, f"{each.name} ({each.part} of {whom}) to be finite, not {text:.20}")

    def _build_scope(self, evidence: Evidence, context: RuleContext) -> ExpressionScope:
        scope, candidate, named = ExpressionScope(), evidence.candidate, find_named_readings(self.expression)
        age = (
            evidence.at - candidate.created_at
            if candidate.created_at
            else MissingValue(Verdict.ERROR, "a time of registration")
        )
        for key, value in (("number", candidate.version), ("age", age), ("copied", candidate.copied)):
            scope.set_variable(f"version.{key}", value)
        _set_shared_variables(scope, "version", candidate, "this version", {each for each in named if each.whose is None})
        for name in self.metrics_:
            scope.set_variable(
                f"metrics.{name}", _find_finite_value(candidate, _build_metric_ref(name, context), "this version")
            )
        for alias in self.holders:
            holder, at = evidence.holders[alias], f"holders.{alias}"
            scope.set_variable(at, holder.version if holder else None)
            if holder is None:
                nobody = MissingValue(Verdict.ERROR, f"somebody to hold {alias} (`{at} == null || ...` allows for nobody)")
                scope.lacks |= {variable: nobody for variable, _ in _declare_holder_variables(alias, self.metrics_)}
                continue
            whom = f"{alias} v{holder.version}"
            scope.set_variable(f"{at}.version", holder.version)
            _set_shared_variables(scope, at, holder, whom, {each for each in named if each.whose == alias})
            for name in self.metrics_:
                scope.set_variable(
                    f"{at}.metrics.{name}", _find_comparable_value(candidate, holder, _build_metric_ref(name, context), whom)
                )
        return scope

    def _describe_seen_metrics(self, evidence: Evidence, context: RuleContext) -> str | None:
        """Return the last values of the metrics that it names, of this version and of each holder."""
        parts = []
        for alias, version in (("", evidence.candidate), *((alias, evidence.holders[alias]) for alias in self.holders)):
            found = (
                [(name, version.find_measurement(_build_metric_ref(name, context))) for name in self.metrics_]
                if version
                else []
            )
            words = ", ".join(f"{name} {measured.value!r}" for name, measured in found if measured)
            parts += [f"{alias} v{version.version}: {words}" if alias and version else words] if words else []
        text = "; ".join(parts)
        return (text if len(text) <= MESSAGE_LIMIT else f"{text[: MESSAGE_LIMIT - 3]}...") or None


def _declare_variables(metrics: tuple[str, ...], holders: tuple[str, ...]) -> Variables:
    own: Variables = (("version.number", "whole"), ("version.age", "duration"), ("version.copied", "flag"))
    own += tuple((f"version.{key}", kind) for key, kind in _SHARED_VARIABLES)
    own += tuple((f"metrics.{name}", "decimal") for name in metrics)
    for alias in holders:
        own += ((f"holders.{alias}", "holder"), *_declare_holder_variables(alias, metrics))
    return own


def _declare_holder_variables(alias: str, metrics: tuple[str, ...]) -> Variables:
    at = f"holders.{alias}"
    shared: Variables = tuple((f"{at}.{key}", kind) for key, kind in _SHARED_VARIABLES)
    measured: Variables = tuple((f"{at}.metrics.{name}", "decimal") for name in metrics)
    return ((f"{at}.version", "whole"), *shared, *measured)


def _set_shared_variables(
    scope: ExpressionScope, at: str, version: VersionEvidence, whom: str, named: set[NamedReading]
) -> None:
    """Set the tags and parameters that the expression names, and the run."""
    run, unread = version.run, MissingValue(Verdict.ERROR, f"the run of {whom} to be readable")
    scope.set_variable(f"{at}.tags", _select_read_texts(version.tags, "tags", named))
    scope.set_variable(f"{at}.params", _select_read_texts(run.params, "params", named) if run else unread)
    for key in _RUN_FIELDS:
        text = getattr(run, key) if run else unread
        scope.set_variable(
            f"{at}.run.{key}", MissingValue(Verdict.ERROR, f"the {key} of the run of {whom}") if text is None else text
        )


def _select_read_texts(texts: Mapping[str, str], part: str, named: set[NamedReading]) -> dict[str, str]:
    return {each.name: texts[each.name] for each in named if each.part == part and each.name in texts}


def _build_metric_ref(name: str, context: RuleContext) -> MetricRef:
    return MetricRef(name, context.source, context.dataset)


def _find_finite_value(version: VersionEvidence, ref: MetricRef, whom: str) -> float | MissingValue:
    if ref.source == "run" and version.run is None:
        return MissingValue(Verdict.ERROR, f"the run of {whom} to be readable")
    if trouble := find_unreadable_metric(version, ref, whom):
        return MissingValue(Verdict.ERROR, trouble)
    measured = version.find_measurement(ref)
    if measured is None:
        return MissingValue(Verdict.PENDING, f"{ref} of {whom}")
    if not math.isfinite(measured.value):
        return MissingValue(Verdict.ERROR, f"{ref} of {whom} to be finite, not {measured.value}")
    return float(measured.value)


def _find_comparable_value(ours: VersionEvidence, holder: VersionEvidence, ref: MetricRef, whom: str) -> float | MissingValue:
    """Return the holder's metric; it must have been measured on the candidate's data, as far as MLflow knows."""
    value = _find_finite_value(holder, ref, whom)
    other = describe_other_data(ours.find_measurement(ref), holder.find_measurement(ref), whom)
    return MissingValue(Verdict.ERROR, f"{ref} {other}") if other and isinstance(value, float) else value
