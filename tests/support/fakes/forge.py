"""An in-memory forge on top of the in-memory repository: pull requests, comments, statuses, reviews and teams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from promoter.application.ports import (
    CommitStatus,
    CommitStatusName,
    PullRequest,
    PullRequestComment,
    PullRequestDraft,
    PullRequestState,
)
from promoter.domain.errors import Conflict, PermanentError
from promoter.domain.folder import TOP_FOLDER
from promoter.domain.review import ChangeOrigin, PullRequestReview
from tests.support.fakes.repository import START, WATCHED, FakeRepository

BOT = "promoter-bot"
WRITES = ("propose", "revise", "close", "comment", "edit_comment", "delete_comment", "set_status")


@dataclass
class FakeRemark:
    """A comment, with who wrote it."""

    id: int
    by: str
    body: str


@dataclass
class CommentThread:
    """A pull request, and what the forge keeps beside it."""

    pull: PullRequest
    labels: set[str] = field(default_factory=set)
    reviewers: set[str] = field(default_factory=set)
    auto_merge: bool = False
    remarks: list[FakeRemark] = field(default_factory=list)
    approvals: list[tuple[str, str]] = field(default_factory=list)
    """Who approved, and which head he saw."""
    brought: frozenset[str] = frozenset()
    closed_by: str | None = None


class FakeForge:
    """`on` is called with each call's name before it is done, `after` once its effect is there; both may raise or meddle.

    As on GitHub, a pull request whose branch is deleted closes, and one whose head the watched branch has counts as merged.
    """

    name = "Fake"
    folder = TOP_FOLDER
    shows_fork_statuses = True

    def __init__(self, repository: FakeRepository) -> None:
        """No pull request yet."""
        self.repository = repository
        self.threads: dict[int, CommentThread] = {}
        self.statuses: dict[str, CommitStatus] = {}
        self.applied: dict[str, CommitStatus] = {}
        self.teams: dict[str, frozenset[str]] = {}
        self.calls: list[tuple[object, ...]] = []
        self.at: datetime = START
        self.on: Callable[[str], None] = lambda _call: None
        self.after: Callable[[str], None] = lambda _call: None
        self._ids = 0

    # What people do.

    def opened(self, branch: str, author: str = "ada", title: str = "By hand", body: str = "", *, fork: bool = False) -> int:
        """Somebody opens one; its number."""
        number = len(self.threads) + 1
        ref = f"refs/pull/{number}/head"
        head = self.repository.heads[branch]
        url = f"https://forge.example/models/pull/{number}"
        pull = PullRequest(number, url, title, body, author, branch, head, ref, WATCHED, fork, PullRequestState.OPEN)
        self.threads[number] = CommentThread(pull)
        self.repository.refs[ref] = head
        return number

    def merge(self, number: int, by: str = "bob", *, squash: bool = False, delete_branch: bool = True) -> str:
        """Somebody merges it; the merge commit."""
        pull, thread = self.read_pull_request(number), self.threads[number]
        brought = self.repository.reach(pull.head) - self.repository.reach(self.repository.head)
        subject = f"Merge pull request #{number}: {pull.title}"
        commit = self.repository.join(pull.head, subject, f"{by} <{by}@example.org>", squash=squash)
        thread.brought = brought | {commit}
        thread.pull = replace(pull, state=PullRequestState.MERGED, merge_commit=commit, merged_by=by, closed_at=self.at)
        if delete_branch:
            self.repository.heads.pop(pull.branch, None)
        return commit

    def decline(self, number: int, by: str = "bob") -> None:
        """Somebody closes it unmerged."""
        self._end(number, by)

    def reopen(self, number: int) -> None:
        """Somebody opens it again."""
        self.threads[number].pull = replace(self.threads[number].pull, state=PullRequestState.OPEN, closed_at=None)

    def approve(self, number: int, by: str) -> None:
        """Somebody approves what it says now."""
        self.threads[number].approvals.append((by, self.read_pull_request(number).head))

    def remark(self, number: int, by: str, body: str) -> int:
        """Somebody writes a comment; its id."""
        self._ids += 1
        self.threads[number].remarks.append(FakeRemark(self._ids, by, body))
        return self._ids

    # What tests look at.

    @property
    def writes(self) -> list[tuple[object, ...]]:
        """The calls that wrote."""
        return [call for call in self.calls if call[0] in WRITES]

    @property
    def open(self) -> list[PullRequest]:
        """The open ones, without a call."""
        self._refresh()
        return [each.pull for each in self.threads.values() if each.pull.state is PullRequestState.OPEN]

    @property
    def pulls(self) -> Mapping[int, PullRequest]:
        """All, by number, without a call."""
        self._refresh()
        return {number: each.pull for number, each in self.threads.items()}

    def bodies(self, number: int) -> list[str]:
        """Promoter's comments there, oldest first, without a call."""
        return [each.body for each in self.threads[number].remarks if each.by == BOT]

    # The port.

    def list_open_pull_requests(self) -> Sequence[PullRequest]:
        """As the port says."""
        self._called("open_pull_requests")
        return self.open

    def read_pull_request(self, number: int) -> PullRequest:
        """As the port says."""
        self._called("pull_request", number)
        self._refresh()
        return self._thread(number).pull

    def find_closing_account(self, number: int) -> str | None:
        """As the port says."""
        self._called("closing account", number)
        return self._thread(number).closed_by

    def find_latest_pull_request(self, branch: str) -> PullRequest | None:
        """As the port says."""
        self._called("latest_from", branch)
        self._refresh()
        found = [each.pull for each in self.threads.values() if each.pull.branch == branch and not each.pull.fork]
        opened = [each for each in found if each.state is PullRequestState.OPEN]
        return (opened or found or [None])[-1]

    def open_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """As the port says."""
        self._called("propose", draft.branch)
        if any(each.branch == draft.branch and not each.fork for each in self.open):
            raise Conflict(self.name, f"a pull request from {draft.branch} is open already")
        if draft.branch not in self.repository.heads:
            raise PermanentError(self.name, f"there is no branch {draft.branch}")
        number = self.opened(draft.branch, BOT, draft.title, draft.body)
        self.after("propose")
        self._attach(number, draft)
        return self.threads[number].pull

    def update_pull_request(self, number: int, draft: PullRequestDraft) -> None:
        """As the port says."""
        self._called("revise", number)
        thread = self._thread(number)
        thread.pull = replace(thread.pull, title=draft.title, body=draft.body)
        self.after("revise")
        self._attach(number, draft)

    def request_reviews_again(self, number: int, accounts: Sequence[str]) -> None:
        """As the port says."""
        self._called("request_again", number, *accounts)
        self._thread(number).reviewers |= set(accounts)

    def close_pull_request(self, number: int) -> None:
        """As the port says."""
        self._called("close", number)
        if self._thread(number).pull.state is PullRequestState.OPEN:
            self._end(number, BOT)
        self.after("close")

    def list_own_comments(self, number: int) -> Sequence[PullRequestComment]:
        """As the port says."""
        self._called("comments", number)
        return [PullRequestComment(each.id, each.body) for each in self._thread(number).remarks if each.by == BOT]

    def add_comment(self, number: int, body: str) -> None:
        """As the port says."""
        self._called("comment", number)
        self._thread(number)
        self.remark(number, BOT, body)
        self.after("comment")

    def edit_comment(self, number: int, comment: int, body: str) -> None:
        """As the port says."""
        self._called("edit_comment", number, comment)
        found = next((each for each in self._thread(number).remarks if each.id == comment and each.by == BOT), None)
        if found is None:
            raise PermanentError(self.name, f"there is no comment {comment} of this account")
        found.body = body
        self.after("edit_comment")

    def delete_comment(self, number: int, comment: int) -> None:
        """As the port says."""
        self._called("delete_comment", number, comment)
        thread = self._thread(number)
        thread.remarks = [each for each in thread.remarks if each.id != comment]
        self.after("delete_comment")

    def _named(self, name: CommitStatusName) -> dict[str, CommitStatus]:
        return self.statuses if name is CommitStatusName.PLAN else self.applied

    def read_commit_status(self, revision: str, name: CommitStatusName = CommitStatusName.PLAN) -> CommitStatus | None:
        """As the port says."""
        self._called("status", revision)
        return self._named(name).get(revision)

    def set_commit_status(self, revision: str, status: CommitStatus, name: CommitStatusName = CommitStatusName.PLAN) -> None:
        """As the port says."""
        self._called("set_status", revision)
        self._named(name)[revision] = status
        self.after("set_status")

    def read_pull_request_origin(self, number: int, teams: frozenset[str] = frozenset()) -> ChangeOrigin:
        """As the port says."""
        self._called("origin", number)
        self._refresh()
        thread = self._thread(number)
        pull, last = thread.pull, dict(thread.approvals)
        return ChangeOrigin(
            number=number,
            url=pull.url,
            author=pull.author,
            authors=frozenset({pull.author}),
            reviews=tuple(PullRequestReview(by, self.at, stale=head != pull.head) for by, head in sorted(last.items())),
            merged=pull.state is PullRequestState.MERGED,
            merge_commit=pull.merge_commit,
            merged_by=pull.merged_by,
            branch=pull.branch,
            head=pull.head,
            teams={team: self.teams.get(team, frozenset()) for team in teams},
        )

    def find_commit_origin(self, revision: str, teams: frozenset[str] = frozenset()) -> ChangeOrigin | None:
        """As the port says."""
        number = self.find_introducing_number(revision)
        return self.read_pull_request_origin(number, teams) if number else None

    def find_introducing_number(self, revision: str) -> int | None:
        """As the port says."""
        self._called("brought", revision)
        self._refresh()
        found = [number for number, each in self.threads.items() if revision in each.brought]
        return found[-1] if found else None

    def _attach(self, number: int, draft: PullRequestDraft) -> None:
        """Calls of their own, after the first: a stop may lie in between."""
        thread = self.threads[number]
        thread.labels |= set(draft.labels)
        thread.reviewers |= set(draft.reviewers)
        thread.auto_merge |= draft.auto_merge

    def _end(self, number: int, by: str) -> None:
        thread = self._thread(number)
        thread.pull, thread.closed_by = replace(thread.pull, state=PullRequestState.CLOSED, closed_at=self.at), by

    def _refresh(self) -> None:
        """Heads follow their branches."""
        known = self.repository.reach(self.repository.head) if self.repository.heads else frozenset()
        for number, thread in self.threads.items():
            if thread.pull.state is not PullRequestState.OPEN:
                continue
            head = self.repository.heads.get(thread.pull.branch)
            if head is None and not thread.pull.fork:
                self._end(number, "nobody")
            elif (head or thread.pull.head) in known:
                thread.brought = frozenset({head or thread.pull.head})
                thread.pull = replace(
                    thread.pull, state=PullRequestState.MERGED, merge_commit=head, merged_by="git", closed_at=self.at
                )
            elif head:
                thread.pull = replace(thread.pull, head=head)
                self.repository.refs[thread.pull.ref] = head

    def _thread(self, number: int) -> CommentThread:
        if number not in self.threads:
            raise PermanentError(self.name, f"there is no pull request {number}")
        return self.threads[number]

    def _called(self, *call: object) -> None:
        self.calls.append(call)
        self.on(str(call[0]))
