"""Rotation: which version an alias should move to next, and why, or why none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from promoter.domain.copy_source import SourceAlias, SourceVersion, select_source_version
from promoter.domain.decision import Decision, RuleFinding, Verdict, combine_all_of
from promoter.domain.desired import AliasIntent
from promoter.domain.evidence import Evidence
from promoter.domain.fields import find_model_name_flaw
from promoter.domain.observed import ObservedModel
from promoter.domain.policy.document import ANY_NEWER, Policy
from promoter.domain.policy.evaluate import compute_rank_value, hinges_on_review
from promoter.domain.proposal import Proposal, RegistryEdit
from promoter.domain.refusals import ProposalRefusal
from promoter.domain.text import version_label


@dataclass(frozen=True)
class RotationStatus:
    """The state of rotation for one alias: a proposal, or the reason why there is none."""

    model: str
    alias: str
    reason: str
    proposal: Proposal | None = None
    decisions: tuple[Decision, ...] = ()
    """The decisions on all candidates."""
    missing: SourceVersion | None = None
    """The version that has to be copied here before it can be evaluated."""
    refused: tuple[ProposalRefusal, ...] = ()
    """The versions that would be candidates, had nobody refused them."""

    def find_decision(self, version: int | None) -> Decision | None:
        """Return the decision on that version; None where it is no candidate."""
        return next((each for each in self.decisions if each.version == version), None)


@dataclass(frozen=True)
class CandidateSearch:
    """The versions that rotation will judge."""

    versions: tuple[int, ...] = ()
    reason: str = ""
    """Why there are none."""
    missing: SourceVersion | None = None
    """The version that has to be copied first."""
    refused: tuple[ProposalRefusal, ...] = ()
    """What a person refused of those that would be judged."""

    def leave_out(self, refusals: Collection[ProposalRefusal]) -> CandidateSearch:
        """Return the search without the versions that a person refused."""
        refused = tuple(each for each in refusals if each.version in self.versions)
        if not refused:
            return self
        numbers = {each.version for each in refused}
        left = tuple(each for each in self.versions if each not in numbers)
        names = ", ".join(version_label(number) for number in sorted(numbers))
        reason = "" if left else f"every candidate was refused: {names}"
        return replace(self, versions=left, reason=reason, refused=refused)


def find_candidates(
    intent: AliasIntent,
    policy: Policy | None,
    observed: ObservedModel,
    stated: Mapping[str, AliasIntent],
    now: datetime,
    source_alias: SourceAlias | None = None,
    refusals: Collection[ProposalRefusal] = (),
) -> CandidateSearch:
    """Return the candidates of an alias. `stated` is what git says of the model's aliases; `refusals` are those of the alias.

    With `promote_from`, the candidate is the copy of the version that `source_alias` found there, whatever the policy says of
    candidates. Rotation refuses, with a reason, where its mandate is unclear: a hold, a missing policy, an alias out of step.
    """
    held = observed.aliases.get(intent.alias)
    reason = find_model_name_flaw(intent.model) or _find_rotation_obstacle(intent, policy, held, now)
    if reason is not None:
        return CandidateSearch(reason=reason)
    candidates = policy.document.candidates if policy else None
    if intent.promote_from or candidates is None:
        found = select_source_version(intent, observed, source_alias)
        search = CandidateSearch((found.candidate,) if found.candidate else (), found.reason, found.missing)
    elif candidates.from_ == ANY_NEWER:
        search = _find_newer_versions(intent, observed, held)
    else:
        search = _find_alias_candidate(intent, candidates.from_, observed, stated, held)
    return search.leave_out([each for each in refusals if each.is_of_rotation])


def _find_rotation_obstacle(intent: AliasIntent, policy: Policy | None, held: int | None, now: datetime) -> str | None:
    """Return why rotation leaves the alias alone, whatever candidates there may be; None where it does not."""
    if intent.hold and intent.hold.is_in_force(now):
        until = f" until {intent.hold.until:%Y-%m-%d %H:%M %Z}" if intent.hold.until else ""
        return f"held by {intent.hold.by}{until}: {intent.hold.reason}"
    if policy is None:
        return "rotation needs a policy, and the alias names none"
    if policy.document.candidates is None and intent.promote_from is None:
        return f"policy `{policy.name}` says no `candidates`"
    if intent.absent:
        return "git says that the alias must not exist"
    if intent.version is not None and held != intent.version:
        return f"git says v{intent.version} and the registry {version_label(held)}: that comes first"
    return None


def _find_newer_versions(intent: AliasIntent, observed: ObservedModel, held: int | None) -> CandidateSearch:
    newer = sorted(number for number in observed.versions if number > (held or 0))
    usable = tuple(number for number in newer if number not in intent.quarantine and observed.versions[number].ready)
    if usable:
        return CandidateSearch(usable)
    return CandidateSearch(reason="no newer version" if not newer else "every newer version is in quarantine or not ready")


def _find_alias_candidate(
    intent: AliasIntent, source: str, observed: ObservedModel, stated: Mapping[str, AliasIntent], held: int | None
) -> CandidateSearch:
    candidate = observed.aliases.get(source)
    declared = stated.get(source)
    if declared and declared.has_declared_target and declared.version != candidate:
        in_git, in_registry = version_label(declared.version), version_label(candidate)
        return CandidateSearch(reason=f"{source} is out of step: git says {in_git}, the registry {in_registry}")
    if candidate is None:
        return CandidateSearch(reason=f"nobody holds {source}")
    if candidate == held:
        return CandidateSearch(reason=f"{source} and {intent.alias} are both v{held}")
    if candidate in intent.quarantine:
        return CandidateSearch(reason=f"{source} is v{candidate}, which is in quarantine")
    version = observed.versions.get(candidate)
    return (
        CandidateSearch((candidate,))
        if version and version.ready
        else CandidateSearch(reason=f"{source} is v{candidate}, which is not ready")
    )


def list_rotation_obstacles(
    intent: AliasIntent,
    policy: Policy | None,
    observed: ObservedModel,
    version: int,
    now: datetime,
) -> list[str]:
    """Return everything that keeps rotation from considering the version for the alias, before any rule is evaluated."""
    obstacles = [f"v{version} is in quarantine for {intent.alias}"] if version in intent.quarantine else []
    seen, held = observed.versions.get(version), observed.aliases.get(intent.alias)
    if seen and not seen.ready:
        obstacles.append(f"v{version} is still being registered, or its registration failed")
    if intent.hold and intent.hold.is_in_force(now):
        obstacles.append(f"{intent.alias} is held by {intent.hold.by}: {intent.hold.reason}")
    if intent.rotation == "off":
        obstacles.append(f"{intent.alias} does not rotate (`rotation: off`): a commit of registry.yaml moves it")
    if intent.promote_from:
        return (
            obstacles
            if seen and seen.is_copied
            else [*obstacles, f"v{version} is no copy, and {intent.alias} gets copies only (`promote_from`)"]
        )
    candidates = policy.document.candidates if policy else None
    if candidates is None:
        return obstacles
    if candidates.from_ != ANY_NEWER and observed.aliases.get(candidates.from_) != version:
        source = version_label(observed.aliases.get(candidates.from_))
        obstacles.append(f"candidates come from {candidates.from_}, which is at {source}")
    if candidates.from_ == ANY_NEWER and held is not None and version < held:
        obstacles.append(f"v{version} is older than v{held}, which holds {intent.alias}: only newer versions are candidates")
    return obstacles


def choose_best_candidate(
    intent: AliasIntent, policy: Policy, held: int | None, found: Mapping[int, Decision]
) -> RotationStatus:
    """Propose the best candidate by rank among those that pass; of equals, the newest.

    A pull request is where reviews come from: with `rotation: pull-request`, one that waits for nothing else passes as well.
    """
    judge = add_rank_finding if intent.promote_from is None else _keep_single_candidate
    judged = {number: judge(policy, decision) for number, decision in sorted(found.items())}
    decisions = tuple(judged.values())
    through = intent.rotation == "pull-request"
    passing = {
        number: decision
        for number, decision in judged.items()
        if decision.verdict is Verdict.PASS or (through and hinges_on_review(policy, decision))
    }
    if not passing:
        latest = decisions[-1]
        others = f" (and {len(decisions) - 1} more)" if len(decisions) > 1 else ""
        return RotationStatus(
            intent.model, intent.alias, f"v{latest.version}{others}: {latest.summary_line}", decisions=decisions
        )
    best = max(passing, key=lambda number: (_compute_decision_rank(policy, passing[number]) or 0.0, number))
    proposal = Proposal(RegistryEdit(intent.model, intent.alias, best), held, passing[best])
    passes = passing[best].verdict is Verdict.PASS
    summary = passing[best].summary_line if passes else f"waits for reviews only: {passing[best].summary_line}"
    return RotationStatus(intent.model, intent.alias, f"v{best} {summary}", proposal, decisions)


def _compute_decision_rank(policy: Policy, decision: Decision) -> float | None:
    return compute_rank_value(policy, decision.evidence) if decision.evidence else None


def add_rank_finding(policy: Policy, decision: Decision) -> Decision:
    """Return the decision with a finding on the rank, without which a candidate cannot be compared nor proposed."""
    metric, evidence = policy.rank_metric, decision.evidence
    if metric is None or evidence is None or _compute_decision_rank(policy, decision) is not None:
        return decision
    findings = (*decision.findings, _build_missing_rank_finding(policy, evidence))
    return replace(decision, findings=findings, verdict=combine_all_of(finding.verdict for finding in findings))


def _keep_single_candidate(_policy: Policy, decision: Decision) -> Decision:
    """Return the decision unchanged: one candidate needs no rank."""
    return decision


def _build_missing_rank_finding(policy: Policy, evidence: Evidence) -> RuleFinding:
    metric, rank = policy.rank_metric, policy.document.candidate_rank
    measured = evidence.candidate.find_measurement(metric) if metric else None
    verdict = Verdict.PENDING if measured is None else Verdict.ERROR
    order = rank.order if rank else ""
    return RuleFinding(f"rank {metric} {order}", verdict, measured.value if measured else None, "a number to rank by")
