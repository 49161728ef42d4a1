"""What a pull request does to policies: which it adds, removes or changes, and what a replay says of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from promoter.domain.declaration import Declaration
from promoter.domain.policy import Policy
from promoter.domain.replay.report import ModelReplay, Replayed, Report

_SHOWN = 5


class Step(StrEnum):
    """What happens to a policy."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    CHANGED = "changed"


@dataclass(frozen=True)
class Otherwise:
    """A version of which the two policies say different things; `why` is what the one that blocks it says."""

    version: int
    why: str

    def as_json(self) -> dict[str, Any]:
        """`version`, `why`."""
        return {"version": self.version, "why": self.why}


@dataclass(frozen=True)
class AliasEffect:
    """What a policy would have changed on one alias, against the one before it (without one: against none).

    `promotions` counts the real ones that were judged; None: the ledger knows no move. `blocks` and `lets` are those that only
    the new policy blocks, and that only the old one does; `turns_down` and `takes` the same of candidates. `before` and
    `after`: who would hold the alias now under each.
    """

    model: str
    alias: str
    promotions: int | None
    blocks: tuple[Otherwise, ...] = ()
    lets: tuple[Otherwise, ...] = ()
    turns_down: tuple[Otherwise, ...] = ()
    takes: tuple[Otherwise, ...] = ()
    before: int | None = None
    after: int | None = None

    @property
    def differs(self) -> bool:
        """Whether anything would have been another way."""
        return bool(self.blocks or self.lets or self.turns_down or self.takes) or self.before != self.after

    @property
    def told(self) -> tuple[str, ...]:
        """In words, of which each is a part."""
        told = ["the ledger knows no past promotion"] if self.promotions is None else []
        told += [f"would have blocked the promotion of {_versions(self.blocks)}"] if self.blocks else []
        told += [f"would have let through the promotion of {_versions(self.lets)}"] if self.lets else []
        told += [f"turns down the candidate {_versions(self.turns_down)}"] if self.turns_down else []
        told += [f"no longer turns down the candidate {_versions(self.takes)}"] if self.takes else []
        if not self.differs:
            told.append("nothing would have been otherwise")
        if self.before != self.after:
            told.append(f"{_holder(self.after)} would hold the alias now instead of {_holder(self.before)}")
        return tuple(told)

    def as_json(self) -> dict[str, Any]:
        """`model`, `alias`, `promotions`, `blocks`, `lets_through`, `turns_down`, `takes`, `holder_before`, `holder_after`."""
        return {
            "model": self.model,
            "alias": self.alias,
            "promotions": self.promotions,
            "blocks": [each.as_json() for each in self.blocks],
            "lets_through": [each.as_json() for each in self.lets],
            "turns_down": [each.as_json() for each in self.turns_down],
            "takes": [each.as_json() for each in self.takes],
            "holder_before": self.before,
            "holder_after": self.after,
        }


@dataclass(frozen=True)
class PolicyStep:
    """One policy that is another after the merge. `before` is the name of the one that it is held against.

    `replayed` None: it was not; `untold` says why.
    """

    name: str
    step: Step
    before: str | None = None
    replayed: tuple[AliasEffect, ...] | None = None
    untold: str | None = None

    @property
    def told(self) -> str:
        """What happens, in words."""
        match self.step:
            case Step.RENAMED:
                return f"renamed, from {self.before}"
            case Step.ADDED if self.before:
                return f"added, in the place of {self.before}"
            case _:
                return self.step.value

    def as_json(self) -> dict[str, Any]:
        """`policy`, `step`, `before`, `replay` (null: not made), `not_replayed` (why)."""
        effects = None if self.replayed is None else [each.as_json() for each in self.replayed]
        return {
            "policy": self.name,
            "step": self.step.value,
            "before": self.before,
            "replay": effects,
            "not_replayed": self.untold,
        }


