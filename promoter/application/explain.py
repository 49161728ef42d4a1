"""Explain: the decision that matters for an alias now, for one version under one policy, or why a version is not there."""

from __future__ import annotations

from dataclasses import dataclass

from promoter.application.evidence import Question
from promoter.application.judge import Judge
from promoter.application.ports import Clock, Ledger, Registry
from promoter.application.query import stated_in_words
from promoter.application.sight import Sighter
from promoter.application.survey import ModelView, Surveyor
from promoter.domain.declaration import Declaration
from promoter.domain.faults import Refused
from promoter.domain.observed import ObservedModel
from promoter.domain.plan import Cause
from promoter.domain.policy import Policy
from promoter.domain.rotation import Standing, obstacles
from promoter.domain.verdict import Decision


@dataclass(frozen=True)
class Explanation:
    """`subject` says in words what `decision` is about; `notes` are what else bears on the alias, one sentence each.

    `guards` is what the guards say of the holder.
    """

    subject: str
    decision: Decision | None
    notes: tuple[str, ...] = ()
    others: tuple[Decision, ...] = ()
    guards: tuple[Decision, ...] = ()


class Explainer:
    """Makes explanations. Reads only."""

    def __init__(self, registry: Registry, ledger: Ledger, survey: Surveyor, clock: Clock) -> None:
        """Takes what it reads."""
        self._registry = registry
        self._survey = survey
        self._clock = clock
        self._judge = Judge(registry, ledger)
        self._sight = Sighter(ledger)

    def alias(self, declaration: Declaration, model: str, alias: str) -> Explanation:
        """The change that git asks for; else rotation's candidate; else the holder under its own policy."""
        view, observed = self._look(declaration, model, alias)
        notes, guards = _notes(view, alias), _guards(view, alias)
        change = next((each for each in view.changes if each.difference.alias == alias and each.decision), None)
        if change:
            says = "an override" if change.difference.cause is Cause.OVERRIDE else "git"
            subject = f"{says} says v{change.difference.to_version} for {model}@{alias}"
            return Explanation(subject, change.decision, notes, guards=guards)
        standing = next((each for each in view.standings if each.alias == alias), None)
        if standing and standing.decisions:
            return _candidate(standing, notes, guards)
        return self._holder(declaration, view, observed, alias)

    def version(self, declaration: Declaration, model: str, version: int, policy: str) -> Explanation:
        """One version under one policy, whatever the aliases say."""
        if policy not in declaration.policies:
            known = ", ".join(sorted(declaration.policies)) or "none"
            raise Refused("policies", f"there is no policy `{policy}`", f"known: {known}")
        observed = self._observed(model, version)
        decision = self.decide(declaration, observed, None, version, declaration.policies[policy])
        return Explanation(f"{model} v{version} under policy `{policy}`", decision)

    def why_not(self, declaration: Declaration, model: str, version: int, alias: str) -> Explanation:
        """Why that version does not hold the alias: whatever stands in between, and what the alias's policy says of it."""
        view, observed = self._look(declaration, model, alias)
        if version not in observed.versions:
            raise Refused("MLflow", f"the registry has no version {version} of `{model}`")
        intent = view.intent.aliases[alias]
        if observed.aliases.get(alias) == version:
            return self._holder(declaration, view, observed, alias)
        policy = declaration.policies.get(intent.policy) if intent.policy else None
        decision = self.decide(declaration, observed, alias, version, policy) if policy else None
        told = obstacles(intent, policy, observed, version, self._clock.now())
        standing = next((each for each in view.standings if each.alias == alias), None)
        if standing and standing.proposal and standing.proposal.edit.version != version:
            told.append(f"v{standing.proposal.edit.version} comes first: {standing.reason}")
        subject = f"why v{version} is not {model}@{alias}"
        return Explanation(subject, decision, (*_notes(view, alias)[:1], *told), guards=())

    def decide(
        self, declaration: Declaration, observed: ObservedModel, alias: str | None, version: int, policy: Policy
    ) -> Decision:
        """Whether that version may hold that alias (None: any) under that policy, now."""
        at = self._clock.now()
        intent = declaration.desired.intent(observed.name)
        sight = self._sight(declaration, {observed.name: intent} if intent else {}, {observed.name: observed}, at)
        question = Question(observed, alias, version, policy)
        return self._judge([question], at, sight.known)[question]

    def _observed(self, model: str, version: int) -> ObservedModel:
        observed = self._registry.observe({model}).get(model)
        if observed is None or version not in observed.versions:
            raise Refused("MLflow", f"the registry has no version {version} of `{model}`")
        return observed

    def _look(self, declaration: Declaration, model: str, alias: str) -> tuple[ModelView, ObservedModel]:
        if declaration.desired.intent(model) is None:
            raise Refused("registry.yaml", f"`{model}` is not managed", "list it under `models`, or match it with a family")
        view = self._survey(declaration, {model}).models[model]
        if view.observed is None:
            raise Refused("MLflow", f"there is no registered model `{model}`")
        if alias not in view.intent.aliases:
            raise Refused("registry.yaml", f"`{model}` says nothing of an alias `{alias}`")
        return view, view.observed

    def _holder(self, declaration: Declaration, view: ModelView, observed: ObservedModel, alias: str) -> Explanation:
        held, named, notes = observed.aliases.get(alias), view.intent.aliases[alias].policy, _notes(view, alias)
        if held is None:
            return Explanation(f"nobody holds {observed.name}@{alias}", None, notes)
        if named is None:
            return Explanation(f"v{held} holds {observed.name}@{alias}, which no policy gates", None, notes)
        decision = self.decide(declaration, observed, alias, held, declaration.policies[named])
        subject = f"v{held} holds {observed.name}@{alias}; under its policy today"
        return Explanation(subject, decision, notes, guards=_guards(view, alias))


def _candidate(standing: Standing, notes: tuple[str, ...], guards: tuple[Decision, ...]) -> Explanation:
    chosen = (standing.proposal.decision if standing.proposal else None) or standing.decisions[-1]
    word = "would rotate to" if standing.proposal else "does not rotate to"
    others = tuple(decision for decision in reversed(standing.decisions) if decision is not chosen)
    return Explanation(f"{standing.model}@{standing.alias} {word} v{chosen.version}", chosen, notes, others, guards)


def _guards(view: ModelView, alias: str) -> tuple[Decision, ...]:
    return tuple(each.decision for each in view.guards if each.alias == alias)


def _notes(view: ModelView, alias: str) -> tuple[str, ...]:
    intent = view.intent.aliases[alias]
    held = view.observed.aliases.get(alias) if view.observed else None
    stated = stated_in_words(intent.said or intent)
    notes = [f"the registry has {f'v{held}' if held else 'nothing'}, git says {stated}"]
    notes += [f"an override stands in for git: {intent.override.told}"] if intent.override else []
    notes += [each.reason for each in view.compared.blocked if each.alias in (None, alias)]
    notes += [f"drift, reported only: {each.alias}" for each in view.compared.reported if each.alias == alias]
    notes += [f"rotation ({intent.rotation}): {each.reason}" for each in view.standings if each.alias == alias]
    for standing in (each for each in view.guards if each.alias == alias):
        notes += [f"guard {row}" for row in standing.rows if row.failed]
        if standing.broken:
            target = standing.proposal.edit.version if standing.proposal else None
            notes.append(f"back to v{target}" if target else f"a guard is broken, and nothing is proposed: {standing.reason}")
    return tuple(notes)
