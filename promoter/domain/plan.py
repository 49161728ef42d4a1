"""A plan: what reconcile would do to the registry, in an order of which every prefix is safe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from promoter.domain.desired import AliasIntent, ModelIntent, Safety
from promoter.domain.names import CHAMPION
from promoter.domain.observed import ObservedModel
from promoter.domain.verdict import Decision, Verdict

MASS_FLOOR = 10
"""A share limits a plan only once it changes more aliases than this."""


class Cause(StrEnum):
    """Why git and the registry differ. Only a COMMIT is a new decision, and gated; an OVERRIDE stands in for one."""

    COMMIT = "commit"
    DRIFT = "drift"
    ABSENT = "absent"
    PRUNE = "prune"
    OVERRIDE = "override"


_UNCOUNTED = (Cause.DRIFT, Cause.OVERRIDE)
"""What the mass-change limit does not count."""


class Gate(StrEnum):
    """What a change must pass: nothing, the alias's policy, or the readiness of a version that returns under a hold."""

    NONE = "none"
    POLICY = "policy"
    READINESS = "readiness"


@dataclass(frozen=True)
class Difference:
    """One alias that the registry has elsewhere than git. `to_version` None: it is to be deleted."""

    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    cause: Cause
    intent: AliasIntent | None = None

    @property
    def key(self) -> tuple[str, str, int | None, int | None]:
        """What the change is, without the decision behind it."""
        return (self.model, self.alias, self.from_version, self.to_version)

    def gate(self, now: datetime, *, held_before: bool) -> Gate:
        """`held_before`: whether the target version ever held the alias."""
        if self.cause is Cause.OVERRIDE:
            return Gate.READINESS
        if self.cause is not Cause.COMMIT or self.intent is None or self.to_version is None:
            return Gate.NONE
        if held_before and self.intent.hold and self.intent.hold.in_force(now):
            return Gate.READINESS
        return Gate.POLICY if self.intent.policy else Gate.NONE


@dataclass(frozen=True)
class Blocked:
    """A model, or one alias of it, that is left as it is, and why."""

    model: str
    alias: str | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        """`model`, `alias` (null: the whole model), `reason`."""
        return {"model": self.model, "alias": self.alias, "reason": self.reason}


@dataclass(frozen=True)
class Change:
    """A difference, and what its gate said (None: not gated)."""

    difference: Difference
    decision: Decision | None = None

    @property
    def allowed(self) -> bool:
        """Only a pass lets a gated change through, unless its policy only watches."""
        return self.decision is None or self.decision.lets_through

    @property
    def verdict(self) -> Verdict | None:
        """The gate's verdict; None: not gated."""
        return self.decision.verdict if self.decision else None

    def as_json(self) -> dict[str, Any]:
        """`model`, `alias`, `from`, `to`, `cause`, `allowed`, `verdict`, `decision`."""
        what = self.difference
        return {
            "model": what.model,
            "alias": what.alias,
            "from": what.from_version,
            "to": what.to_version,
            "cause": what.cause.value,
            "allowed": self.allowed,
            "verdict": self.verdict.value if self.verdict else None,
            "decision": self.decision.as_json() if self.decision else None,
        }


