"""A repository on Gitea, or on Forgejo, whose API is the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from promoter.adapters.forges.base import HIDDEN_STATUSES, ForgeBase
from promoter.adapters.forges.gitea_client import GiteaClient, GiteaStatusError
from promoter.application.ports.forge import (
    CommitStatus,
    CommitStatusName,
    PullRequest,
    PullRequestComment,
    PullRequestDraft,
    PullRequestState,
)
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.errors import Conflict, ExternalError
from promoter.domain.review import PullRequestReview

_DECIDING_STATES = ("APPROVED", "REQUEST_CHANGES")
_STATUSES = {
    "pending": CommitStatusState.PENDING,
    "success": CommitStatusState.SUCCESS,
    "failure": CommitStatusState.FAILURE,
    "error": CommitStatusState.FAILURE,
    "warning": CommitStatusState.FAILURE,
}


def parse_pull_request(row: Mapping[str, Any]) -> PullRequest:
    """Parse a pull request. Once its branch is deleted, only the label names the branch, not `ref`."""
    number, head, merged = int(row["number"]), row["head"], bool(row.get("merged"))
    ref = str(head["ref"])
    return PullRequest(
        number=number,
        url=str(row["html_url"]),
        title=str(row["title"]),
        body=row.get("body") or "",
        author=parse_account_name(row["user"]),
        branch=str(head["label"]).rpartition(":")[2] if ref.startswith("refs/") else ref,
        head=head.get("sha") or "",
        ref=f"refs/pull/{number}/head",
        base=str(row["base"]["ref"]),
        fork=head["repo_id"] != row["base"]["repo_id"],
        state=PullRequestState.MERGED if merged else PullRequestState(row["state"]),
        merge_commit=(row.get("merge_commit_sha") or None) if merged else None,
        merged_by=parse_account_name(row["merged_by"]) if merged and row.get("merged_by") else None,
        closed_at=parse_timestamp(row.get("merged_at") if merged else row.get("closed_at")),
    )


def parse_account_name(row: Mapping[str, Any]) -> str:
    """Return an account's name."""
    return str(row["login"])


def parse_commit_status(row: Mapping[str, Any]) -> CommitStatus | None:
    """Parse a commit status; None where it says nothing of the commit, such as `skipped`."""
    state = _STATUSES.get(row["status"])
    return CommitStatus(state, row.get("description") or "", row.get("target_url") or None) if state else None


def parse_active_approvals(
    rows: Iterable[Mapping[str, Any]], head: str, merged_at: datetime | None
) -> tuple[PullRequestReview, ...]:
    """Select the approvals in force: the last review of each account that decides, where it approves and is not dismissed.

    One that was given for another commit than the head is stale. Gitea itself lets an approval stand where a push leaves the
    patch as it is, but finds that out some time after the push.
    """
    last: dict[str, Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: int(row["id"])):
        at = parse_timestamp(row.get("submitted_at"))
        if row["state"] in _DECIDING_STATES and row.get("user") and not (at and merged_at and at > merged_at):
            last[parse_account_name(row["user"])] = row
    return tuple(
        PullRequestReview(by, parse_timestamp(row.get("submitted_at")), bool(row.get("stale")) or row.get("commit_id") != head)
        for by, row in sorted(last.items())
        if row["state"] == "APPROVED" and not row.get("dismissed")
    )


