"""Runs of test cases: the product's own evaluation on the evidence that a case states, compared with what it expects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from promoter.domain.approvals import ApprovalSubject, ApproverDirectory, SigningKey, build_approval_tag_key
from promoter.domain.decision import Decision, RuleFinding, Verdict
from promoter.domain.errors import DocumentPath
from promoter.domain.evidence import AliasPast, Evidence
from promoter.domain.policy.document import Policy
from promoter.domain.policy.evaluate import evaluate_policy, hinges_on_loading
from promoter.domain.policy.rules.base import BaseRule
from promoter.domain.policy.test_cases import DEFAULT_CASE_TIME, Case, CasesDocument
from promoter.domain.text import escape_invisible

Part = Literal["rules", "limits", "guards"]
WHOLE_DECISION = "the whole"
_RULE_TEXT_FIX = "a rule's text is what `promoter explain` shows"


@dataclass(frozen=True)
class VerdictTarget:
    """A rule, limit or guard of which a case may expect a verdict."""

    part: Part
    place: str
    """Its number from 1, with the numbers of the groups around it: `rule 4.1`."""
    rule: str
    """Its text."""
    name: str | None = None
    group: bool = False
    """Whether it holds other rules."""

    def is_called(self, called: str) -> bool:
        """Return whether it has that name or text."""
        return called in (self.name, self.rule)

    def __str__(self) -> str:
        """Return its name or text; a group without a name also shows its place."""
        return self.name or (f"{self.rule} ({self.place})" if self.group else self.rule)


@dataclass(frozen=True)
class VerdictMismatch:
    """A verdict that the case does not expect."""

    part: Part | None
    """The part of the policy; None where it is about the whole decision."""
    rule: str
    expected: Verdict
    got: Verdict
    finding: RuleFinding | None = None
    """What the rule found; None where it is about the whole decision."""
    summary: str = ""
    """The decision in one line, where there is no finding."""

    @property
    def description(self) -> str:
        """The value seen and the expectation, in words."""
        if self.finding is None:
            return self.summary
        value, expected = self.finding.shown_figures
        return f"saw {value or 'nothing'}, wanted {expected}"


@dataclass(frozen=True)
class CaseRun:
    """The result of a case."""

    case: Case
    decision: Decision
    guards: Decision | None
    """What the guards decided; None where the case expects nothing of them."""
    mismatches: tuple[VerdictMismatch, ...]
    """The verdicts that the case does not expect."""
    verdicts: Mapping[VerdictTarget, Verdict]
    """What each rule found by itself, before any waiver."""

    @property
    def has_passed(self) -> bool:
        """Whether every verdict is as expected."""
        return not self.mismatches


@dataclass(frozen=True)
class CaseFault:
    """A name in a case that its policy does not have, or has more than once."""

    path: DocumentPath
    message: str
    word: str = ""
    """The name."""
    known: tuple[str, ...] = ()
    """The names that may be meant by it."""
    fix: str | None = None


def list_verdict_targets(policy: Policy) -> list[VerdictTarget]:
    """Return everything in a policy that finds a verdict, in the order of the file."""
    return [target for target, _ in _pair_rule_findings(policy, None)] + [
        target for target, _ in _pair_guard_findings(policy, None)
    ]


def run_policy_case(policy: Policy, case: Case) -> CaseRun:
    """Decide as production does, and compare. Guards are evaluated only where the case expects something of them."""
    decision = _decide_case(policy, case)
    found = list(_pair_rule_findings(policy, decision))
    guarding = policy.guard_policy if case.guards else None
    guards = _decide_case(guarding, case) if guarding else None
    found_by_guards = list(_pair_guard_findings(policy, guards)) if guards else []
    mismatches = list(_compare_case_verdict(case, decision))
    mismatches += [
        *_compare_expected_verdicts("rules", case.rules, found),
        *_compare_expected_verdicts("guards", case.guards, found_by_guards),
    ]
    verdicts = {
        target: _verdict_before_waiver(finding) for target, finding in (*found, *found_by_guards) if finding is not None
    }
    return CaseRun(case, decision, guards, tuple(mismatches), verdicts)


def find_case_faults(document: CasesDocument, policy: Policy) -> Iterator[CaseFault]:
    """Yield the names in cases that the policy does not have, or has more than once."""
    known = list_verdict_targets(policy)
    holders = policy.needed_evidence.holders | (
        policy.guard_policy.needed_evidence.holders if policy.guard_policy else frozenset()
    )
    for index, case in enumerate(document.cases):
        own = [each for each in known if each.part != "guards"]
        guards = [each for each in known if each.part == "guards"]
        for called in case.rules:
            yield from _find_name_faults(("cases", index, "rules", called), called, own, policy)
            if not case.moves_alias and any(each.part == "limits" and each.is_called(called) for each in own):
                message = f"`{called:.80}` is judged only where an alias moves"
                yield CaseFault(
                    ("cases", index, "rules", called), message, fix="say `alias`, and leave the version out of its holders"
                )
        for called in case.guards:
            yield from _find_name_faults(("cases", index, "guards", called), called, guards, policy, "guard")
        for place, name in enumerate(case.approvals):
            if name not in policy.approvers.known:
                message = f"`{name:.80}` is not in approvers.yaml"
                yield CaseFault(("cases", index, "approvals", place), message, name, tuple(policy.approvers.known))
        yield from _find_review_faults(("cases", index, "review"), case, policy)
        for alias in case.holders:
            if alias not in holders and alias != case.alias:
                message = f"nothing in policy `{policy.name}` compares with the holder of `{alias:.80}`"
                yield CaseFault(("cases", index, "holders", alias), message, alias, tuple(sorted(holders)))


def _find_review_faults(path: DocumentPath, case: Case, policy: Policy) -> Iterator[CaseFault]:
    """Yield faults for a pull request that no rule reads, and for members of teams that no rule names."""
    if case.review is None:
        return
    if not policy.needed_evidence.review:
        yield CaseFault(path, f"no rule of policy `{policy.name}` looks at the review of a pull request")
    for team in case.review.teams:
        if policy.needed_evidence.review and team not in policy.needed_evidence.teams:
            message = f"no rule of policy `{policy.name}` asks for the team `{team:.80}`"
            yield CaseFault((*path, "teams", team), message, team, tuple(sorted(policy.needed_evidence.teams)))


def _find_name_faults(
    path: DocumentPath, called: str, known: Iterable[VerdictTarget], policy: Policy, what: str = "rule"
) -> Iterator[CaseFault]:
    among = list(known)
    count = sum(each.is_called(called) for each in among)
    if count > 1:
        yield CaseFault(path, f"`{called:.80}` names {count} {what}s: give the one that is meant a `name`")
    elif not count:
        words = tuple(word for each in among for word in (each.name, each.rule) if word)
        yield CaseFault(path, f"`{called:.80}` names no {what} of policy `{policy.name}`", called, words, _RULE_TEXT_FIX)


def _decide_case(policy: Policy, case: Case) -> Decision:
    """Decide as `promoter.application.decisions` does: the artifact is tried only once everything else passes."""
    policy, evidence = _add_case_approvals(policy, case)
    decision = evaluate_policy(policy, case.model, case.alias, evidence)
    loading = case.version.loading_result
    if loading is None or not hinges_on_loading(policy, decision):
        return decision
    tried = replace(evidence, candidate=replace(evidence.candidate, loading=loading))
    return evaluate_policy(policy, case.model, case.alias, tried)


def _add_case_approvals(policy: Policy, case: Case) -> tuple[Policy, Evidence]:
    """Return the evidence with the approvals that the case names, and the policy with keys that verify them.

    The keys are derived from names, for the length of a case: no test file holds a key, and what counts an approval is the
    product's own code. Groups and times are those of `approvers.yaml`.
    """
    evidence = case.build_case_evidence(policy)
    if not case.approvals:
        return policy, evidence
    signers = {name: SigningKey.from_seed(sha256(f"promoter policy test: {name}".encode()).digest()) for name in case.approvals}
    known = dict(policy.approvers.known)
    known |= {name: known[name].model_copy(update={"key": each.public_key}) for name, each in signers.items() if name in known}
    approving = replace(policy, approvers=ApproverDirectory(known))
    try:
        subject = ApprovalSubject.from_evidence(evidence, policy.name, policy.digest, approving.rule_context.used)
    except ValueError:
        return approving, evidence  # nobody could sign that; the rule says why
    tags = {
        build_approval_tag_key(policy.name, name): each.sign_approval(subject, name, case.at).to_tag_value()
        for name, each in signers.items()
    }
    candidate = replace(evidence.candidate, tags={**evidence.candidate.tags, **tags})
    return approving, replace(evidence, candidate=candidate)


def _pair_rule_findings(policy: Policy, decision: Decision | None) -> Iterator[tuple[VerdictTarget, RuleFinding | None]]:
    """Yield rules, limits and freezes, each with its finding."""
    document = policy.document
    findings = decision.findings if decision else ()
    yield from _pair_with_targets("rules", "rule", document.rules, findings)
    limits = [*document.limits.evaluate_limits(AliasPast(), DEFAULT_CASE_TIME)]
    limits += [freeze.evaluate_freeze(AliasPast(), DEFAULT_CASE_TIME) for freeze in document.freeze]
    judged = findings[len(document.rules) :] or (None,) * len(limits)
    for index, (limit, finding) in enumerate(zip(limits, judged, strict=True), start=1):
        yield VerdictTarget("limits", f"limit {index}", limit.rule), finding


def _pair_guard_findings(policy: Policy, decision: Decision | None) -> Iterator[tuple[VerdictTarget, RuleFinding | None]]:
    yield from _pair_with_targets("guards", "guard", policy.document.guards, decision.findings if decision else ())


def _pair_with_targets(
    part: Part, word: str, rules: tuple[BaseRule, ...], findings: tuple[RuleFinding, ...]
) -> Iterator[tuple[VerdictTarget, RuleFinding | None]]:
    known: tuple[RuleFinding | None, ...] = findings[: len(rules)] or (None,) * len(rules)
    for index, (rule, finding) in enumerate(zip(rules, known, strict=True), start=1):
        yield from _walk_rule_targets(part, f"{word} {index}", rule, finding)


def _walk_rule_targets(
    part: Part, place: str, rule: BaseRule, finding: RuleFinding | None
) -> Iterator[tuple[VerdictTarget, RuleFinding | None]]:
    """Yield a rule and those inside. Where a group has no findings of its own rules, these share the group's finding."""
    inner = rule.inner_rules
    yield VerdictTarget(part, place, escape_invisible(str(rule)), rule.name, group=bool(inner)), finding
    shared = finding is None or len(finding.children) != len(inner)
    children = (finding,) * len(inner) if finding is None or shared else finding.children
    for index, (each, child) in enumerate(zip(inner, children, strict=True), start=1):
        yield from _walk_rule_targets(part, f"{place}.{index}", each, child)


def _compare_case_verdict(case: Case, decision: Decision) -> Iterator[VerdictMismatch]:
    if case.expect is not None and case.expect != decision.verdict:
        yield VerdictMismatch(None, WHOLE_DECISION, Verdict(case.expect), decision.verdict, None, decision.summary_line)


def _compare_expected_verdicts(
    part: Part, expected: Mapping[str, str], found: Iterable[tuple[VerdictTarget, RuleFinding | None]]
) -> Iterator[VerdictMismatch]:
    """Yield mismatches in the order of the policy, then those for names that no finding has."""
    judged = [(target, finding) for target, finding in found if finding is not None]
    for target, finding in judged:
        for called, verdict in expected.items():
            if target.is_called(called) and finding.verdict != verdict:
                yield VerdictMismatch(target.part, str(target), Verdict(verdict), finding.verdict, finding)
    for called, verdict in expected.items():
        if not any(target.is_called(called) for target, _ in judged):
            yield VerdictMismatch(part, called, Verdict(verdict), Verdict.ERROR, None, "nothing of that name was judged")


def _verdict_before_waiver(finding: RuleFinding) -> Verdict:
    return finding.waived.verdict if finding.waived else finding.verdict
