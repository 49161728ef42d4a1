"""Rotation: which version an alias should move to next, and why, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from promoter.domain.desired import AliasIntent
from promoter.domain.evaluate import rank_value
from promoter.domain.evidence import Evidence
from promoter.domain.observed import ObservedModel
from promoter.domain.policy import ANY, Policy
from promoter.domain.proposal import Edit, Proposal
from promoter.domain.verdict import Decision, Finding, Verdict, all_of


@dataclass(frozen=True)
class Standing:
    """Where rotation of one alias stands: a proposal, or the reason why there is none."""

    model: str
    alias: str
    reason: str
    proposal: Proposal | None = None
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True)
class Search:
    """The versions that rotation will judge; none: `reason` says why."""

    versions: tuple[int, ...] = ()
    reason: str = ""


def search(
    intent: AliasIntent,
    policy: Policy | None,
    observed: ObservedModel,
    stated: Mapping[str, AliasIntent],
    now: datetime,
) -> Search:
    """Which versions are candidates. `stated` is what git says of the model's aliases.

    Rotation refuses, in words, whatever it has no clear mandate for: a hold, a missing policy, an alias out of step.
    """
    if intent.hold and intent.hold.in_force(now):
        until = f" until {intent.hold.until:%Y-%m-%d %H:%M %Z}" if intent.hold.until else ""
        return Search(reason=f"held by {intent.hold.by}{until}: {intent.hold.reason}")
    if policy is None:
        return Search(reason="rotation needs a policy, and the alias names none")
    if policy.document.candidates is None:
        return Search(reason=f"policy `{policy.name}` says no `candidates`")
    if intent.absent:
        return Search(reason="git says that the alias must not exist")
    held = observed.aliases.get(intent.alias)
    if intent.version is not None and held != intent.version:
        return Search(reason=f"git says v{intent.version} and the registry {_version(held)}: that comes first")
    source = policy.document.candidates.from_
    return _newer(intent, observed, held) if source == ANY else _from_alias(intent, source, observed, stated, held)


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
    """Of the candidates, each with what its policy found, propose the best by rank that passes; of equals the newest."""
    judged = {number: _ranked(policy, decision) for number, decision in sorted(found.items())}
    decisions = tuple(judged.values())
    passing = {number: decision for number, decision in judged.items() if decision.verdict is Verdict.PASS}
    if not passing:
        latest = decisions[-1]
        others = f" (and {len(decisions) - 1} more)" if len(decisions) > 1 else ""
        return Standing(intent.model, intent.alias, f"v{latest.version}{others}: {latest.summary}", decisions=decisions)
    best = max(passing, key=lambda number: (_rank(policy, passing[number]) or 0.0, number))
    proposal = Proposal(Edit(intent.model, intent.alias, best), held, passing[best])
    return Standing(intent.model, intent.alias, f"v{best} {passing[best].summary}", proposal, decisions)


def _rank(policy: Policy, decision: Decision) -> float | None:
    return rank_value(policy, decision.evidence) if decision.evidence else None


def _ranked(policy: Policy, decision: Decision) -> Decision:
    """With the rank, without which a candidate cannot be compared, so that it is not proposed."""
    metric, evidence = policy.rank_metric, decision.evidence
    if metric is None or evidence is None or _rank(policy, decision) is not None:
        return decision
    findings = (*decision.findings, _unranked(policy, evidence))
    return replace(decision, findings=findings, verdict=all_of(finding.verdict for finding in findings))


def _unranked(policy: Policy, evidence: Evidence) -> Finding:
    metric, rank = policy.rank_metric, policy.document.rank
    measured = evidence.candidate.measured(metric) if metric else None
    verdict = Verdict.PENDING if measured is None else Verdict.ERROR
    order = rank.order if rank else ""
    return Finding(f"rank {metric} {order}", verdict, measured.value if measured else None, "a number to rank by")


def _version(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"
