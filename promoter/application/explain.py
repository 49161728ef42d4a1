"""Explain: the decision that matters for an alias now, for one version under one policy, or why a version is not there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from promoter.application.decisions import DecisionMaker
from promoter.application.evidence import PolicyQuestion, TagObserver
from promoter.application.planner import Planner
from promoter.application.ports import Clock, Ledger, Registry
from promoter.application.provenance import NoProvenance
from promoter.application.snapshots import ModelSnapshot
from promoter.application.status import find_effective_refusals, render_declared_version
from promoter.domain.decision import Decision, Verdict
from promoter.domain.desired import Declaration
from promoter.domain.errors import PermanentError
from promoter.domain.fields import CHAMPION, format_utc_minute
from promoter.domain.observed import ObservedModel
from promoter.domain.plan import ChangeCause
from promoter.domain.policy.document import Policy
from promoter.domain.policy.evaluate import compute_rank_value
from promoter.domain.rotation import RotationStatus, list_rotation_obstacles


@dataclass(frozen=True)
class DecisionExplanation:
    """A decision, with what else matters to the alias."""

    subject: str
    """What the decision is about, in words."""
    decision: Decision | None
    notes: tuple[str, ...] = ()
    """What else bears on the alias, one sentence each."""
    others: tuple[Decision, ...] = ()
    """The decisions on the other candidates, the newest first."""
    guards: tuple[Decision, ...] = ()
    """What the guards say of the holder."""
    missing: bool = False
    """Whether nobody holds the alias, or git asks for what the registry does not have: nothing passes then."""

    @property
    def passes(self) -> bool:
        """Whether all is well; without a decision it is where somebody holds an alias that no policy gates."""
        return not self.missing and (self.decision is None or self.decision.verdict is Verdict.PASS)


@dataclass(frozen=True)
class RankedCandidate:
    """A version that rotation judges for an alias, or would judge, had nobody refused it."""

    version: int
    rank: float | None
    """The value that it is ranked by, as measured; None: it cannot be ranked, or the policy ranks by number."""
    verdict: str
    """A verdict in words; `refused` where a person turned it down."""
    summary: str
    """Why, in one line."""
    proposed: bool = False
    """Whether it is the one that rotation chooses."""


@dataclass(frozen=True)
class AliasCandidates:
    """The candidates of one alias, the best first."""

    alias: str
    held: int | None
    """The version that holds it."""
    stated: str
    """What git says of it."""
    rotation: str
    """Its `rotation`."""
    reason: str
    """What rotation makes of the candidates, or why there are none."""
    policy: str | None
    rank_metric: str | None
    """What they are ranked by; None: by their numbers."""
    candidates: tuple[RankedCandidate, ...] = ()


class DecisionExplainer:
    """Makes explanations. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger, planner: Planner, clock: Clock) -> None:
        self._registry = registry
        self._planner = planner
        self._clock = clock
        self._decide = DecisionMaker(registry, ledger, NoProvenance())
        self._observe_tags = TagObserver(ledger)

    def explain_alias(self, declaration: Declaration, model: str, alias: str) -> DecisionExplanation:
        """The change that git asks for; else rotation's candidate; else the holder under its own policy."""
        snapshot, observed = self._find_managed_alias(declaration, model, alias)
        notes, guards = _render_alias_notes(snapshot, alias), _find_guard_decisions(snapshot, alias)
        if any(each.alias in (None, alias) for each in snapshot.compared.blocked):
            stated = render_declared_version(snapshot.intent.aliases[alias])
            return DecisionExplanation(f"git says {stated} for {model}@{alias}, and that cannot be", None, notes, missing=True)
        change = snapshot.find_change(alias)
        if change and change.decision:
            source = "an override" if change.difference.cause is ChangeCause.OVERRIDE else "git"
            subject = f"{source} says v{change.difference.to_version} for {model}@{alias}"
            return DecisionExplanation(subject, change.decision, notes, guards=guards)
        rotation_status = snapshot.find_rotation_status(alias)
        if rotation_status and rotation_status.decisions:
            return _explain_candidate(rotation_status, notes, guards)
        return self._explain_holder(declaration, snapshot, observed, alias)

    def explain_model(self, declaration: Declaration, model: str) -> list[AliasCandidates]:
        """Every candidate of each alias, champion first."""
        snapshot, observed = self._find_managed_model(declaration, model)
        names = sorted(snapshot.intent.aliases, key=lambda each: (each != CHAMPION, each))
        return [_rank_candidates(declaration, snapshot, observed, name) for name in names]

    def explain_version(self, declaration: Declaration, model: str, version: int, policy: str) -> DecisionExplanation:
        """One version under one policy, whatever the aliases say."""
        if policy not in declaration.policies:
            known = ", ".join(sorted(declaration.policies)) or "none"
            raise PermanentError("policies", f"there is no policy `{policy}`", f"known: {known}")
        observed = self._observe_version(model, version)
        decision = self.decide_version(declaration, observed, None, version, declaration.policies[policy])
        return DecisionExplanation(f"{model} v{version} under policy `{policy}`", decision)

    def explain_absence(self, declaration: Declaration, model: str, version: int, alias: str) -> DecisionExplanation:
        """Why that version does not hold the alias: whatever stands in between, and what the alias's policy says of it."""
        snapshot, observed = self._find_managed_alias(declaration, model, alias)
        if version not in observed.versions:
            raise PermanentError("MLflow", f"the registry has no version {version} of `{model}`")
        intent = snapshot.intent.aliases[alias]
        if observed.aliases.get(alias) == version:
            return self._explain_holder(declaration, snapshot, observed, alias)
        policy = declaration.policies.get(intent.policy) if intent.policy else None
        decision = self.decide_version(declaration, observed, alias, version, policy) if policy else None
        notes = list_rotation_obstacles(intent, policy, observed, version, self._clock.now())
        rotation_status = snapshot.find_rotation_status(alias)
        if rotation_status and rotation_status.proposal and rotation_status.proposal.edit.version != version:
            notes.append(f"v{rotation_status.proposal.edit.version} comes first: {rotation_status.reason}")
        refused = [each for each in snapshot.refusals.get(alias, ()) if each.version == version]
        notes += [f"{each.description}; `{each.way_back}` takes that back" for each in refused]
        subject = f"why v{version} is not {model}@{alias}"
        return DecisionExplanation(subject, decision, (*_render_alias_notes(snapshot, alias)[:1], *notes), guards=())

    def decide_version(
        self, declaration: Declaration, observed: ObservedModel, alias: str | None, version: int, policy: Policy
    ) -> Decision:
        """Whether that version may hold that alias (None: any) under that policy, now."""
        at = self._clock.now()
        intent = declaration.desired.find_model_intent(observed.name)
        observed_tags = self._observe_tags(
            declaration, {observed.name: intent} if intent else {}, {observed.name: observed}, at
        )
        question = PolicyQuestion(observed, alias, version, policy)
        return self._decide.decide_questions([question], at, observed_tags.known)[question]

    def _observe_version(self, model: str, version: int) -> ObservedModel:
        observed = self._registry.observe_models({model}).get(model)
        if observed is None or version not in observed.versions:
            raise PermanentError("MLflow", f"the registry has no version {version} of `{model}`")
        return observed

    def _find_managed_model(self, declaration: Declaration, model: str) -> tuple[ModelSnapshot, ObservedModel]:
        declaration.desired.require_model_intent(model)
        snapshot = self._planner(declaration, {model}).models[model]
        if snapshot.observed is None:
            raise PermanentError("MLflow", f"there is no registered model `{model}`")
        return snapshot, snapshot.observed

    def _find_managed_alias(self, declaration: Declaration, model: str, alias: str) -> tuple[ModelSnapshot, ObservedModel]:
        snapshot, observed = self._find_managed_model(declaration, model)
        snapshot.intent.require_alias(alias)
        return snapshot, observed

    def _explain_holder(
        self, declaration: Declaration, snapshot: ModelSnapshot, observed: ObservedModel, alias: str
    ) -> DecisionExplanation:
        held, named, notes = (
            observed.aliases.get(alias),
            snapshot.intent.aliases[alias].policy,
            _render_alias_notes(snapshot, alias),
        )
        if held is None:
            return DecisionExplanation(f"nobody holds {observed.name}@{alias}", None, notes, missing=True)
        if named is None:
            return DecisionExplanation(f"v{held} holds {observed.name}@{alias}, which no policy gates", None, notes)
        decision = self.decide_version(declaration, observed, alias, held, declaration.policies[named])
        override = snapshot.intent.aliases[alias].override
        under = f" under an override until {format_utc_minute(override.until)}" if override and override.version == held else ""
        subject = f"v{held} holds {observed.name}@{alias}{under}; under its policy today"
        return DecisionExplanation(subject, decision, notes, guards=_find_guard_decisions(snapshot, alias))


