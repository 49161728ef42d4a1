"""A plan: what reconcile would do to the registry, in an order of which every prefix is safe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from promoter.domain.allowance import ChangeAllowance
from promoter.domain.decision import Decision, Verdict
from promoter.domain.desired import AliasIntent, ModelIntent, Safety
from promoter.domain.fields import CHAMPION
from promoter.domain.identity import RememberedVersion, describe_replacement
from promoter.domain.observed import CopyOrigin, ObservedModel

MASS_CHANGE_FLOOR = 10
"""A share limits a plan only once it changes more aliases than this."""


class ChangeCause(StrEnum):
    """Why git and the registry differ. Only a COMMIT is a new decision, and gated; an OVERRIDE stands in for one.

    REPLACED is no difference: the ledger records under it that a number stands for another version now.
    """

    COMMIT = "commit"
    DRIFT = "drift"
    ABSENT = "absent"
    PRUNE = "prune"
    OVERRIDE = "override"
    REPLACED = "replaced"


_UNCOUNTED = (ChangeCause.DRIFT, ChangeCause.OVERRIDE)
"""Causes of changes that the mass-change limit does not count."""


class ChangeGate(StrEnum):
    """What a change must pass: nothing, the alias's policy, or the readiness of a version that returns."""

    NONE = "none"
    POLICY = "policy"
    READINESS = "readiness"


@dataclass(frozen=True)
class AliasDifference:
    """One alias that points elsewhere in the registry than git says."""

    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    """The version that git wants; None: the alias is to be deleted."""
    cause: ChangeCause
    intent: AliasIntent | None = None
    """What git says of the alias; None: git does not list it."""
    agreed: int | None = field(default=None, compare=False)
    """The version that git and the registry last agreed on; None: none is known, or the alias was absent."""
    from_identity: str | None = None
    """The identity of `from_version`, as `VersionIdentity.text` writes it; None: unknown."""
    to_identity: str | None = None
    """The identity of `to_version`; None: unknown."""
    run_id: str | None = None
    """The training run of `to_version`; None: it has none."""
    copied_from: CopyOrigin | None = None
    """The version that `to_version` is a copy of; None: it is no copy, or nobody knows."""
    replacement: str = ""
    """Where git and the registry agreed on another version of that number: what became of it, in a sentence."""

    @property
    def replacement_note(self) -> str | None:
        """What became of another version of that number, which was agreed on; None: there was none."""
        return self.replacement or None

    @property
    def identity_key(self) -> tuple[str | int | None, ...]:
        """The alias and its versions, without the decision on them."""
        known = (self.from_identity, self.to_identity)
        return (self.model, self.alias, self.from_version, self.to_version, *(known if any(known) else ()))

    @property
    def may_return(self) -> bool:
        """Whether the change may bring a version back: git has moved on from what it and the registry agreed on."""
        return (
            self.cause is ChangeCause.COMMIT
            and self.to_version is not None
            and self.intent is not None
            and self.intent.policy is not None
            and self.from_version is not None
            and self.from_version == self.agreed
        )

    def select_gate(self, now: datetime, *, held_before: bool, returns: bool = False) -> ChangeGate:
        """Return what the change must pass.

        `held_before`: whether the target version ever held the alias; `returns`: whether it is the last one in good standing.
        """
        if self.cause is ChangeCause.OVERRIDE:
            return ChangeGate.READINESS
        if self.cause is not ChangeCause.COMMIT or self.intent is None or self.to_version is None:
            return ChangeGate.NONE
        if returns or (held_before and self.intent.hold and self.intent.hold.is_in_force(now)):
            return ChangeGate.READINESS
        return ChangeGate.POLICY if self.intent.policy else ChangeGate.NONE


@dataclass(frozen=True)
class BlockedTarget:
    """A model, or one alias of it, that is left as it is, and why."""

    model: str
    alias: str | None
    """The alias; None: the whole model."""
    reason: str


@dataclass(frozen=True)
class Change:
    """A difference, and what its gate decided."""

    difference: AliasDifference
    decision: Decision | None = None
    """The gate's decision; None: the change needs none."""

    @property
    def is_allowed(self) -> bool:
        """Whether it may be carried out: ungated, passed, or under a policy that only watches."""
        return self.decision is None or self.decision.lets_through

    @property
    def gate_verdict(self) -> Verdict | None:
        """The gate's verdict; None: not gated."""
        return self.decision.verdict if self.decision else None


