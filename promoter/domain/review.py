"""Reviews: the pull request that brings a change, who wrote it, and who approves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_REVIEWERS_SHOWN = 5


@dataclass(frozen=True)
class PullRequestReview:
    """An account's approval of a pull request."""

    by: str
    at: datetime | None = None
    stale: bool = False
    """Whether it approved an earlier state of the pull request."""


@dataclass(frozen=True)
class ChangeOrigin:
    """The pull request that brings a change."""

    number: int
    url: str
    author: str
    authors: frozenset[str] = frozenset()
    """All accounts that the forge names as its author, or as author of one of its commits."""
    reviews: tuple[PullRequestReview, ...] = ()
    """The approvals in force; of a merged pull request, those when it was merged."""
    merged: bool = False
    merge_commit: str | None = None
    merged_by: str | None = None
    branch: str = ""
    """The branch that it brings."""
    head: str | None = None
    """The newest commit of that branch; what a record keeps of it is who asked for that commit."""
    teams: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The members of the teams that rules name, by team."""

    @property
    def approving_accounts(self) -> frozenset[str]:
        """The accounts, none of them an author, whose approval of the newest commit is in force."""
        authors = {name.casefold() for name in (self.author, *self.authors)}
        return frozenset(each.by for each in self.reviews if not each.stale and each.by.casefold() not in authors)

    def to_json(self) -> dict[str, Any]:
        """For audit records: `pull_request`, `number`, `author`, `reviewers`, `merged_by`, `merge_commit`."""
        return {
            "pull_request": self.url,
            "number": self.number,
            "author": self.author,
            "reviewers": sorted({review.by for review in self.reviews if not review.stale}),
            "merged_by": self.merged_by,
            "merge_commit": self.merge_commit,
        }


def describe_origin(origin: Mapping[str, Any] | None) -> str:
    """Return `#12 by bob, reviewed by alice, merged by carol` for the JSON of an origin; empty where it has nothing."""
    if not origin:
        return ""
    reviewers = [str(name) for name in origin.get("reviewers") or ()]
    more = f" and {len(reviewers) - _REVIEWERS_SHOWN} more" if len(reviewers) > _REVIEWERS_SHOWN else ""
    reviewed = f"reviewed by {', '.join(reviewers[:_REVIEWERS_SHOWN])}{more}" if reviewers else "reviewed by nobody"
    merged = f", merged by {origin['merged_by']}" if origin.get("merged_by") else ""
    return f"#{origin.get('number')} by {origin.get('author')}, {reviewed}{merged}"