def policy_steps(base: Declaration, merged: Declaration) -> tuple[PolicyStep, ...]:
    """Every policy that differs, by name.

    One with the very bytes of one that goes is renamed; one that is added takes the place of the one which gated its aliases,
    where that is one.
    """
    gone = {name: policy.digest for name, policy in base.policies.items() if name not in merged.policies}
    found = []
    for name, policy in merged.policies.items():
        was = base.policies.get(name)
        source = next((other for other, digest in gone.items() if digest == policy.digest), None)
        if was is None and source is not None:
            found.append(PolicyStep(name, Step.RENAMED, source))
        elif was is None:
            found.append(PolicyStep(name, Step.ADDED, _replaced(base, merged, name)))
        elif was.digest != policy.digest:
            found.append(PolicyStep(name, Step.CHANGED, name))
    taken = {each.before for each in found if each.step is Step.RENAMED}
    found += [PolicyStep(name, Step.REMOVED) for name in gone if name not in taken]
    return tuple(sorted(found, key=lambda each: each.name))


def approvers_told(base: Declaration, merged: Declaration) -> tuple[str, ...]:
    """What becomes of `approvers.yaml`, as far as policies exist that carry it."""
    before, after = _approvers(base), _approvers(merged)
    told = [f"approver {name} comes" for name in sorted(after.keys() - before.keys())]
    told += [f"approver {name} goes" for name in sorted(before.keys() - after.keys())]
    told += [f"approver {name} changes" for name in sorted(before.keys() & after.keys()) if before[name] != after[name]]
    return tuple(f"{each}; signatures are judged by the base's approvers until the merge" for each in told)


def _approvers(declaration: Declaration) -> Mapping[str, Any]:
    return next((policy.approvers.known for policy in declaration.policies.values()), {})


def _replaced(base: Declaration, merged: Declaration, name: str) -> str | None:
    before: set[str | None] = set()
    for model, intent in merged.desired.listed.items():
        was = base.desired.intent(model)
        for alias, said in intent.aliases.items():
            if said.policy == name:
                own = was.aliases.get(alias) if was else None
                before.add(own.policy if own else None)
    return before.pop() if len(before) == 1 else None


def as_replayed(step: PolicyStep, base: Declaration, merged: Declaration) -> tuple[Declaration, str | None]:
    """The declaration under which a replay finds both policies, and by which name the old one (None: there is none)."""
    policies: dict[str, Policy] = {step.name: merged.policies[step.name]}
    other = None
    if step.before is not None:
        other = f"{step.before} of the base"
        policies[other] = base.policies[step.before]
    return replace(merged, policies=policies), other


def effects(report: Report) -> tuple[AliasEffect, ...]:
    """Of a report of one policy, or of a new one and the one before it, in that order."""
    return tuple(_effect(model) for model in report.models)


def _effect(model: ModelReplay) -> AliasEffect:
    new, *others = model.replays
    old = others[0] if others else None
    blocked, turned = dict(_blocked(new)), dict(_turned_down(new))
    was_blocked, was_turned = (dict(_blocked(old)), dict(_turned_down(old))) if old else ({}, {})
    return AliasEffect(
        model=model.model,
        alias=model.alias,
        promotions=None if model.began is None else len(new.past.promotions),
        blocks=_only(blocked, was_blocked),
        lets=_only(was_blocked, blocked),
        turns_down=_only({key: why for key, why in turned.items() if key not in blocked}, was_turned),
        takes=_only({key: why for key, why in was_turned.items() if key not in was_blocked}, turned),
        before=old.holder if old else model.held_now,
        after=new.holder,
    )


def _versions(found: tuple[Otherwise, ...]) -> str:
    more = len(found) - _SHOWN
    return ", ".join(f"v{each.version} ({each.why})" for each in found[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _holder(version: int | None) -> str:
    return f"v{version}" if version else "nobody"


def _only(these: Mapping[int, str], others: Mapping[int, str]) -> tuple[Otherwise, ...]:
    return tuple(Otherwise(version, these[version]) for version in sorted(these) if version not in others)


def _blocked(replayed: Replayed) -> Iterator[tuple[int, str]]:
    return ((each.to_version, each.decision.summary) for each in replayed.blocked)


def _turned_down(replayed: Replayed) -> Iterator[tuple[int, str]]:
    return ((each.version, each.decision.summary) for each in replayed.turned_down)
