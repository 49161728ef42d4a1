"""Policy tests: run every case, and find the rules that no case saw pass, or saw do anything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from promoter.domain.decision import Verdict
from promoter.domain.policy.document import Policy
from promoter.domain.policy.test_cases import CaseFile
from promoter.domain.policy.test_runner import CaseRun, VerdictTarget, list_verdict_targets, run_policy_case


@dataclass(frozen=True)
class CaseResult:
    """A run of a case, and the place of the case."""

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
        """What no case saw it do, in words: to pass; to fail (or be pending, or an error)."""
        passed = Verdict.PASS in self.verdicts
        other = any(each is not Verdict.PASS for each in self.verdicts)
        return tuple(word for word, seen in (("pass", passed), ("fail", other)) if not seen)


@dataclass(frozen=True)
class PolicyTestSuite:
    """All cases of one policy, and the coverage of its rules."""

    policy: str
    cases: tuple[CaseResult, ...]
    coverage: tuple[RuleCoverage, ...]

    @property
    def has_cases(self) -> bool:
        """Whether there is any case."""
        return bool(self.cases)

    @property
    def failed_cases(self) -> tuple[CaseResult, ...]:
        """The cases with an unexpected verdict."""
        return tuple(each for each in self.cases if not each.run.has_passed)

    @property
    def coverage_gaps(self) -> tuple[RuleCoverage, ...]:
        """The rules that were not seen both to pass and not to."""
        return tuple(each for each in self.coverage if each.unseen_outcomes)


@dataclass(frozen=True)
class PolicyTestReport:
    """The result of all cases."""

    suites: tuple[PolicyTestSuite, ...]
    """One suite a policy, in order of their names."""

    @property
    def case_count(self) -> int:
        """The number of cases."""
        return sum(len(suite.cases) for suite in self.suites)

    @property
    def failed_count(self) -> int:
        """The number of cases with an unexpected verdict."""
        return sum(len(suite.failed_cases) for suite in self.suites)

    @property
    def rule_count(self) -> int:
        """The number of rules, limits and guards in policies that have cases."""
        return sum(len(suite.coverage) for suite in self.suites if suite.has_cases)

    @property
    def covered_count(self) -> int:
        """The number of these that were seen both to pass and not to."""
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
    """Run every case of files that name only known policies and rules (see `find_case_faults`)."""
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
