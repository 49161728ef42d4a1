"""The planner: reads the registry in bulk, compares it with git, decides, and plans. It writes nothing, anywhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from typing import TypeVar

from promoter.application.absences import AbsenceMemory, check_origins
from promoter.application.decisions import (
    DecisionMaker,
    DecisionResults,
    EvaluationContext,
    RefusalsByAlias,
    SourceAliases,
)
from promoter.application.evidence import ObservedTags, TagObserver
from promoter.application.ports import Absence, Clock, Ledger, Registry, VersionCopies
from promoter.application.provenance import ChangeProvenance, NoProvenance
from promoter.application.refusals import RefusalReader
from promoter.application.snapshots import ModelSnapshot, RegistrySnapshot
from promoter.domain.audit import AliasKey, NewAuditRecord, RecordKind
from promoter.domain.copy_source import AliasRef
from promoter.domain.desired import AliasIntent, Declaration, ModelIntent, Override
from promoter.domain.identity import RememberedVersion, describe_replacement
from promoter.domain.notifications import FIRST_SEEN
from promoter.domain.observed import ObservedModel, build_copy_facts
from promoter.domain.overrides import OverrideOutlook, build_override_outlooks, select_expiring
from promoter.domain.plan import (
    BlockedTarget,
    Change,
    ChangeCause,
    ModelComparison,
    Plan,
    UnmanagedAlias,
    build_plan,
    compare_model,
    withhold_differences,
)

MOVED = "moved outside Promoter"
"""The reason of a move that somebody else made."""
REPLACED = "its number stands for another version now"
"""The reason of a move that is none of the alias: the version behind it was replaced."""


@dataclass(frozen=True)
class RegistryObservation:
    """What one read of registry and ledger found, and how it compares with git."""

    at: datetime
    known: Mapping[str, Mapping[str, RememberedVersion]]
    """Where the ledger last saw each alias, by model."""
    observed: Mapping[str, ObservedModel]
    overrides: Sequence[Override]
    """Those that nothing has ended yet, expired ones too."""
    intents: Mapping[str, ModelIntent]
    last_applied: Mapping[str, Mapping[str, RememberedVersion]]
    compared: Mapping[str, ModelComparison]
    tags: ObservedTags
    refusals: RefusalsByAlias = field(default_factory=dict)
    withheld: frozenset[str] = frozenset()
    """Models that the registry does not let Promoter read any more; none of the rest has anything of them."""

    def find_moves(self, name: str) -> tuple[NewAuditRecord, ...]:
        """Return the alias moves of the model that the ledger has not seen."""
        return _find_unrecorded_moves(self.intents[name], self.observed.get(name), self.known.get(name, {}), self.at)


_Value = TypeVar("_Value")

WithholdAlias = Callable[[str, str], str | None]
"""Says why an alias, by model and name, stays as it is; None: it does not have to."""


class Planner:
    """Reads the registry, compares it with git, decides, and plans. Reads only."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        clock: Clock,
        provenance: ChangeProvenance | None = None,
        copies: VersionCopies | None = None,
        withhold: WithholdAlias | None = None,
    ) -> None:
        """No `provenance`: nothing is committed yet; no `copies`: no other registry is read.

        `withhold`: the plan is of files that are no revision of the branch. Aliases that it gives a reason for stay as they
        are, and what git and the registry agreed on, its overrides too, is left alone.
        """
        self._registry = registry
        self._ledger = ledger
        self._clock = clock
        self._copies = copies
        self._observe_tags = TagObserver(ledger)
        self._absences = AbsenceMemory(registry)
        self._withhold = withhold
        self._decisions = DecisionMaker(registry, ledger, provenance or NoProvenance())
        self._refusals = RefusalReader(ledger)
        self._unchanged_at: dict[str, datetime] = {}
        self._all_models: frozenset[str] = frozenset()

    @property
    def observed_until(self) -> datetime | None:
        """The moment before which every move is recorded; None: not every model has been read yet."""
        seen = [self._unchanged_at.get(name) for name in self._all_models]
        return min((each for each in seen if each), default=None) if seen and all(seen) else None

    def __call__(
        self,
        declaration: Declaration,
        names: Collection[str] | None = None,
        started_at: datetime | None = None,
        *,
        base: Declaration | None = None,
    ) -> RegistrySnapshot:
        """Plan the named models, or every model that git manages; `started_at` is when the changes under way began.

        `base` is what the branch says, where the declaration is not what it says yet: what is gone from it is told too.
        """
        seen = self.observe(declaration, names)
        source_aliases = self._read_source_aliases(seen.intents.values())
        decided = self._decisions.decide_all(_build_context(declaration, seen, started_at, source_aliases))
        desired = declaration.desired
        unmanaged = [] if self._withhold else _find_unmanaged(declaration, seen, names, base)
        plan = build_plan(
            declaration.revision,
            decided.changes,
            (*seen.compared.values(), _block_withheld(seen.withheld)),
            desired.document.safety,
            desired.managed_alias_count,
            unmanaged,
            declaration.find_allowance(seen.at),
        )
        self._all_models = frozenset(seen.intents) if names is None else self._all_models
        models = self._build_model_snapshots(seen, decided)
        return RegistrySnapshot(
            at=seen.at,
            declaration=declaration,
            models=models,
            plan=plan,
            undeclared={} if self._withhold else _find_undeclared(seen.intents, seen.last_applied),
            tag_observations=seen.tags.new,
            ended_overrides=() if self._withhold else _find_ended_overrides(seen),
            expiring_overrides=() if self._withhold else self._find_expiring_overrides(models.values(), seen.at),
            source_aliases=source_aliases,
            withheld=seen.withheld,
        )

    def _find_expiring_overrides(self, models: Iterable[ModelSnapshot], at: datetime) -> tuple[OverrideOutlook, ...]:
        """Find what the ledger is to announce now. It is asked only where an override is in its last hour."""
        expiring = [each for model in models for each in select_expiring(model.outlooks.values(), at)]
        known = self._ledger.find_announced_overrides([each.override.id for each in expiring]) if expiring else ()
        return tuple(each for each in expiring if each.override.id not in known)

    def plan_alias(
        self, declaration: Declaration, seen: RegistryObservation, key: AliasKey, started_at: datetime | None = None
    ) -> Plan:
        """Plan one alias of the observed model as a whole plan would, without asking for the gates of the others."""
        model, alias = key
        if not seen.find_moves(model):
            self._unchanged_at[model] = seen.at
        comparison, desired = seen.compared[model], declaration.desired
        unmanaged = [] if self._withhold else _find_unmanaged(declaration, seen, {model}, None)

        def plan_changes(changes: Iterable[Change]) -> Plan:
            return build_plan(
                declaration.revision,
                changes,
                [comparison],
                desired.document.safety,
                desired.managed_alias_count,
                unmanaged,
                declaration.find_allowance(seen.at),
            )

        # Other aliases matter only to the mass-change limit: their gates are asked where all of them together could exceed it.
        near_limit = plan_changes(map(Change, comparison.differences)).refused is not None
        context = _build_context(declaration, seen, started_at)
        return plan_changes(self._decisions.decide_changes(context, None if near_limit else alias))

    def observe(self, declaration: Declaration, names: Collection[str] | None) -> RegistryObservation:
        """Read the named models, or all that git manages, from registry and ledger, and compare them with git."""
        at = self._clock.now()
        # Before the registry, so that what the registry shows is never older than what is known.
        known = self._ledger.read_last_known_versions(names)
        observed = self._registry.observe_models(names)
        withheld = self._absences.check(observed, _list_numbers(known), names)
        check_origins(observed, known)
        overrides = [each for each in self._ledger.find_open_overrides(names) if each.model not in withheld]
        intents = _find_model_intents(declaration, names, observed, [each for each in overrides if each.is_in_force(at)])
        applied = self._ledger.read_last_applied(names)
        if withheld:  # nothing is known of them now, and so nothing follows
            intents, applied = _leave_out(intents, withheld), _leave_out(applied, withheld)
        self._absences.remember(observed, intents)
        compared = {name: compare_model(intent, observed.get(name), applied.get(name, {})) for name, intent in intents.items()}
        if self._withhold:
            compared = {name: withhold_differences(each, self._withhold) for name, each in compared.items()}
        tags = self._observe_tags(declaration, intents, observed, at)
        refusals = self._refusals.find_of_models(observed)
        return RegistryObservation(at, known, observed, overrides, intents, applied, compared, tags, refusals, withheld)

    def confirm_vacancies(self, declaration: Declaration, observed: ObservedModel, alias: str, policy: str | None) -> None:
        """Have the registry confirm that nobody holds the alias, and those that the policy compares with, where it says so.

        Where nobody holds an alias, its first holder passes `beats`: that must not rest on an answer that lost its aliases.
        Raises `TransientError` where somebody does hold one.
        """
        rule = declaration.policies.get(policy or "")
        read = {alias, *(rule.needed_evidence.holders if rule else ())}
        vacant = sorted(read - observed.aliases.keys())
        self._registry.confirm_absences([Absence(observed.name, each) for each in vacant])

    def _read_source_aliases(self, intents: Iterable[ModelIntent]) -> SourceAliases:
        """Read who holds the aliases elsewhere that rotation copies from. Without such aliases, no other registry is asked."""
        rotating = (alias for intent in intents for alias in intent.aliases.values() if alias.rotation != "off")
        places = {place for alias in rotating if (place := AliasRef.from_intent(alias))}
        return self._copies.read_source_aliases(places) if places and self._copies else {}

    def _build_model_snapshots(self, seen: RegistryObservation, decided: DecisionResults) -> dict[str, ModelSnapshot]:
        changes = _group_changes(decided.changes)
        return {name: self._build_model_snapshot(name, seen, changes.get(name, ()), decided) for name in seen.intents}

    def _build_model_snapshot(
        self, name: str, seen: RegistryObservation, changes: tuple[Change, ...], decided: DecisionResults
    ) -> ModelSnapshot:
        intent, observed = seen.intents[name], seen.observed.get(name)
        was_applied, was_known = seen.last_applied.get(name, {}), seen.known.get(name, {})
        moves = self._bound_moves(seen.find_moves(name), was_known)
        if not moves:
            self._unchanged_at[name] = seen.at
        agreed = {} if self._withhold else _find_agreements(intent, observed, was_applied)
        replaced = tuple(_find_replacements(intent, observed, (*was_applied.items(), *was_known.items()), seen.at))
        replaced = tuple(self._ledger.select_new_replacements(replaced)) if replaced else ()
        changed = any(alias in was_applied and was_applied[alias].number != agreed[alias].number for alias in agreed)
        return ModelSnapshot(
            intent=intent,
            observed=observed,
            compared=seen.compared[name],
            changes=changes,
            rotation_statuses=decided.rotation_statuses.get(name, ()),
            guards=decided.guards.get(name, ()),
            put_backs=decided.put_backs.get(name, ()),
            moves=moves,
            replaced=replaced,
            agreed=agreed,
            outlooks=build_override_outlooks(intent, observed, was_applied),
            refusals=seen.refusals.get(name, {}),
            has_unrecorded=changed or bool(replaced) or any(move.alias in was_known for move in moves),
        )

    def _bound_moves(
        self, moves: tuple[NewAuditRecord, ...], known: Mapping[str, RememberedVersion]
    ) -> tuple[NewAuditRecord, ...]:
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
            reason = MOVED if not_before and move.cause is None else move.reason
            bounded.append(replace(move, not_before=not_before, reason=reason))
        return tuple(bounded)


