"""A survey: read the registry in bulk, compare, decide. It writes nothing, anywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from promoter.application.evidence import Question, gather
from promoter.application.ports import Clock, Ledger, Registry
from promoter.domain.audit import Kind, NewRecord
from promoter.domain.declaration import Declaration
from promoter.domain.desired import ModelIntent
from promoter.domain.evaluate import evaluate
from promoter.domain.observed import ObservedModel
from promoter.domain.plan import Change, Compared, Difference, Gate, Plan, compare, make_plan
from promoter.domain.policy import Policy
from promoter.domain.rotation import Search, Standing, choose, search
from promoter.domain.verdict import Decision, all_of


@dataclass(frozen=True)
class ModelView:
    """One model as a survey found it.

    `moves` are alias moves that the ledger has not seen; `agreed` is where git and the registry say the same and the
    ledger does not know it yet. `news`: some of that differs from what the ledger knew, rather than being seen for the
    first time.
    """

    intent: ModelIntent
    observed: ObservedModel | None
    compared: Compared
    changes: tuple[Change, ...] = ()
    standings: tuple[Standing, ...] = ()
    moves: tuple[NewRecord, ...] = ()
    agreed: Mapping[str, int | None] = field(default_factory=dict)
    news: bool = False


@dataclass(frozen=True)
class View:
    """What a survey found, at one moment, against one revision."""

    at: datetime
    declaration: Declaration
    models: Mapping[str, ModelView]
    plan: Plan
    unstated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Aliases that were agreed on, and that git says nothing of any more, by model."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision that was made: gates of changes, and candidates of rotations."""
        gates = [change.decision for change in self.plan.changes if change.decision]
        return (*gates, *(made for view in self.models.values() for standing in view.standings for made in standing.decisions))

    @property
    def restless(self) -> frozenset[str]:
        """The models that something is to be done about: a change, a proposal, a move or an agreement to record."""
        changing = {change.difference.model for change in self.plan.allowed}
        return frozenset(
            name
            for name, view in self.models.items()
            if name in changing or view.news or any(standing.proposal for standing in view.standings)
        )


