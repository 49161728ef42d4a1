"""Decisions: everything that a plan asks of policies: gates, rotations and guards, with evidence read in bulk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from promoter.application.evidence import EvidenceGatherer, ObservationsByVersion, PolicyQuestion, build_registry_evidence
from promoter.application.ports import Ledger, Registry
from promoter.application.provenance import ChangeProvenance
from promoter.domain.copy_source import AliasRef, SourceAlias
from promoter.domain.decision import Decision, DecisionPurpose, Verdict, combine_all_of
from promoter.domain.desired import AliasIntent, Declaration, ModelIntent
from promoter.domain.evidence import NOT_REQUESTED, Evidence
from promoter.domain.observed import ObservedModel, Unreadable
from promoter.domain.plan import AliasDifference, Change, ChangeCause, ChangeGate, ModelComparison
from promoter.domain.policy.document import Policy
from promoter.domain.policy.evaluate import (
    check_readiness,
    evaluate_policy,
    evaluate_readiness,
    hinges_on_loading,
    lacks_only_reviews,
)
from promoter.domain.policy.guards import (
    GuardStatus,
    add_rollback_proposal,
    evaluate_guards,
    find_earlier_versions,
    find_rollback_obstacle,
    is_return_to_good_standing,
)
from promoter.domain.proposal import Proposal, ProposalReason, RegistryEdit
from promoter.domain.refusals import ProposalRefusal, find_refusal
from promoter.domain.review import ChangeOrigin
from promoter.domain.rotation import CandidateSearch, RotationStatus, choose_best_candidate, find_candidates


@dataclass(frozen=True)
class _GuardedAlias:
    """An alias whose policy has guards, and the question whether its holder passes them."""

    intent: AliasIntent
    question: PolicyQuestion


SourceAliases = Mapping[AliasRef, SourceAlias]
RefusalsByAlias = Mapping[str, Mapping[str, tuple[ProposalRefusal, ...]]]
"""What stands refused, by model and alias."""


@dataclass(frozen=True)
class EvaluationContext:
    """Everything that decisions are made from, but for the evidence; models by name."""

    declaration: Declaration
    intents: Mapping[str, ModelIntent]
    """What git wants of each model."""
    observed: Mapping[str, ObservedModel]
    """What the registry has."""
    compared: Mapping[str, ModelComparison]
    """How the two differ."""
    at: datetime
    """The moment of the evaluation."""
    observations: ObservationsByVersion
    """What is known of tags."""
    started_at: datetime | None = None
    """When the first change of the reconcile began: what has begun finishes, also into a freeze."""
    source_aliases: SourceAliases = field(default_factory=dict)
    """Who holds the aliases elsewhere that versions come from."""
    refusals: RefusalsByAlias = field(default_factory=dict)
    """What people turned down."""

    def find_policy(self, name: str | None) -> Policy:
        """Return the policy; parsing has made sure that each one that is named exists at the same revision."""
        return self.declaration.policies[name or ""]


@dataclass(frozen=True)
class DecisionResults:
    """Changes with their gates' decisions; and by model, the state of rotations and guards."""

    changes: tuple[Change, ...]
    rotation_statuses: Mapping[str, tuple[RotationStatus, ...]]
    guards: Mapping[str, tuple[GuardStatus, ...]]
    put_backs: Mapping[str, tuple[Proposal, ...]] = field(default_factory=dict)
    """By model, the ways back in git from what was merged without the reviews that its policy asks for."""


@dataclass(frozen=True)
class _RotationQuestions:
    """An alias that rotates, and the question for each candidate."""

    intent: AliasIntent
    observed: ObservedModel
    found: CandidateSearch
    questions: Mapping[int, PolicyQuestion]


@dataclass
class _QuestionSet:
    """All questions of one plan, each kept beside what it is about."""

    changes: list[Change] = field(default_factory=list)
    gates: list[tuple[AliasDifference, PolicyQuestion]] = field(default_factory=list)
    rotations: list[_RotationQuestions] = field(default_factory=list)
    guards: list[_GuardedAlias] = field(default_factory=list)

    def all_questions(self) -> Iterator[PolicyQuestion]:
        yield from (question for _, question in self.gates)
        for rotation in self.rotations:
            yield from rotation.questions.values()
        yield from (each.question for each in self.guards)

    def collect_changes(self, decisions: Mapping[PolicyQuestion, Decision]) -> tuple[Change, ...]:
        return (*self.changes, *(Change(difference, decisions[question]) for difference, question in self.gates))


