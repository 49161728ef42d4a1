"""The plan of a pull request: what it would change once merged, judged by its base, and the status that follows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from promoter.domain.faults import Fault
from promoter.domain.plan import Blocked, Change, Compared, Plan
from promoter.domain.pulls.policies import PolicyStep
from promoter.domain.verdict import Decision, Verdict, visible

LONGEST = 140
"""Characters of a status's description: GitHub takes no more."""
_SHOWN = 2

Place = tuple[str, str]
"""Model and alias."""


class PullState(StrEnum):
    """What a pull request's status says."""

    SUCCESS = "success"
    FAILURE = "failure"
    PENDING = "pending"


@dataclass(frozen=True)
class Brought:
    """What the merge changes, against the base by itself.

    `changes` are told by their keys, `lacking` are models and versions that the registry does not have, `settings`, `gates`
    and `notes` are sentences, and `later` is what the merged files' own policy says of a change, where that is another policy.
    """

    changes: tuple[Change, ...] = ()
    lacking: tuple[Blocked, ...] = ()
    settings: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    policies: tuple[PolicyStep, ...] = ()
    later: Mapping[Place, Decision] = field(default_factory=dict)

    @property
    def stopped(self) -> tuple[Change, ...]:
        """The changes that fail, or cannot be judged."""
        return tuple(each for each in self.changes if not each.allowed and each.verdict is not Verdict.PENDING)

    @property
    def waiting(self) -> tuple[Change, ...]:
        """The changes that nobody can judge yet."""
        return tuple(each for each in self.changes if not each.allowed and each.verdict is Verdict.PENDING)

    @property
    def watched(self) -> tuple[Change, ...]:
        """The changes that only `enforcement: audit` lets through."""
        return tuple(each for each in self.changes if each.decision and each.decision.would_block)


@dataclass(frozen=True)
class PullPlan:
    """`base` and `head` are revisions, `touched` the watched files that the head changes.

    With `faults`, with `conflicts` or with `unjudged` there is no plan. `faults` are those of the files as merged (where they
    conflict: of the head), `unjudged` says why the base cannot judge. `plan` is that of the models of which the merge says
    something else (of all, where settings that they share differ), with what is due of them whether it is merged or not.
    """

    base: str
    head: str
    touched: frozenset[str] = frozenset()
    faults: tuple[Fault, ...] = ()
    conflicts: tuple[str, ...] = ()
    unjudged: str | None = None
    plan: Plan | None = None
    brought: Brought = Brought()

    @property
    def due(self) -> tuple[Change, ...]:
        """The changes that do not come with the pull request. They decide nothing here."""
        mine = {each.difference.key for each in self.brought.changes}
        return tuple(each for each in self.plan.changes if each.difference.key not in mine) if self.plan else ()

    @property
    def refused(self) -> str | None:
        """Why nothing would be carried out once merged, if that is for what the pull request brings."""
        return self.plan.refused if self.plan and self.brought.changes else None

    @property
    def unusable(self) -> bool:
        """Whether there is no plan to show."""
        return self.plan is None

    @property
    def state(self) -> PullState:
        """What decides is what the pull request brings: `enforcement: audit` blocks nothing, and what is due anyway neither."""
        brought = self.brought
        if self.unusable or self.refused or brought.lacking or brought.stopped:
            return PullState.FAILURE
        return PullState.PENDING if brought.waiting else PullState.SUCCESS

    @property
    def description(self) -> str:
        """One line of at most 140 characters."""
        return cut(self._described())

    def _described(self) -> str:
        if self.unusable:
            return self._why_none()
        brought = self.brought
        if self.refused:
            return self.refused
        if brought.lacking:
            first = brought.lacking[0]
            return f"{_blocked(first)}: {first.reason}" + _more(brought.lacking)
        if brought.stopped or brought.waiting:
            return self._not_allowed(brought)
        return self._allowed(brought)

    def _why_none(self) -> str:
        if self.conflicts:
            return f"conflicts with the base in {_names(self.conflicts)}: merge the base into it"
        if self.faults:
            return f"{count(len(self.faults), 'fault')}: {self.faults[0]}"
        return self.unjudged or "it cannot be planned"

    def _allowed(self, brought: Brought) -> str:
        if not brought.changes:
            return "it moves no alias" if self.touched else "it changes no file that Promoter reads"
        watched = f", {len(brought.watched)} only as their policy just watches" if brought.watched else ""
        return f"{count(len(brought.changes), 'change')}, all allowed{watched}"

    @staticmethod
    def _not_allowed(brought: Brought) -> str:
        which = brought.stopped or brought.waiting
        word = "blocked" if brought.stopped else "waiting"
        first = which[0]
        why = first.decision.summary if first.decision else "no decision"
        head = f"{len(which)} of {count(len(brought.changes), 'change')} {word}: "
        return f"{head}{_name(first)} v{first.difference.to_version}: {why}"

    def as_json(self) -> dict[str, Any]:
        """The shape of `plan --base --head --format json`, without its `schema`: the plan's own fields, and then the rest."""
        plan = self.plan or Plan(self.head)
        own = plan.as_json() if self.plan else plan.as_json() | {"digest": None}
        brought = self.brought
        return own | {
            "base": self.base,
            "head": self.head,
            "state": self.state.value,
            "description": self.description,
            "brought": [self._change_json(each) for each in brought.changes],
            "lacking": [each.as_json() for each in brought.lacking],
            "settings": list(brought.settings),
            "gates": list(brought.gates),
            "notes": list(brought.notes),
            "policies": [each.as_json() for each in brought.policies],
            "faults": [_fault_json(each) for each in self.faults],
            "conflicts": list(self.conflicts),
            "unjudged": self.unjudged,
        }

    def _change_json(self, change: Change) -> dict[str, Any]:
        told = change.as_json()
        later = self.brought.later.get((change.difference.model, change.difference.alias))
        return told | {"later": later.as_json() if later else None}


def brought_changes(changes: Iterable[Change], base: Iterable[Compared]) -> tuple[Change, ...]:
    """The changes that the base by itself would not bring."""
    due = {each.key for part in base for each in part.differences}
    return tuple(each for each in changes if each.difference.key not in due)


def brought_lacks(merged: Iterable[Compared], base: Iterable[Compared]) -> tuple[Blocked, ...]:
    """What the registry lacks, or what blocks a model otherwise, that nothing of the base does."""
    known: Collection[Blocked] = {each for part in base for each in part.blocked}
    return tuple(each for part in merged for each in part.blocked if each not in known)


def cut(text: str) -> str:
    """On one line, visible, of at most 140 characters."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def count(number: int, what: str) -> str:
    """`1 change`, `2 changes`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _name(change: Change) -> str:
    return f"{change.difference.model}@{change.difference.alias}"


def _blocked(blocked: Blocked) -> str:
    return f"{blocked.model}@{blocked.alias}" if blocked.alias else blocked.model


def _names(paths: tuple[str, ...]) -> str:
    rest = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _more(found: tuple[Blocked, ...]) -> str:
    return f"; and {len(found) - 1} more" if len(found) > 1 else ""


def _fault_json(fault: Fault) -> dict[str, Any]:
    return {key: getattr(fault, key) for key in ("file", "line", "column", "message", "fix")}