def parse_commit_authors(commits: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """List the accounts that wrote these commits, as far as Gitea knows an account by the commit's mail."""
    return frozenset(parse_account_name(row["author"]) for row in commits if row.get("author"))


def parse_timestamp(text: str | None) -> datetime | None:
    """Parse a time of Gitea's, such as `2026-11-24T02:02:03+01:00`."""
    return datetime.fromisoformat(text) if text else None


_NOT_READY_MESSAGE = "try again later"
_TITLE_LIMIT = 255
_LABEL_COLOUR = "#1d76db"
_MERGED_LIMIT = 100
"""How many merged pull requests are searched for a commit, the newest first."""


class Gitea(ForgeBase):
    """Pull requests into one branch of a repository. `url` is the instance's; a team is written `org/team`.

    A commit that a merge by rebasing wrote anew is known only where it is the last one of its pull request: Gitea keeps no
    trace from the others.
    """

    KIND = "Gitea"

    def _create_client(self, timeout: float) -> None:
        place = self._place
        self._client = GiteaClient(place.url, place.token, timeout)
        self._repo = ("repos", *place.project.split("/", 1))
        self._branches: dict[int, str] = {}
        self._commits: dict[int, frozenset[str]] = {}

    def _convert_error(self, error: Exception, doing: str) -> ExternalError | None:
        if not isinstance(error, GiteaStatusError):
            return None
        return self._place.build_status_error(doing, error.status, error.message)

    def list_open_pull_requests(self) -> Sequence[PullRequest]:
        """List the open pull requests into the watched branch, by number."""
        with self._translate_errors("list the open pull requests"):
            return sorted(self._iterate_open_pulls(), key=lambda pull: pull.number)

    def find_latest_pull_request(self, branch: str) -> PullRequest | None:
        """Find the newest from that branch of this repository: the open one, where one is open.

        Gitea cannot search by branch. The branch that a pull request is from never changes, so that each old one is read once.
        """
        with self._translate_errors("look for a pull request"):
            found = [pull for pull in self._iterate_open_pulls() if pull.branch == branch and not pull.fork]
            if found:
                return max(found, key=lambda pull: pull.number)
            self._learn_branches()
            for number in sorted((each for each, its in self._branches.items() if its == branch), reverse=True):
                pull = parse_pull_request(self._fetch_pull_request(number))
                if pull.base == self._branch:
                    return pull
        return None

    def open_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """Open a pull request. Raises `Conflict` where one from that branch is open already."""
        with self._translate_errors("open a pull request"):
            body = {
                "head": draft.branch,
                "base": self._branch,
                "title": draft.title[:_TITLE_LIMIT],
                "body": draft.body,
                "labels": self._ensure_label_ids(draft.labels),
            }
            try:
                row = self._client.post_json(*self._repo, "pulls", body=body)
            except GiteaStatusError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
                detail = self._place.redact_message(error.message)
                raise Conflict(self.name, f"a pull request from {draft.branch} is open already: {detail}") from None
            opened = parse_pull_request(row)
        self._request_reviews(opened.number, draft.reviewers, row)
        if draft.auto_merge:
            self._enable_auto_merge(opened, row)
        return opened

    def update_pull_request(self, number: int, draft: PullRequestDraft) -> None:
        """Set title and body as the draft has them; add labels and reviewers that are missing, remove none."""
        with self._translate_errors(f"revise pull request #{number}"):
            row = self._fetch_pull_request(number)
            present = {each["name"] for each in row.get("labels") or ()}
            if missing := [label for label in draft.labels if label not in present]:
                self._client.post_json(
                    *self._repo, "issues", number, "labels", body={"labels": self._ensure_label_ids(missing)}
                )
            words = {"title": draft.title[:_TITLE_LIMIT], "body": draft.body}
            row = self._client.patch_json(*self._repo, "pulls", number, body=words)
            pull = parse_pull_request(row)
        self._request_reviews(number, draft.reviewers, row)
        if draft.auto_merge:
            self._enable_auto_merge(pull, row)

    def _close_pull_request(self, row: dict[str, Any]) -> None:
        self._client.patch_json(*self._repo, "pulls", row["number"], body={"state": "closed"})

    def _fetch_closing_account(self, number: int) -> str | None:
        """Gitea names who closed it in the timeline only, which older instances do not have."""
        try:
            rows = list(self._client.iterate_items(*self._repo, "issues", number, "timeline"))
        except GiteaStatusError as error:
            if error.status not in HIDDEN_STATUSES:
                raise
            return None
        last = max((row for row in rows if row["type"] in ("close", "reopen")), key=lambda row: int(row["id"]), default={})
        return parse_account_name(last["user"]) if last.get("type") == "close" and last.get("user") else None

    def list_own_comments(self, number: int) -> Sequence[PullRequestComment]:
        """List the comments of Promoter's own account, oldest first."""
        with self._translate_errors(f"read the comments on pull request #{number}"):
            rows = self._client.iterate_items(*self._repo, "issues", number, "comments")
            own = [
                PullRequestComment(int(row["id"]), row["body"])
                for row in rows
                if parse_account_name(row["user"]) == self._own_account
            ]
            return sorted(own, key=lambda comment: comment.id)

    def add_comment(self, number: int, body: str) -> None:
        """Add a comment."""
        with self._translate_errors(f"comment on pull request #{number}"):
            self._client.post_json(*self._repo, "issues", number, "comments", body={"body": body})

    def edit_comment(self, number: int, comment: int, body: str) -> None:
        """Replace a comment's text."""
        with self._translate_errors(f"edit a comment on pull request #{number}"):
            self._client.patch_json(*self._repo, "issues", "comments", comment, body={"body": body})

    def delete_comment(self, number: int, comment: int) -> None:
        """Delete a comment; one that is gone is no error."""
        with self._translate_errors(f"delete a comment on pull request #{number}"):
            try:
                self._client.delete_resource(*self._repo, "issues", "comments", comment)
            except GiteaStatusError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    def read_commit_status(self, revision: str, name: CommitStatusName = CommitStatusName.PLAN) -> CommitStatus | None:
        """Read the status of that name that the commit has now."""
        with self._translate_errors(f"read the status of commit {revision[:12]}"):
            rows = self._client.iterate_items(*self._repo, "commits", revision, "statuses", sort="highestindex")
            row = next((row for row in rows if row["context"] == self._name_status(name)), None)
            return parse_commit_status(row) if row else None

    def set_commit_status(self, revision: str, status: CommitStatus, name: CommitStatusName = CommitStatusName.PLAN) -> None:
        """Give the commit that status. Gitea keeps each status that is written."""
        with self._translate_errors(f"set the status of commit {revision[:12]}"):
            body = {"context": self._name_status(name), "state": str(status.state), "description": status.description}
            body |= {"target_url": status.url} if status.url else {}
            self._client.post_json(*self._repo, "statuses", revision, body=body)

    def _list_approvals(self, pull: PullRequest, merged_at: datetime | None) -> tuple[PullRequestReview, ...]:
        return parse_active_approvals(list(self._iterate_reviews(pull.number)), pull.head, merged_at)

    def _list_commit_authors(self, row: Mapping[str, Any]) -> frozenset[str]:
        return parse_commit_authors(self._iterate_commits(row["number"]))

    def _list_team_members(self, team: str) -> frozenset[str] | None:
        owner, _, name = team.partition("/")
        if not name:
            return None
        try:
            rows = self._client.iterate_items("orgs", owner, "teams", "search", within="data", q=name, include_desc="false")
            number = next((int(row["id"]) for row in rows if row["name"].lower() == name.lower()), None)
            if number is None:
                return None
            return frozenset(parse_account_name(row) for row in self._client.iterate_items("teams", number, "members"))
        except GiteaStatusError as error:
            if error.status not in HIDDEN_STATUSES:
                raise
            return None

    def _list_known_reviewers(self, number: int, row: Mapping[str, Any]) -> set[str]:
        accounts = [each["user"] for each in self._iterate_reviews(number) if each.get("user")]
        accounts += row.get("requested_reviewers") or ()
        teams = row.get("requested_reviewers_teams") or ()
        return {parse_account_name(each) for each in accounts} | {f"{self._owner}/{each['name']}" for each in teams}

    def _send_review_request(self, number: int, reviewers: Mapping[str, list[str]]) -> None:
        self._client.post_json(*self._repo, "pulls", number, "requested_reviewers", body=reviewers)

    def _schedule_merge(self, pull: PullRequest, row: Mapping[str, Any], *, is_last: bool) -> bool:
        del row
        style = self._client.get_json(*self._repo).get("default_merge_style") or "merge"
        body = {"Do": style, "merge_when_checks_succeed": True, "head_commit_id": pull.head}
        try:
            self._client.post_json(*self._repo, "pulls", pull.number, "merge", body=body)
        except GiteaStatusError as error:
            if _NOT_READY_MESSAGE in error.message and not is_last:
                return False
            if error.status != HTTPStatus.CONFLICT or "scheduled" not in error.message:
                raise
        return True

    def _find_introducing_number(self, revision: str) -> int | None:
        """Find the one that brought it as its own commit, or as what merging it made."""
        number = self._find_by_merge_commit(revision)
        return self._find_by_contained_commit(revision) if number is None else number

    def _find_by_merge_commit(self, revision: str) -> int | None:
        """Find the one whose merge made the commit. What it says itself must agree: Gitea 1.22 names any."""
        try:
            pull = parse_pull_request(self._client.get_json(*self._repo, "commits", revision, "pull"))
        except GiteaStatusError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None
        right = pull.state is PullRequestState.MERGED and pull.base == self._branch and pull.merge_commit == revision
        return pull.number if right else None

    def _find_by_contained_commit(self, revision: str) -> int | None:
        """Find the one that has the commit among its own, or was merged as it. The commits of a merged one never change."""
        seen = 0
        found = []
        for row in self._client.iterate_items(*self._repo, "pulls", state="closed", sort="recentupdate"):
            pull = parse_pull_request(row)
            if pull.state is not PullRequestState.MERGED or pull.base != self._branch:
                continue
            if pull.number not in self._commits:
                own = frozenset(str(each["sha"]) for each in self._iterate_commits(pull.number))
                self._commits[pull.number] = own | {pull.merge_commit or ""}
            if revision in self._commits[pull.number]:
                found.append(pull)
            seen += 1
            if seen == _MERGED_LIMIT:
                break
        return min(found, key=lambda pull: (str(pull.closed_at), pull.number)).number if found else None

    def _fetch_own_account(self) -> str:
        return parse_account_name(self._client.get_json("user"))

    def _parse_pull_request(self, row: Mapping[str, Any]) -> PullRequest:
        return parse_pull_request(row)

    def _fetch_pull_request(self, number: int) -> dict[str, Any]:
        row: dict[str, Any] = self._client.get_json(*self._repo, "pulls", number)
        return row

    def _iterate_commits(self, number: int) -> Iterator[dict[str, Any]]:
        return self._client.iterate_items(*self._repo, "pulls", number, "commits", verification="false", files="false")

    def _iterate_reviews(self, number: int) -> Iterator[dict[str, Any]]:
        return self._client.iterate_items(*self._repo, "pulls", number, "reviews")

    def _iterate_open_pulls(self) -> Iterator[PullRequest]:
        pulls = map(parse_pull_request, self._client.iterate_items(*self._repo, "pulls", state="open"))
        return (pull for pull in pulls if pull.base == self._branch)

    def _learn_branches(self) -> None:
        """Read back to what is known already. Nothing is kept unless all was read, so that no gap can remain."""
        unknown = {}
        for pull in map(parse_pull_request, self._client.iterate_items(*self._repo, "pulls", state="all")):
            if pull.number in self._branches:
                break
            unknown[pull.number] = "" if pull.fork else pull.branch
        self._branches |= unknown

    def _ensure_label_ids(self, names: Iterable[str]) -> list[int]:
        names = list(names)
        if not names:
            return []
        known = {row["name"]: int(row["id"]) for row in self._client.iterate_items(*self._repo, "labels")}
        for name in names:
            if name not in known:
                row = self._client.post_json(*self._repo, "labels", body={"name": name, "color": _LABEL_COLOUR})
                known[name] = int(row["id"])
        return [known[name] for name in names]