class DecisionMaker:
    """Makes decisions: gates of changes, candidates of rotations, guards of holders. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger, provenance: ChangeProvenance) -> None:
        self._registry = registry
        self._ledger = ledger
        self._provenance = provenance
        self._gather = EvidenceGatherer(registry, ledger)

    def decide_all(self, context: EvaluationContext) -> DecisionResults:
        """Decide all gates, rotations and guards of the models in the context, in one bulk read of evidence."""
        asked = self._build_gate_questions(context)
        for name, intent in context.intents.items():
            asked.rotations += _build_rotation_questions(context, intent, context.observed.get(name))
            if name in context.observed:
                asked.guards += _find_guarded_aliases(context.declaration, intent, context.observed[name])
        decisions = self.decide_questions(asked.all_questions(), context.at, context.observations)
        statuses: dict[str, tuple[RotationStatus, ...]] = {}
        for rotation in asked.rotations:
            model = rotation.intent.model
            statuses[model] = (*statuses.get(model, ()), _choose_rotation_status(context, rotation, decisions))
        changes = asked.collect_changes(decisions)
        guards = self._evaluate_guards(asked.guards, decisions, context)
        return DecisionResults(changes, statuses, guards, _build_put_backs(context, changes))

    def decide_changes(self, context: EvaluationContext, alias: str | None) -> tuple[Change, ...]:
        """Decide the gates only; with `alias` only those of changes of that alias."""
        asked = self._build_gate_questions(context, alias)
        return asked.collect_changes(self.decide_questions(asked.all_questions(), context.at, context.observations))

    def decide_questions(
        self, questions: Iterable[PolicyQuestion], at: datetime, observations: ObservationsByVersion
    ) -> dict[PolicyQuestion, Decision]:
        """Answer each question with a decision. Artifacts are loaded only where nothing else stands in the way."""
        evidence = self._gather(questions, at, observations)
        return {question: self._decide_question(question, evidence[question]) for question in evidence}

    def _decide_question(self, question: PolicyQuestion, evidence: Evidence) -> Decision:
        decision = _evaluate_question(question, evidence)
        version = question.observed.versions.get(question.version)
        if version is not None and not version.ready and question.purpose is not DecisionPurpose.GUARD:
            return self._add_registration_finding(decision)
        if version is None or not hinges_on_loading(question.policy, decision):
            return decision
        loading = self._registry.check_loading(question.observed.name, version)
        return _evaluate_question(question, replace(evidence, candidate=replace(evidence.candidate, loading=loading)))

    def _add_registration_finding(self, decision: Decision) -> Decision:
        """Add that the version is not registered, or failed to be: no rule speaks of that, and such a version never passes."""
        finding = check_readiness(self._registry.check_readiness(decision.model, decision.version))
        if finding.verdict is Verdict.PASS:
            return decision  # its registration ended meanwhile
        return replace(
            decision,
            findings=(finding, *decision.findings),
            verdict=combine_all_of((finding.verdict, decision.verdict)),
        )

    def _build_gate_questions(self, context: EvaluationContext, alias: str | None = None) -> _QuestionSet:
        asked = _QuestionSet()
        for name, comparison in context.compared.items():
            for difference in comparison.differences:
                if alias in (None, difference.alias):
                    self._add_gate_question(difference, context, asked, context.observed[name])
        return asked

    def _add_gate_question(
        self, difference: AliasDifference, context: EvaluationContext, asked: _QuestionSet, observed: ObservedModel
    ) -> None:
        version, alias, intent = difference.to_version, difference.alias, difference.intent
        held = version is not None and intent is not None and intent.hold is not None
        present = observed.find_present(version) if held or difference.may_return else None
        before = present is not None and self._ledger.has_held_alias(difference.model, alias, present)
        returns = before and difference.may_return and self._returns_to_good_standing(difference, observed)
        gate = difference.select_gate(context.at, held_before=before, returns=returns)
        ready = None
        if gate is ChangeGate.READINESS and version is not None:
            waiver = _find_artifact_waiver(intent, version, context.at) if before else None
            ready = self._decide_readiness(difference, version, context.at, observed, waiver)
            if returns and not ready.lets_through:  # it may still pass its policy, as any other change
                gate = difference.select_gate(context.at, held_before=before)
        if gate is ChangeGate.NONE or version is None or intent is None:
            asked.changes.append(Change(difference))
        elif gate is ChangeGate.READINESS:
            asked.changes.append(Change(difference, ready))
        else:
            policy = context.find_policy(intent.policy)
            override = self._find_freeze_override(difference, policy, context)
            origin = self._find_change_origin(difference, policy, context)
            question = PolicyQuestion(
                observed, alias, version, policy, context.started_at, override, origin, DecisionPurpose.GATE
            )
            asked.gates.append((difference, question))

    def _returns_to_good_standing(self, difference: AliasDifference, observed: ObservedModel) -> bool:
        key, intent, version = (difference.model, difference.alias), difference.intent, difference.to_version
        if intent is None or version is None:
            return False
        moves = self._ledger.find_alias_moves({key}).get(key, ())
        return is_return_to_good_standing(intent, observed, version, moves)

    def _find_freeze_override(self, difference: AliasDifference, policy: Policy, context: EvaluationContext) -> str | None:
        frozen = any(freeze.find_freeze_end(context.started_at or context.at) for freeze in policy.document.freeze)
        return self._provenance.find_freeze_override(difference, context.declaration) if frozen else None

    def _find_change_origin(
        self, difference: AliasDifference, policy: Policy, context: EvaluationContext
    ) -> ChangeOrigin | Unreadable | None:
        need = policy.needed_evidence
        return (
            self._provenance.find_change_origin(difference, context.declaration, need.teams) if need.review else NOT_REQUESTED
        )

    def _decide_readiness(
        self, difference: AliasDifference, version: int, at: datetime, observed: ObservedModel, waiver: str | None
    ) -> Decision:
        checked = self._registry.check_readiness(difference.model, version)
        candidate = replace(build_registry_evidence(observed, version), checked=checked)
        evidence = Evidence(at, candidate, model=difference.model, artifact_waiver=waiver)
        return evaluate_readiness(difference.model, difference.alias, evidence)

    def _evaluate_guards(
        self, guarded: Sequence[_GuardedAlias], decisions: Mapping[PolicyQuestion, Decision], context: EvaluationContext
    ) -> dict[str, tuple[GuardStatus, ...]]:
        """Count each guard's failures, and find the version to return to where one is broken; by model."""
        keys = {(each.intent.model, each.intent.alias) for each in guarded}
        checks = self._ledger.find_guard_checks(keys) if keys else {}
        found: dict[str, tuple[GuardStatus, ...]] = {}
        for each in guarded:
            model, alias = each.intent.model, each.intent.alias
            rules = each.question.policy.document.rules
            status = evaluate_guards(decisions[each.question], rules, checks.get((model, alias), ()))
            if status.broken_guards:
                status = self._add_return_proposal(each, status, context)
            found[model] = (*found.get(model, ()), status)
        return found

    def _add_return_proposal(self, each: _GuardedAlias, status: GuardStatus, context: EvaluationContext) -> GuardStatus:
        """Return the status with a proposal to return to an earlier version, or with the reason why there is none.

        Where a person refused that return, nothing is proposed in its place: who refuses it wants the holder to stay.
        """
        observed, intent = each.question.observed, each.intent
        obstacle = "`enforcement: audit` only watches" if status.decision.enforcement == "audit" else None
        obstacle = obstacle or find_rollback_obstacle(intent, observed, context.at)
        if obstacle:
            return replace(status, reason=obstacle)
        moves = self._ledger.find_alias_moves({(intent.model, intent.alias)}).get((intent.model, intent.alias), ())
        reasons = []
        for version in find_earlier_versions(intent, observed, moves, status.version):
            found = check_readiness(self._registry.check_readiness(intent.model, version))
            if found.verdict is Verdict.PASS:
                proposed = add_rollback_proposal(status, version)
                refusals = context.refusals.get(intent.model, {}).get(intent.alias, ())
                refusal = find_refusal(refusals, proposed.proposal) if proposed.proposal else None
                return replace(status, reason=refusal.description) if refusal else proposed
            reasons.append(f"v{version} is not ready ({found.value})")
        return replace(status, reason="; ".join(reasons) or "the ledger knows no earlier version to return to")