def _explain_candidate(
    rotation_status: RotationStatus, notes: tuple[str, ...], guards: tuple[Decision, ...]
) -> DecisionExplanation:
    chosen = (rotation_status.proposal.decision if rotation_status.proposal else None) or rotation_status.decisions[-1]
    word = "would rotate to" if rotation_status.proposal else "does not rotate to"
    others = tuple(decision for decision in reversed(rotation_status.decisions) if decision is not chosen)
    return DecisionExplanation(
        f"{rotation_status.model}@{rotation_status.alias} {word} v{chosen.version}", chosen, notes, others, guards
    )


def _rank_candidates(declaration: Declaration, snapshot: ModelSnapshot, observed: ObservedModel, alias: str) -> AliasCandidates:
    intent = snapshot.intent.aliases[alias]
    policy = declaration.policies.get(intent.policy) if intent.policy else None
    status = snapshot.find_rotation_status(alias)
    decisions = status.decisions if status else ()
    best = status.proposal.edit.version if status and status.proposal else None
    ranked = sorted(decisions, key=lambda each: (_compute_order(policy, each), each.version), reverse=True)
    judged = [
        RankedCandidate(each.version, _find_rank(policy, each), each.verdict.value, each.summary_line, each.version == best)
        for each in ranked
    ]
    refused = [
        RankedCandidate(each.version, None, "refused", each.description)
        for each in (status.refused if status else ())
        if each.version is not None
    ]
    return AliasCandidates(
        alias=alias,
        held=observed.aliases.get(alias),
        stated=render_declared_version(intent.declared or intent),
        rotation=intent.rotation,
        reason=status.reason if status else "",
        policy=intent.policy,
        rank_metric=str(policy.rank_metric) if policy and policy.rank_metric else None,
        candidates=(*judged, *refused),
    )


