"""Cases: unit tests of policies as they are written in `policies/tests/*.yaml`, and the evidence that a case states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from promoter.domain.document import Document, One
from promoter.domain.duration import Duration
from promoter.domain.evidence import AliasPast, Evidence, Stretch, VersionEvidence
from promoter.domain.metrics import Measurement, MetricRef, Series, SourceName
from promoter.domain.moment import Moment
from promoter.domain.names import AliasName, ApproverName, ModelName, PolicyName, VersionNumber
from promoter.domain.observed import Dataset, Loading, LoggedModel, Run, Signature, Unread
from promoter.domain.policy import Policy
from promoter.domain.rules.run import RunStatus

DEFAULT_AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""When a case takes place that does not say: noon of a Monday."""
CANDIDATE, HOLDER = 2, 1
"""The numbers of versions that do not say theirs."""

_YEARS = (2000, 2100)
_UNREADABLE = "unreadable"
_WHY_UNREADABLE = Unread("the case says so")
_LOADING = {
    True: Loading("loaded", "the case says so"),
    False: Loading("failed", "the case says so"),
    "untried": Loading("untried", "the case says so"),
}

VerdictWord = Literal["pass", "fail", "pending", "error"]
_Text = Annotated[str, Field(min_length=1, max_length=1_000)]
_Name = Annotated[str, Field(min_length=1, max_length=250)]
_Steps = Annotated[tuple[float | None, ...], Field(min_length=1, max_length=10_000, strict=False)]
Expected = Annotated[dict[_Text, VerdictWord], Field(max_length=500)]


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

    metrics: dict[_Name, float] = Field(default_factory=dict, max_length=1_000)
    series: dict[_Name, _Steps] = Field(default_factory=dict, max_length=100)

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

    name: _Name
    digest: _Text


class RunCase(Document):
    """The training run. A finished one, where the case says nothing else."""

    status: RunStatus = "FINISHED"
    experiment: _Text | None = None
    user: _Text | None = None
    params: dict[_Name, str] = Field(default_factory=dict, max_length=1_000)
    datasets: tuple[DatasetCase, ...] = Field(default=(), max_length=100, strict=False)


class OnDataset(Measured):
    """What was measured on one dataset."""

    digest: _Text | None = None


class LoggedModelCase(Measured):
    """What was measured on the logged model: on no dataset, and on named ones. Or the word `unreadable`."""

    datasets: dict[_Name, OnDataset] = Field(default_factory=dict, max_length=100)
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

    inputs: dict[_Name, _Text] = Field(default_factory=dict, max_length=1_000)
    outputs: dict[_Name, _Text] = Field(default_factory=dict, max_length=1_000)
    params: dict[_Name, _Text] = Field(default_factory=dict, max_length=1_000)
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


def _held(value: object) -> object:
    return {"since": value} if isinstance(value, str) else value


_LoggedModel = Annotated[
    LoggedModelCase, BeforeValidator(_or_unreadable, json_schema_input_type=LoggedModelCase | Literal["unreadable"])
]
_Signature = Annotated[
    SignatureCase, BeforeValidator(_or_unreadable, json_schema_input_type=SignatureCase | Literal["unreadable"])
]
_Held = Annotated[HeldCase, BeforeValidator(_held, json_schema_input_type=HeldCase | Duration)]


class VersionCase(Measured):
    """One version. What is left out is not there, but for its number, its finished run, and its registration: just now."""

    number: VersionNumber | None = None
    age: Duration | None = None
    tags: dict[_Name, str] = Field(default_factory=dict, max_length=1_000)
    witnessed: tuple[_Name, ...] = Field(default=(), max_length=1_000, strict=False)
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


class Case(Document):
    """One case: a version, who holds the aliases that it is compared with, and the verdicts that are expected."""

    name: str = Field(min_length=1, max_length=200)
    at: Moment = DEFAULT_AT
    model: ModelName = "model"
    alias: AliasName | None = None
    moves: tuple[Duration, ...] = Field(default=(), max_length=1_000, strict=False)
    begun: Duration | None = None
    override: _Text | None = None
    version: VersionCase
    holders: dict[AliasName, VersionCase | None] = Field(default_factory=dict, max_length=100)
    approvals: tuple[ApproverName, ...] = Field(default=(), max_length=100, strict=False)
    expect: VerdictWord | None = None
    rules: Expected = Field(default_factory=dict)
    guards: Expected = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _one_line(cls, name: str) -> str:
        if not name.isprintable() or not name.strip():
            raise ValueError("a case's name is one line of visible characters")
        return name

    @field_validator("at")
    @classmethod
    def _in_our_time(cls, at: datetime) -> datetime:
        if not _YEARS[0] <= at.year < _YEARS[1]:
            raise ValueError(f"`at` is between the years {_YEARS[0]} and {_YEARS[1]}")
        return at

    @model_validator(mode="after")
    def _together(self) -> Case:
        if not (self.expect or self.rules or self.guards):
            raise ValueError("a case expects something: say `expect`, `rules` or `guards`")
        if self.alias is None and (self.moves or self.begun or self.override):
            raise ValueError("`moves`, `begun` and `override` go with `alias`: they are the alias's own past")
        return self

    @property
    def number(self) -> int:
        """The number of the version."""
        return self.version.number or CANDIDATE

    def holder(self, alias: str) -> int | None:
        """The number of the version that holds that alias; None: nobody does."""
        case = self.holders.get(alias)
        return (case.number or HOLDER) if case else None

    @property
    def moving(self) -> bool:
        """Whether an alias would move: only then are limits and freezes judged."""
        return self.alias is not None and self.holder(self.alias) != self.number

    def evidence(self, policy: Policy) -> Evidence:
        """What would be gathered for that policy. A version is no rival of its own, as in `promoter.application.evidence`."""
        past = AliasPast(
            tuple(sorted(self.at - ago for ago in self.moves)), self.at - self.begun if self.begun else None, self.override
        )
        return Evidence(
            at=self.at,
            candidate=self.version.evidence(self.number, self.at),
            holders={alias: self._rival(alias) for alias in sorted(policy.need.holders)},
            past=past if self.moving else None,
            model=self.model,
        )

    def _rival(self, alias: str) -> VersionEvidence | None:
        case, number = self.holders.get(alias), self.holder(alias)
        itself = number == self.number and self.alias in (None, alias)
        return None if case is None or number is None or itself else case.evidence(number, self.at)


class CasesDocument(Document):
    """`policies/tests/NAME.yaml` as it is written. `policy` is the one that is tested; else the one of the file's name."""

    version: One
    policy: PolicyName | None = None
    cases: tuple[Case, ...] = Field(min_length=1, max_length=1_000, strict=False)


@dataclass(frozen=True)
class CaseFile:
    """A file of cases, the policy that they are about, and the line that each case begins in."""

    file: str
    policy: str
    cases: tuple[Case, ...]
    lines: tuple[int, ...]