def _group_changes(found: Iterable[Change]) -> dict[str, tuple[Change, ...]]:
    """Group the changes by model, in their order."""
    changes: dict[str, tuple[Change, ...]] = {}
    for change in found:
        model = change.difference.model
        changes[model] = (*changes.get(model, ()), change)
    return changes


def _list_numbers(known: Mapping[str, Mapping[str, RememberedVersion]]) -> dict[str, dict[str, int | None]]:
    return {model: {alias: each.number for alias, each in versions.items()} for model, versions in known.items()}


def _build_context(
    declaration: Declaration,
    seen: RegistryObservation,
    started_at: datetime | None,
    source_aliases: SourceAliases | None = None,
) -> EvaluationContext:
    return EvaluationContext(
        declaration=declaration,
        intents=seen.intents,
        observed=seen.observed,
        compared=seen.compared,
        at=seen.at,
        observations=seen.tags.known,
        started_at=started_at,
        source_aliases=source_aliases or {},
        refusals=seen.refusals,
    )


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
        # One of another version of that number is void: nobody asked for the version that has the number now.
        if each.model not in observed or observed[each.model].still_has(each.target):
            by_model.setdefault(each.model, []).append(each)
    return {name: intent.apply_overrides(by_model[name]) if name in by_model else intent for name, intent in intents.items()}


