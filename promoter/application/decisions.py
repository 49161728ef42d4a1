"""Decide: everything that a survey asks of policies, in one bulk read of evidence: gates, rotations and guards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from promoter.application.evidence import EvidenceGatherer, ObservationsByVersion, PolicyQuestion, build_registry_evidence
from promoter.application.ports import AuditLog, Ledger, Registry, VersionCopies
from promoter.application.provenance import ChangeProvenance
from promoter.domain.copy_source import AliasRef, SourceAlias
from promoter.domain.decision import Decision, DecisionPurpose, Verdict
from promoter.domain.desired import AliasIntent, Declaration, ModelIntent
from promoter.domain.evidence import NOT_REQUESTED, Evidence
from promoter.domain.observed import ObservedModel, Unreadable
from promoter.domain.plan import AliasDifference, Change, ChangeGate, ModelComparison
from promoter.domain.policy.document import Policy
from promoter.domain.policy.evaluate import check_readiness, evaluate_policy, evaluate_readiness, hinges_on_loading
from promoter.domain.policy.guards import (
    GuardStatus,
    add_rollback_proposal,
    evaluate_guards,
    find_earlier_versions,
    find_rollback_obstacle,
)
from promoter.domain.review import ChangeOrigin
from promoter.domain.rotation import CandidateSearch, RotationStatus, choose_best_candidate, find_candidates


class QuestionJudge:
    """Makes decisions. Reads only."""

    def __init__(self, registry: Registry, ledger: AuditLog) -> None:
        """Takes the ports that it reads."""
        self._registry = registry
        self._gather = EvidenceGatherer(registry, ledger)

    def __call__(
        self, questions: Iterable[PolicyQuestion], at: datetime, sights: ObservationsByVersion
    ) -> dict[PolicyQuestion, Decision]:
        """One decision a question. Artifacts are loaded only where nothing else stands in the way."""
        evidence = self._gather(questions, at, sights)
        return {question: self._decide_question(question, evidence[question]) for question in evidence}

    def _decide_question(self, question: PolicyQuestion, evidence: Evidence) -> Decision:
        name = question.observed.name
        decision = self._evaluate_question(question, evidence)
        version = question.observed.versions.get(question.version)
        if version is None or not hinges_on_loading(question.policy, decision):
            return decision
        loading = self._registry.check_loading(name, version)
        return self._evaluate_question(question, replace(evidence, candidate=replace(evidence.candidate, loading=loading)))

    def _evaluate_question(self, question: PolicyQuestion, evidence: Evidence) -> Decision:
        decision = evaluate_policy(question.policy, question.observed.name, question.alias, evidence)
        return replace(decision, purpose=question.purpose, gate=question.purpose is DecisionPurpose.GATE)


@dataclass(frozen=True)
class GuardedAlias:
    """An alias whose policy has guards, and the question that its holder is asked."""

    intent: AliasIntent
    question: PolicyQuestion


def find_guarded_aliases(declaration: Declaration, intent: ModelIntent, observed: ObservedModel) -> Iterable[GuardedAlias]:
    """The aliases of a model that have a holder and guards."""
    for alias in sorted(intent.aliases.values(), key=lambda each: each.alias):
        policy = declaration.policies.get(alias.policy) if alias.policy else None
        held = observed.aliases.get(alias.alias)
        if policy and policy.guard_policy and held is not None:
            yield GuardedAlias(
                alias, PolicyQuestion(observed, alias.alias, held, policy.guard_policy, purpose=DecisionPurpose.GUARD)
            )


class GuardEvaluator:
    """Counts failures, and finds the version to return to. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger) -> None:
        """Takes the ports that it reads."""
        self._registry = registry
        self._ledger = ledger

    def __call__(
        self, watched: Iterable[GuardedAlias], decisions: Mapping[PolicyQuestion, Decision], at: datetime
    ) -> dict[str, tuple[GuardStatus, ...]]:
        """Where the guards stand, by model."""
        asked = list(watched)
        keys = {(each.intent.model, each.intent.alias) for each in asked}
        checks = self._ledger.find_guard_checks(keys) if keys else {}
        found: dict[str, tuple[GuardStatus, ...]] = {}
        for each in asked:
            model, alias = each.intent.model, each.intent.alias
            rules = each.question.policy.document.rules
            standing = evaluate_guards(decisions[each.question], rules, checks.get((model, alias), ()))
            if standing.broken_guards:
                standing = self._add_return_proposal(each, standing, at)
            found[model] = (*found.get(model, ()), standing)
        return found

    def _add_return_proposal(self, each: GuardedAlias, standing: GuardStatus, at: datetime) -> GuardStatus:
        """With a proposal, or with the reason why there is none."""
        observed, intent = each.question.observed, each.intent
        why_not = "`enforcement: audit` only watches" if standing.decision.enforcement == "audit" else None
        why_not = why_not or find_rollback_obstacle(intent, observed, at)
        if why_not:
            return replace(standing, reason=why_not)
        moves = self._ledger.find_alias_moves({(intent.model, intent.alias)}).get((intent.model, intent.alias), ())
        reasons = []
        for version in find_earlier_versions(intent, observed, moves, standing.version):
            found = check_readiness(self._registry.check_readiness(intent.model, version))
            if found.verdict is Verdict.PASS:
                return add_rollback_proposal(standing, version)
            reasons.append(f"v{version} is not ready ({found.value})")
        return replace(standing, reason="; ".join(reasons) or "the ledger knows no earlier version to return to")


