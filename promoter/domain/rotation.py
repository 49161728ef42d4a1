"""Rotation: which version an alias should move to next, and why, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from promoter.domain.desired import AliasIntent
from promoter.domain.evaluate import hinges_on_review, rank_value
from promoter.domain.evidence import Evidence
from promoter.domain.observed import ObservedModel
from promoter.domain.policy import ANY, Policy
from promoter.domain.proposal import Edit, Proposal
from promoter.domain.sources import Holding, SourceVersion, sourced
from promoter.domain.verdict import Decision, Finding, Verdict, all_of


@dataclass(frozen=True)
class Standing:
    """Where rotation of one alias stands: a proposal, or the reason why there is none.

    `missing` is the version that is to be copied here before it can be judged.
    """

    model: str
    alias: str
    reason: str
    proposal: Proposal | None = None
    decisions: tuple[Decision, ...] = ()
    missing: SourceVersion | None = None


@dataclass(frozen=True)
class Search:
    """The versions that rotation will judge; none: `reason` says why, and `missing` what is to be copied first."""

    versions: tuple[int, ...] = ()
    reason: str = ""
    missing: SourceVersion | None = None


def search(
    intent: AliasIntent,
    policy: Policy | None,
    observed: ObservedModel,
    stated: Mapping[str, AliasIntent],
    now: datetime,
    holding: Holding | None = None,
) -> Search:
    """Which versions are candidates. `stated` is what git says of the model's aliases.

    With `promote_from`, the candidate is the copy of what `holding` found there, whatever the policy says of candidates.

    Rotation refuses, in words, whatever it has no clear mandate for: a hold, a missing policy, an alias out of step.
    """
    held = observed.aliases.get(intent.alias)
    reason = _unmandated(intent, policy, held, now)
    if reason is not None:
        return Search(reason=reason)
    candidates = policy.document.candidates if policy else None
    if intent.promote_from or candidates is None:
        found = sourced(intent, observed, holding)
        return Search((found.candidate,) if found.candidate else (), found.reason, found.missing)
    source = candidates.from_
    return _newer(intent, observed, held) if source == ANY else _from_alias(intent, source, observed, stated, held)


def _unmandated(intent: AliasIntent, policy: Policy | None, held: int | None, now: datetime) -> str | None:
    """Why rotation leaves the alias alone, whatever there may be to choose from; None: it does not."""
    if intent.hold and intent.hold.in_force(now):
        until = f" until {intent.hold.until:%Y-%m-%d %H:%M %Z}" if intent.hold.until else ""
        return f"held by {intent.hold.by}{until}: {intent.hold.reason}"
    if policy is None:
        return "rotation needs a policy, and the alias names none"
    if policy.document.candidates is None and intent.promote_from is None:
        return f"policy `{policy.name}` says no `candidates`"
    if intent.absent:
        return "git says that the alias must not exist"
    if intent.version is not None and held != intent.version:
        return f"git says v{intent.version} and the registry {_version(held)}: that comes first"
    return None


def _newer(intent: AliasIntent, observed: ObservedModel, held: int | None) -> Search:
    newer = sorted(number for number in observed.versions if number > (held or 0))
    usable = tuple(number for number in newer if number not in intent.quarantine and observed.versions[number].ready)
    if usable:
        return Search(usable)
    return Search(reason="no newer version" if not newer else "every newer version is in quarantine or not ready")


def _from_alias(
    intent: AliasIntent, source: str, observed: ObservedModel, stated: Mapping[str, AliasIntent], held: int | None
) -> Search:
    candidate = observed.aliases.get(source)
    said = stated.get(source)
    if said and said.stated and said.version != candidate:
        return Search(reason=f"{source} is out of step: git says {_version(said.version)}, the registry {_version(candidate)}")
    if candidate is None:
        return Search(reason=f"nobody holds {source}")
    if candidate == held:
        return Search(reason=f"{source} and {intent.alias} are both v{held}")
    if candidate in intent.quarantine:
        return Search(reason=f"{source} is v{candidate}, which is in quarantine")
    version = observed.versions.get(candidate)
    return Search((candidate,)) if version and version.ready else Search(reason=f"{source} is v{candidate}, which is not ready")


def obstacles(
    intent: AliasIntent,
    policy: Policy | None,
    observed: ObservedModel,
    version: int,
    now: datetime,
) -> list[str]:
    """Everything that keeps rotation from even considering the version for the alias, in words; its rules come after that."""
    told = [f"v{version} is in quarantine for {intent.alias}"] if version in intent.quarantine else []
    seen, held = observed.versions.get(version), observed.aliases.get(intent.alias)
    if seen and not seen.ready:
        told.append(f"v{version} is still being registered, or its registration failed")
    if intent.hold and intent.hold.in_force(now):
        told.append(f"{intent.alias} is held by {intent.hold.by}: {intent.hold.reason}")
    if intent.rotation == "off":
        told.append(f"{intent.alias} does not rotate (`rotation: off`): a commit of registry.yaml moves it")
    if intent.promote_from:
        return (
            told
            if seen and seen.copied
            else [*told, f"v{version} is no copy, and {intent.alias} gets copies only (`promote_from`)"]
        )
    candidates = policy.document.candidates if policy else None
    if candidates is None:
        return told
    if candidates.from_ != ANY and observed.aliases.get(candidates.from_) != version:
        source = _version(observed.aliases.get(candidates.from_))
        told.append(f"candidates come from {candidates.from_}, which is at {source}")
    if candidates.from_ == ANY and held is not None and version < held:
        told.append(f"v{version} is older than v{held}, which holds {intent.alias}: only newer versions are candidates")
    return told


def choose(intent: AliasIntent, policy: Policy, held: int | None, found: Mapping[int, Decision]) -> Standing:
    """Of the candidates, each with what its policy found, propose the best by rank that passes; of equals the newest.

    A pull request is where reviews come from: with `rotation: pull-request`, one that waits for nothing else passes as well.
    """
    judge = ranked if intent.promote_from is None else _unrivalled
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
        return Standing(intent.model, intent.alias, f"v{latest.version}{others}: {latest.summary}", decisions=decisions)
    best = max(passing, key=lambda number: (_rank(policy, passing[number]) or 0.0, number))
    proposal = Proposal(Edit(intent.model, intent.alias, best), held, passing[best])
    passes = passing[best].verdict is Verdict.PASS
    told = passing[best].summary if passes else f"waits for reviews only: {passing[best].summary}"
    return Standing(intent.model, intent.alias, f"v{best} {told}", proposal, decisions)


def _rank(policy: Policy, decision: Decision) -> float | None:
    return rank_value(policy, decision.evidence) if decision.evidence else None


def ranked(policy: Policy, decision: Decision) -> Decision:
    """With the rank, without which a candidate cannot be compared, so that it is not proposed."""
    metric, evidence = policy.rank_metric, decision.evidence
    if metric is None or evidence is None or _rank(policy, decision) is not None:
        return decision
    findings = (*decision.findings, _unranked(policy, evidence))
    return replace(decision, findings=findings, verdict=all_of(finding.verdict for finding in findings))


def _unrivalled(_policy: Policy, decision: Decision) -> Decision:
    """As it is: there is one candidate, and nobody to compare it with."""
    return decision


def _unranked(policy: Policy, evidence: Evidence) -> Finding:
    metric, rank = policy.rank_metric, policy.document.rank
    measured = evidence.candidate.measured(metric) if metric else None
    verdict = Verdict.PENDING if measured is None else Verdict.ERROR
    order = rank.order if rank else ""
    return Finding(f"rank {metric} {order}", verdict, measured.value if measured else None, "a number to rank by")


def _version(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"
