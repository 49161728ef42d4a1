"""A survey: read the registry in bulk, compare, decide. It writes nothing, anywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from promoter.application.decide import Decider, Scene
from promoter.application.ports import Clock, Copies, Ledger, Registry
from promoter.application.provenance import NoProvenance, Provenance
from promoter.application.sight import Sighter
from promoter.application.sourcing import Holdings, Sourcing
from promoter.domain.audit import Kind, NewRecord
from promoter.domain.declaration import Declaration
from promoter.domain.desired import ModelIntent
from promoter.domain.guards import GuardStanding
from promoter.domain.notices.events import FIRST_SEEN
from promoter.domain.observed import ObservedModel
from promoter.domain.override import Override
from promoter.domain.plan import Change, Compared, Plan, compare, make_plan
from promoter.domain.proposal import Proposal
from promoter.domain.rotation import Standing
from promoter.domain.sightings import Sighting
from promoter.domain.verdict import Decision

MOVED = "moved outside Promoter"
"""The reason of a move that somebody else made."""


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
    guards: tuple[GuardStanding, ...] = ()
    moves: tuple[NewRecord, ...] = ()
    agreed: Mapping[str, int | None] = field(default_factory=dict)
    news: bool = False

    @property
    def overrides(self) -> tuple[Override, ...]:
        """Those that stand in for git's word."""
        return tuple(alias.override for alias in self.intent.aliases.values() if alias.override)

    @property
    def proposes(self) -> bool:
        """Whether something of it goes through a pull request."""
        through = (self.intent.aliases[each.edit.alias].rotation == "pull-request" for each in self.proposals)
        return bool(self.overrides) or any(through) or (self.intent.on_drift == "adopt" and bool(self.compared.reported))

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """What guards and rotations ask for; a broken guard goes before any rotation of its alias."""
        guarded = {each.alias: each.proposal for each in self.guards if each.proposal}
        rotated = [each.proposal for each in self.standings if each.proposal and each.alias not in guarded]
        return (*guarded.values(), *rotated)


@dataclass(frozen=True)
class View:
    """What a survey found, at one moment, against one revision."""

    at: datetime
    declaration: Declaration
    models: Mapping[str, ModelView]
    plan: Plan
    unstated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Aliases that were agreed on, and that git says nothing of any more, by model."""
    sightings: tuple[Sighting, ...] = ()
    """What was seen of watched tags, and the ledger does not know yet."""
    spent: tuple[Override, ...] = ()
    """Overrides that are over: git says the same by now, or they have expired."""
    holdings: Holdings = field(default_factory=dict)
    """Who holds the aliases elsewhere that versions come from."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision that was made: gates of changes, candidates of rotations, and guards that are broken."""
        made = [change.decision for change in self.plan.changes if change.decision]
        for view in self.models.values():
            made += [each for standing in view.standings for each in standing.decisions]
            made += [standing.decision for standing in view.guards if standing.proposal]
        return tuple(made)

    @property
    def restless(self) -> frozenset[str]:
        """The models that something is to be done about: a change, a proposal, or something new to record."""
        changing = {change.difference.model for change in self.plan.allowed}
        return frozenset(
            name
            for name, view in self.models.items()
            if name in changing
            or view.news
            or any(view.intent.aliases[each.edit.alias].rotation == "commit" for each in view.proposals)
            or any(standing.checks for standing in view.guards)
            or any(standing.missing for standing in view.standings)
        ) | {each.model for each in self.spent if each.model in self.models}

    @property
    def proposing(self) -> frozenset[str]:
        """The models with something that goes through a pull request: a proposal, drift to adopt, or an override."""
        return frozenset(name for name, view in self.models.items() if view.proposes)


