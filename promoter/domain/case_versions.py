"""Versions as a case states them: whatever evidence a rule may look at, in the words of the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from promoter.domain.document import Document
from promoter.domain.duration import Duration
from promoter.domain.evidence import Stretch, VersionEvidence
from promoter.domain.metrics import Measurement, MetricRef, Series, SourceName
from promoter.domain.names import AliasName, VersionNumber
from promoter.domain.observed import Dataset, Loading, LoggedModel, Run, Signature, Unread
from promoter.domain.rules.run import RunStatus

_UNREADABLE = "unreadable"
_WHY_UNREADABLE = Unread("the case says so")
_LOADING = {
    True: Loading("loaded", "the case says so"),
    False: Loading("failed", "the case says so"),
    "untried": Loading("untried", "the case says so"),
}

Text = Annotated[str, Field(min_length=1, max_length=1_000)]
Name = Annotated[str, Field(min_length=1, max_length=250)]
_Steps = Annotated[tuple[float | None, ...], Field(min_length=1, max_length=10_000, strict=False)]


def _or_unreadable(value: object) -> object:
    if isinstance(value, str) and value != _UNREADABLE:
        raise ValueError(f"this is a mapping, or the word `{_UNREADABLE}`")
    return {_UNREADABLE: True} if value == _UNREADABLE else value


def _loads(value: object) -> object:
    if value is not None and not isinstance(value, bool) and value != "untried":
        raise ValueError("`loads` is `true`, `false` or `untried`")
    return value


class Measured(Document):
    """Metrics: the last value of each, or in `series` one value a step (null: none at that step), of which the last counts."""

    metrics: dict[Name, float] = Field(default_factory=dict, max_length=1_000)
    series: dict[Name, _Steps] = Field(default_factory=dict, max_length=100)

    def values(self) -> dict[str, float]:
        """The last value of each metric."""
        last = {name: [each for each in steps if each is not None][-1:] for name, steps in self.series.items()}
        return {name: found[0] for name, found in last.items() if found} | self.metrics

    def told(self, source: SourceName, dataset: str | None = None) -> Iterator[Series]:
        """All values of the metrics that have them step by step."""
        for name, steps in self.series.items():
            points = tuple((step, value) for step, value in enumerate(steps) if value is not None)
            yield Series(MetricRef(name, source, dataset), points)


class DatasetCase(Document):
    """A dataset that the run says it read."""

    name: Name
    digest: Text


class RunCase(Document):
    """The training run. A finished one, where the case says nothing else."""

    status: RunStatus = "FINISHED"
    experiment: Text | None = None
    user: Text | None = None
    params: dict[Name, str] = Field(default_factory=dict, max_length=1_000)
    datasets: tuple[DatasetCase, ...] = Field(default=(), max_length=100, strict=False)


class OnDataset(Measured):
    """What was measured on one dataset."""

    digest: Text | None = None


class LoggedModelCase(Measured):
    """What was measured on the logged model: on no dataset, and on named ones. Or the word `unreadable`."""

    datasets: dict[Name, OnDataset] = Field(default_factory=dict, max_length=100)
    unreadable: bool = Field(default=False, exclude=True)

    def model(self) -> LoggedModel | Unread:
        """As it would be read."""
        if self.unreadable:
            return _WHY_UNREADABLE
        found = [Measurement(name, value) for name, value in self.values().items()]
        for dataset, each in self.datasets.items():
            found += [Measurement(name, value, dataset, each.digest) for name, value in each.values().items()]
        return LoggedModel("the case's", tuple(found))

    def all_series(self) -> Iterator[Series]:
        """All values, step by step."""
        yield from self.told("logged_model")
        for dataset, each in self.datasets.items():
            yield from each.told("logged_model", dataset)


class SignatureCase(Document):
    """What the model takes and gives: each name with its type. Or the word `unreadable`."""

    inputs: dict[Name, Text] = Field(default_factory=dict, max_length=1_000)
    outputs: dict[Name, Text] = Field(default_factory=dict, max_length=1_000)
    params: dict[Name, Text] = Field(default_factory=dict, max_length=1_000)
    unreadable: bool = Field(default=False, exclude=True)

    def signature(self) -> Signature | Unread:
        """As it would be read."""
        if self.unreadable:
            return _WHY_UNREADABLE
        parts = (("input", self.inputs), ("output", self.outputs), ("param", self.params))
        return Signature({f"{part} {name}": kind for part, fields in parts for name, kind in fields.items()})


class HeldCase(Document):
    """How long the version has held an alias: since so long ago, and until so long ago where it is over."""

    since: Duration
    until: Duration | None = None

    @model_validator(mode="after")
    def _in_order(self) -> HeldCase:
        if self.until is not None and self.until >= self.since:
            raise ValueError("`until` is as long ago as `since`, or longer: both say how long ago")
        return self

    def stretch(self, at: datetime) -> Stretch:
        """As the ledger would know it."""
        return Stretch(at - self.since, at - self.until if self.until else None)


_LoggedModel = Annotated[
    LoggedModelCase, BeforeValidator(_or_unreadable, json_schema_input_type=LoggedModelCase | Literal["unreadable"])
]
_Signature = Annotated[
    SignatureCase, BeforeValidator(_or_unreadable, json_schema_input_type=SignatureCase | Literal["unreadable"])
]
_Held = Annotated[
    HeldCase,
    BeforeValidator(
        lambda value: {"since": value} if isinstance(value, str) else value, json_schema_input_type=HeldCase | Duration
    ),
]


class VersionCase(Measured):
    """One version. What is left out is not there, but for its number, its finished run, and its registration: just now."""

    number: VersionNumber | None = None
    age: Duration | None = None
    tags: dict[Name, str] = Field(default_factory=dict, max_length=1_000)
    witnessed: tuple[Name, ...] = Field(default=(), max_length=1_000, strict=False)
    copied: bool = False
    run: RunCase | None = RunCase()
    logged_model: _LoggedModel | None = None
    signature: _Signature | None = None
    loads: Annotated[bool | Literal["untried"] | None, BeforeValidator(_loads)] = None
    held: dict[AliasName, _Held] = Field(default_factory=dict, max_length=100)

    @model_validator(mode="after")
    def _together(self) -> VersionCase:
        if self.run is None and (self.metrics or self.series):
            raise ValueError("`metrics` and `series` are those of the run, and `run: null` says that there is none")
        if absent := [tag for tag in self.witnessed if tag not in self.tags]:
            raise ValueError(f"`witnessed` names `{absent[0]:.60}`, which is not among the `tags`")
        return self

    @property
    def loading(self) -> Loading | None:
        """What comes of loading the artifact, once it is tried."""
        return None if self.loads is None else _LOADING[self.loads]

    def evidence(self, number: int, at: datetime) -> VersionEvidence:
        """What would be known of that version. Its artifact has not been tried yet."""
        return VersionEvidence(
            version=number,
            tags=self.tags,
            run_id=f"run-of-{number}" if self.run else None,
            run=_run(self.run, f"run-of-{number}", self.values()) if self.run else None,
            created_at=at - self.age if self.age else at,
            copied=self.copied,
            witnessed=frozenset(self.witnessed),
            logged_model=self.logged_model.model() if self.logged_model else None,
            series=(*self.told("run"), *(self.logged_model.all_series() if self.logged_model else ())),
            signature=self.signature.signature() if self.signature else None,
            held={alias: each.stretch(at) for alias, each in self.held.items()},
        )


def _run(case: RunCase, run_id: str, metrics: Mapping[str, float]) -> Run:
    datasets = tuple(Dataset(each.name, each.digest) for each in case.datasets)
    return Run(run_id, case.status, metrics, case.experiment, case.user, case.params, datasets)
