"""A survey: read the registry in bulk, compare, decide. It writes nothing, anywhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from promoter.application.decisions import DecisionMaker, EvaluationContext, SourceAliases, SourceAliasReader
from promoter.application.evidence import TagObserver
from promoter.application.ports import Clock, Ledger, Registry, VersionCopies
from promoter.application.provenance import ChangeProvenance, NoProvenance
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.decision import Decision
from promoter.domain.desired import Declaration, ModelIntent, Override
from promoter.domain.evidence import TagObservation
from promoter.domain.notifications import FIRST_SEEN
from promoter.domain.observed import ObservedModel
from promoter.domain.plan import Change, ModelComparison, Plan, build_plan, compare_model
from promoter.domain.policy.guards import GuardStatus
from promoter.domain.proposal import Proposal
from promoter.domain.rotation import RotationStatus

MOVED = "moved outside Promoter"
"""The reason of a move that somebody else made."""


@dataclass(frozen=True)
class ModelSnapshot:
    """One model as a survey found it.

    `moves` are alias moves that the ledger has not seen; `agreed` is where git and the registry say the same and the
    ledger does not know it yet. `news`: some of that differs from what the ledger knew, rather than being seen for the
    first time.
    """

    intent: ModelIntent
    observed: ObservedModel | None
    compared: ModelComparison
    changes: tuple[Change, ...] = ()
    rotation_statuses: tuple[RotationStatus, ...] = ()
    guards: tuple[GuardStatus, ...] = ()
    moves: tuple[NewAuditRecord, ...] = ()
    agreed: Mapping[str, int | None] = field(default_factory=dict)
    has_unrecorded: bool = False

    @property
    def active_overrides(self) -> tuple[Override, ...]:
        """Those that stand in for git's word."""
        return tuple(alias.override for alias in self.intent.aliases.values() if alias.override)

    @property
    def needs_pull_request(self) -> bool:
        """Whether something of it goes through a pull request."""
        through = (self.intent.aliases[each.edit.alias].rotation == "pull-request" for each in self.proposals)
        return bool(self.active_overrides) or any(through) or (self.intent.on_drift == "adopt" and bool(self.compared.reported))

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """What guards and rotations ask for; a broken guard goes before any rotation of its alias."""
        guarded = {each.alias: each.proposal for each in self.guards if each.proposal}
        rotated = [each.proposal for each in self.rotation_statuses if each.proposal and each.alias not in guarded]
        return (*guarded.values(), *rotated)


@dataclass(frozen=True)
class RegistrySnapshot:
    """What a survey found, at one moment, against one revision."""

    at: datetime
    declaration: Declaration
    models: Mapping[str, ModelSnapshot]
    plan: Plan
    undeclared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Aliases that were agreed on, and that git says nothing of any more, by model."""
    tag_observations: tuple[TagObservation, ...] = ()
    """What was seen of watched tags, and the ledger does not know yet."""
    ended_overrides: tuple[Override, ...] = ()
    """Overrides that are over: git says the same by now, or they have expired."""
    source_aliases: SourceAliases = field(default_factory=dict)
    """Who holds the aliases elsewhere that versions come from."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision that was made: gates of changes, candidates of rotations, and guards that are broken."""
        made = [change.decision for change in self.plan.changes if change.decision]
        for view in self.models.values():
            made += [each for standing in view.rotation_statuses for each in standing.decisions]
            made += [standing.decision for standing in view.guards if standing.proposal]
        return tuple(made)

    @property
    def needs_reconcile(self) -> frozenset[str]:
        """The models that something is to be done about: a change, a proposal, or something new to record."""
        changing = {change.difference.model for change in self.plan.allowed_changes}
        return frozenset(
            name
            for name, view in self.models.items()
            if name in changing
            or view.has_unrecorded
            or any(view.intent.aliases[each.edit.alias].rotation == "commit" for each in view.proposals)
            or any(standing.checks for standing in view.guards)
            or any(standing.missing for standing in view.rotation_statuses)
        ) | {each.model for each in self.ended_overrides if each.model in self.models}

    @property
    def models_to_propose(self) -> frozenset[str]:
        """The models with something that goes through a pull request: a proposal, drift to adopt, or an override."""
        return frozenset(name for name, view in self.models.items() if view.needs_pull_request)