@dataclass(frozen=True)
class UnmanagedAlias:
    """An alias that git stated something of, and states nothing of any more: it stays, and nobody gates it or puts it back."""

    model: str
    alias: str
    version: int | None
    """The version that was stated last; None where none was, or where the alias was to be absent."""
    is_listed: bool = False
    """Whether git still lists the alias, without a version."""
    similar: str | None = None
    """The name of an alias of the model that git states now and did not before, and that is spelled alike."""

    @property
    def description(self) -> str:
        """What happens to it, in words that follow its name."""
        before = "git" if self.version is None else f"git stated v{self.version}, and"
        if self.is_listed:
            return f"{before} states no version of it any more: it stays where it is, and no drift of it is put back"
        meant = f"; is `{self.similar}`, which is new, meant to be it?" if self.similar else ""
        return f"{before} says nothing of it any more: it stays where it is, and nothing gates it or puts it back{meant}"


@dataclass(frozen=True)
class ModelComparison:
    """The desired and the observed state of one model, compared."""

    differences: tuple[AliasDifference, ...] = ()
    blocked: tuple[BlockedTarget, ...] = ()
    """What keeps the model or an alias as it is."""
    reported: tuple[AliasDifference, ...] = ()
    """Drift that is only reported."""


def compare_model(
    intent: ModelIntent, observed: ObservedModel | None, settled: Mapping[str, RememberedVersion]
) -> ModelComparison:
    """Compare what git says of a model with what the registry holds.

    `settled` is what the two last agreed on, by alias: where git still says the same, a difference is drift. Where they agreed
    on another version of that number, it is a new decision, also where the alias is at that number already. A model or a
    version that the registry lacks blocks the whole model, so that no half of a commit is carried out.
    """
    stated = [alias for alias in intent.aliases.values() if alias.has_declared_target]
    if observed is None:
        reason = "the registry has no model of this name: register it, or take it out of registry.yaml"
        return ModelComparison(blocked=(BlockedTarget(intent.name, None, reason),) if stated else ())
    lacking = [alias for alias in stated if alias.version and not _is_version_usable(observed, alias.version)]
    if lacking:
        return ModelComparison(
            blocked=tuple(
                BlockedTarget(intent.name, alias.alias, _describe_missing_version(observed, alias)) for alias in lacking
            )
        )
    found = [
        _build_difference(alias, observed, settled)
        for alias in stated
        if observed.aliases.get(alias.alias) != alias.version or find_replaced_agreement(alias, observed, settled)
    ]
    blocked: list[BlockedTarget] = []
    for alias, version in observed.aliases.items() if intent.prune else ():
        if alias == CHAMPION and alias not in intent.aliases:
            blocked.append(
                BlockedTarget(intent.name, alias, "prune never deletes champion: write `champion: absent` to delete it")
            )
        elif alias not in intent.aliases:
            identity = observed.find_identity(version)
            found.append(AliasDifference(intent.name, alias, version, None, ChangeCause.PRUNE, from_identity=identity))
    reported = [each for each in found if each.cause is ChangeCause.DRIFT and intent.on_drift != "revert"]
    return ModelComparison(tuple(each for each in found if each not in reported), tuple(blocked), tuple(reported))


def withhold_differences(compared: ModelComparison, find_reason: Callable[[str, str], str | None]) -> ModelComparison:
    """Leave the aliases as they are that there is a reason for, and block them with it."""
    reasons = {each: find_reason(each.model, each.alias) for each in (*compared.differences, *compared.reported)}
    blocked = tuple(BlockedTarget(each.model, each.alias, reason) for each, reason in reasons.items() if reason)
    return ModelComparison(
        tuple(each for each in compared.differences if not reasons[each]),
        (*compared.blocked, *blocked),
        tuple(each for each in compared.reported if not reasons[each]),
    )


def find_replaced_agreement(
    alias: AliasIntent, observed: ObservedModel, settled: Mapping[str, RememberedVersion]
) -> RememberedVersion | None:
    """Return the version that git and the registry agreed on, where its number, which git still says, is another one's now."""
    agreed = settled.get(alias.alias)
    if agreed is None or alias.override or agreed.number is None or agreed.number != alias.version:
        return None
    return None if observed.still_has(agreed) else agreed


def _build_difference(alias: AliasIntent, observed: ObservedModel, settled: Mapping[str, RememberedVersion]) -> AliasDifference:
    held = observed.aliases.get(alias.alias)
    replaced = find_replaced_agreement(alias, observed, settled)
    agreed = settled.get(alias.alias)
    if alias.override:
        cause = ChangeCause.OVERRIDE
    elif agreed is not None and agreed.number == alias.version and not replaced:
        cause = ChangeCause.DRIFT
    else:
        cause = ChangeCause.ABSENT if alias.absent else ChangeCause.COMMIT
    present = observed.find_present(alias.version)
    return AliasDifference(
        alias.model,
        alias.alias,
        held,
        alias.version,
        cause,
        alias,
        agreed.number if agreed and observed.still_has(agreed) else None,
        observed.find_identity(held),
        present.identity if present else None,
        observed.find_run_id(alias.version),
        observed.find_copy_origin(alias.version),
        describe_replacement(replaced, present, observed.created_at) if replaced else "",
    )