SourceAliases = Mapping[AliasRef, SourceAlias]


class SourceAliasReader:
    """Asks only for aliases that rotate: nothing else ever waits for a version from elsewhere."""

    def __init__(self, copies: VersionCopies | None) -> None:
        """Takes the port that it asks; None: nobody is asked."""
        self._copies = copies

    def __call__(self, intents: Iterable[ModelIntent]) -> SourceAliases:
        """By place. Empty where nothing comes from elsewhere: then no other registry is asked anything."""
        rotating = (alias for intent in intents for alias in intent.aliases.values() if alias.rotation != "off")
        places = {place for alias in rotating if (place := AliasRef.from_intent(alias))}
        return self._copies.read_source_aliases(places) if places and self._copies else {}


@dataclass(frozen=True)
class EvaluationContext:
    """What is looked at: the revision, its intents, the registry, how the two compare, and when.

    `begun` is when the look's first change began: what has begun finishes, also into a freeze.
    """

    declaration: Declaration
    intents: Mapping[str, ModelIntent]
    observed: Mapping[str, ObservedModel]
    compared: Mapping[str, ModelComparison]
    at: datetime
    observations: ObservationsByVersion
    started_at: datetime | None = None
    source_aliases: SourceAliases = field(default_factory=dict)

    def find_policy(self, name: str | None) -> Policy:
        """Parsing has made sure that every policy which is named exists at the same revision."""
        return self.declaration.policies[name or ""]


@dataclass(frozen=True)
class DecisionResults:
    """What came of it: changes with their gates' decisions; and by model, where rotations and guards stand."""

    changes: tuple[Change, ...]
    rotation_statuses: Mapping[str, tuple[RotationStatus, ...]]
    guards: Mapping[str, tuple[GuardStatus, ...]]


@dataclass(frozen=True)
class _RotationQuestions:
    """An alias that rotates, and the question for each candidate."""

    intent: AliasIntent
    observed: ObservedModel
    found: CandidateSearch
    questions: Mapping[int, PolicyQuestion]


@dataclass
class _QuestionSet:
    """Every question, each kept beside what it is about."""

    changes: list[Change] = field(default_factory=list)
    gates: list[tuple[AliasDifference, PolicyQuestion]] = field(default_factory=list)
    rotations: list[_RotationQuestions] = field(default_factory=list)
    guards: list[GuardedAlias] = field(default_factory=list)

    def all_questions(self) -> Iterator[PolicyQuestion]:
        yield from (question for _, question in self.gates)
        for rotation in self.rotations:
            yield from rotation.questions.values()
        yield from (each.question for each in self.guards)


