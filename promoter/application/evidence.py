"""Gather evidence: for many questions at once, in one bulk read of runs, and only of those that a rule looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from promoter.application.ports import Registry
from promoter.domain.evidence import Evidence, VersionEvidence
from promoter.domain.observed import ObservedModel, Run
from promoter.domain.policy import Policy


@dataclass(frozen=True)
class Question:
    """Whether this version may hold that alias under this policy."""

    observed: ObservedModel
    alias: str | None
    version: int
    policy: Policy

    @property
    def rivals(self) -> Mapping[str, int | None]:
        """Who holds the aliases that the policy compares with. The holder of the alias in question is not its own rival."""
        held = {alias: self.observed.aliases.get(alias) for alias in self.policy.need.holders}
        return {alias: None if (alias == self.alias and number == self.version) else number for alias, number in held.items()}


def gather(questions: Iterable[Question], registry: Registry, at: datetime) -> list[Evidence]:
    """One piece of evidence a question, in order."""
    asked = list(questions)
    run_ids = {
        run_id
        for question in asked
        if question.policy.need.run
        for number in (question.version, *question.rivals.values())
        if number is not None and (run_id := _run_id(question.observed, number))
    }
    runs = registry.runs(run_ids) if run_ids else {}
    return [_evidence(question, runs, at) for question in asked]


def _evidence(question: Question, runs: Mapping[str, Run], at: datetime) -> Evidence:
    return Evidence(
        at=at,
        candidate=_version(question.observed, question.version, runs),
        holders={
            alias: None if number is None else _version(question.observed, number, runs)
            for alias, number in question.rivals.items()
        },
    )


def _version(observed: ObservedModel, number: int, runs: Mapping[str, Run]) -> VersionEvidence:
    version = observed.versions.get(number)
    run = runs.get(version.run_id) if version and version.run_id else None
    return VersionEvidence(
        version=number,
        tags=version.tags if version else {},
        run_id=version.run_id if version else None,
        run_status=run.status if run else None,
        metrics=run.metrics if run else {},
    )


def _run_id(observed: ObservedModel, number: int) -> str | None:
    version = observed.versions.get(number)
    return version.run_id if version else None
