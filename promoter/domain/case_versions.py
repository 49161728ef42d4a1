"""Versions as a case states them: whatever evidence a rule may look at, in the words of the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from promoter.domain.document import Document
from promoter.domain.duration import Duration
from promoter.domain.evidence import HeldStretch, VersionEvidence
from promoter.domain.metrics import MetricValue, MetricRef, MetricSeries, SourceName
from promoter.domain.names import AliasName, VersionNumber
from promoter.domain.observed import RunDataset, LoadingResult, LoggedModel, TrainingRun, VersionSignature, Unreadable
from promoter.domain.rules.run import RunStatus

_UNREADABLE_WORD = "unreadable"
_UNREADABLE_IN_CASE = Unreadable("the case says so")
_LOADING_RESULTS = {
    True: LoadingResult("loaded", "the case says so"),
    False: LoadingResult("failed", "the case says so"),
    "untried": LoadingResult("untried", "the case says so"),
}

CaseText = Annotated[str, Field(min_length=1, max_length=1_000)]
CaseName = Annotated[str, Field(min_length=1, max_length=250)]
_Steps = Annotated[tuple[float | None, ...], Field(min_length=1, max_length=10_000, strict=False)]


def _parse_unreadable_word(value: object) -> object:
    if isinstance(value, str) and value != _UNREADABLE_WORD:
        raise ValueError(f"this is a mapping, or the word `{_UNREADABLE_WORD}`")
    return {_UNREADABLE_WORD: True} if value == _UNREADABLE_WORD else value


def _validate_loads(value: object) -> object:
    if value is not None and not isinstance(value, bool) and value != "untried":
        raise ValueError("`loads` is `true`, `false` or `untried`")
    return value


class MeasuredMetrics(Document):
    """Metrics: the last value of each, or in `series` one value a step (null: none at that step), of which the last counts."""

    metrics: dict[CaseName, float] = Field(default_factory=dict, max_length=1_000)
    series: dict[CaseName, _Steps] = Field(default_factory=dict, max_length=100)

    def last_values(self) -> dict[str, float]:
        """The last value of each metric."""
        last = {name: [each for each in steps if each is not None][-1:] for name, steps in self.series.items()}
        return {name: found[0] for name, found in last.items() if found} | self.metrics

    def build_metric_series(self, source: SourceName, dataset: str | None = None) -> Iterator[MetricSeries]:
        """All values of the metrics that have them step by step."""
        for name, steps in self.series.items():
            points = tuple((step, value) for step, value in enumerate(steps) if value is not None)
            yield MetricSeries(MetricRef(name, source, dataset), points)


class DatasetCase(Document):
    """A dataset that the run says it read."""

    name: CaseName
    digest: CaseText


class RunCase(Document):
    """The training run. A finished one, where the case says nothing else."""

    status: RunStatus = "FINISHED"
    experiment: CaseText | None = None
    user: CaseText | None = None
    params: dict[CaseName, str] = Field(default_factory=dict, max_length=1_000)
    datasets: tuple[DatasetCase, ...] = Field(default=(), max_length=100, strict=False)


class OnDataset(MeasuredMetrics):
    """What was measured on one dataset."""

    digest: CaseText | None = None


class LoggedModelCase(MeasuredMetrics):
    """What was measured on the logged model: on no dataset, and on named ones. Or the word `unreadable`."""

    datasets: dict[CaseName, OnDataset] = Field(default_factory=dict, max_length=100)
    unreadable: bool = Field(default=False, exclude=True)

    def to_logged_model(self) -> LoggedModel | Unreadable:
        """As it would be read."""
        if self.unreadable:
            return _UNREADABLE_IN_CASE
        found = [MetricValue(name, value) for name, value in self.last_values().items()]
        for dataset, each in self.datasets.items():
            found += [MetricValue(name, value, dataset, each.digest) for name, value in each.last_values().items()]
        return LoggedModel("the case's", tuple(found))

    def build_all_series(self) -> Iterator[MetricSeries]:
        """All values, step by step."""
        yield from self.build_metric_series("logged_model")
        for dataset, each in self.datasets.items():
            yield from each.build_metric_series("logged_model", dataset)


class SignatureCase(Document):
    """What the model takes and gives: each name with its type. Or the word `unreadable`."""

    inputs: dict[CaseName, CaseText] = Field(default_factory=dict, max_length=1_000)
    outputs: dict[CaseName, CaseText] = Field(default_factory=dict, max_length=1_000)
    params: dict[CaseName, CaseText] = Field(default_factory=dict, max_length=1_000)
    unreadable: bool = Field(default=False, exclude=True)

    def to_model_signature(self) -> VersionSignature | Unreadable:
        """As it would be read."""
        if self.unreadable:
            return _UNREADABLE_IN_CASE
        parts = (("input", self.inputs), ("output", self.outputs), ("param", self.params))
        return VersionSignature({f"{part} {name}": kind for part, fields in parts for name, kind in fields.items()})


class HeldCase(Document):
    """How long the version has held an alias: since so long ago, and until so long ago where it is over."""

    since: Duration
    until: Duration | None = None

    @model_validator(mode="after")
    def _check_time_order(self) -> HeldCase:
        if self.until is not None and self.until >= self.since:
            raise ValueError("`until` is as long ago as `since`, or longer: both say how long ago")
        return self

    def to_held_stretch(self, at: datetime) -> HeldStretch:
        """As the ledger would know it."""
        return HeldStretch(at - self.since, at - self.until if self.until else None)


_LoggedModel = Annotated[
    LoggedModelCase, BeforeValidator(_parse_unreadable_word, json_schema_input_type=LoggedModelCase | Literal["unreadable"])
]
_Signature = Annotated[
    SignatureCase, BeforeValidator(_parse_unreadable_word, json_schema_input_type=SignatureCase | Literal["unreadable"])
]
_Held = Annotated[
    HeldCase,
    BeforeValidator(
        lambda value: {"since": value} if isinstance(value, str) else value, json_schema_input_type=HeldCase | Duration
    ),
]


class VersionCase(MeasuredMetrics):
    """One version. What is left out is not there, but for its number, its finished run, and its registration: just now."""

    number: VersionNumber | None = None
    age: Duration | None = None
    tags: dict[CaseName, str] = Field(default_factory=dict, max_length=1_000)
    witnessed: tuple[CaseName, ...] = Field(default=(), max_length=1_000, strict=False)
    copied: bool = False
    run: RunCase | None = RunCase()
    logged_model: _LoggedModel | None = None
    signature: _Signature | None = None
    loads: Annotated[bool | Literal["untried"] | None, BeforeValidator(_validate_loads)] = None
    held: dict[AliasName, _Held] = Field(default_factory=dict, max_length=100)

    @model_validator(mode="after")
    def _check_consistency(self) -> VersionCase:
        if self.run is None and (self.metrics or self.series):
            raise ValueError("`metrics` and `series` are those of the run, and `run: null` says that there is none")
        if absent := [tag for tag in self.witnessed if tag not in self.tags]:
            raise ValueError(f"`witnessed` names `{absent[0]:.60}`, which is not among the `tags`")
        return self

    @property
    def loading_result(self) -> LoadingResult | None:
        """What comes of loading the artifact, once it is tried."""
        return None if self.loads is None else _LOADING_RESULTS[self.loads]

    def build_version_evidence(self, number: int, at: datetime) -> VersionEvidence:
        """What would be known of that version. Its artifact has not been tried yet."""
        return VersionEvidence(
            version=number,
            tags=self.tags,
            run_id=f"run-of-{number}" if self.run else None,
            run=_build_training_run(self.run, f"run-of-{number}", self.last_values()) if self.run else None,
            created_at=at - self.age if self.age else at,
            copied=self.copied,
            witnessed=frozenset(self.witnessed),
            logged_model=self.logged_model.to_logged_model() if self.logged_model else None,
            series=(*self.build_metric_series("run"), *(self.logged_model.build_all_series() if self.logged_model else ())),
            signature=self.signature.to_model_signature() if self.signature else None,
            held={alias: each.to_held_stretch(at) for alias, each in self.held.items()},
        )


def _build_training_run(case: RunCase, run_id: str, metrics: Mapping[str, float]) -> TrainingRun:
    datasets = tuple(RunDataset(each.name, each.digest) for each in case.datasets)
    return TrainingRun(run_id, case.status, metrics, case.experiment, case.user, case.params, datasets)
