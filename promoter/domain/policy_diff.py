"""What a pull request does to policies: which it adds, removes, renames or changes, and what replay finds for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from promoter.domain.desired import Declaration
from promoter.domain.policy.document import Policy
from promoter.domain.replay.report import ModelReplay, PolicyReplay, ReplayReport
from promoter.domain.text import version_label

_SHOWN = 5


class PolicyStepKind(StrEnum):
    """What happens to a policy."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    CHANGED = "changed"


@dataclass(frozen=True)
class DivergentVersion:
    """A version on which the old and the new policy differ."""

    version: int
    """The version."""
    why: str
    """Why the policy that blocks it does so."""


@dataclass(frozen=True)
class AliasEffect:
    """What a new policy would have changed on one alias, compared with the old one, or with none."""

    model: str
    """The registered model."""
    alias: str
    """The alias."""
    promotions: int | None
    """How many real promotions were evaluated; None where the ledger has no move."""
    blocks: tuple[DivergentVersion, ...] = ()
    """Promoted versions that only the new policy blocks."""
    lets: tuple[DivergentVersion, ...] = ()
    """Promoted versions that only the old policy blocks."""
    turns_down: tuple[DivergentVersion, ...] = ()
    """Candidates that only the new policy blocks."""
    takes: tuple[DivergentVersion, ...] = ()
    """Candidates that only the old policy blocks."""
    before: int | None = None
    """Who would hold the alias now under the old policy."""
    after: int | None = None
    """Who would hold the alias now under the new policy."""

    @property
    def has_differences(self) -> bool:
        """Return whether the two policies differ anywhere."""
        return bool(self.blocks or self.lets or self.turns_down or self.takes) or self.before != self.after

    @property
    def description_parts(self) -> tuple[str, ...]:
        """Return the parts of the sentence that people read."""
        parts = ["the ledger knows no past promotion"] if self.promotions is None else []
        parts += [f"would have blocked the promotion of {_join_divergent_versions(self.blocks)}"] if self.blocks else []
        parts += [f"would have let through the promotion of {_join_divergent_versions(self.lets)}"] if self.lets else []
        parts += [f"turns down the candidate {_join_divergent_versions(self.turns_down)}"] if self.turns_down else []
        parts += [f"no longer turns down the candidate {_join_divergent_versions(self.takes)}"] if self.takes else []
        if not self.has_differences:
            parts.append("nothing would have been otherwise")
        if self.before != self.after:
            parts.append(f"{version_label(self.after)} would hold the alias now instead of {version_label(self.before)}")
        return tuple(parts)


@dataclass(frozen=True)
class PolicyStep:
    """One policy that differs after the merge."""

    name: str
    """The name of the policy."""
    step: PolicyStepKind
    """What happens to it."""
    before: str | None = None
    """The name of the policy that it is compared with."""
    replayed: tuple[AliasEffect, ...] | None = None
    """What replay found; None where there was no replay."""
    replay_error: str | None = None
    """Why there was no replay."""

    @property
    def description(self) -> str:
        """Return the sentence that people read."""
        match self.step:
            case PolicyStepKind.RENAMED:
                return f"renamed, from {self.before}"
            case PolicyStepKind.ADDED if self.before:
                return f"added, in the place of {self.before}"
            case _:
                return self.step.value


def compare_policies(base: Declaration, merged: Declaration) -> tuple[PolicyStep, ...]:
    """Return every policy that differs, by name.

    A policy with the very bytes of one that goes is renamed. One that is added replaces the one that gated its aliases,
    where it is one only.
    """
    gone = {name: policy.digest for name, policy in base.policies.items() if name not in merged.policies}
    found = []
    for name, policy in merged.policies.items():
        was = base.policies.get(name)
        source = next((other for other, digest in gone.items() if digest == policy.digest), None)
        if was is None and source is not None:
            found.append(PolicyStep(name, PolicyStepKind.RENAMED, source))
        elif was is None:
            found.append(PolicyStep(name, PolicyStepKind.ADDED, _find_replaced_policy(base, merged, name)))
        elif was.digest != policy.digest:
            found.append(PolicyStep(name, PolicyStepKind.CHANGED, name))
    taken = {each.before for each in found if each.step is PolicyStepKind.RENAMED}
    found += [PolicyStep(name, PolicyStepKind.REMOVED) for name in gone if name not in taken]
    return tuple(sorted(found, key=lambda each: each.name))


