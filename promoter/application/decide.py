"""Decide: everything that a survey asks of policies, in one bulk read of evidence: gates, rotations and guards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from promoter.application.evidence import Question, Sights, told_by_registry
from promoter.application.guarding import Guarded, Guarding, guarded
from promoter.application.judge import Judge
from promoter.application.ports import Ledger, Registry
from promoter.application.provenance import Provenance
from promoter.application.sourcing import Holdings
from promoter.domain.declaration import Declaration
from promoter.domain.desired import AliasIntent, ModelIntent
from promoter.domain.evaluate import readied
from promoter.domain.evidence import NOT_READ, Evidence
from promoter.domain.guards import GuardStanding
from promoter.domain.observed import ObservedModel, Unread
from promoter.domain.plan import Change, Compared, Difference, Gate
from promoter.domain.policy import Policy
from promoter.domain.review import Origin
from promoter.domain.rotation import Search, Standing, choose, search
from promoter.domain.sources import Place
from promoter.domain.verdict import Decision, Purpose


@dataclass(frozen=True)
class Scene:
    """What is looked at: the revision, its intents, the registry, how the two compare, and when.

    `begun` is when the look's first change began: what has begun finishes, also into a freeze.
    """

    declaration: Declaration
    intents: Mapping[str, ModelIntent]
    observed: Mapping[str, ObservedModel]
    compared: Mapping[str, Compared]
    at: datetime
    sights: Sights
    begun: datetime | None = None
    holdings: Holdings = field(default_factory=dict)

    def policy(self, name: str | None) -> Policy:
        """Parsing has made sure that every policy which is named exists at the same revision."""
        return self.declaration.policies[name or ""]


@dataclass(frozen=True)
class Decided:
    """What came of it: changes with their gates' decisions; and by model, where rotations and guards stand."""

    changes: tuple[Change, ...]
    standings: Mapping[str, tuple[Standing, ...]]
    guards: Mapping[str, tuple[GuardStanding, ...]]


@dataclass(frozen=True)
class _Rotation:
    """An alias that rotates, and the question for each candidate."""

    intent: AliasIntent
    observed: ObservedModel
    found: Search
    questions: Mapping[int, Question]


@dataclass
class _Asked:
    """Every question, each kept beside what it is about."""

    changes: list[Change] = field(default_factory=list)
    gates: list[tuple[Difference, Question]] = field(default_factory=list)
    rotations: list[_Rotation] = field(default_factory=list)
    guards: list[Guarded] = field(default_factory=list)

    def questions(self) -> Iterator[Question]:
        yield from (question for _, question in self.gates)
        for rotation in self.rotations:
            yield from rotation.questions.values()
        yield from (each.question for each in self.guards)


class Decider:
    """Makes the decisions of a survey. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger, provenance: Provenance) -> None:
        """Takes the ports that it reads."""
        self._registry = registry
        self._ledger = ledger
        self._provenance = provenance
        self._judge = Judge(registry, ledger)
        self._guarding = Guarding(registry, ledger)

    def __call__(self, scene: Scene) -> Decided:
        """Gates, rotations and guards of every model in the scene."""
        asked = _Asked()
        for name, part in scene.compared.items():
            for difference in part.differences:
                self._gate(difference, scene, asked, scene.observed[name])
        for name, intent in scene.intents.items():
            asked.rotations += _rotations(scene, intent, scene.observed.get(name))
            if name in scene.observed:
                asked.guards += guarded(scene.declaration, intent, scene.observed[name])
        decisions = self._judge(asked.questions(), scene.at, scene.sights)
        changes = [*asked.changes, *(Change(difference, decisions[question]) for difference, question in asked.gates)]
        standings: dict[str, tuple[Standing, ...]] = {}
        for rotation in asked.rotations:
            model = rotation.intent.model
            standings[model] = (*standings.get(model, ()), _standing(scene, rotation, decisions))
        return Decided(tuple(changes), standings, self._guarding(asked.guards, decisions, scene.at))

    def _gate(self, difference: Difference, scene: Scene, asked: _Asked, observed: ObservedModel) -> None:
        version, alias, intent = difference.to_version, difference.alias, difference.intent
        held = version is not None and intent is not None and intent.hold is not None
        before = held and self._ledger.held_before(difference.model, alias, version or 0)
        gate = difference.gate(scene.at, held_before=before)
        if gate is Gate.NONE or version is None or intent is None:
            asked.changes.append(Change(difference))
        elif gate is Gate.READINESS:
            asked.changes.append(Change(difference, self._readiness(difference, version, scene.at, observed)))
        else:
            policy = scene.policy(intent.policy)
            override = self._freeze_override(difference, policy, scene)
            origin = self._origin(difference, policy, scene)
            question = Question(observed, alias, version, policy, scene.begun, override, origin, Purpose.GATE)
            asked.gates.append((difference, question))

    def _freeze_override(self, difference: Difference, policy: Policy, scene: Scene) -> str | None:
        frozen = any(freeze.until(scene.begun or scene.at) for freeze in policy.document.freeze)
        return self._provenance.freeze_override(difference, scene.declaration) if frozen else None

    def _origin(self, difference: Difference, policy: Policy, scene: Scene) -> Origin | Unread | None:
        need = policy.need
        return self._provenance.origin(difference, scene.declaration, need.teams) if need.review else NOT_READ

    def _readiness(self, difference: Difference, version: int, at: datetime, observed: ObservedModel) -> Decision:
        checked = self._registry.readiness(difference.model, version)
        candidate = replace(told_by_registry(observed, version), checked=checked)
        return readied(difference.model, difference.alias, Evidence(at, candidate, model=difference.model))


def _rotations(scene: Scene, intent: ModelIntent, seen: ObservedModel | None) -> Iterator[_Rotation]:
    """Of a model that is not registered yet, only what comes from elsewhere: its first copy registers it."""
    observed = seen or ObservedModel(intent.name)
    for alias in sorted(intent.aliases.values(), key=lambda each: each.alias):
        place = Place.of(alias)
        if alias.rotation == "off" or (seen is None and place is None):
            continue
        policy = scene.declaration.policies.get(alias.policy) if alias.policy else None
        holding = scene.holdings.get(place) if place else None
        found = search(alias, policy, observed, intent.aliases, scene.at, holding)
        purpose = Purpose.COPY if alias.promote_from else Purpose.CANDIDATE
        numbers = found.versions if policy else ()
        questions = {each: Question(observed, alias.alias, each, policy, purpose=purpose) for each in numbers if policy}
        yield _Rotation(alias, observed, found, questions)


def _standing(scene: Scene, rotation: _Rotation, decisions: Mapping[Question, Decision]) -> Standing:
    alias = rotation.intent
    if not rotation.questions:
        return Standing(alias.model, alias.alias, rotation.found.reason, missing=rotation.found.missing)
    judged = {number: decisions[question] for number, question in rotation.questions.items()}
    return choose(alias, scene.policy(alias.policy), rotation.observed.aliases.get(alias.alias), judged)
