"""Allowances: permission for one large change to go past the mass-change limit, given by a person whom a `review` rule names.

A commit asks for it by a trailer, `Promoter-Allow-Changes: 250`. It is given by the pull request that brings the commit: one of
the accounts that `review` rules of policies in force name under `from` approves it, or merges it. Who wrote the commit counts
for nothing, since anybody can write any name into a commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from promoter.domain.fields import format_utc
from promoter.domain.policy.rules.base import BaseRule
from promoter.domain.policy.rules.review import ReviewRule
from promoter.domain.review import ChangeOrigin

if TYPE_CHECKING:
    from promoter.domain.desired import Declaration

ALLOW_CHANGES_TRAILER = "Promoter-Allow-Changes"
"""The trailer of a commit that asks for an allowance; its value is the largest number of changes."""
ALLOWANCE_LIFETIME = timedelta(days=7)
"""How long after its record an allowance covers what is left of its changes: those that their gates let through later."""
_NUMBER_LIMIT = 1_000_000
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class AllowanceRequest:
    """A commit that asks for an allowance."""

    revision: str
    """The commit with the trailer."""
    brought_by: str
    """The commit of the branch that brought it: itself, or the merge that has it."""
    changes: int
    """How many changes it asks for."""

    def __str__(self) -> str:
        return f"`{ALLOW_CHANGES_TRAILER}: {self.changes}` of commit {self.revision[:10]}"


def parse_allowed_changes(trailers: Mapping[str, str]) -> int | None:
    """Parse the number of the trailer; None where there is none, or no whole number between 1 and a million."""
    text = {key.lower(): value for key, value in trailers.items()}.get(ALLOW_CHANGES_TRAILER.lower(), "").strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(_NUMBER_LIMIT)) else 0
    return number if 0 < number <= _NUMBER_LIMIT else None


@dataclass(frozen=True)
class ChangeAllowance:
    """The permission for one revision to change more aliases than the mass-change limit lets through."""

    revision: str
    """The revision of the branch that was let through."""
    commit: str
    """The commit that asked for it."""
    allowed: int
    """The largest number of changes."""
    changes: int
    """How many changes there were when it was given."""
    limit: str
    """The limit that they are over, as `registry.yaml` states it."""
    by: tuple[str, ...]
    """The accounts that gave it."""
    pull_request: str
    """The address of the pull request."""
    at: datetime
    """When it was recorded."""
    spare: int = 0
    """How many changes of later commits may meet what is left of it: each of them was within the limit on its own."""

    def covers(self, changes: int) -> bool:
        """Return whether so many changes may be carried out at once."""
        return changes <= self.allowed + self.spare

    def is_in_force(self, now: datetime) -> bool:
        """Return whether it still covers what is left of its changes."""
        return now < self.at + ALLOWANCE_LIFETIME

    @property
    def event_facts(self) -> dict[str, Any]:
        """The facts of the lifecycle event that records it."""
        return {
            "revision": self.revision,
            "commit": self.commit,
            "allowed": self.allowed,
            "changes": self.changes,
            "limit": self.limit,
            "by": ", ".join(self.by),
            "pull_request": self.pull_request,
        }

    @classmethod
    def from_event_facts(cls, facts: Mapping[str, Any], at: datetime) -> ChangeAllowance | None:
        """Read the facts of a lifecycle event; None where they are no allowance."""
        allowed, changes = facts.get("allowed"), facts.get("changes")
        if not isinstance(allowed, int) or not isinstance(changes, int):
            return None
        revision, commit, limit, by, url = (str(facts.get(name, "")) for name in _TEXTS)
        return cls(revision, commit, allowed, changes, limit, tuple(name for name in by.split(", ") if name), url, at)

    def __str__(self) -> str:
        who = ", ".join(self.by[:_SHOWN_NAMES])
        return (
            f"up to {self.allowed} changes are allowed at once, past `safety.max_changes: {self.limit}`: commit "
            f"{self.commit[:10]} asked for it, and {who} approved or merged it ({self.pull_request}) {format_utc(self.at)}"
        )


_TEXTS = ("revision", "commit", "limit", "by", "pull_request")


@dataclass(frozen=True)
class AllowancePowers:
    """Who may allow a large change: the accounts and teams that `review` rules of policies in force name under `from`."""

    names: tuple[str, ...] = ()
    """Accounts, and teams written `org/team`, in alphabetical order."""

    @classmethod
    def from_declaration(cls, base: Declaration) -> AllowancePowers:
        """Collect the names from the policies that gate an alias in the declaration in force."""
        used = {name for _, name in base.desired.list_policy_uses()}
        rules = (rule for name in used if name in base.policies for rule in base.policies[name].document.rules)
        return cls(tuple(sorted({name for rule in rules for name in _list_reviewers(rule)}, key=str.casefold)))

    @property
    def teams(self) -> frozenset[str]:
        """The names with a slash."""
        return frozenset(name for name in self.names if "/" in name)

    def find_givers(self, origin: ChangeOrigin) -> tuple[str, ...]:
        """Return the accounts that approve the pull request as it is, or merged it, and are named; no author approves."""
        members = (member for team in self.teams for member in origin.teams.get(team, ()))
        named = {name.casefold() for name in (*self.names, *members) if "/" not in name}
        merging = [origin.merged_by] if origin.merged and origin.merged_by else []
        return tuple(sorted(name for name in {*origin.approving_accounts, *merging} if name.casefold() in named))

    def __str__(self) -> str:
        rest = len(self.names) - _SHOWN_NAMES
        return " or ".join(self.names[:_SHOWN_NAMES]) + (f" or one of {rest} more" if rest > 0 else "")

    @property
    def way_out(self) -> str:
        """How a large change is allowed once, in words that follow a refusal; empty where nobody may."""
        trailer = f"`{ALLOW_CHANGES_TRAILER}: NUMBER`"
        way = f", or put the trailer {trailer} on a commit of a pull request that {self} approves or merges"
        return way if self.names else ""


def _list_reviewers(rule: BaseRule) -> Iterator[str]:
    """Yield the names in `from` of a rule and of those inside, but not of one whose pass is asked not to be."""
    if isinstance(rule, ReviewRule):
        yield from rule.review.from_
    if not rule.negates_inner_rules:
        for inner in rule.inner_rules:
            yield from _list_reviewers(inner)


def select_largest_request(requests: Iterable[AllowanceRequest]) -> AllowanceRequest | None:
    """Select the request for most changes; the first of several; None where there is none."""
    return max(requests, key=lambda each: each.changes, default=None)
