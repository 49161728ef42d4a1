"""What changed policies would have done, kept for a while: a replay reads a month of the registry and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from promoter.application.ports import Clock, Ledger, Registry
from promoter.application.replay import PolicyReplayer, ReplayRequest
from promoter.domain.approvers import ApproverDirectory
from promoter.domain.declaration import Declaration
from promoter.domain.faults import ExternalError
from promoter.domain.pulls.policies import (
    AliasEffect,
    PolicyStep,
    PolicyStepKind,
    build_replay_declaration,
    build_alias_effects,
)

REPLAY_PERIOD = timedelta(days=30)
"""How far back a changed policy is replayed."""
REPLAY_LIFETIME = timedelta(minutes=10)
"""How long what came of it is told again: of all that moves meanwhile, it judges nothing."""

_ReplayKey = tuple[str, str | None, str, str | None]
"""The policy and the one before it, by name, and their digests."""


@dataclass(frozen=True)
class _ReplayContext:
    """What else a replay goes by: whose aliases the policy gates, and who may approve. Compared, never shown."""

    shared: object
    gated: frozenset[tuple[str, str]]
    approvers: tuple[ApproverDirectory, ApproverDirectory | None]


@dataclass(frozen=True)
class _CachedReplay:
    at: datetime
    about: _ReplayContext
    effects: tuple[AliasEffect, ...]


class PolicyReplays:
    """Replays the policies that a pull request changes. What cannot be replayed is told, is no failure, and is not kept."""

    def __init__(self, registry: Registry, ledger: Ledger, clock: Clock) -> None:
        """Takes the ports that it reads; nothing is kept yet."""
        self._replay = PolicyReplayer(registry, ledger, clock)
        self._clock = clock
        self._kept: Mapping[_ReplayKey, _CachedReplay] = {}

    def __call__(self, step: PolicyStep, base: Declaration, merged: Declaration) -> PolicyStep:
        """The step with what came of it, where there is something to replay."""
        if step.step in (PolicyStepKind.REMOVED, PolicyStepKind.RENAMED):
            return step
        key, about, now = _build_replay_key(step, base, merged), _build_replay_context(step, base, merged), self._clock.now()
        kept = self._kept.get(key)
        if kept is None or kept.about != about or now - kept.at >= REPLAY_LIFETIME:
            declaration, other = build_replay_declaration(step, base, merged)
            try:
                report = self._replay(declaration, ReplayRequest(step.name, now - REPLAY_PERIOD, other))
            except ExternalError as error:
                return replace(step, replay_error=error.message)
            kept = _CachedReplay(now, about, build_alias_effects(report))
            fresh = {each: its for each, its in self._kept.items() if now - its.at < REPLAY_LIFETIME}
            self._kept = {**fresh, key: kept}
        return replace(step, replayed=kept.effects)


def _build_replay_key(step: PolicyStep, base: Declaration, merged: Declaration) -> _ReplayKey:
    before = base.policies[step.before].digest if step.before else None
    return step.name, step.before, merged.policies[step.name].digest, before


def _build_replay_context(step: PolicyStep, base: Declaration, merged: Declaration) -> _ReplayContext:
    document = merged.desired.document
    aliases = (alias for intent in merged.desired.listed.values() for alias in intent.aliases.values())
    return _ReplayContext(
        shared=(document.defaults, document.families),
        gated=frozenset((alias.model, alias.alias) for alias in aliases if alias.policy == step.name),
        approvers=(merged.policies[step.name].approvers, base.policies[step.before].approvers if step.before else None),
    )
