"""Test policies: run every case, and see which rules were never seen to pass, or never seen to do anything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from promoter.domain.decision import Verdict
from promoter.domain.policy.document import Policy
from promoter.domain.policy.test_cases import CaseFile
from promoter.domain.policy.test_runner import CaseRun, VerdictTarget, list_verdict_targets, run_policy_case


@dataclass(frozen=True)
class CaseResult:
    """A run of a case, and where the case stands."""

    file: str
    line: int
    run: CaseRun


@dataclass(frozen=True)
class RuleCoverage:
    """A rule, and the verdicts that it found over all cases."""

    target: VerdictTarget
    verdicts: tuple[Verdict, ...]

    @property
    def unseen_outcomes(self) -> tuple[str, ...]:
        """What it was never seen to do, in words: to pass; to fail (or be pending, or an error)."""
        passed = Verdict.PASS in self.verdicts
        other = any(each is not Verdict.PASS for each in self.verdicts)
        return tuple(word for word, seen in (("pass", passed), ("fail", other)) if not seen)


@dataclass(frozen=True)
class PolicyTestSuite:
    """All cases of one policy, and its coverage."""

    policy: str
    cases: tuple[CaseResult, ...]
    coverage: tuple[RuleCoverage, ...]

    @property
    def has_cases(self) -> bool:
        """Whether there is any case."""
        return bool(self.cases)

    @property
    def failed_cases(self) -> tuple[CaseResult, ...]:
        """The cases that did not go as expected."""
        return tuple(each for each in self.cases if not each.run.has_passed)

    @property
    def coverage_gaps(self) -> tuple[RuleCoverage, ...]:
        """The rules that were not seen both to pass and not to."""
        return tuple(each for each in self.coverage if each.unseen_outcomes)


@dataclass(frozen=True)
class PolicyTestReport:
    """What came of it, by policy in order of their names."""

    suites: tuple[PolicyTestSuite, ...]

    @property
    def case_count(self) -> int:
        """How many there are."""
        return sum(len(suite.cases) for suite in self.suites)

    @property
    def failed_count(self) -> int:
        """How many did not go as expected."""
        return sum(len(suite.failed_cases) for suite in self.suites)

    @property
    def rule_count(self) -> int:
        """How many rules, limits and guards there are in the policies that have cases."""
        return sum(len(suite.coverage) for suite in self.suites if suite.has_cases)

    @property
    def covered_count(self) -> int:
        """How many of these were seen both to pass and not to."""
        return self.rule_count - sum(len(suite.coverage_gaps) for suite in self.suites if suite.has_cases)

    @property
    def untested_policies(self) -> tuple[str, ...]:
        """The policies without a case."""
        return tuple(suite.policy for suite in self.suites if not suite.has_cases)

    @property
    def is_complete(self) -> bool:
        """Whether every policy has cases, and every rule was seen both to pass and not to."""
        return not self.untested_policies and self.covered_count == self.rule_count


def run_policy_tests(files: Iterable[CaseFile], policies: Mapping[str, Policy]) -> PolicyTestReport:
    """Run every case of files that name known policies and rules only (see `promoter.domain.case_runs.slips`)."""
    results: dict[str, list[CaseResult]] = {name: [] for name in policies}
    for file in files:
        for line, case in zip(file.lines, file.cases, strict=True):
            results[file.policy].append(CaseResult(file.file, line, run_policy_case(policies[file.policy], case)))
    return PolicyTestReport(
        tuple(
            PolicyTestSuite(name, tuple(results[name]), _measure_coverage(policies[name], results[name]))
            for name in sorted(policies)
        )
    )


def _measure_coverage(policy: Policy, cases: Iterable[CaseResult]) -> tuple[RuleCoverage, ...]:
    seen: dict[VerdictTarget, set[Verdict]] = {target: set() for target in list_verdict_targets(policy)}
    for result in cases:
        for target, verdict in result.run.verdicts.items():
            seen[target].add(verdict)
    return tuple(RuleCoverage(target, tuple(each for each in Verdict if each in found)) for target, found in seen.items())
