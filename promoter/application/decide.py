"""Decide: everything that a survey asks of policies, in one bulk read of evidence: gates, rotations and guards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from promoter.application.evidence import PolicyQuestion, ObservationsByVersion, build_registry_evidence
from promoter.application.guarding import GuardedAlias, GuardEvaluator, find_guarded_aliases
from promoter.application.judge import QuestionJudge
from promoter.application.ports import Ledger, Registry
from promoter.application.provenance import ChangeProvenance
from promoter.application.sourcing import SourceAliases
from promoter.domain.declaration import Declaration
from promoter.domain.desired import AliasIntent, ModelIntent
from promoter.domain.evaluate import evaluate_readiness
from promoter.domain.evidence import NOT_REQUESTED, Evidence
from promoter.domain.guards import GuardStatus
from promoter.domain.observed import ObservedModel, Unreadable
from promoter.domain.plan import Change, ModelComparison, AliasDifference, ChangeGate
from promoter.domain.policy import Policy
from promoter.domain.review import ChangeOrigin
from promoter.domain.rotation import CandidateSearch, RotationStatus, choose_best_candidate, find_candidates
from promoter.domain.sources import AliasRef
from promoter.domain.verdict import Decision, DecisionPurpose


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
