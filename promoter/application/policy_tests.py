"""Test policies: run every case, and see which rules were never seen to pass, or never seen to do anything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from promoter.domain.case_runs import CaseRun, Mismatch, Target, run_case, targets
from promoter.domain.cases import CaseFile
from promoter.domain.policy import Policy
from promoter.domain.verdict import Finding, Verdict


@dataclass(frozen=True)
class Told:
    """A run of a case, and where the case stands."""

    file: str
    line: int
    run: CaseRun


@dataclass(frozen=True)
class Cover:
    """A rule, and the verdicts that it found over all cases."""

    target: Target
    verdicts: tuple[Verdict, ...]

    @property
    def never(self) -> tuple[str, ...]:
        """What it was never seen to do, in words: to pass; to fail (or be pending, or an error)."""
        passed = Verdict.PASS in self.verdicts
        other = any(each is not Verdict.PASS for each in self.verdicts)
        return tuple(word for word, seen in (("pass", passed), ("fail", other)) if not seen)


@dataclass(frozen=True)
class Suite:
    """All cases of one policy, and its coverage."""

    policy: str
    cases: tuple[Told, ...]
    coverage: tuple[Cover, ...]

    @property
    def tested(self) -> bool:
        """Whether there is any case."""
        return bool(self.cases)

    @property
    def failed(self) -> tuple[Told, ...]:
        """The cases that did not go as expected."""
        return tuple(each for each in self.cases if not each.run.passed)

    @property
    def gaps(self) -> tuple[Cover, ...]:
        """The rules that were not seen both to pass and not to."""
        return tuple(each for each in self.coverage if each.never)


@dataclass(frozen=True)
class Report:
    """What came of it, by policy in order of their names."""

    suites: tuple[Suite, ...]

    @property
    def cases(self) -> int:
        """How many there are."""
        return sum(len(suite.cases) for suite in self.suites)

    @property
    def failed(self) -> int:
        """How many did not go as expected."""
        return sum(len(suite.failed) for suite in self.suites)

    @property
    def rules(self) -> int:
        """How many rules, limits and guards there are in the policies that have cases."""
        return sum(len(suite.coverage) for suite in self.suites if suite.tested)

    @property
    def covered(self) -> int:
        """How many of these were seen both to pass and not to."""
        return self.rules - sum(len(suite.gaps) for suite in self.suites if suite.tested)

    @property
    def untested(self) -> tuple[str, ...]:
        """The policies without a case."""
        return tuple(suite.policy for suite in self.suites if not suite.tested)

    @property
    def complete(self) -> bool:
        """Whether every policy has cases, and every rule was seen both to pass and not to."""
        return not self.untested and self.covered == self.rules

    def as_json(self) -> dict[str, Any]:
        """The shape of `policy test --format json`, without its `schema`."""
        return {
            "cases": self.cases,
            "failed": self.failed,
            "rules": self.rules,
            "covered": self.covered,
            "untested": list(self.untested),
            "policies": [_suite(suite) for suite in self.suites],
        }


def run_tests(files: Iterable[CaseFile], policies: Mapping[str, Policy]) -> Report:
    """Run every case of files that name known policies and rules only (see `promoter.domain.case_runs.slips`)."""
    told: dict[str, list[Told]] = {name: [] for name in policies}
    for file in files:
        for line, case in zip(file.lines, file.cases, strict=True):
            told[file.policy].append(Told(file.file, line, run_case(policies[file.policy], case)))
    return Report(tuple(Suite(name, tuple(told[name]), _coverage(policies[name], told[name])) for name in sorted(policies)))


def _coverage(policy: Policy, cases: Iterable[Told]) -> tuple[Cover, ...]:
    seen: dict[Target, set[Verdict]] = {target: set() for target in targets(policy)}
    for told in cases:
        for target, verdict in told.run.verdicts.items():
            seen[target].add(verdict)
    return tuple(Cover(target, tuple(each for each in Verdict if each in found)) for target, found in seen.items())


def _suite(suite: Suite) -> dict[str, Any]:
    return {
        "policy": suite.policy,
        "cases": [_case(told) for told in suite.cases],
        "coverage": [
            {
                "part": each.target.part,
                "place": each.target.place,
                "rule": each.target.rule,
                "name": each.target.name,
                "verdicts": [verdict.value for verdict in each.verdicts],
                "never": list(each.never),
            }
            for each in suite.coverage
        ],
    }


def _case(told: Told) -> dict[str, Any]:
    run = told.run
    return {
        "file": told.file,
        "line": told.line,
        "name": run.case.name,
        "passed": run.passed,
        "expected": run.case.expect,
        "verdict": run.decision.verdict.value,
        "mismatches": [_mismatch(each) for each in run.mismatches],
        "rules": [finding.as_json() for finding in run.decision.findings],
        "guards": [finding.as_json() for finding in run.guards.findings] if run.guards else [],
    }


def _mismatch(each: Mismatch) -> dict[str, Any]:
    finding: Finding | None = each.finding
    told = finding.as_json() if finding else {"value": None, "expected": None}
    return {
        "part": each.part,
        "rule": each.rule,
        "expected": each.expected.value,
        "got": each.got.value,
        "value": told["value"],
        "wanted": told["expected"],
        "detail": each.seen,
    }