def _is_version_usable(observed: ObservedModel, number: int) -> bool:
    version = observed.versions.get(number)
    return version is not None and version.ready


def _describe_missing_version(observed: ObservedModel, alias: AliasIntent) -> str:
    if alias.version in observed.versions:
        return f"version {alias.version} is still being registered, or its registration failed"
    newest = f"the newest is {observed.newest_version}" if observed.newest_version else "it has none"
    return f"the registry has no version {alias.version} of this model ({newest})"


@dataclass(frozen=True)
class Plan:
    """Everything that differs, in safe order."""

    revision: str | None
    changes: tuple[Change, ...] = ()
    """All changes, the blocked ones too, with their decisions."""
    blocked: tuple[BlockedTarget, ...] = ()
    reported: tuple[AliasDifference, ...] = ()
    """Drift that is only reported."""
    refused: str | None = None
    """Why nothing of the plan may be carried out (the mass-change limit); None: it may."""
    counted_changes: int = 0
    """How many changes the mass-change limit counts."""
    unmanaged: tuple[UnmanagedAlias, ...] = ()
    """The aliases that git states nothing of any more. The mass-change limit counts them."""
    notes: tuple[str, ...] = ()
    """What else whoever reads the plan has to know: what could not be compared, and why."""
    digest: str = field(init=False)
    """The SHA-256 of what would be done, from which state, at which revision."""

    def __post_init__(self) -> None:
        changes: list[list[object]] = [[*change.difference.identity_key, change.is_allowed] for change in self.changes]
        changes += [[each.model, each.alias, each.version, "unmanaged"] for each in self.unmanaged]
        digest = hashlib.sha256(json.dumps([self.revision, changes]).encode()).hexdigest()
        object.__setattr__(self, "digest", digest)

    @property
    def allowed_changes(self) -> tuple[Change, ...]:
        """The changes that apply carries out, in order."""
        return () if self.refused else tuple(change for change in self.changes if change.is_allowed)


def build_plan(
    revision: str | None,
    changes: Iterable[Change],
    compared: Iterable[ModelComparison],
    safety: Safety,
    managed: int,
    unmanaged: Iterable[UnmanagedAlias] = (),
    allowance: ChangeAllowance | None = None,
) -> Plan:
    """Put all changes into safe order, list what is blocked, and check the mass-change limit.

    `managed` is the number of aliases that git states something of, `unmanaged` what it stated before and does not any more:
    that counts as a change, since nothing gates these aliases from then on. Drift does not count: putting back what git has
    said all along is no new decision, and how much of it meets in one plan is a matter of chance. Nor do overrides: a person
    asked for each of them by name. `allowance`: leave for so many changes to go past the limit.
    """
    ordered = tuple(sorted(changes, key=_safe_order_key))
    parts = tuple(compared)
    touched = {(each.difference.model, each.difference.alias) for each in ordered}
    left = tuple(each for each in unmanaged if (each.model, each.alias) not in touched)
    leaving = sum(each.version is not None for each in left)
    counted = leaving + sum(each.is_allowed and each.difference.cause not in _UNCOUNTED for each in ordered)
    blocked = [blocked for part in parts for blocked in part.blocked]
    for change in ordered:
        if change.decision and not change.is_allowed:
            what = change.difference
            note = f"; {what.replacement}" if what.replacement else ""
            blocked.append(BlockedTarget(what.model, what.alias, f"v{what.to_version}: {change.decision.summary_line}{note}"))
    return Plan(
        revision=revision,
        changes=ordered,
        blocked=tuple(sorted(blocked, key=lambda each: (each.model, each.alias or ""))),
        reported=tuple(each for part in parts for each in part.reported),
        refused=_check_mass_change_limit(counted, safety, managed + leaving, allowance),
        counted_changes=counted,
        unmanaged=left,
        notes=(str(allowance),) if allowance and _is_over_limit(counted, safety, managed + leaving) else (),
    )


def _safe_order_key(change: Change) -> tuple[str, int, str]:
    """Order within a model: supporting aliases, then champion, then deletes (champion's own last)."""
    what = change.difference
    phase = (2 if what.to_version is None else 0) + (1 if what.alias == CHAMPION else 0)
    return (what.model, phase, what.alias)


def _is_over_limit(count: int, safety: Safety, managed: int) -> bool:
    limit = safety.max_changes
    if isinstance(limit, int):
        return count > limit
    return count > MASS_CHANGE_FLOOR and count * 100 > int(limit.removesuffix("%")) * managed


def _check_mass_change_limit(count: int, safety: Safety, managed: int, allowance: ChangeAllowance | None) -> str | None:
    if not _is_over_limit(count, safety, managed) or (allowance and allowance.covers(count)):
        return None
    return (
        f"{count} changes of {managed} managed aliases are over `safety.max_changes: {safety.max_changes}`: "
        "nothing is carried out; "
        "raise the limit in registry.yaml in the same commit if all of it is meant"
    )