def _block_withheld(models: Iterable[str]) -> ModelComparison:
    reason = "the registry does not let Promoter read it any more"
    return ModelComparison(blocked=tuple(BlockedTarget(name, None, reason) for name in sorted(models)))


def _leave_out(by_model: Mapping[str, _Value], withheld: Collection[str]) -> dict[str, _Value]:
    return {name: value for name, value in by_model.items() if name not in withheld}


def _find_ended_overrides(seen: RegistryObservation) -> tuple[Override, ...]:
    active = [alias.override for intent in seen.intents.values() for alias in intent.aliases.values() if alias.override]
    return tuple(each for each in seen.overrides if each not in active)


def _find_unrecorded_moves(
    intent: ModelIntent,
    observed: ObservedModel | None,
    known: Mapping[str, RememberedVersion],
    at: datetime,
) -> tuple[NewAuditRecord, ...]:
    """Managed aliases that stand elsewhere than the ledger last saw them. Neither actor nor revision is known.

    An alias whose number stands for another version now has moved, too.
    """
    held = observed.aliases if observed else {}
    records: list[NewAuditRecord] = []
    for alias in sorted(intent.aliases.keys() | known.keys() if observed else known.keys()):
        was, now = known.get(alias, RememberedVersion(None)), held.get(alias)
        replaced = was.number == now and observed is not None and not observed.still_has(was)
        if was.number == now and not replaced:
            continue
        records.append(
            NewAuditRecord(
                at,
                RecordKind.OBSERVED,
                intent.name,
                alias,
                was.number,
                now,
                reason=REPLACED if replaced else MOVED if alias in known else FIRST_SEEN,
                cause=ChangeCause.REPLACED.value if replaced else None,
                from_identity=was.identity,
                to_identity=observed.find_identity(now) if observed else None,
                run_id=observed.find_run_id(now) if observed else None,
                copied_from=build_copy_facts(observed.find_copy_origin(now)) if observed else None,
            )
        )
    return tuple(records)