class Planner:
    """Makes views. Reads only."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        clock: Clock,
        provenance: ChangeProvenance | None = None,
        copies: VersionCopies | None = None,
    ) -> None:
        """Takes the ports that it reads. No `provenance`: nothing is committed yet; no `copies`: nothing elsewhere is read."""
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._observe_tags = TagObserver(ledger)
        self._decide = DecisionMaker(registry, ledger, provenance or NoProvenance())
        self._sources = SourceAliasReader(copies)
        self._unchanged_at: dict[str, datetime] = {}
        self._all_models: frozenset[str] = frozenset()

    @property
    def observed_until(self) -> datetime | None:
        """Whatever moved before this moment is recorded; None: not everything was looked at yet."""
        seen = [self._unchanged_at.get(name) for name in self._all_models]
        return min((each for each in seen if each), default=None) if seen and all(seen) else None

    def __call__(
        self, declaration: Declaration, names: Collection[str] | None = None, started_at: datetime | None = None
    ) -> RegistrySnapshot:
        """Look at the named models, or at every model that git manages. `begun`: when the changes under way began."""
        at = self._clock.now()
        known = self._ledger.read_last_known_versions(
            names
        )  # before the registry: what it shows is then no older than what is known
        observed = self._registry.observe_models(names)
        overrides = self._ledger.find_open_overrides(names)
        intents = _find_model_intents(declaration, names, observed, [each for each in overrides if each.is_in_force(at)])
        settled = self._ledger.read_last_applied(names)
        compared = {name: compare_model(intent, observed.get(name), settled.get(name, {})) for name, intent in intents.items()}
        sight = self._observe_tags(declaration, intents, observed, at)
        holdings = self._sources(intents.values())
        decided = self._decide(
            EvaluationContext(declaration, intents, observed, compared, at, sight.known, started_at, holdings)
        )
        by_model: dict[str, list[Change]] = {}
        for change in decided.changes:
            by_model.setdefault(change.difference.model, []).append(change)
        views = {}
        for name, intent in intents.items():
            seen, was_settled, was_known = observed.get(name), settled.get(name, {}), known.get(name, {})
            moves = self._bound_moves(_find_unrecorded_moves(intent, seen, was_known, at), was_known)
            if not moves:
                self._unchanged_at[name] = at
            agreed = _find_agreements(intent, seen, was_settled)
            views[name] = ModelSnapshot(
                intent=intent,
                observed=seen,
                compared=compared[name],
                changes=tuple(by_model.get(name, ())),
                rotation_statuses=decided.rotation_statuses.get(name, ()),
                guards=decided.guards.get(name, ()),
                moves=moves,
                agreed=agreed,
                has_unrecorded=any(move.alias in was_known for move in moves) or any(alias in was_settled for alias in agreed),
            )
        desired = declaration.desired
        plan = build_plan(
            declaration.revision, decided.changes, compared.values(), desired.document.safety, desired.managed_alias_count
        )
        self._all_models = frozenset(intents) if names is None else self._all_models
        spent = tuple(each for each in overrides if each not in _list_active_overrides(intents))
        return RegistrySnapshot(at, declaration, views, plan, _find_undeclared(intents, settled), sight.new, spent, holdings)

    def _bound_moves(self, moves: tuple[NewAuditRecord, ...], known: Mapping[str, int | None]) -> tuple[NewAuditRecord, ...]:
        """With the last moment at which each was seen as it was before: in this run, else as the ledger knows it."""
        if not moves:
            return ()
        quiet = self._unchanged_at.get(moves[0].model)
        looked = quiet or (self._ledger.observed_until() if known else None)
        recorded = self._ledger.last_recorded_at([(move.model, move.alias) for move in moves])
        bounded = []
        for move in moves:
            bounds = [recorded.get((move.model, move.alias)), looked if quiet or move.alias in known else None]
            not_before = max((each for each in bounds if each), default=None)
            # An alias that was not there at the last look has come to be since: that is no first sight.
            bounded.append(replace(move, not_before=not_before, reason=MOVED if not_before else move.reason))
        return tuple(bounded)


def _find_model_intents(
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
    intents = {name: intent for name in asked if (intent := desired.find_model_intent(name))}
    by_model: dict[str, list[Override]] = {}
    for each in overrides:
        by_model.setdefault(each.model, []).append(each)
    return {name: intent.apply_overrides(by_model[name]) if name in by_model else intent for name, intent in intents.items()}


def _list_active_overrides(intents: Mapping[str, ModelIntent]) -> list[Override]:
    return [alias.override for intent in intents.values() for alias in intent.aliases.values() if alias.override]


def _find_unrecorded_moves(
    intent: ModelIntent,
    observed: ObservedModel | None,
    known: Mapping[str, int | None],
    at: datetime,
) -> tuple[NewAuditRecord, ...]:
    """Managed aliases that stand elsewhere than the ledger last saw them. Neither actor nor revision is known."""
    held = observed.aliases if observed else {}
    records: list[NewAuditRecord] = []
    for alias in sorted(intent.aliases.keys() | known.keys() if observed else known.keys()):
        was, now = known.get(alias), held.get(alias)
        if was == now:
            continue
        reason = MOVED if alias in known else FIRST_SEEN
        records.append(NewAuditRecord(at, RecordKind.OBSERVED, intent.name, alias, was, now, reason=reason))
    return tuple(records)


def _find_agreements(
    intent: ModelIntent, observed: ObservedModel | None, settled: Mapping[str, int | None]
) -> dict[str, int | None]:
    """Where git and the registry say the same, and the ledger does not know it yet.

    Not where a policy gates the alias, and somebody else than Promoter moved it to what git says: its policy has not been
    asked, so that it stays a decision to be made, and is never put back as mere drift.
    """
    if observed is None:
        return {}
    return {
        alias.alias: alias.version
        for alias in intent.aliases.values()
        if alias.has_declared_target
        and alias.override is None
        and observed.aliases.get(alias.alias) == alias.version
        and (alias.alias not in settled or (settled[alias.alias] != alias.version and alias.policy is None))
    }


def _find_undeclared(
    intents: Mapping[str, ModelIntent], settled: Mapping[str, Mapping[str, int | None]]
) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, agreed in settled.items():
        aliases = intents[name].aliases if name in intents else {}
        gone = tuple(alias for alias in agreed if alias not in aliases or not aliases[alias].has_declared_target)
        if gone:
            found[name] = gone
    return found
