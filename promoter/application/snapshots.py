"""Snapshots: a model, and the registry, at the moment of a plan, with everything that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from promoter.application.decisions import SourceAliases
from promoter.domain.audit import NewAuditRecord
from promoter.domain.decision import Decision
from promoter.domain.desired import AliasIntent, Declaration, ModelIntent, Override
from promoter.domain.evidence import TagObservation
from promoter.domain.identity import RememberedVersion
from promoter.domain.observed import ObservedModel
from promoter.domain.overrides import OverrideOutlook
from promoter.domain.plan import Change, ChangeCause, ModelComparison, Plan
from promoter.domain.policy.guards import GuardStatus
from promoter.domain.proposal import Proposal
from promoter.domain.refusals import ProposalRefusal
from promoter.domain.rotation import RotationStatus


@dataclass(frozen=True)
class ModelSnapshot:
    """One model at the moment of a plan: what git wants, what the registry has, and what follows from it."""

    intent: ModelIntent
    """What git says of the model, with the overrides that stand in for it."""
    observed: ObservedModel | None
    """None: the registry has no such model."""
    compared: ModelComparison
    changes: tuple[Change, ...] = ()
    """What differs, each with its gate's decision."""
    rotation_statuses: tuple[RotationStatus, ...] = ()
    """The state of each rotation, with its candidates' decisions."""
    guards: tuple[GuardStatus, ...] = ()
    """The state of the guards of each alias."""
    put_backs: tuple[Proposal, ...] = ()
    """Ways back in git from what was merged without the reviews that its policy asks for."""
    moves: tuple[NewAuditRecord, ...] = ()
    """Alias moves that the ledger has not seen."""
    replaced: tuple[NewAuditRecord, ...] = ()
    """Numbers that stand for another version than the one that the ledger recorded, or for none."""
    agreed: Mapping[str, RememberedVersion] = field(default_factory=dict)
    """Aliases on which git and the registry agree, and the ledger does not know it yet."""
    outlooks: Mapping[str, OverrideOutlook] = field(default_factory=dict)
    """What follows the end of each override in force, by alias."""
    refusals: Mapping[str, tuple[ProposalRefusal, ...]] = field(default_factory=dict)
    """What people turned down, by alias, the oldest first."""
    has_unrecorded: bool = False
    """Whether some of that differs from what the ledger knew, rather than being seen for the first time."""

    def find_change(self, alias: str) -> Change | None:
        """Return what differs between git and the registry for the alias; None where nothing does."""
        return next((each for each in self.changes if each.difference.alias == alias), None)

    def find_rotation_status(self, alias: str) -> RotationStatus | None:
        """Return the state of the alias's rotation; None where it does not rotate."""
        return next((each for each in self.rotation_statuses if each.alias == alias), None)

    def find_guard_status(self, alias: str) -> GuardStatus | None:
        """Return the state of the alias's guards; None where it has none, or nobody holds it."""
        return next((each for each in self.guards if each.alias == alias), None)

    def find_held_version(self, alias: str) -> int | None:
        """Return the version that the registry has at the alias; None where nobody holds it."""
        return self.observed.aliases.get(alias) if self.observed else None

    @property
    def active_overrides(self) -> tuple[Override, ...]:
        """The overrides that stand in for what git says."""
        return tuple(alias.override for alias in self.intent.aliases.values() if alias.override)

    @property
    def needs_pull_request(self) -> bool:
        """Whether something of it goes through a pull request."""
        through = (self.intent.aliases[each.edit.alias].rotation == "pull-request" for each in self.proposals)
        return bool(self.active_overrides) or any(through) or (self.intent.on_drift == "adopt" and bool(self.compared.reported))

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """What Promoter proposes by itself; of an alias, a broken guard goes first, and a rotation last."""
        guarded = {each.alias: each.proposal for each in self.guards if each.proposal}
        put_back = {each.edit.alias: each for each in self.put_backs if each.edit.alias not in guarded}
        urgent = guarded | put_back
        rotated = [each.proposal for each in self.rotation_statuses if each.proposal and each.alias not in urgent]
        return (*urgent.values(), *rotated)


@dataclass(frozen=True)
class RegistrySnapshot:
    """Registry and plan at one moment, against one revision."""

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
    expiring_overrides: tuple[OverrideOutlook, ...] = ()
    """Overrides that end within the hour, which the ledger has not announced yet."""
    source_aliases: SourceAliases = field(default_factory=dict)
    """Who holds the aliases elsewhere that versions come from."""
    withheld: frozenset[str] = frozenset()
    """Models that Promoter may not read any more: they are in no other part, and their own reconcile says so."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision that was made: gates of changes, candidates of rotations, and guards that are broken."""
        made = [change.decision for change in self.plan.changes if change.decision]
        for snapshot in self.models.values():
            made += [decision for status in snapshot.rotation_statuses for decision in status.decisions]
            made += [status.decision for status in snapshot.guards if status.proposal]
        return tuple(made)

    @property
    def needs_reconcile(self) -> frozenset[str]:
        """The models that something is to be done about: a change, a proposal, or something new to record."""
        changing = {change.difference.model for change in self.plan.allowed_changes}
        return frozenset(
            name
            for name, snapshot in self.models.items()
            if name in changing
            or snapshot.has_unrecorded
            or any(snapshot.intent.aliases[each.edit.alias].rotation == "commit" for each in snapshot.proposals)
            or any(status.checks for status in snapshot.guards)
            or any(status.missing for status in snapshot.rotation_statuses)
        ) | {
            *self.withheld,
            *(each.model for each in self.ended_overrides if each.model in self.models),
            *(each.override.model for each in self.expiring_overrides),
        }

    def predict_after_changes(self, at: datetime, observed: ObservedModel) -> RegistrySnapshot | None:
        """Return what a new plan of the only model would find once every change is carried out and nothing else has changed.

        None: only a new plan can tell, since rotation, a guard, an override or what is left over may ask for more.
        """
        ((name, model),) = self.models.items()
        settled = {ChangeCause.COMMIT, ChangeCause.DRIFT, ChangeCause.ABSENT}
        if (
            len(self.plan.allowed_changes) != len(self.plan.changes)
            or any(change.difference.cause not in settled for change in self.plan.changes)
            or (self.plan.blocked or self.undeclared or self.ended_overrides or model.active_overrides)
            or any(self._follows_its_holder(alias) for alias in model.intent.aliases.values())
        ):
            return None
        compared = replace(model.compared, differences=())
        after = ModelSnapshot(intent=model.intent, observed=observed, compared=compared)
        plan = Plan(self.plan.revision, reported=self.plan.reported)
        return RegistrySnapshot(at, self.declaration, {name: after}, plan)

    def _follows_its_holder(self, alias: AliasIntent) -> bool:
        policy = self.declaration.policies.get(alias.policy) if alias.policy else None
        return alias.rotation != "off" or bool(policy and policy.guard_policy)

    @property
    def models_to_propose(self) -> frozenset[str]:
        """The models with something that goes through a pull request: a proposal, drift to adopt, or an override."""
        return frozenset(name for name, snapshot in self.models.items() if snapshot.needs_pull_request)
