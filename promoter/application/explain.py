"""Explain: the decision that matters for an alias now, or for one version under one policy."""

from __future__ import annotations

from dataclasses import dataclass

from promoter.application.evidence import Question, gather
from promoter.application.ports import Clock, Registry
from promoter.application.survey import ModelView, Surveyor
from promoter.domain.declaration import Declaration
from promoter.domain.evaluate import evaluate
from promoter.domain.faults import Refused
from promoter.domain.observed import ObservedModel
from promoter.domain.policy import Policy
from promoter.domain.rotation import Standing
from promoter.domain.verdict import Decision


@dataclass(frozen=True)
class Explanation:
    """`subject` says in words what `decision` is about; `notes` are what else bears on the alias, one sentence each."""

    subject: str
    decision: Decision | None
    notes: tuple[str, ...] = ()
    others: tuple[Decision, ...] = ()


class Explainer:
    """Makes explanations. Reads only."""

    def __init__(self, registry: Registry, survey: Surveyor, clock: Clock) -> None:
        """Takes what it reads."""
        self._registry = registry
        self._survey = survey
        self._clock = clock

    def alias(self, declaration: Declaration, model: str, alias: str) -> Explanation:
        """The change that git asks for; else rotation's candidate; else the holder under its own policy."""
        if declaration.desired.intent(model) is None:
            raise Refused("registry.yaml", f"`{model}` is not managed", "list it under `models`, or match it with a family")
        view = self._survey(declaration, {model}).models[model]
        if view.observed is None:
            raise Refused("MLflow", f"there is no registered model `{model}`")
        if alias not in view.intent.aliases:
            raise Refused("registry.yaml", f"`{model}` says nothing of an alias `{alias}`")
        notes = _notes(view, alias)
        change = next((each for each in view.changes if each.difference.alias == alias and each.decision), None)
        if change:
            return Explanation(f"git says v{change.difference.to_version} for {model}@{alias}", change.decision, notes)
        standing = next((each for each in view.standings if each.alias == alias), None)
        if standing and standing.decisions:
            return _candidate(standing, notes)
        return self._holder(declaration, view, view.observed, alias, notes)

    def version(self, declaration: Declaration, model: str, version: int, policy: str) -> Explanation:
        """One version under one policy, whatever the aliases say."""
        if policy not in declaration.policies:
            known = ", ".join(sorted(declaration.policies)) or "none"
            raise Refused("policies", f"there is no policy `{policy}`", f"known: {known}")
        observed = self._registry.observe({model}).get(model)
        if observed is None or version not in observed.versions:
            raise Refused("MLflow", f"the registry has no version {version} of `{model}`")
        decision = self._judge(observed, None, version, declaration.policies[policy])
        return Explanation(f"{model} v{version} under policy `{policy}`", decision)

    def _holder(
        self, declaration: Declaration, view: ModelView, observed: ObservedModel, alias: str, notes: tuple[str, ...]
    ) -> Explanation:
        held, named = observed.aliases.get(alias), view.intent.aliases[alias].policy
        if held is None:
            return Explanation(f"nobody holds {observed.name}@{alias}", None, notes)
        if named is None:
            return Explanation(f"v{held} holds {observed.name}@{alias}, which no policy gates", None, notes)
        decision = self._judge(observed, alias, held, declaration.policies[named])
        return Explanation(f"v{held} holds {observed.name}@{alias}; under its policy today", decision, notes)

    def _judge(self, observed: ObservedModel, alias: str | None, version: int, policy: Policy) -> Decision:
        question = Question(observed, alias, version, policy)
        evidence = gather([question], self._registry, self._clock.now())[0]
        return evaluate(policy, observed.name, alias, evidence)


def _candidate(standing: Standing, notes: tuple[str, ...]) -> Explanation:
    chosen = standing.proposal.decision if standing.proposal else standing.decisions[-1]
    word = "would rotate to" if standing.proposal else "does not rotate to"
    others = tuple(decision for decision in reversed(standing.decisions) if decision is not chosen)
    return Explanation(f"{standing.model}@{standing.alias} {word} v{chosen.version}", chosen, notes, others)


def _notes(view: ModelView, alias: str) -> tuple[str, ...]:
    intent = view.intent.aliases[alias]
    held = view.observed.aliases.get(alias) if view.observed else None
    stated = "absent" if intent.absent else f"v{intent.version}" if intent.version else "nothing"
    notes = [f"the registry has {f'v{held}' if held else 'nothing'}, git says {stated}"]
    notes += [each.reason for each in view.compared.blocked if each.alias in (None, alias)]
    notes += [f"drift, reported only: {each.alias}" for each in view.compared.reported if each.alias == alias]
    notes += [f"rotation ({intent.rotation}): {each.reason}" for each in view.standings if each.alias == alias]
    if intent.rotation == "pull-request":
        notes.append("rotation by pull request needs a forge, which this version cannot talk to: nothing is proposed")
    if view.intent.on_drift == "adopt":
        notes.append("on_drift: adopt needs proposals by pull request, which this version cannot make: drift is reported")
    return tuple(notes)