def _find_artifact_waiver(intent: AliasIntent | None, version: int, at: datetime) -> str | None:
    """Return who wants exactly that version back without a check of its artifact, and why, as git or an override says it."""
    hold = intent.hold if intent else None
    waives = hold is not None and hold.waives_artifact_check(version, at)
    return f"without artifact check, by {hold.by}: {hold.reason}" if hold and waives else None


def _evaluate_question(question: PolicyQuestion, evidence: Evidence) -> Decision:
    decision = evaluate_policy(question.policy, question.observed.name, question.alias, evidence)
    return replace(decision, purpose=question.purpose, gate=question.purpose is DecisionPurpose.GATE)


def _find_guarded_aliases(declaration: Declaration, intent: ModelIntent, observed: ObservedModel) -> Iterable[_GuardedAlias]:
    """Yield the aliases of a model that have a holder and guards."""
    for alias in sorted(intent.aliases.values(), key=lambda each: each.alias):
        policy = declaration.policies.get(alias.policy) if alias.policy else None
        held = observed.aliases.get(alias.alias)
        if policy and policy.guard_policy and held is not None:
            yield _GuardedAlias(
                alias, PolicyQuestion(observed, alias.alias, held, policy.guard_policy, purpose=DecisionPurpose.GUARD)
            )