class Surveyor:
    """Makes views. Reads only."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        clock: Clock,
        provenance: Provenance | None = None,
        copies: Copies | None = None,
    ) -> None:
        """Takes the ports that it reads. No `provenance`: nothing is committed yet; no `copies`: nothing elsewhere is read."""
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._sight = Sighter(ledger)
        self._decide = Decider(registry, ledger, provenance or NoProvenance())
        self._sources = Sourcing(copies)
        self._quiet: dict[str, datetime] = {}
        self._whole: frozenset[str] = frozenset()

    @property
    def looked(self) -> datetime | None:
        """Whatever moved before this moment is recorded; None: not everything was looked at yet."""
        seen = [self._quiet.get(name) for name in self._whole]
        return min((each for each in seen if each), default=None) if seen and all(seen) else None

    def __call__(self, declaration: Declaration, names: Collection[str] | None = None, begun: datetime | None = None) -> View:
        """Look at the named models, or at every model that git manages. `begun`: when the changes under way began."""
        at = self._clock.now()
        known = self._ledger.last_known(names)  # before the registry: what it shows is then no older than what is known
        observed = self._registry.observe(names)
        overrides = self._ledger.overrides(names)
        intents = _intents(declaration, names, observed, [each for each in overrides if each.in_force(at)])
        settled = self._ledger.settled(names)
        compared = {name: compare(intent, observed.get(name), settled.get(name, {})) for name, intent in intents.items()}
        sight = self._sight(declaration, intents, observed, at)
        holdings = self._sources(intents.values())
        decided = self._decide(Scene(declaration, intents, observed, compared, at, sight.known, begun, holdings))
        by_model: dict[str, list[Change]] = {}
        for change in decided.changes:
            by_model.setdefault(change.difference.model, []).append(change)
        views = {}
        for name, intent in intents.items():
            seen, was_settled, was_known = observed.get(name), settled.get(name, {}), known.get(name, {})
            moves = self._bounded(_moves(intent, seen, was_known, at), was_known)
            if not moves:
                self._quiet[name] = at
            agreed = _agreed(intent, seen, was_settled)
            views[name] = ModelView(
                intent=intent,
                observed=seen,
                compared=compared[name],
                changes=tuple(by_model.get(name, ())),
                standings=decided.standings.get(name, ()),
                guards=decided.guards.get(name, ()),
                moves=moves,
                agreed=agreed,
                news=any(move.alias in was_known for move in moves) or any(alias in was_settled for alias in agreed),
            )
        desired = declaration.desired
        plan = make_plan(declaration.revision, decided.changes, compared.values(), desired.document.safety, desired.managed)
        self._whole = frozenset(intents) if names is None else self._whole
        spent = tuple(each for each in overrides if each not in _standing_in(intents))
        return View(at, declaration, views, plan, _unstated(intents, settled), sight.new, spent, holdings)

    def _bounded(self, moves: tuple[NewRecord, ...], known: Mapping[str, int | None]) -> tuple[NewRecord, ...]:
        """With the last moment at which each was seen as it was before: in this run, else as the ledger knows it."""
        if not moves:
            return ()
        quiet = self._quiet.get(moves[0].model)
        looked = quiet or (self._ledger.looked() if known else None)
        recorded = self._ledger.known_at([(move.model, move.alias) for move in moves])
        bounded = []
        for move in moves:
            bounds = [recorded.get((move.model, move.alias)), looked if quiet or move.alias in known else None]
            not_before = max((each for each in bounds if each), default=None)
            # An alias that was not there at the last look has come to be since: that is no first sight.
            bounded.append(replace(move, not_before=not_before, reason=MOVED if not_before else move.reason))
        return tuple(bounded)


def _intents(
    declaration: Declaration,
    names: Collection[str] | None,
    observed: Mapping[str, ObservedModel],
    overrides: Collection[Override],
) -> dict[str, ModelIntent]:
    """What git says of each model that is looked at: listed ones whether they exist or not, others by family.

    Overrides stand in for what it says of their aliases.
    """
    desired = declaration.desired
    asked = sorted({*desired.listed, *observed} if names is None else names)
    intents = {name: intent for name in asked if (intent := desired.intent(name))}
    by_model: dict[str, list[Override]] = {}
    for each in overrides:
        by_model.setdefault(each.model, []).append(each)
    return {name: intent.overridden(by_model[name]) if name in by_model else intent for name, intent in intents.items()}


def _standing_in(intents: Mapping[str, ModelIntent]) -> list[Override]:
    return [alias.override for intent in intents.values() for alias in intent.aliases.values() if alias.override]


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
        reason = MOVED if alias in known else FIRST_SEEN
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
        and alias.override is None
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