def describe_approver_changes(base: Declaration, merged: Declaration) -> tuple[str, ...]:
    """Return sentences on changes of `approvers.yaml`, as far as policies use them."""
    before, after = _find_known_approvers(base), _find_known_approvers(merged)
    changes = [f"approver {name} comes" for name in sorted(after.keys() - before.keys())]
    changes += [f"approver {name} goes" for name in sorted(before.keys() - after.keys())]
    changes += [f"approver {name} changes" for name in sorted(before.keys() & after.keys()) if before[name] != after[name]]
    return tuple(f"{each}; signatures are judged by the base's approvers until the merge" for each in changes)


def _find_known_approvers(declaration: Declaration) -> Mapping[str, Any]:
    return next((policy.approvers.known for policy in declaration.policies.values()), {})


def _find_replaced_policy(base: Declaration, merged: Declaration, name: str) -> str | None:
    before: set[str | None] = set()
    for model, intent in merged.desired.listed.items():
        for alias, declared in intent.aliases.items():
            if declared.policy == name:
                own = base.desired.find_alias_intent(model, alias)
                before.add(own.policy if own else None)
    return before.pop() if len(before) == 1 else None


def build_replay_declaration(step: PolicyStep, base: Declaration, merged: Declaration) -> tuple[Declaration, str | None]:
    """Return a declaration that has both policies, and the name of the old one in it; None where there is none."""
    policies: dict[str, Policy] = {step.name: merged.policies[step.name]}
    other = None
    if step.before is not None:
        other = f"{step.before} of the base"
        policies[other] = base.policies[step.before]
    return replace(merged, policies=policies), other


def build_alias_effects(report: ReplayReport) -> tuple[AliasEffect, ...]:
    """Return the effects from a replay of one policy, or of the new policy and the old one in that order."""
    return tuple(_build_alias_effect(model) for model in report.models)


def _build_alias_effect(model: ModelReplay) -> AliasEffect:
    new, *others = model.replays
    old = others[0] if others else None
    blocked, turned = dict(_list_blocked_versions(new)), dict(_list_rejected_versions(new))
    was_blocked, was_turned = (dict(_list_blocked_versions(old)), dict(_list_rejected_versions(old))) if old else ({}, {})
    return AliasEffect(
        model=model.model,
        alias=model.alias,
        promotions=None if model.began is None else len(new.past.promotions),
        blocks=_select_only_in_first(blocked, was_blocked),
        lets=_select_only_in_first(was_blocked, blocked),
        turns_down=_select_only_in_first({key: why for key, why in turned.items() if key not in blocked}, was_turned),
        takes=_select_only_in_first({key: why for key, why in was_turned.items() if key not in was_blocked}, turned),
        before=old.final_holder if old else model.held_now,
        after=new.final_holder,
    )


def _join_divergent_versions(found: tuple[DivergentVersion, ...]) -> str:
    more = len(found) - _SHOWN
    return ", ".join(f"v{each.version} ({each.why})" for each in found[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _select_only_in_first(these: Mapping[int, str], others: Mapping[int, str]) -> tuple[DivergentVersion, ...]:
    return tuple(DivergentVersion(version, these[version]) for version in sorted(these) if version not in others)


def _list_blocked_versions(replayed: PolicyReplay) -> Iterator[tuple[int, str]]:
    return ((each.to_version, each.decision.summary_line) for each in replayed.blocked_promotions)


def _list_rejected_versions(replayed: PolicyReplay) -> Iterator[tuple[int, str]]:
    return ((each.version, each.decision.summary_line) for each in replayed.rejected_versions)
