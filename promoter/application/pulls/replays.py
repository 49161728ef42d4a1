"""What changed policies would have done, kept for a while: a replay reads a month of the registry and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from promoter.application.ports import Clock, Ledger, Registry
from promoter.application.replay import Replayer, Request
from promoter.domain.approvers import Approvers
from promoter.domain.declaration import Declaration
from promoter.domain.faults import OutsideError
from promoter.domain.pulls.policies import AliasEffect, PolicyStep, Step, as_replayed, effects

REPLAYED = timedelta(days=30)
"""How far back a changed policy is replayed."""
KEPT = timedelta(minutes=10)
"""How long what came of it is told again: of all that moves meanwhile, it judges nothing."""

_Key = tuple[str, str | None, str, str | None]
"""The policy and the one before it, by name, and their digests."""


@dataclass(frozen=True)
class _About:
    """What else a replay goes by: whose aliases the policy gates, and who may approve. Compared, never shown."""

    shared: object
    gated: frozenset[tuple[str, str]]
    approvers: tuple[Approvers, Approvers | None]


@dataclass(frozen=True)
class _Kept:
    at: datetime
    about: _About
    effects: tuple[AliasEffect, ...]


class Replays:
    """Replays the policies that a pull request changes. What cannot be replayed is told, is no failure, and is not kept."""

    def __init__(self, registry: Registry, ledger: Ledger, clock: Clock) -> None:
        """Takes the ports that it reads; nothing is kept yet."""
        self._replay = Replayer(registry, ledger, clock)
        self._clock = clock
        self._kept: Mapping[_Key, _Kept] = {}

    def __call__(self, step: PolicyStep, base: Declaration, merged: Declaration) -> PolicyStep:
        """The step with what came of it, where there is something to replay."""
        if step.step in (Step.REMOVED, Step.RENAMED):
            return step
        key, about, now = _key(step, base, merged), _about(step, base, merged), self._clock.now()
        kept = self._kept.get(key)
        if kept is None or kept.about != about or now - kept.at >= KEPT:
            declaration, other = as_replayed(step, base, merged)
            try:
                report = self._replay(declaration, Request(step.name, now - REPLAYED, other))
            except OutsideError as error:
                return replace(step, untold=error.message)
            kept = _Kept(now, about, effects(report))
            fresh = {each: its for each, its in self._kept.items() if now - its.at < KEPT}
            self._kept = {**fresh, key: kept}
        return replace(step, replayed=kept.effects)


def _key(step: PolicyStep, base: Declaration, merged: Declaration) -> _Key:
    before = base.policies[step.before].digest if step.before else None
    return step.name, step.before, merged.policies[step.name].digest, before


def _about(step: PolicyStep, base: Declaration, merged: Declaration) -> _About:
    document = merged.desired.document
    aliases = (alias for intent in merged.desired.listed.values() for alias in intent.aliases.values())
    return _About(
        shared=(document.defaults, document.families),
        gated=frozenset((alias.model, alias.alias) for alias in aliases if alias.policy == step.name),
        approvers=(merged.policies[step.name].approvers, base.policies[step.before].approvers if step.before else None),
    )
