"""The plan of a pull request: what it would change once merged, judged by its base, and the status that follows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from promoter.domain.faults import Fault
from promoter.domain.plan import BlockedTarget, Change, ModelComparison, Plan
from promoter.domain.pulls.policies import PolicyStep
from promoter.domain.verdict import Decision, Verdict, escape_invisible

STATUS_LENGTH_LIMIT = 140
"""Characters of a status's description: GitHub takes no more."""
_SHOWN_FILES = 2

AliasKey = tuple[str, str]
"""Model and alias."""


class PullState(StrEnum):
    """What a pull request's status says."""

    SUCCESS = "success"
    FAILURE = "failure"
    PENDING = "pending"


@dataclass(frozen=True)
class MergeEffects:
    """What the merge changes, against the base by itself.

    `changes` are told by their keys, `lacking` are models and versions that the registry does not have, `settings`, `gates`
    and `notes` are sentences, and `later` is what the merged files' own policy says of a change, where that is another policy.
    """

    changes: tuple[Change, ...] = ()
    lacking: tuple[BlockedTarget, ...] = ()
    settings: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    policies: tuple[PolicyStep, ...] = ()
    later: Mapping[AliasKey, Decision] = field(default_factory=dict)

    @property
    def stopped_changes(self) -> tuple[Change, ...]:
        """The changes that fail, or cannot be judged."""
        return tuple(each for each in self.changes if not each.is_allowed and each.gate_verdict is not Verdict.PENDING)

    @property
    def waiting_changes(self) -> tuple[Change, ...]:
        """The changes that nobody can judge yet."""
        return tuple(each for each in self.changes if not each.is_allowed and each.gate_verdict is Verdict.PENDING)

    @property
    def audit_only_changes(self) -> tuple[Change, ...]:
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
    brought: MergeEffects = MergeEffects()

    @property
    def already_due_changes(self) -> tuple[Change, ...]:
        """The changes that do not come with the pull request. They decide nothing here."""
        mine = {each.difference.identity_key for each in self.brought.changes}
        return tuple(each for each in self.plan.changes if each.difference.identity_key not in mine) if self.plan else ()

    @property
    def refusal_reason(self) -> str | None:
        """Why nothing would be carried out once merged, if that is for what the pull request brings."""
        return self.plan.refused if self.plan and self.brought.changes else None

    @property
    def is_unusable(self) -> bool:
        """Whether there is no plan to show."""
        return self.plan is None

    @property
    def status_state(self) -> PullState:
        """What decides is what the pull request brings: `enforcement: audit` blocks nothing, and what is due anyway neither."""
        brought = self.brought
        if self.is_unusable or self.refusal_reason or brought.lacking or brought.stopped_changes:
            return PullState.FAILURE
        return PullState.PENDING if brought.waiting_changes else PullState.SUCCESS

    @property
    def status_description(self) -> str:
        """One line of at most 140 characters."""
        return shorten_to_line(self._describe_status())

    def _describe_status(self) -> str:
        if self.is_unusable:
            return self._explain_missing_plan()
        brought = self.brought
        if self.refusal_reason:
            return self.refusal_reason
        if brought.lacking:
            first = brought.lacking[0]
            return f"{_format_blocked_name(first)}: {first.reason}" + _describe_more_blocks(brought.lacking)
        if brought.stopped_changes or brought.waiting_changes:
            return self._describe_not_allowed(brought)
        return self._describe_allowed(brought)

    def _explain_missing_plan(self) -> str:
        if self.conflicts:
            return f"conflicts with the base in {_join_file_names(self.conflicts)}: merge the base into it"
        if self.faults:
            return f"{format_count(len(self.faults), 'fault')}: {self.faults[0]}"
        return self.unjudged or "it cannot be planned"

    def _describe_allowed(self, brought: MergeEffects) -> str:
        if not brought.changes:
            return "it moves no alias" if self.touched else "it changes no file that Promoter reads"
        watched = f", {len(brought.audit_only_changes)} only as their policy just watches" if brought.audit_only_changes else ""
        return f"{format_count(len(brought.changes), 'change')}, all allowed{watched}"

    @staticmethod
    def _describe_not_allowed(brought: MergeEffects) -> str:
        which = brought.stopped_changes or brought.waiting_changes
        word = "blocked" if brought.stopped_changes else "waiting"
        first = which[0]
        why = first.decision.summary_line if first.decision else "no decision"
        head = f"{len(which)} of {format_count(len(brought.changes), 'change')} {word}: "
        return f"{head}{_format_alias_name(first)} v{first.difference.to_version}: {why}"

    def to_json(self) -> dict[str, Any]:
        """The shape of `plan --base --head --format json`, without its `schema`: the plan's own fields, and then the rest."""
        plan = self.plan or Plan(self.head)
        own = plan.to_json() if self.plan else plan.to_json() | {"digest": None}
        brought = self.brought
        return own | {
            "base": self.base,
            "head": self.head,
            "state": self.status_state.value,
            "description": self.status_description,
            "brought": [self._change_to_json(each) for each in brought.changes],
            "lacking": [each.to_json() for each in brought.lacking],
            "settings": list(brought.settings),
            "gates": list(brought.gates),
            "notes": list(brought.notes),
            "policies": [each.to_json() for each in brought.policies],
            "faults": [_fault_to_json(each) for each in self.faults],
            "conflicts": list(self.conflicts),
            "unjudged": self.unjudged,
        }

    def _change_to_json(self, change: Change) -> dict[str, Any]:
        tree = change.to_json()
        later = self.brought.later.get((change.difference.model, change.difference.alias))
        return tree | {"later": later.to_json() if later else None}


def select_new_changes(changes: Iterable[Change], base: Iterable[ModelComparison]) -> tuple[Change, ...]:
    """The changes that the base by itself would not bring."""
    due = {each.identity_key for part in base for each in part.differences}
    return tuple(each for each in changes if each.difference.identity_key not in due)


def select_new_blocks(merged: Iterable[ModelComparison], base: Iterable[ModelComparison]) -> tuple[BlockedTarget, ...]:
    """What the registry lacks, or what blocks a model otherwise, that nothing of the base does."""
    known: Collection[BlockedTarget] = {each for part in base for each in part.blocked}
    return tuple(each for part in merged for each in part.blocked if each not in known)


def shorten_to_line(text: str) -> str:
    """On one line, visible, of at most 140 characters."""
    line = escape_invisible(" ".join(text.split()))
    return line if len(line) <= STATUS_LENGTH_LIMIT else line[: STATUS_LENGTH_LIMIT - 1] + "…"


def format_count(number: int, what: str) -> str:
    """`1 change`, `2 changes`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _format_alias_name(change: Change) -> str:
    return f"{change.difference.model}@{change.difference.alias}"


def _format_blocked_name(blocked: BlockedTarget) -> str:
    return f"{blocked.model}@{blocked.alias}" if blocked.alias else blocked.model


def _join_file_names(paths: tuple[str, ...]) -> str:
    rest = len(paths) - _SHOWN_FILES
    return ", ".join(paths[:_SHOWN_FILES]) + (f" and {rest} more" if rest > 0 else "")


def _describe_more_blocks(found: tuple[BlockedTarget, ...]) -> str:
    return f"; and {len(found) - 1} more" if len(found) > 1 else ""


def _fault_to_json(fault: Fault) -> dict[str, Any]:
    return {key: getattr(fault, key) for key in ("file", "line", "column", "message", "fix")}
