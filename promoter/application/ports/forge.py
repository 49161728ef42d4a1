"""A forge: where pull requests are opened, reviewed and merged. GitLab calls them merge requests; here all have one name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from promoter.domain.commit_status import STATUS_LENGTH_LIMIT, CommitStatusState
from promoter.domain.folder import RepositoryFolder
from promoter.domain.review import ChangeOrigin


class PullRequestState(StrEnum):
    """Where a pull request stands."""

    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"


@dataclass(frozen=True)
class PullRequest:
    """A pull request, as its forge describes it."""

    number: int
    url: str
    title: str
    body: str
    author: str
    """The account's name."""
    branch: str
    """The branch that it comes from, without `refs/heads/`."""
    head: str
    """The newest commit of that branch."""
    ref: str
    """The ref to fetch that commit by."""
    base: str
    """The branch that it is to be merged into, without `refs/heads/`."""
    fork: bool
    """Whether its branch lies in another repository."""
    state: PullRequestState
    merge_commit: str | None = None
    merged_by: str | None = None
    closed_at: datetime | None = None
    """When it was merged or closed."""


@dataclass(frozen=True)
class PullRequestDraft:
    """A pull request as it is to be."""

    branch: str
    title: str
    body: str
    """Markdown."""
    labels: tuple[str, ...] = ()
    """Labels that the repository lacks are made."""
    reviewers: tuple[str, ...] = ()
    """Accounts, or teams written `org/team`."""
    auto_merge: bool = False
    """Whether the forge is to merge it once it may."""


@dataclass(frozen=True)
class PullRequestComment:
    """A comment of Promoter's own account."""

    id: int
    body: str


class CommitStatusName(StrEnum):
    """Which of Promoter's commit statuses. Where its files lie in a folder, the forge knows each with the folder behind it."""

    PLAN = "promoter/plan"
    """On the head of an open pull request: what merging it would do."""
    APPLIED = "promoter/applied"
    """On a commit of the watched branch: what came of it."""


@dataclass(frozen=True)
class CommitStatus:
    """A commit status of Promoter's: one line (cut at 140 characters), and where there is more, if anywhere."""

    state: CommitStatusState
    description: str
    url: str | None = None

    def __post_init__(self) -> None:
        """Cuts the line: GitHub takes no more, and what is written is to be what is read back."""
        object.__setattr__(self, "description", self.description[:STATUS_LENGTH_LIMIT])

    def is_shown_by(self, there: CommitStatus | None) -> bool:
        """Whether a commit with that status needs no other one: a forge may have dropped the address."""
        return there is not None and (there.state, there.description) == (self.state, self.description)


class Forge(Protocol):
    """One repository on a forge, and pull requests into its watched branch.

    Every call may raise `TransientError` (retry) or `PermanentError` (a person must act). No call repeats a write by itself
    where a repetition could leave two: the caller reads, then writes, and reads again.
    """

    @property
    def name(self) -> str:
        """The forge's name in messages: GitHub, GitLab, Gitea."""
        ...

    @property
    def folder(self) -> RepositoryFolder:
        """The folder of the repository that holds Promoter's files: its statuses and comments are known by it."""
        ...

    @property
    def shows_fork_statuses(self) -> bool:
        """Whether a pull request from a fork shows the commit statuses that this repository gives to its head."""
        ...

    def list_open_pull_requests(self) -> Sequence[PullRequest]:
        """List the open pull requests into the watched branch, by number."""
        ...

    def read_pull_request(self, number: int) -> PullRequest:
        """Read one pull request. Raises `PermanentError` where there is none of that number."""
        ...

    def find_latest_pull_request(self, branch: str) -> PullRequest | None:
        """The newest from that branch of this repository into the watched one: the open one, where one is open."""
        ...

    def find_closing_account(self, number: int) -> str | None:
        """The account that closed a pull request without merging it; None where the forge does not tell."""
        ...

    def open_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """Open a pull request. Raises `Conflict` where one from that branch is open already."""
        ...

    def update_pull_request(self, number: int, draft: PullRequestDraft) -> None:
        """Title and body as the draft has them; labels and reviewers that are missing are added, none is taken away.

        Reviewers and auto-merge that the forge does not take are logged, and are no failure.
        """
        ...

    def request_reviews_again(self, number: int, accounts: Sequence[str]) -> None:
        """Ask these accounts for a review once more; what the forge does not take is logged, and is no failure."""
        ...

    def close_pull_request(self, number: int) -> None:
        """Close the pull request without merging; one that is not open is no error."""
        ...

    def list_own_comments(self, number: int) -> Sequence[PullRequestComment]:
        """List the comments of Promoter's own account, oldest first. What others write is never taken for one."""
        ...

    def add_comment(self, number: int, body: str) -> None:
        """Add a comment."""
        ...

    def edit_comment(self, number: int, comment: int, body: str) -> None:
        """Replace a comment's text."""
        ...

    def delete_comment(self, number: int, comment: int) -> None:
        """Remove a comment; one that is gone is no error."""
        ...

    def read_commit_status(self, revision: str, name: CommitStatusName = CommitStatusName.PLAN) -> CommitStatus | None:
        """The status of that name that the commit has now."""
        ...

    def set_commit_status(self, revision: str, status: CommitStatus, name: CommitStatusName = CommitStatusName.PLAN) -> None:
        """Give the commit that status. The caller has read the one that it has, and it differs."""
        ...

    def read_pull_request_origin(self, number: int, teams: frozenset[str] = frozenset()) -> ChangeOrigin:
        """Who wrote and who approves a pull request, and who is in these teams; of a merged one, as it was when merged."""
        ...

    def find_introducing_number(self, revision: str) -> int | None:
        """The number of the merged pull request that brought a commit to the watched branch; None: it was pushed there."""
        ...

    def find_commit_origin(self, revision: str, teams: frozenset[str] = frozenset()) -> ChangeOrigin | None:
        """The merged pull request that brought a commit to the watched branch; None: it was pushed there."""
        ...