def _find_replacements(
    intent: ModelIntent,
    observed: ObservedModel | None,
    remembered: Iterable[tuple[str, RememberedVersion]],
    at: datetime,
) -> Iterator[NewAuditRecord]:
    """Yield what the ledger remembers of aliases, where a number stands for another version now, each number once.

    A version that is gone is worth a record where git still says its number.
    """
    found: set[tuple[str, int | None]] = set()
    for alias, was in remembered if observed else ():
        present = observed.find_present(was.number) if observed else None
        declared = intent.aliases.get(alias)
        gone = present is None and was.number is not None and declared is not None and declared.version == was.number
        if observed is None or (alias, was.number) in found or (was.is_still(present) and not gone):
            continue
        found.add((alias, was.number))
        yield NewAuditRecord(
            at,
            RecordKind.REPLACED,
            intent.name,
            alias,
            was.number,
            present.number if present else None,
            reason=describe_replacement(was, present, observed.created_at),
            cause=ChangeCause.REPLACED.value,
            from_identity=was.identity,
            to_identity=present.identity if present else None,
            run_id=observed.find_run_id(was.number),
            copied_from=build_copy_facts(observed.find_copy_origin(was.number)),
        )


def _find_agreements(
    intent: ModelIntent, observed: ObservedModel | None, settled: Mapping[str, RememberedVersion]
) -> dict[str, RememberedVersion]:
    """Where git and the registry say the same, and the ledger does not know it yet, or not of which version.

    Not where a policy gates the alias, and somebody else than Promoter moved it to what git says: its policy has not been
    asked, so that it stays a decision to be made, and is never put back as mere drift. Nor where they agreed on another
    version of that number.
    """
    if observed is None:
        return {}
    found: dict[str, RememberedVersion] = {}
    for alias in intent.aliases.values():
        if not alias.has_declared_target or alias.override or observed.aliases.get(alias.alias) != alias.version:
            continue
        agreed = settled.get(alias.alias)
        if (
            agreed is None
            or (agreed.number != alias.version and alias.policy is None)
            or (agreed.number == alias.version and agreed.needs_identity(observed.find_present(alias.version)))
        ):
            found[alias.alias] = observed.remember(alias.version)
    return found


