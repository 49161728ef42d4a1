"""Cases: unit tests of policies as they are written in `policies/tests/*.yaml`, and the evidence that a case states."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from promoter.domain.case_reviews import StatedReview, build_case_origin
from promoter.domain.case_versions import CaseText, VersionCase
from promoter.domain.document import Document, FormatVersion
from promoter.domain.duration import Duration
from promoter.domain.evidence import AliasPast, Evidence, VersionEvidence
from promoter.domain.moment import Moment
from promoter.domain.names import AliasName, ApproverName, ModelName, PolicyName
from promoter.domain.policy import Policy

DEFAULT_CASE_TIME = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""When a case takes place that does not say: noon of a Monday."""
DEFAULT_CANDIDATE_NUMBER, DEFAULT_HOLDER_NUMBER = 2, 1
"""The numbers of versions that do not say theirs."""

_YEARS = (2000, 2100)
VerdictWord = Literal["pass", "fail", "pending", "error"]
ExpectedVerdicts = Annotated[dict[CaseText, VerdictWord], Field(max_length=500)]


class Case(Document):
    """One case: a version, who holds the aliases that it is compared with, and the verdicts that are expected."""

    name: str = Field(min_length=1, max_length=200)
    at: Moment = DEFAULT_CASE_TIME
    model: ModelName = "model"
    alias: AliasName | None = None
    moves: tuple[Duration, ...] = Field(default=(), max_length=1_000, strict=False)
    begun: Duration | None = None
    override: CaseText | None = None
    version: VersionCase
    holders: dict[AliasName, VersionCase | None] = Field(default_factory=dict, max_length=100)
    review: StatedReview | None = None
    approvals: tuple[ApproverName, ...] = Field(default=(), max_length=100, strict=False)
    expect: VerdictWord | None = None
    rules: ExpectedVerdicts = Field(default_factory=dict)
    guards: ExpectedVerdicts = Field(default_factory=dict)

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
        """The number of the version that holds that alias; None: nobody does."""
        case = self.holders.get(alias)
        return (case.number or DEFAULT_HOLDER_NUMBER) if case else None

    @property
    def moves_alias(self) -> bool:
        """Whether an alias would move: only then are limits and freezes judged."""
        return self.alias is not None and self.find_holder_number(self.alias) != self.version_number

    def build_case_evidence(self, policy: Policy) -> Evidence:
        """What would be gathered for that policy. A version is no rival of its own, as in `promoter.application.evidence`."""
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
    policy: PolicyName | None = None
    cases: tuple[Case, ...] = Field(min_length=1, max_length=1_000, strict=False)


@dataclass(frozen=True)
class CaseFile:
    """A file of cases, the policy that they are about, and the line that each case begins in."""

    file: str
    policy: str
    cases: tuple[Case, ...]
    lines: tuple[int, ...]
