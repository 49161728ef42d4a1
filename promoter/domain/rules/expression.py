"""`expression`: a condition in CEL, where no other rule says what is meant."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from promoter.domain.evidence import Evidence, Need, VersionEvidence
from promoter.domain.expressions import SHOWN, SOURCE_LIMIT, Reading, Variables, compiled, readings
from promoter.domain.metrics import MetricRef
from promoter.domain.names import AliasName
from promoter.domain.rules.base import BaseRule, Setting
from promoter.domain.rules.metric import other_data, unreadable
from promoter.domain.verdict import Finding, Verdict

MetricName = Annotated[str, Field(min_length=1, max_length=250)]

_OF_A_RUN = ("status", "experiment", "user")
_ENDLESS = re.compile(r"[+-]?(nan(\(.*\))?|inf(inity)?|0x.*)", re.IGNORECASE)
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_SHARED: Variables = (("tags", "texts"), ("params", "texts"), *((f"run.{key}", "text") for key in _OF_A_RUN))


@dataclass(frozen=True)
class Lack:
    """A value that there is not: the verdict where the result hinges on it, and what was to be, in words."""

    verdict: Verdict
    words: str


@dataclass
class Scope:
    """What an expression sees: values by variable, and why there is none."""

    values: dict[str, object] = field(default_factory=dict)
    lacks: dict[str, Lack] = field(default_factory=dict)

    def put(self, variable: str, value: object) -> None:
        """The value of a variable, or its lack."""
        if isinstance(value, Lack):
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

    metrics_: tuple[MetricName, ...] = Field(default=(), alias="metrics", max_length=50, strict=False)
    holders: tuple[AliasName, ...] = Field(default=(), max_length=10, strict=False)
    expression: str = Field(min_length=1, max_length=SOURCE_LIMIT)

    @field_validator("expression")
    @classmethod
    def _compiles(cls, source: str, info: ValidationInfo) -> str:
        if {"metrics_", "holders"} <= info.data.keys():  # else these have faults of their own, and it would not be told apart
            compiled(source, _variables(info.data["metrics_"], info.data["holders"]))
            readings(source)
        return source

    def __str__(self) -> str:
        """As it is written, on one line."""
        return f"expression {' '.join(self.expression.split())}"

    def need(self, setting: Setting) -> Need:
        """The run where it is read, the metrics that it names, the holders, and when the tags of a copy were set."""
        logged_model = bool(self.metrics_) and setting.source == "logged_model"
        runs = bool(self.metrics_) or "run" in self.expression or "params" in self.expression
        return Need(
            run=runs,
            experiment="experiment" in self.expression,
            logged_model=logged_model,
            holders=frozenset(self.holders),
            tags=self._tags,
        )

    @property
    def _tags(self) -> frozenset[str]:
        """The tags of the version that it reads."""
        return frozenset(each.name for each in readings(self.expression) if each.whose is None and each.part == "tags")

    def metrics(self, setting: Setting) -> frozenset[MetricRef]:
        """Those that it names."""
        return frozenset(_ref(name, setting) for name in self.metrics_)

    def evaluate(self, evidence: Evidence, setting: Setting) -> Finding:
        """True passes, false fails. Each metric that it names must be there; of the rest, what the result hinges on."""
        unknown = next((alias for alias in self.holders if alias not in evidence.holders), None)
        if unknown is not None:
            return self.found(Verdict.ERROR, None, f"true, and who holds {unknown} to be known")
        seen = self._seen(evidence, setting)
        candidate = evidence.candidate
        lacks = [*self._lacks(candidate, setting), *self._infinite(evidence)]
        if lacks:
            verdict = Verdict.ERROR if any(each.verdict is Verdict.ERROR for each in lacks) else Verdict.PENDING
            told = " and ".join(each.words for each in lacks if each.verdict is verdict)
            return self.found(verdict, seen, f"true, and {told}")
        scope = self._scope(evidence, setting)
        outcome = compiled(self.expression, _variables(self.metrics_, self.holders)).run(scope.values)
        if outcome.unset is not None:
            lack = scope.lacks.get(outcome.unset, Lack(Verdict.ERROR, f"{outcome.unset} to be known"))
            return self.found(lack.verdict, seen, f"true, and {lack.words}")
        absent = next((tag for tag in self._tags - candidate.tags.keys() if f'"{tag}"' in (outcome.error or "")), None)
        if absent is not None:
            return self.found(Verdict.PENDING, seen, f"true, and the tag {absent}")
        if not isinstance(outcome.value, bool):
            reason = outcome.error or f"the value {outcome.value!r:.40}"
            return self.found(Verdict.ERROR, seen, f"true or false, not: {reason}")
        verdict = Verdict.PASS if outcome.value else Verdict.FAIL
        return self.found(verdict, seen or str(outcome.value).lower(), "true")

    def _lacks(self, candidate: VersionEvidence, setting: Setting) -> list[Lack]:
        """Why the candidate cannot be judged, or not yet, whatever the expression would make of it."""
        found = [_measured(candidate, _ref(name, setting), "this version") for name in self.metrics_]
        came_along = [
            Lack(Verdict.PENDING, f"the tag {tag} set on this version: it came with the copy (delete it and set it anew)")
            for tag in sorted(self._tags)
            if candidate.copied and tag in candidate.tags and tag not in candidate.witnessed
        ]
        return [each for each in found if isinstance(each, Lack)] + came_along

    def _infinite(self, evidence: Evidence) -> Iterator[Lack]:
        """Texts that `double` would take for NaN or for infinite."""
        for each in sorted(readings(self.expression), key=str) if "double" in self.expression else ():
            version = evidence.holders[each.whose] if each.whose else evidence.candidate
            texts = version.tags if version and each.part == "tags" else version.run.params if version and version.run else {}
            text = texts.get(each.name, "").strip()
            if _ENDLESS.fullmatch(text) or (_DECIMAL.fullmatch(text) and not math.isfinite(float(text))):
                whom = f"{each.whose} v{version.version}" if each.whose and version else "this version"
                yield Lack(Verdict.ERROR, f"{each.name} ({each.part} of {whom}) to be finite, not {text:.20}")

    def _scope(self, evidence: Evidence, setting: Setting) -> Scope:
        scope, candidate, named = Scope(), evidence.candidate, readings(self.expression)
        age = evidence.at - candidate.created_at if candidate.created_at else Lack(Verdict.ERROR, "a time of registration")
        for key, value in (("number", candidate.version), ("age", age), ("copied", candidate.copied)):
            scope.put(f"version.{key}", value)
        _put_shared(scope, "version", candidate, "this version", {each for each in named if each.whose is None})
        for name in self.metrics_:
            scope.put(f"metrics.{name}", _measured(candidate, _ref(name, setting), "this version"))
        for alias in self.holders:
            holder, at = evidence.holders[alias], f"holders.{alias}"
            scope.put(at, holder.version if holder else None)
            if holder is None:
                nobody = Lack(Verdict.ERROR, f"somebody to hold {alias} (`{at} == null || ...` allows for nobody)")
                scope.lacks |= {variable: nobody for variable, _ in _of_a_holder(alias, self.metrics_)}
                continue
            whom = f"{alias} v{holder.version}"
            scope.put(f"{at}.version", holder.version)
            _put_shared(scope, at, holder, whom, {each for each in named if each.whose == alias})
            for name in self.metrics_:
                scope.put(f"{at}.metrics.{name}", _comparable(candidate, holder, _ref(name, setting), whom))
        return scope

    def _seen(self, evidence: Evidence, setting: Setting) -> str | None:
        """The last values of the metrics that it names, of this version and of each holder."""
        told = []
        for alias, version in (("", evidence.candidate), *((alias, evidence.holders[alias]) for alias in self.holders)):
            found = [(name, version.measured(_ref(name, setting))) for name in self.metrics_] if version else []
            words = ", ".join(f"{name} {measured.value!r}" for name, measured in found if measured)
            told += [f"{alias} v{version.version}: {words}" if alias and version else words] if words else []
        text = "; ".join(told)
        return (text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}...") or None


def _variables(metrics: tuple[str, ...], holders: tuple[str, ...]) -> Variables:
    own: Variables = (("version.number", "whole"), ("version.age", "duration"), ("version.copied", "flag"))
    own += tuple((f"version.{key}", kind) for key, kind in _SHARED)
    own += tuple((f"metrics.{name}", "decimal") for name in metrics)
    for alias in holders:
        own += ((f"holders.{alias}", "holder"), *_of_a_holder(alias, metrics))
    return own


def _of_a_holder(alias: str, metrics: tuple[str, ...]) -> Variables:
    at = f"holders.{alias}"
    shared: Variables = tuple((f"{at}.{key}", kind) for key, kind in _SHARED)
    measured: Variables = tuple((f"{at}.metrics.{name}", "decimal") for name in metrics)
    return ((f"{at}.version", "whole"), *shared, *measured)


def _put_shared(scope: Scope, at: str, version: VersionEvidence, whom: str, named: set[Reading]) -> None:
    """Tags and parameters, those that the expression names; and the run."""
    run, unread = version.run, Lack(Verdict.ERROR, f"the run of {whom} to be readable")
    scope.put(f"{at}.tags", _only(version.tags, "tags", named))
    scope.put(f"{at}.params", _only(run.params, "params", named) if run else unread)
    for key in _OF_A_RUN:
        text = getattr(run, key) if run else unread
        scope.put(f"{at}.run.{key}", Lack(Verdict.ERROR, f"the {key} of the run of {whom}") if text is None else text)


def _only(texts: Mapping[str, str], part: str, named: set[Reading]) -> dict[str, str]:
    return {each.name: texts[each.name] for each in named if each.part == part and each.name in texts}


def _ref(name: str, setting: Setting) -> MetricRef:
    return MetricRef(name, setting.source, setting.dataset)


def _measured(version: VersionEvidence, ref: MetricRef, whom: str) -> float | Lack:
    if ref.source == "run" and version.run is None:
        return Lack(Verdict.ERROR, f"the run of {whom} to be readable")
    if trouble := unreadable(version, ref, whom):
        return Lack(Verdict.ERROR, trouble)
    measured = version.measured(ref)
    if measured is None:
        return Lack(Verdict.PENDING, f"{ref} of {whom}")
    if not math.isfinite(measured.value):
        return Lack(Verdict.ERROR, f"{ref} of {whom} to be finite, not {measured.value}")
    return float(measured.value)


def _comparable(ours: VersionEvidence, holder: VersionEvidence, ref: MetricRef, whom: str) -> float | Lack:
    """The holder's metric. The candidate's must have been measured on the same data, as far as MLflow was told."""
    value = _measured(holder, ref, whom)
    other = other_data(ours.measured(ref), holder.measured(ref), whom)
    return Lack(Verdict.ERROR, f"{ref} {other}") if other and isinstance(value, float) else value