class Surveyor:
    """Makes views. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger, clock: Clock) -> None:
        """Takes the ports that it reads."""
        self._registry = registry
        self._ledger = ledger
        self._clock = clock

    def __call__(self, declaration: Declaration, names: Collection[str] | None = None) -> View:
        """Look at the named models, or at every model that git manages."""
        at = self._clock.now()
        observed = self._registry.observe(names)
        intents = _intents(declaration, names, observed)
        settled = self._ledger.settled(names)
        known = self._ledger.last_known(names)
        compared = {name: compare(intent, observed.get(name), settled.get(name, {})) for name, intent in intents.items()}
        changes, standings = self._decide(declaration, intents, observed, compared, at)
        by_model: dict[str, list[Change]] = {}
        for change in changes:
            by_model.setdefault(change.difference.model, []).append(change)
        views = {}
        for name, intent in intents.items():
            seen, was_settled, was_known = observed.get(name), settled.get(name, {}), known.get(name, {})
            moves = _moves(intent, seen, was_known, at)
            agreed = _agreed(intent, seen, was_settled)
            views[name] = ModelView(
                intent=intent,
                observed=seen,
                compared=compared[name],
                changes=tuple(by_model.get(name, ())),
                standings=standings.get(name, ()),
                moves=moves,
                agreed=agreed,
                news=any(move.alias in was_known for move in moves) or any(alias in was_settled for alias in agreed),
            )
        desired = declaration.desired
        plan = make_plan(declaration.revision, changes, compared.values(), desired.document.safety, desired.managed)
        return View(at, declaration, views, plan, _unstated(intents, settled))

    def _decide(
        self,
        declaration: Declaration,
        intents: Mapping[str, ModelIntent],
        observed: Mapping[str, ObservedModel],
        compared: Mapping[str, Compared],
        at: datetime,
    ) -> tuple[list[Change], dict[str, tuple[Standing, ...]]]:
        """Gates and rotations of all models on one bulk read of evidence."""
        pending = _Pending()
        changes: list[Change] = []
        for name, part in compared.items():
            for difference in part.differences:
                self._gate(difference, declaration, observed[name], at, changes, pending)
        searches = [
            (intent.aliases[alias], observed[name], found)
            for name, intent in intents.items()
            if name in observed
            for alias, found in _searches(declaration, intent, observed[name], at)
        ]
        questions = [*pending.questions]
        for alias, seen, found in searches:
            questions += [Question(seen, alias.alias, number, _policy(declaration, alias.policy)) for number in found.versions]
        evidence = iter(gather(questions, self._registry, at))
        for difference, question in zip(pending.differences, pending.questions, strict=True):
            changes.append(Change(difference, evaluate(question.policy, difference.model, difference.alias, next(evidence))))
        standings: dict[str, tuple[Standing, ...]] = {}
        for alias, seen, found in searches:
            if found.versions:
                gathered = {number: next(evidence) for number in found.versions}
                policy = _policy(declaration, alias.policy)
                standing = choose(alias, policy, seen.aliases.get(alias.alias), gathered)
            else:
                standing = Standing(alias.model, alias.alias, found.reason)
            standings[alias.model] = (*standings.get(alias.model, ()), standing)
        return changes, standings

    def _gate(
        self,
        difference: Difference,
        declaration: Declaration,
        observed: ObservedModel,
        at: datetime,
        changes: list[Change],
        pending: _Pending,
    ) -> None:
        version, alias = difference.to_version, difference.alias
        held = version is not None and bool(difference.intent and difference.intent.hold)
        before = held and self._ledger.held_before(difference.model, alias, version or 0)
        gate = difference.gate(at, held_before=before)
        if gate is Gate.NONE or version is None or difference.intent is None:
            changes.append(Change(difference))
        elif gate is Gate.READINESS:
            changes.append(Change(difference, self._readiness(difference, version, at)))
        else:
            pending.differences.append(difference)
            pending.questions.append(Question(observed, alias, version, _policy(declaration, difference.intent.policy)))

    def _readiness(self, difference: Difference, version: int, at: datetime) -> Decision:
        finding = self._registry.readiness(difference.model, version)
        verdict = all_of([finding.verdict])
        return Decision(difference.model, difference.alias, version, None, None, verdict, (finding,), at)


@dataclass
class _Pending:
    differences: list[Difference] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


def _policy(declaration: Declaration, name: str | None) -> Policy:
    # Parsing has made sure that every policy which is named exists at the same revision.
    return declaration.policies[name or ""]


def _intents(
    declaration: Declaration, names: Collection[str] | None, observed: Mapping[str, ObservedModel]
) -> dict[str, ModelIntent]:
    """What git says of each model that is looked at: listed ones whether they exist or not, others by family."""
    desired = declaration.desired
    asked = sorted({*desired.listed, *observed} if names is None else names)
    return {name: intent for name in asked if (intent := desired.intent(name))}


def _searches(declaration: Declaration, intent: ModelIntent, observed: ObservedModel, at: datetime) -> list[tuple[str, Search]]:
    found = []
    for alias in sorted(intent.aliases.values(), key=lambda each: each.alias):
        if alias.rotation == "off":
            continue
        policy = declaration.policies.get(alias.policy) if alias.policy else None
        found.append((alias.alias, search(alias, policy, observed, intent.aliases, at)))
    return found


def _moves(
    intent: ModelIntent,
    observed: ObservedModel | None,
    known: Mapping[str, int | None],
    at: datetime,
) -> tuple[NewRecord, ...]:
    """Managed aliases that stand elsewhere than the ledger last saw them. Neither actor nor revision is known."""
    held = observed.aliases if observed else {}
    records: list[NewRecord] = []
    for alias in sorted(intent.aliases.keys() | known.keys() if observed else known.keys()):
        was, now = known.get(alias), held.get(alias)
        if was == now:
            continue
        reason = "moved outside Promoter" if alias in known else "first seen"
        records.append(NewRecord(at, Kind.OBSERVED, intent.name, alias, was, now, reason=reason))
    return tuple(records)


def _agreed(intent: ModelIntent, observed: ObservedModel | None, settled: Mapping[str, int | None]) -> dict[str, int | None]:
    """Where git and the registry say the same, and the ledger does not know it yet.

    Not where a policy gates the alias, and somebody else than Promoter moved it to what git says: its policy has not been
    asked, so that it stays a decision to be made, and is never put back as mere drift.
    """
    if observed is None:
        return {}
    return {
        alias.alias: alias.version
        for alias in intent.aliases.values()
        if alias.stated
        and observed.aliases.get(alias.alias) == alias.version
        and (alias.alias not in settled or (settled[alias.alias] != alias.version and alias.policy is None))
    }


def _unstated(
    intents: Mapping[str, ModelIntent], settled: Mapping[str, Mapping[str, int | None]]
) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, agreed in settled.items():
        aliases = intents[name].aliases if name in intents else {}
        gone = tuple(alias for alias in agreed if alias not in aliases or not aliases[alias].stated)
        if gone:
            found[name] = gone
    return found
