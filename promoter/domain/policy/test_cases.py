"""Test cases of policies as `policies/tests/*.yaml` states them, and the evidence that a case states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from promoter.domain.evidence import NOT_REQUESTED, AliasPast, Evidence, HeldStretch, VersionEvidence
from promoter.domain.fields import (
    AliasName,
    ApproverName,
    Document,
    Duration,
    FormatVersion,
    ModelName,
    Moment,
    PolicyName,
    VersionNumber,
)
from promoter.domain.observed import (
    LoadingResult,
    LoggedModel,
    MetricRef,
    MetricSeries,
    MetricValue,
    RunDataset,
    RunStatus,
    SourceName,
    TrainingRun,
    Unreadable,
    VersionSignature,
    shorten_description,
)
from promoter.domain.policy.document import Policy
from promoter.domain.review import ChangeOrigin, PullRequestReview

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

    metrics: dict[CaseName, float] = Field(
        default_factory=dict, max_length=1_000, description="The last value of each metric: `{val_auc: 0.96}`; `.nan` is one."
    )
    series: dict[CaseName, _Steps] = Field(
        default_factory=dict,
        max_length=100,
        description="One value a step: `{fold_auc: [0.91, 0.93, null]}`; the last one counts as the metric's value.",
    )

    def last_values(self) -> dict[str, float]:
        """Return the last value of each metric."""
        last = {name: [each for each in steps if each is not None][-1:] for name, steps in self.series.items()}
        return {name: found[0] for name, found in last.items() if found} | self.metrics

    def build_metric_series(self, source: SourceName, dataset: str | None = None) -> Iterator[MetricSeries]:
        """Yield the values of each metric that has them step by step."""
        for name, steps in self.series.items():
            points = tuple((step, value) for step, value in enumerate(steps) if value is not None)
            yield MetricSeries(MetricRef(name, source, dataset), points)


class DatasetCase(Document):
    """A dataset that the run says it read."""

    name: CaseName = Field(description="The dataset's name.")
    digest: CaseText = Field(description="The dataset's digest.")


class RunCase(Document):
    """The training run. A finished one, where the case says nothing else."""

    status: RunStatus = Field(default="FINISHED", description="The run's status. Left out: FINISHED.")
    experiment: CaseText | None = Field(default=None, description="The name of its experiment.")
    user: CaseText | None = Field(default=None, description="The user that it names.")
    params: dict[CaseName, str] = Field(
        default_factory=dict, max_length=1_000, description='Its parameters, as text: `{learning_rate: "0.1"}`.'
    )
    datasets: tuple[DatasetCase, ...] = Field(
        default=(), max_length=100, strict=False, description="What it says it read: `[{name: train, digest: 1a2b}]`."
    )


class OnDataset(MeasuredMetrics):
    """What was measured on one dataset."""

    digest: CaseText | None = Field(
        default=None, description="The dataset's digest: what `beats` compares must have been measured on the same."
    )


class LoggedModelCase(MeasuredMetrics):
    """What was measured on the logged model: on no dataset, and on named ones. Or the word `unreadable`."""

    datasets: dict[CaseName, OnDataset] = Field(
        default_factory=dict, max_length=100, description="By dataset: `{holdout: {digest: 1a2b, metrics: {val_auc: 0.95}}}`."
    )
    unreadable: bool = Field(default=False, exclude=True)

    def to_logged_model(self) -> LoggedModel | Unreadable:
        """Return what would be read of MLflow."""
        if self.unreadable:
            return _UNREADABLE_IN_CASE
        found = [MetricValue(name, value) for name, value in self.last_values().items()]
        for dataset, each in self.datasets.items():
            found += [MetricValue(name, value, dataset, each.digest) for name, value in each.last_values().items()]
        return LoggedModel("the case's", tuple(found))

    def build_all_series(self) -> Iterator[MetricSeries]:
        """Yield the values step by step, on no dataset and on each dataset."""
        yield from self.build_metric_series("logged_model")
        for dataset, each in self.datasets.items():
            yield from each.build_metric_series("logged_model", dataset)


class SignatureCase(Document):
    """What the model takes and gives: each name with its type. Or the word `unreadable`."""

    inputs: dict[CaseName, CaseText] = Field(
        default_factory=dict, max_length=1_000, description="Each input with its type: `{age: long}`."
    )
    outputs: dict[CaseName, CaseText] = Field(
        default_factory=dict, max_length=1_000, description="Each output with its type: `{label: string}`."
    )
    params: dict[CaseName, CaseText] = Field(
        default_factory=dict, max_length=1_000, description="Each parameter with its type: `{threshold: double}`."
    )
    unreadable: bool = Field(default=False, exclude=True)

    def to_model_signature(self) -> VersionSignature | Unreadable:
        """Return what would be read of the artifact."""
        if self.unreadable:
            return _UNREADABLE_IN_CASE
        parts = (("input", self.inputs), ("output", self.outputs), ("param", self.params))
        return VersionSignature({f"{part} {name}": kind for part, fields in parts for name, kind in fields.items()})


class HeldCase(Document):
    """How long the version has held an alias: since so long ago, and until so long ago where it is over."""

    since: Duration = Field(description="How long ago it began: `50h`.")
    until: Duration | None = Field(default=None, description="How long ago it ended: `20h`. Left out: it has not.")

    @model_validator(mode="after")
    def _check_time_order(self) -> HeldCase:
        if self.until is not None and self.until >= self.since:
            raise ValueError("`until` is as long ago as `since`, or longer: both say how long ago")
        return self

    def to_held_stretch(self, at: datetime) -> HeldStretch:
        """Return what the ledger would know."""
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

    number: VersionNumber | None = Field(default=None, description="The version's number. Left out: 2, and 1 for a holder.")
    age: Duration | None = Field(default=None, description="How long ago it was registered: `3d`. Left out: just now.")
    tags: dict[CaseName, str] = Field(
        default_factory=dict, max_length=1_000, description="The version's tags, as text: `{approved_by: risk}`."
    )
    witnessed: tuple[CaseName, ...] = Field(
        default=(),
        max_length=1_000,
        strict=False,
        description="Those of the tags that the ledger saw being set after the version was there: `[approved_by]`.",
    )
    copied: bool = Field(default=False, description="true: it is a copy of another version.")
    run: RunCase | None = Field(
        default=RunCase(), description="Its training run. Left out: a finished one; null: none that can be read."
    )
    logged_model: _LoggedModel | None = Field(
        default=None, description="What was measured on the logged model that it came from; or `unreadable`."
    )
    signature: _Signature | None = Field(
        default=None, description="What it takes and gives: `{inputs: {age: long}, outputs: {label: string}}`; or `unreadable`."
    )
    description: str | None = Field(
        default=None,
        max_length=100_000,
        description="What it says of itself, or its model; or `unreadable`. Left out: neither has a description.",
    )
    loads: Annotated[bool | Literal["untried"] | None, BeforeValidator(_validate_loads)] = Field(
        default=None, description="What comes of loading its artifact, once everything else passes: true, false, or `untried`."
    )
    held: dict[AliasName, _Held] = Field(
        default_factory=dict,
        max_length=100,
        description="How long it has held an alias: `{challenger: 30h}`, or `{challenger: {since: 50h, until: 20h}}`.",
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> VersionCase:
        if self.run is None and (self.metrics or self.series):
            raise ValueError("`metrics` and `series` are those of the run, and `run: null` says that there is none")
        if absent := [tag for tag in self.witnessed if tag not in self.tags]:
            raise ValueError(f"`witnessed` names `{absent[0]:.60}`, which is not among the `tags`")
        return self

    @property
    def stated_description(self) -> str | Unreadable | None:
        """What would be read as the description of the version or of its model."""
        return _UNREADABLE_IN_CASE if self.description == _UNREADABLE_WORD else shorten_description(self.description) or None

    @property
    def loading_result(self) -> LoadingResult | None:
        """The result of loading the artifact, once it is tried."""
        return None if self.loads is None else _LOADING_RESULTS[self.loads]

    def build_version_evidence(self, number: int, at: datetime) -> VersionEvidence:
        """Return what would be known of that version, before its artifact is tried."""
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
            description=self.stated_description,
        )


def _build_training_run(case: RunCase, run_id: str, metrics: Mapping[str, float]) -> TrainingRun:
    datasets = tuple(RunDataset(each.name, each.digest) for each in case.datasets)
    return TrainingRun(run_id, case.status, metrics, case.experiment, case.user, case.params, datasets)


PUSHED_WORD, UNREADABLE_WORD = "none", "unreadable"
_Names = Annotated[tuple[CaseName, ...], Field(max_length=100, strict=False)]


class ReviewCase(Document):
    """Who wrote it, and who approves it. Or the word `none` (pushed without one), or `unreadable` (the forge is down)."""

    author: CaseName = Field(default="author", description="The account that opened it.")
    authors: _Names = Field(default=(), description="Further accounts that have commits in it.")
    reviewers: _Names = Field(default=(), description="Accounts that approve it as it is: `[alice, bob]`.")
    stale: _Names = Field(default=(), description="Accounts that approved an earlier state of it.")
    teams: dict[CaseName, _Names] = Field(
        default_factory=dict, max_length=100, description="Who is in the teams that a rule names: `{acme/risk: [alice]}`."
    )
    merged: bool = Field(default=False, description="true: it is merged, and nobody can approve it any more.")
    word: str | None = Field(default=None, exclude=True)

    @property
    def change_origin(self) -> ChangeOrigin | Unreadable | None:
        """The pull request as the forge would describe it."""
        if self.word is not None:
            return Unreadable("the case says so") if self.word == UNREADABLE_WORD else None
        reviews = [PullRequestReview(name) for name in self.reviewers] + [
            PullRequestReview(name, stale=True) for name in self.stale
        ]
        authors, teams = frozenset({self.author, *self.authors}), {team: frozenset(each) for team, each in self.teams.items()}
        return ChangeOrigin(1, "the case's", self.author, authors, tuple(reviews), self.merged, teams=teams)


def _parse_review_word(value: object) -> object:
    if isinstance(value, str):
        if value not in (PUSHED_WORD, UNREADABLE_WORD):
            raise ValueError(f"this is a mapping, or one of the words `{PUSHED_WORD}` and `{UNREADABLE_WORD}`")
        return {"word": value}
    return value


StatedReview = Annotated[
    ReviewCase, BeforeValidator(_parse_review_word, json_schema_input_type=ReviewCase | Literal["none", "unreadable"])
]


def build_case_origin(case: ReviewCase | None) -> ChangeOrigin | Unreadable | None:
    """Return the origin that a rule sees; without a stated review, nobody has proposed the version yet."""
    return case.change_origin if case else NOT_REQUESTED


DEFAULT_CASE_TIME = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""When a case takes place that does not say: noon of a Monday."""
DEFAULT_CANDIDATE_NUMBER, DEFAULT_HOLDER_NUMBER = 2, 1
"""The numbers of versions that do not say theirs."""