def _compute_order(policy: Policy | None, decision: Decision) -> float:
    rank = compute_rank_value(policy, decision.evidence) if policy and decision.evidence else None
    return -math.inf if rank is None else rank


def _find_rank(policy: Policy | None, decision: Decision) -> float | None:
    metric, evidence = policy.rank_metric if policy else None, decision.evidence
    measured = evidence.candidate.find_measurement(metric) if metric and evidence else None
    return measured.value if measured and math.isfinite(measured.value) else None


def _find_guard_decisions(snapshot: ModelSnapshot, alias: str) -> tuple[Decision, ...]:
    return tuple(each.decision for each in snapshot.guards if each.alias == alias)


def _render_alias_notes(snapshot: ModelSnapshot, alias: str) -> tuple[str, ...]:
    intent = snapshot.intent.aliases[alias]
    held = snapshot.find_held_version(alias)
    stated = render_declared_version(intent.declared or intent)
    notes = [f"the registry has {f'v{held}' if held else 'nothing'}, git says {stated}"]
    notes += [f"an override stands in for git: {intent.override.description}"] if intent.override else []
    notes += [snapshot.outlooks[alias].warning] if alias in snapshot.outlooks else []
    notes += [each.reason for each in snapshot.compared.blocked if each.alias in (None, alias)]
    notes += [each.replacement for each in snapshot.compared.differences if each.alias == alias and each.replacement]
    notes += [f"drift, reported only: {each.alias}" for each in snapshot.compared.reported if each.alias == alias]
    notes += [f"rotation ({intent.rotation}): {each.reason}" for each in snapshot.rotation_statuses if each.alias == alias]
    notes += [f"{each.description}; `{each.way_back}` takes that back" for each in find_effective_refusals(snapshot, alias)]
    for guard_status in (each for each in snapshot.guards if each.alias == alias):
        notes += [f"guard {row}" for row in guard_status.rows if row.failed]
        if guard_status.broken_guards:
            target = guard_status.proposal.edit.version if guard_status.proposal else None
            notes.append(
                f"back to v{target}" if target else f"a guard is broken, and nothing is proposed: {guard_status.reason}"
            )
    return tuple(notes)