@dataclass(frozen=True)
class Compared:
    """One model compared: what differs, what blocks it, and drift that is only reported."""

    differences: tuple[Difference, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    reported: tuple[Difference, ...] = ()


def compare(intent: ModelIntent, observed: ObservedModel | None, settled: Mapping[str, int | None]) -> Compared:
    """What git says of a model against what the registry holds.

    `settled` is what the two last agreed on, by alias: where git still says the same, a difference is drift. A model or a
    version that the registry lacks blocks the whole model, so that no half of a commit is carried out.
    """
    stated = [alias for alias in intent.aliases.values() if alias.stated]
    if observed is None:
        reason = "the registry has no model of this name: register it, or take it out of registry.yaml"
        return Compared(blocked=(Blocked(intent.name, None, reason),) if stated else ())
    lacking = [alias for alias in stated if alias.version and not _usable(observed, alias.version)]
    if lacking:
        return Compared(blocked=tuple(Blocked(intent.name, alias.alias, _lack(observed, alias)) for alias in lacking))
    found = [_difference(alias, observed, settled) for alias in stated if observed.aliases.get(alias.alias) != alias.version]
    blocked: list[Blocked] = []
    for alias, version in observed.aliases.items() if intent.prune else ():
        if alias == CHAMPION and alias not in intent.aliases:
            blocked.append(Blocked(intent.name, alias, "prune never deletes champion: write `champion: absent` to delete it"))
        elif alias not in intent.aliases:
            found.append(Difference(intent.name, alias, version, None, Cause.PRUNE))
    reported = [each for each in found if each.cause is Cause.DRIFT and intent.on_drift != "revert"]
    return Compared(tuple(each for each in found if each not in reported), tuple(blocked), tuple(reported))


def _difference(alias: AliasIntent, observed: ObservedModel, settled: Mapping[str, int | None]) -> Difference:
    held = observed.aliases.get(alias.alias)
    if alias.override:
        cause = Cause.OVERRIDE
    elif alias.alias in settled and settled[alias.alias] == alias.version:
        cause = Cause.DRIFT
    else:
        cause = Cause.ABSENT if alias.absent else Cause.COMMIT
    return Difference(alias.model, alias.alias, held, alias.version, cause, alias)


def _usable(observed: ObservedModel, number: int) -> bool:
    version = observed.versions.get(number)
    return version is not None and version.ready


def _lack(observed: ObservedModel, alias: AliasIntent) -> str:
    if alias.version in observed.versions:
        return f"version {alias.version} is still being registered, or its registration failed"
    newest = f"the newest is {observed.newest}" if observed.newest else "it has none"
    return f"the registry has no version {alias.version} of this model ({newest})"


@dataclass(frozen=True)
class Plan:
    """Everything that differs, in safe order. `changes` holds the blocked ones too, with their verdict.

    `refused` says why nothing of the plan may be carried out (the mass-change limit); None: it may.
    """

    revision: str | None
    changes: tuple[Change, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    reported: tuple[Difference, ...] = ()
    refused: str | None = None
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Computes the digest: SHA-256 over what would be done, from which state, at which revision."""
        told = [[*change.difference.key, change.allowed] for change in self.changes]
        digest = hashlib.sha256(json.dumps([self.revision, told]).encode()).hexdigest()
        object.__setattr__(self, "digest", digest)

    @property
    def allowed(self) -> tuple[Change, ...]:
        """The changes that apply carries out, in order."""
        return () if self.refused else tuple(change for change in self.changes if change.allowed)

    def as_json(self) -> dict[str, Any]:
        """The shape of `plan --format json`, without its `schema`."""
        return {
            "revision": self.revision,
            "digest": self.digest,
            "changes": [change.as_json() for change in self.changes],
            "blocked": [blocked.as_json() for blocked in self.blocked],
            "drift": [
                {"model": each.model, "alias": each.alias, "from": each.from_version, "to": each.to_version}
                for each in self.reported
            ],
            "refused": self.refused,
        }


def make_plan(
    revision: str | None,
    changes: Iterable[Change],
    compared: Iterable[Compared],
    safety: Safety,
    managed: int,
) -> Plan:
    """Put the parts in order, tell what is blocked, and hold the whole against the mass-change limit.

    `managed` is the number of aliases that git states something of. Drift does not count: putting back what git has said all
    along is no new decision, and how much of it meets in one plan is a matter of chance. Nor do overrides: a person asked for
    each of them by name.
    """
    ordered = tuple(sorted(changes, key=_safe_order))
    parts = tuple(compared)
    blocked = [blocked for part in parts for blocked in part.blocked]
    for change in ordered:
        if change.decision and not change.allowed:
            what = change.difference
            blocked.append(Blocked(what.model, what.alias, f"v{what.to_version}: {change.decision.summary}"))
    return Plan(
        revision=revision,
        changes=ordered,
        blocked=tuple(sorted(blocked, key=lambda each: (each.model, each.alias or ""))),
        reported=tuple(each for part in parts for each in part.reported),
        refused=_refusal(
            sum(change.allowed and change.difference.cause not in _UNCOUNTED for change in ordered), safety, managed
        ),
    )


def _safe_order(change: Change) -> tuple[str, int, str]:
    """Within a model: supporting aliases, then champion, then deletes (champion's own last)."""
    what = change.difference
    phase = (2 if what.to_version is None else 0) + (1 if what.alias == CHAMPION else 0)
    return (what.model, phase, what.alias)


def _refusal(count: int, safety: Safety, managed: int) -> str | None:
    limit = safety.max_changes
    if isinstance(limit, int):
        over = count > limit
    else:
        over = count > MASS_FLOOR and count * 100 > int(limit.removesuffix("%")) * managed
    if not over:
        return None
    return (
        f"{count} changes of {managed} managed aliases are over `safety.max_changes: {limit}`: nothing is carried out; "
        "raise the limit in registry.yaml in the same commit if all of it is meant"
    )