_YEARS = (2000, 2100)
VerdictWord = Literal["pass", "fail", "pending", "error"]
ExpectedVerdicts = Annotated[dict[CaseText, VerdictWord], Field(max_length=500)]


class Case(Document):
    """One case: a version, who holds the aliases that it is compared with, and the verdicts that are expected."""

    name: str = Field(min_length=1, max_length=200, description="What the case is called, once in a file.")
    at: Moment = Field(
        default=DEFAULT_CASE_TIME, description="The moment of the decision, which waivers, ages and freezes look at."
    )
    model: ModelName = Field(default="model", description="The model's name: matters for waivers.")
    alias: AliasName | None = Field(
        default=None, description="The alias that would move to the version: then limits and freezes are judged too."
    )
    moves: tuple[Duration, ...] = Field(
        default=(), max_length=1_000, strict=False, description="With `alias`: how long ago it moved before: `[2h, 1d]`."
    )
    begun: Duration | None = Field(
        default=None, description="With `alias`: how long ago the change under way began, such as `3h`."
    )
    override: CaseText | None = Field(
        default=None, description="With `alias`: the reason that the commit gives for going past a freeze."
    )
    version: VersionCase
    holders: dict[AliasName, VersionCase | None] = Field(
        default_factory=dict,
        max_length=100,
        description="Who holds the aliases that are compared with: `{champion: {metrics: {val_auc: 0.95}}}`; null: nobody.",
    )
    review: StatedReview | None = Field(
        default=None,
        description="The pull request that brings it; `none`: pushed without one, or `unreadable`. Left out: not there yet.",
    )
    approvals: tuple[ApproverName, ...] = Field(
        default=(),
        max_length=100,
        strict=False,
        description="People of approvers.yaml whose signed approval the version has: `[alice, bob]`.",
    )
    expect: VerdictWord | None = Field(default=None, description="The verdict of the whole: pass, fail, pending or error.")
    rules: ExpectedVerdicts = Field(
        default_factory=dict,
        description="Rules by `name`, or by their text as `promoter explain` shows it, each with the verdict that is expected.",
    )
    guards: ExpectedVerdicts = Field(
        default_factory=dict, description="Guards by `name` or text, each with the verdict that is expected of one check."
    )

    @field_validator("name")
    @classmethod
    def _check_printable_name(cls, name: str) -> str:
        if not name.isprintable() or not name.strip():
            raise ValueError("a case's name is one line of visible characters")
        return name

    @field_validator("at")
    @classmethod
    def _check_year(cls, at: datetime) -> datetime:
        if not _YEARS[0] <= at.year < _YEARS[1]:
            raise ValueError(f"`at` is between the years {_YEARS[0]} and {_YEARS[1]}")
        return at

    @model_validator(mode="after")
    def _check_consistency(self) -> Case:
        if not (self.expect or self.rules or self.guards):
            raise ValueError("a case expects something: say `expect`, `rules` or `guards`")
        if self.alias is None and (self.moves or self.begun or self.override):
            raise ValueError("`moves`, `begun` and `override` go with `alias`: they are the alias's own past")
        return self

    @property
    def version_number(self) -> int:
        """The number of the version."""
        return self.version.number or DEFAULT_CANDIDATE_NUMBER

    def find_holder_number(self, alias: str) -> int | None:
        """Return the number of the version that holds that alias; None: nobody does."""
        case = self.holders.get(alias)
        return (case.number or DEFAULT_HOLDER_NUMBER) if case else None

    @property
    def moves_alias(self) -> bool:
        """Whether an alias would move: only then limits and freezes are evaluated."""
        return self.alias is not None and self.find_holder_number(self.alias) != self.version_number

    def build_case_evidence(self, policy: Policy) -> Evidence:
        """Return what would be gathered for that policy. A version is no rival of its own, as in production."""
        past = AliasPast(
            tuple(sorted(self.at - ago for ago in self.moves)), self.at - self.begun if self.begun else None, self.override
        )
        return Evidence(
            at=self.at,
            candidate=self.version.build_version_evidence(self.version_number, self.at),
            holders={alias: self._build_rival_evidence(alias) for alias in sorted(policy.needed_evidence.holders)},
            past=past if self.moves_alias else None,
            model=self.model,
            origin=build_case_origin(self.review),
        )

    def _build_rival_evidence(self, alias: str) -> VersionEvidence | None:
        case, number = self.holders.get(alias), self.find_holder_number(alias)
        itself = number == self.version_number and self.alias in (None, alias)
        return None if case is None or number is None or itself else case.build_version_evidence(number, self.at)


class CasesDocument(Document):
    """`policies/tests/NAME.yaml` as it is written. `policy` is the one that is tested; else the one of the file's name."""

    version: FormatVersion
    policy: PolicyName | None = Field(
        default=None, description="The policy that is tested. Left out: the one of the file's own name."
    )
    cases: tuple[Case, ...] = Field(
        min_length=1,
        max_length=1_000,
        strict=False,
        description="The cases: `{name: TEXT, version: {metrics: {val_auc: 0.96}}, expect: pass}`.",
    )


@dataclass(frozen=True)
class CaseFile:
    """A file of test cases."""

    file: str
    policy: str
    """The policy that they test."""
    cases: tuple[Case, ...]
    lines: tuple[int, ...]
    """The line in which each case begins."""