def _find_undeclared(
    intents: Mapping[str, ModelIntent], settled: Mapping[str, Mapping[str, RememberedVersion]]
) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, agreed in settled.items():
        aliases = intents[name].aliases if name in intents else {}
        gone = tuple(alias for alias in agreed if alias not in aliases or not aliases[alias].has_declared_target)
        if gone:
            found[name] = gone
    return found


def _find_unmanaged(
    declaration: Declaration, seen: RegistryObservation, names: Collection[str] | None, base: Declaration | None
) -> list[UnmanagedAlias]:
    """Find what was agreed on last, or what the base declares, and the declaration states nothing of any more."""
    found = {
        (model, alias): seen.last_applied[model][alias].number
        for model, aliases in _find_undeclared(seen.intents, seen.last_applied).items()
        for alias in aliases
    }
    for intent in _list_base_aliases(base, seen, names) if base else ():
        now = declaration.desired.find_alias_intent(intent.model, intent.alias)
        if now is None or (intent.has_declared_target and not now.has_declared_target):
            found[intent.model, intent.alias] = intent.version
    return [_describe_unmanaged(declaration, seen, key, found, base) for key in sorted(found)]


def _list_base_aliases(base: Declaration, seen: RegistryObservation, names: Collection[str] | None) -> Iterator[AliasIntent]:
    for name in sorted({*base.desired.listed, *seen.observed} if names is None else names):
        intent = base.desired.find_model_intent(name)
        yield from intent.aliases.values() if intent else ()


def _describe_unmanaged(
    declaration: Declaration,
    seen: RegistryObservation,
    key: AliasKey,
    found: Mapping[AliasKey, int | None],
    base: Declaration | None,
) -> UnmanagedAlias:
    model, alias = key
    intent = declaration.desired.find_model_intent(model)
    listed = intent.aliases if intent else {}
    known = seen.last_applied.get(model, {}).keys()
    new = [name for name in listed if name not in known and not (base and base.desired.find_alias_intent(model, name))]
    similar = get_close_matches(alias, new, n=1)
    return UnmanagedAlias(model, alias, found[key], alias in listed, similar[0] if similar and alias not in listed else None)