class DecisionMaker:
    """Makes the decisions of a survey. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger, provenance: ChangeProvenance) -> None:
        """Takes the ports that it reads."""
        self._registry = registry
        self._ledger = ledger
        self._provenance = provenance
        self._judge = QuestionJudge(registry, ledger)
        self._guarding = GuardEvaluator(registry, ledger)

    def __call__(self, context: EvaluationContext) -> DecisionResults:
        """Gates, rotations and guards of every model in the scene."""
        asked = _QuestionSet()
        for name, part in context.compared.items():
            for difference in part.differences:
                self._add_gate_question(difference, context, asked, context.observed[name])
        for name, intent in context.intents.items():
            asked.rotations += _build_rotation_questions(context, intent, context.observed.get(name))
            if name in context.observed:
                asked.guards += find_guarded_aliases(context.declaration, intent, context.observed[name])
        decisions = self._judge(asked.all_questions(), context.at, context.observations)
        changes = [*asked.changes, *(Change(difference, decisions[question]) for difference, question in asked.gates)]
        standings: dict[str, tuple[RotationStatus, ...]] = {}
        for rotation in asked.rotations:
            model = rotation.intent.model
            standings[model] = (*standings.get(model, ()), _choose_rotation_status(context, rotation, decisions))
        return DecisionResults(tuple(changes), standings, self._guarding(asked.guards, decisions, context.at))

    def _add_gate_question(
        self, difference: AliasDifference, context: EvaluationContext, asked: _QuestionSet, observed: ObservedModel
    ) -> None:
        version, alias, intent = difference.to_version, difference.alias, difference.intent
        held = version is not None and intent is not None and intent.hold is not None
        before = held and self._ledger.has_held_alias(difference.model, alias, version or 0)
        gate = difference.select_gate(context.at, held_before=before)
        if gate is ChangeGate.NONE or version is None or intent is None:
            asked.changes.append(Change(difference))
        elif gate is ChangeGate.READINESS:
            asked.changes.append(Change(difference, self._decide_readiness(difference, version, context.at, observed)))
        else:
            policy = context.find_policy(intent.policy)
            override = self._find_freeze_override(difference, policy, context)
            origin = self._find_change_origin(difference, policy, context)
            question = PolicyQuestion(
                observed, alias, version, policy, context.started_at, override, origin, DecisionPurpose.GATE
            )
            asked.gates.append((difference, question))

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

    def _decide_readiness(self, difference: AliasDifference, version: int, at: datetime, observed: ObservedModel) -> Decision:
        checked = self._registry.check_readiness(difference.model, version)
        candidate = replace(build_registry_evidence(observed, version), checked=checked)
        return evaluate_readiness(difference.model, difference.alias, Evidence(at, candidate, model=difference.model))


def _build_rotation_questions(
    context: EvaluationContext, intent: ModelIntent, seen: ObservedModel | None
) -> Iterator[_RotationQuestions]:
    """Of a model that is not registered yet, only what comes from elsewhere: its first copy registers it."""
    observed = seen or ObservedModel(intent.name)
    for alias in sorted(intent.aliases.values(), key=lambda each: each.alias):
        place = AliasRef.from_intent(alias)
        if alias.rotation == "off" or (seen is None and place is None):
            continue
        policy = context.declaration.policies.get(alias.policy) if alias.policy else None
        holding = context.source_aliases.get(place) if place else None
        found = find_candidates(alias, policy, observed, intent.aliases, context.at, holding)
        purpose = DecisionPurpose.COPY if alias.promote_from else DecisionPurpose.CANDIDATE
        numbers = found.versions if policy else ()
        questions = {each: PolicyQuestion(observed, alias.alias, each, policy, purpose=purpose) for each in numbers if policy}
        yield _RotationQuestions(alias, observed, found, questions)


def _choose_rotation_status(
    context: EvaluationContext, rotation: _RotationQuestions, decisions: Mapping[PolicyQuestion, Decision]
) -> RotationStatus:
    alias = rotation.intent
    if not rotation.questions:
        return RotationStatus(alias.model, alias.alias, rotation.found.reason, missing=rotation.found.missing)
    judged = {number: decisions[question] for number, question in rotation.questions.items()}
    return choose_best_candidate(alias, context.find_policy(alias.policy), rotation.observed.aliases.get(alias.alias), judged)