def _build_rotation_questions(
    context: EvaluationContext, intent: ModelIntent, seen: ObservedModel | None
) -> Iterator[_RotationQuestions]:
    """Yield the rotations of a model; before it is registered only those from elsewhere, since the first copy registers it."""
    observed = seen or ObservedModel(intent.name)
    for alias in sorted(intent.aliases.values(), key=lambda each: each.alias):
        place = AliasRef.from_intent(alias)
        if alias.rotation == "off" or (seen is None and place is None):
            continue
        policy = context.declaration.policies.get(alias.policy) if alias.policy else None
        holding = context.source_aliases.get(place) if place else None
        refusals = context.refusals.get(alias.model, {}).get(alias.alias, ())
        found = find_candidates(alias, policy, observed, intent.aliases, context.at, holding, refusals)
        purpose = DecisionPurpose.COPY if alias.promote_from else DecisionPurpose.CANDIDATE
        numbers = found.versions if policy else ()
        questions = {each: PolicyQuestion(observed, alias.alias, each, policy, purpose=purpose) for each in numbers if policy}
        yield _RotationQuestions(alias, observed, found, questions)


def _choose_rotation_status(
    context: EvaluationContext, rotation: _RotationQuestions, decisions: Mapping[PolicyQuestion, Decision]
) -> RotationStatus:
    alias, found = rotation.intent, rotation.found
    if not rotation.questions:
        return RotationStatus(alias.model, alias.alias, found.reason, missing=found.missing, refused=found.refused)
    judged = {number: decisions[question] for number, question in rotation.questions.items()}
    held, policy = rotation.observed.aliases.get(alias.alias), context.find_policy(alias.policy)
    return replace(choose_best_candidate(alias, policy, held, judged), refused=found.refused)


def _build_put_backs(context: EvaluationContext, changes: Iterable[Change]) -> dict[str, tuple[Proposal, ...]]:
    """Build the way back in git for each change that was merged without its reviews, by model.

    Nobody can approve what is merged, so that rotation by pull request would wait for ever. A hold says that a person is at
    work on the alias.
    """
    found: dict[str, tuple[Proposal, ...]] = {}
    for change in changes:
        what, intent = change.difference, change.difference.intent
        policy = context.declaration.policies.get(intent.policy or "") if intent else None
        if intent is None or policy is None or change.decision is None or what.cause is not ChangeCause.COMMIT:
            continue
        held = intent.hold is not None and intent.hold.is_in_force(context.at)
        if held or intent.rotation != "pull-request" or what.from_version is None or what.to_version is None:
            continue
        if not change.is_allowed and lacks_only_reviews(policy, change.decision):
            edit = RegistryEdit(what.model, what.alias, what.from_version)
            proposal = Proposal(edit, what.to_version, None, ProposalReason.PUT_BACK)
            found[what.model] = (*found.get(what.model, ()), proposal)
    return found
