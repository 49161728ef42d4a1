"""Runs of cases: a policy's own evaluation on the evidence that a case states, against what the case expects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

from promoter.domain.approvals import Signer, Subject, tag_key
from promoter.domain.approvers import Approvers
from promoter.domain.cases import DEFAULT_AT, Case, CasesDocument
from promoter.domain.evaluate import evaluate, hinges_on_loading
from promoter.domain.evidence import AliasPast, Evidence
from promoter.domain.faults import Path
from promoter.domain.policy import Policy
from promoter.domain.rules import AllOf, AnyOf, BaseRule, Not
from promoter.domain.verdict import Decision, Finding, Verdict, visible

Part = Literal["rules", "limits", "guards"]
WHOLE = "the whole"
_TEXT = "a rule's text is what `promoter explain` shows"


@dataclass(frozen=True)
class Target:
    """Something that a case may expect a verdict of. `place` counts from 1, and within groups: `rule 4.1`."""

    part: Part
    place: str
    rule: str
    name: str | None = None
    group: bool = False

    def answers_to(self, called: str) -> bool:
        """Whether it goes by that name or text."""
        return called in (self.name, self.rule)

    def __str__(self) -> str:
        """Its name, or its text; groups without a name are told by their place too."""
        return self.name or (f"{self.rule} ({self.place})" if self.group else self.rule)


@dataclass(frozen=True)
class Mismatch:
    """A verdict that is not what the case expects. `finding` is None where it is about the whole."""

    part: Part | None
    rule: str
    expected: Verdict
    got: Verdict
    finding: Finding | None = None
    summary: str = ""

    @property
    def seen(self) -> str:
        """The value seen, and what was wanted of it, in words."""
        if self.finding is None:
            return self.summary
        value = "nothing" if self.finding.value is None else self.finding.value
        return f"saw {value}, wanted {self.finding.expected}"


@dataclass(frozen=True)
class CaseRun:
    """What came of a case. `verdicts` are those that the rules themselves found, by target: a waiver changes none of them."""

    case: Case
    decision: Decision
    guards: Decision | None
    mismatches: tuple[Mismatch, ...]
    verdicts: Mapping[Target, Verdict]

    @property
    def passed(self) -> bool:
        """Whether everything is as expected."""
        return not self.mismatches


@dataclass(frozen=True)
class Slip:
    """What a case says that its policy has no place for. `known` are the words that may have been meant by `word`."""

    path: Path
    message: str
    word: str = ""
    known: tuple[str, ...] = ()
    fix: str | None = None


def targets(policy: Policy) -> list[Target]:
    """Everything in a policy that finds a verdict, in the order of the file."""
    return [target for target, _ in _found(policy, None)] + [target for target, _ in _found_by_guards(policy, None)]


def run_case(policy: Policy, case: Case) -> CaseRun:
    """Decide as production does, and compare. Guards are asked only where the case expects something of them."""
    decision = _decided(policy, case)
    found = list(_found(policy, decision))
    guarding = policy.guarding if case.guards else None
    guards = _decided(guarding, case) if guarding else None
    found_by_guards = list(_found_by_guards(policy, guards)) if guards else []
    mismatches = list(_whole(case, decision))
    mismatches += [*_compared("rules", case.rules, found), *_compared("guards", case.guards, found_by_guards)]
    verdicts = {target: _own(finding) for target, finding in (*found, *found_by_guards) if finding is not None}
    return CaseRun(case, decision, guards, tuple(mismatches), verdicts)


def slips(document: CasesDocument, policy: Policy) -> Iterator[Slip]:
    """What no type shows: names that the policy does not have, or has more than once."""
    known = targets(policy)
    holders = policy.need.holders | (policy.guarding.need.holders if policy.guarding else frozenset())
    for index, case in enumerate(document.cases):
        own = [each for each in known if each.part != "guards"]
        guards = [each for each in known if each.part == "guards"]
        for called in case.rules:
            yield from _name_slips(("cases", index, "rules", called), called, own, policy)
            if not case.moving and any(each.part == "limits" and each.answers_to(called) for each in own):
                said = f"`{called:.80}` is judged only where an alias moves"
                yield Slip(("cases", index, "rules", called), said, fix="say `alias`, and leave the version out of its holders")
        for called in case.guards:
            yield from _name_slips(("cases", index, "guards", called), called, guards, policy, "guard")
        for place, name in enumerate(case.approvals):
            if name not in policy.approvers.known:
                said = f"`{name:.80}` is not in approvers.yaml"
                yield Slip(("cases", index, "approvals", place), said, name, tuple(policy.approvers.known))
        yield from _review_slips(("cases", index, "review"), case, policy)
        for alias in case.holders:
            if alias not in holders and alias != case.alias:
                said = f"nothing in policy `{policy.name}` compares with the holder of `{alias:.80}`"
                yield Slip(("cases", index, "holders", alias), said, alias, tuple(sorted(holders)))


def _review_slips(path: Path, case: Case, policy: Policy) -> Iterator[Slip]:
    """A pull request that no rule looks at, and members of teams that none names."""
    if case.review is None:
        return
    if not policy.need.review:
        yield Slip(path, f"no rule of policy `{policy.name}` looks at the review of a pull request")
    for team in case.review.teams:
        if policy.need.review and team not in policy.need.teams:
            said = f"no rule of policy `{policy.name}` asks for the team `{team:.80}`"
            yield Slip((*path, "teams", team), said, team, tuple(sorted(policy.need.teams)))


def _name_slips(path: Path, called: str, known: Iterable[Target], policy: Policy, what: str = "rule") -> Iterator[Slip]:
    among = list(known)
    count = sum(each.answers_to(called) for each in among)
    if count > 1:
        yield Slip(path, f"`{called:.80}` names {count} {what}s: give the one that is meant a `name`")
    elif not count:
        words = tuple(word for each in among for word in (each.name, each.rule) if word)
        yield Slip(path, f"`{called:.80}` names no {what} of policy `{policy.name}`", called, words, _TEXT)


def _decided(policy: Policy, case: Case) -> Decision:
    """As `promoter.application.judge` decides: the artifact is tried only once everything else passes."""
    policy, evidence = _approved(policy, case)
    decision = evaluate(policy, case.model, case.alias, evidence)
    loading = case.version.loading
    if loading is None or not hinges_on_loading(policy, decision):
        return decision
    tried = replace(evidence, candidate=replace(evidence.candidate, loading=loading))
    return evaluate(policy, case.model, case.alias, tried)


def _approved(policy: Policy, case: Case) -> tuple[Policy, Evidence]:
    """The evidence with an approval of everybody that the case names, and the policy with the keys that verify these.

    Such keys are made of names, for the length of a case: no test file holds a key, and what counts an approval is the
    product's own code. Groups and times are those of `approvers.yaml`.
    """
    evidence = case.evidence(policy)
    if not case.approvals:
        return policy, evidence
    signers = {name: Signer.of_seed(sha256(f"promoter policy test: {name}".encode()).digest()) for name in case.approvals}
    known = dict(policy.approvers.known)
    known |= {name: known[name].model_copy(update={"key": each.public_key}) for name, each in signers.items() if name in known}
    approving = replace(policy, approvers=Approvers(known))
    try:
        subject = Subject.of(evidence, policy.name, policy.digest, approving.setting.used)
    except ValueError:
        return approving, evidence  # nobody could sign that; the rule says why
    tags = {tag_key(policy.name, name): each.sign(subject, name, case.at).tag_value() for name, each in signers.items()}
    candidate = replace(evidence.candidate, tags={**evidence.candidate.tags, **tags})
    return approving, replace(evidence, candidate=candidate)


def _found(policy: Policy, decision: Decision | None) -> Iterator[tuple[Target, Finding | None]]:
    """Rules, limits and freezes, each with what it found."""
    document = policy.document
    findings = decision.findings if decision else ()
    yield from _rules("rules", "rule", document.rules, findings)
    limits = [*document.limits.findings(AliasPast(), DEFAULT_AT)]
    limits += [freeze.finding(AliasPast(), DEFAULT_AT) for freeze in document.freeze]
    judged = findings[len(document.rules) :] or (None,) * len(limits)
    for index, (limit, finding) in enumerate(zip(limits, judged, strict=True), start=1):
        yield Target("limits", f"limit {index}", limit.rule), finding


def _found_by_guards(policy: Policy, decision: Decision | None) -> Iterator[tuple[Target, Finding | None]]:
    yield from _rules("guards", "guard", policy.document.guards, decision.findings if decision else ())


def _rules(
    part: Part, word: str, rules: tuple[BaseRule, ...], findings: tuple[Finding, ...]
) -> Iterator[tuple[Target, Finding | None]]:
    known: tuple[Finding | None, ...] = findings[: len(rules)] or (None,) * len(rules)
    for index, (rule, finding) in enumerate(zip(rules, known, strict=True), start=1):
        yield from _within(part, f"{word} {index}", rule, finding)


def _within(part: Part, place: str, rule: BaseRule, finding: Finding | None) -> Iterator[tuple[Target, Finding | None]]:
    """A rule, and those inside. Where a group came to no findings of its own, those inside share what it found."""
    group = isinstance(rule, AnyOf | AllOf | Not)
    yield Target(part, place, visible(str(rule)), rule.name, group), finding
    inner = rule.inner if isinstance(rule, AnyOf | AllOf | Not) else ()
    shared = finding is None or len(finding.children) != len(inner)
    children = (finding,) * len(inner) if finding is None or shared else finding.children
    for index, (each, child) in enumerate(zip(inner, children, strict=True), start=1):
        yield from _within(part, f"{place}.{index}", each, child)


def _whole(case: Case, decision: Decision) -> Iterator[Mismatch]:
    if case.expect is not None and case.expect != decision.verdict:
        yield Mismatch(None, WHOLE, Verdict(case.expect), decision.verdict, None, decision.summary)


def _compared(part: Part, expected: Mapping[str, str], found: Iterable[tuple[Target, Finding | None]]) -> Iterator[Mismatch]:
    """In the order of the policy; then what is expected of nothing there, or of what was not judged: never as expected."""
    judged = [(target, finding) for target, finding in found if finding is not None]
    for target, finding in judged:
        for called, verdict in expected.items():
            if target.answers_to(called) and finding.verdict != verdict:
                yield Mismatch(target.part, str(target), Verdict(verdict), finding.verdict, finding)
    for called, verdict in expected.items():
        if not any(target.answers_to(called) for target, _ in judged):
            yield Mismatch(part, called, Verdict(verdict), Verdict.ERROR, None, "nothing of that name was judged")


def _own(finding: Finding) -> Verdict:
    return finding.waived.verdict if finding.waived else finding.verdict
