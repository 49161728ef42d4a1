"""A repository on GitHub, github.com or Enterprise Server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from github.Commit import Commit
from github.GithubException import GithubException
from github.GithubObject import NotSet
from github.IssueComment import IssueComment
from github.PullRequest import PullRequest as GitHubPullRequest
from github.Repository import Repository

from promoter.adapters.forges.base import HIDDEN_STATUSES, ForgeBase
from promoter.adapters.forges.github_client import GitHubClient, convert_error, extract_error_message
from promoter.application.ports.forge import (
    CommitStatus,
    CommitStatusName,
    PullRequest,
    PullRequestComment,
    PullRequestDraft,
    PullRequestState,
)
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.errors import Conflict, ExternalError, PermanentError
from promoter.domain.review import PullRequestReview

_DECIDING_STATES = ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
_OUTSIDERS = ("NONE", "CONTRIBUTOR", "FIRST_TIMER", "FIRST_TIME_CONTRIBUTOR", "MANNEQUIN")
_WEB_ACCOUNT = "web-flow"
_GHOST_ACCOUNT = "ghost"
_STATUSES = {
    "pending": CommitStatusState.PENDING,
    "success": CommitStatusState.SUCCESS,
    "failure": CommitStatusState.FAILURE,
    "error": CommitStatusState.FAILURE,
}


def parse_pull_request(row: Mapping[str, Any]) -> PullRequest:
    """Parse a pull request. A list's rows do not say who merged."""
    number, head, base = int(row["number"]), row["head"], row["base"]
    merged_at = parse_timestamp(row.get("merged_at"))
    merger = row.get("merged_by")
    return PullRequest(
        number=number,
        url=str(row["html_url"]),
        title=str(row["title"]),
        body=row.get("body") or "",
        author=parse_account_name(row.get("user")),
        branch=str(head["ref"]),
        head=str(head["sha"]),
        ref=f"refs/pull/{number}/head",
        base=str(base["ref"]),
        fork=head.get("repo") is None or head["repo"]["id"] != base["repo"]["id"],
        state=PullRequestState.MERGED if merged_at else PullRequestState(row["state"]),
        merge_commit=(row.get("merge_commit_sha") or None) if merged_at else None,
        merged_by=parse_account_name(merger) if merged_at and merger else None,
        closed_at=merged_at or parse_timestamp(row.get("closed_at")),
    )


def parse_account_name(row: Mapping[str, Any] | None) -> str:
    """Return an account's name; one that is gone is called as GitHub calls it."""
    return str(row["login"]) if row else _GHOST_ACCOUNT


def parse_commit_status(row: Mapping[str, Any]) -> CommitStatus:
    """Parse a commit status."""
    return CommitStatus(_STATUSES[row["state"]], row.get("description") or "", row.get("target_url") or None)


def parse_active_approvals(
    rows: Iterable[Mapping[str, Any]], head: str, merged_at: datetime | None
) -> tuple[PullRequestReview, ...]:
    """Select the approvals in force: the last review of each account that decides, where it approves.

    A comment changes nothing. On a public repository anybody may approve: who has no part in it does not count.
    """
    last: dict[str, Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: int(row["id"])):
        at = parse_timestamp(row.get("submitted_at"))
        if row["state"] in _DECIDING_STATES and row.get("user") and not (at and merged_at and at > merged_at):
            last[parse_account_name(row["user"])] = row
    return tuple(
        PullRequestReview(by, parse_timestamp(row.get("submitted_at")), row.get("commit_id") != head)
        for by, row in sorted(last.items())
        if row["state"] == "APPROVED" and row.get("author_association") not in _OUTSIDERS
    )


def parse_commit_authors(commits: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """List the accounts of the commits' authors and committers, as far as GitHub knows them, without its own for the web."""
    accounts = (row.get(role) for row in commits for role in ("author", "committer"))
    return frozenset(parse_account_name(row) for row in accounts if row) - {_WEB_ACCOUNT}


def find_introducing_number(rows: Iterable[Mapping[str, Any]], revision: str, branch: str) -> int | None:
    """Find the merged pull request into that branch that a commit came with: by its merge commit, else the first."""
    merged = [pull for pull in map(parse_pull_request, rows) if pull.state is PullRequestState.MERGED and pull.base == branch]
    first = min(merged, key=lambda pull: (pull.merge_commit != revision, str(pull.closed_at), pull.number), default=None)
    return first.number if first else None


def parse_timestamp(text: str | None) -> datetime | None:
    """Parse a time of GitHub's, such as `2026-11-24T02:02:03Z`."""
    return datetime.fromisoformat(text) if text else None


_LABEL_COLOUR = "1d76db"
_CLEAN_STATUS = "clean status"
_MERGE_METHODS = ("merge", "squash", "rebase")
_TITLE_LIMIT = 256
_COMMITS_LIMIT = 250
"""GitHub lists no more commits of a pull request, and does not say so."""
_ALREADY_EXISTS = "pull request already exists"


class GitHub(ForgeBase):
    """Pull requests into one branch of a repository. A team is written `org/team`, by its slug.

    `url` is that of the API, `https://api.github.com` or `https://HOST/api/v3`. The token of an app, a workflow's among
    them, does not show its account: then it has to be given.
    """

    KIND = "GitHub"

    def _create_client(self, timeout: float) -> None:
        place = self._place
        self._client = GitHubClient(place.url, place.token, timeout)
        self._repo = "/repos/" + "/".join(quote(part, safe="") for part in place.project.split("/", 1))
        self._repository = Repository(self._client, {}, {"url": self._repo}, completed=False)

    def _convert_error(self, error: Exception, doing: str) -> ExternalError | None:
        return convert_error(error, self._place, doing)

    @staticmethod
    def _fold_name(name: str) -> str:
        return name.lower()

    def list_open_pull_requests(self) -> Sequence[PullRequest]:
        """List the open pull requests into the watched branch, by number."""
        with self._translate_errors("list the open pull requests"):
            rows = self._client.iterate_items(f"{self._repo}/pulls", state="open", base=self._branch)
            return sorted(map(parse_pull_request, rows), key=lambda pull: pull.number)

    def find_latest_pull_request(self, branch: str) -> PullRequest | None:
        """Find the newest from that branch of this repository: the open one, where one is open."""
        with self._translate_errors("look for a pull request"):
            rows = self._client.iterate_items(
                f"{self._repo}/pulls", state="all", base=self._branch, head=f"{self._owner}:{branch}"
            )
            # GitHub ignores an unknown owner or branch in `head`: what comes is filtered again.
            own = [pull for pull in map(parse_pull_request, rows) if pull.branch == branch and not pull.fork]
            found = max(own, key=lambda pull: (pull.state is PullRequestState.OPEN, pull.number), default=None)
            if found is None or found.state is not PullRequestState.MERGED:
                return found
            return parse_pull_request(self._fetch_pull_request(found.number))

    def open_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """Open a pull request. Raises `Conflict` where one from that branch is open already.

        Labels, reviewers and auto-merge come afterwards: it is open by then, whatever becomes of them.
        """
        with self._translate_errors("open a pull request"):
            try:
                created = self._repository.create_pull(
                    self._branch, draft.branch, title=draft.title[:_TITLE_LIMIT], body=draft.body
                )
            except GithubException as error:
                if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or _ALREADY_EXISTS not in extract_error_message(error):
                    raise
                detail = self._place.redact_message(extract_error_message(error))
                raise Conflict(self.name, f"a pull request from {draft.branch} is open already: {detail}") from None
            row = created.raw_data
            pull = parse_pull_request(row)
        with self._translate_errors(f"label pull request #{pull.number}"):
            self._add_missing_labels(draft.labels, row)
        self._request_reviews(pull.number, draft.reviewers, row)
        if draft.auto_merge:
            self._enable_auto_merge(pull, row)
        return pull

    def update_pull_request(self, number: int, draft: PullRequestDraft) -> None:
        """Set title and body as the draft has them; add labels and reviewers that are missing, remove none."""
        with self._translate_errors(f"revise pull request #{number}"):
            row = self._fetch_pull_request(number)
            pull = parse_pull_request(row)
            self._add_missing_labels(draft.labels, row)
            self._build_pull_object(row).edit(title=draft.title[:_TITLE_LIMIT], body=draft.body)
        self._request_reviews(number, draft.reviewers, row)
        if draft.auto_merge:
            self._enable_auto_merge(pull, row)

    def _close_pull_request(self, row: dict[str, Any]) -> None:
        self._build_pull_object(row).edit(state="closed")

    def _fetch_closing_account(self, number: int) -> str | None:
        """GitHub names who closed it in the pull request's issue only."""
        closer = self._client.get_json_object(f"{self._repo}/issues/{number}").get("closed_by")
        return parse_account_name(closer) if closer else None

    def list_own_comments(self, number: int) -> Sequence[PullRequestComment]:
        """List the comments of Promoter's own account, oldest first."""
        with self._translate_errors(f"read the comments on pull request #{number}"):
            own = self._own_account.lower()
            rows = self._client.iterate_items(f"{self._repo}/issues/{number}/comments")
            found = [row for row in rows if parse_account_name(row.get("user")).lower() == own]
            return sorted((PullRequestComment(int(row["id"]), row["body"]) for row in found), key=lambda comment: comment.id)

    def add_comment(self, number: int, body: str) -> None:
        """Add a comment."""
        with self._translate_errors(f"comment on pull request #{number}"):
            self._build_pull_object({"number": number}).create_issue_comment(body)

    def edit_comment(self, number: int, comment: int, body: str) -> None:
        """Replace a comment's text."""
        with self._translate_errors(f"edit a comment on pull request #{number}"):
            self._build_comment_object(comment).edit(body)

    def delete_comment(self, number: int, comment: int) -> None:
        """Delete a comment; one that is gone is no error."""
        with self._translate_errors(f"delete a comment on pull request #{number}"):
            try:
                self._build_comment_object(comment).delete()
            except GithubException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    def read_commit_status(self, revision: str, name: CommitStatusName = CommitStatusName.PLAN) -> CommitStatus | None:
        """Read the status of that name that the commit has now."""
        with self._translate_errors(f"read the status of commit {revision[:12]}"):
            rows = self._client.iterate_items(f"{self._repo}/commits/{quote(revision, safe='')}/status", within="statuses")
            row = next((row for row in rows if row["context"] == self._name_status(name)), None)
            return parse_commit_status(row) if row else None

    def set_commit_status(self, revision: str, status: CommitStatus, name: CommitStatusName = CommitStatusName.PLAN) -> None:
        """Give the commit that status. GitHub keeps each status that is written, a thousand at most."""
        with self._translate_errors(f"set the status of commit {revision[:12]}"):
            path = f"{self._repo}/commits/{quote(revision, safe='')}"
            commit = Commit(self._client, {}, {"url": path, "sha": revision}, completed=True)
            commit.create_status(str(status.state), status.url or NotSet, status.description, self._name_status(name))

    def _list_approvals(self, pull: PullRequest, merged_at: datetime | None) -> tuple[PullRequestReview, ...]:
        return parse_active_approvals(list(self._iterate_reviews(pull.number)), pull.head, merged_at)

    def _list_commit_authors(self, row: Mapping[str, Any]) -> frozenset[str]:
        """Raises `PermanentError` for so many commits that not all of their authors can be known: one of them might approve."""
        number = int(row["number"])
        if row["commits"] > _COMMITS_LIMIT:
            raise self._build_commit_limit_error(number, row["commits"])
        return parse_commit_authors(self._client.iterate_items(f"{self._repo}/pulls/{number}/commits"))

    def _list_team_members(self, team: str) -> frozenset[str] | None:
        """Who is only invited is no member."""
        org, _, slug = team.partition("/")
        if not slug:
            return None
        try:
            rows = self._client.iterate_items(f"/orgs/{quote(org, safe='')}/teams/{quote(slug, safe='')}/members")
            return frozenset(parse_account_name(row) for row in rows)
        except GithubException as error:
            if error.status not in HIDDEN_STATUSES or _is_rate_limited(error):
                raise
            return None

    def _list_known_reviewers(self, number: int, row: Mapping[str, Any]) -> set[str]:
        accounts = [each.get("user") for each in self._iterate_reviews(number)] + list(row.get("requested_reviewers") or ())
        teams = [f"{self._owner}/{each['slug']}" for each in row.get("requested_teams") or ()]
        return {self._fold_name(each) for each in (*map(parse_account_name, accounts), *teams)}

    def _send_review_request(self, number: int, reviewers: Mapping[str, list[str]]) -> None:
        self._build_pull_object({"number": number}).create_review_request(**reviewers)

    def _schedule_merge(self, pull: PullRequest, row: Mapping[str, Any], *, is_last: bool) -> bool:
        """GitHub schedules only while something still keeps the pull request back: where nothing does, merge at once."""
        del is_last
        if row.get("auto_merge") or row.get("state") != "open":
            return True
        home = self._client.get_json_object(self._repo)
        names = {"merge": "allow_merge_commit", "squash": "allow_squash_merge", "rebase": "allow_rebase_merge"}
        method = next((each for each in _MERGE_METHODS if home.get(names[each], True)), _MERGE_METHODS[0])
        pull_object = self._build_pull_object(dict(row))
        try:
            pull_object.enable_automerge(merge_method=method.upper(), expected_head_oid=pull.head)
        except GithubException as error:
            if _CLEAN_STATUS not in extract_error_message(error):
                raise
            pull_object.merge(merge_method=method, sha=pull.head)
        return True

    def _add_missing_labels(self, names: Sequence[str], row: Mapping[str, Any]) -> None:
        """Add the labels that are missing; a label that the repository lacks is made."""
        present = {str(each["name"]).lower() for each in row.get("labels") or ()}
        missing = [name for name in names if name.lower() not in present]
        for name in missing:
            self._ensure_label(name)
        if missing:
            # PyGithub sends a bare list, which the API's description does not name.
            path = f"{self._repo}/issues/{row['number']}/labels"
            self._client.requestJsonAndCheck("POST", path, input={"labels": missing})

    def _ensure_label(self, name: str) -> None:
        try:
            self._client.get_json_object(f"{self._repo}/labels/{quote(name, safe='')}")
        except GithubException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            self._create_label(name)

    def _create_label(self, name: str) -> None:
        try:
            self._repository.create_label(name, _LABEL_COLOUR)
        except GithubException as error:
            rows = error.data.get("errors") if isinstance(error.data, dict) else None
            exists = any(isinstance(row, dict) and row.get("code") == "already_exists" for row in rows or ())
            if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or not exists:
                raise

    def _find_introducing_number(self, revision: str) -> int | None:
        rows = self._client.iterate_items(f"{self._repo}/commits/{quote(revision, safe='')}/pulls")
        return find_introducing_number(rows, revision, self._branch)

    def _fetch_own_account(self) -> str:
        """Fetch the name of the token's account. Raises `PermanentError` for the token of an app, which does not show it."""
        try:
            return parse_account_name(self._client.get_json_object("/user"))
        except GithubException as error:
            if error.status != HTTPStatus.FORBIDDEN or _is_rate_limited(error):
                raise
        message = f"the token for {self._place.project} at {self._place.url} belongs to an app, and is not told its account"
        bot = "github-actions[bot] for a workflow's token, else the app's name with [bot] after it"
        raise PermanentError(self.name, message, f"set PROMOTER_FORGE_ACCOUNT to it: {bot}")

    def _build_commit_limit_error(self, number: int, commits: int) -> PermanentError:
        message = f"pull request #{number} of {self._place.project} at {self._place.url} has {commits} commits"
        listed = f"GitHub lists the first {_COMMITS_LIMIT}, so that not all of their authors are known"
        return PermanentError(self.name, f"{message}, and {listed}", "squash its commits, or bring the change in smaller ones")

    def _parse_pull_request(self, row: Mapping[str, Any]) -> PullRequest:
        return parse_pull_request(row)

    def _fetch_pull_request(self, number: int) -> dict[str, Any]:
        return self._client.get_json_object(f"{self._repo}/pulls/{number}")

    def _iterate_reviews(self, number: int) -> Iterator[dict[str, Any]]:
        return self._client.iterate_items(f"{self._repo}/pulls/{number}/reviews")

    def _build_pull_object(self, row: dict[str, Any]) -> GitHubPullRequest:
        """Build PyGithub's object. Its addresses are made here: those in answers may name another host."""
        number = row["number"]
        here = {"url": f"{self._repo}/pulls/{number}", "issue_url": f"{self._repo}/issues/{number}"}
        return GitHubPullRequest(self._client, {}, row | here, completed=True)

    def _build_comment_object(self, comment: int) -> IssueComment:
        return IssueComment(self._client, {}, {"url": f"{self._repo}/issues/comments/{comment}"}, completed=True)


def _is_rate_limited(error: GithubException) -> bool:
    return (error.headers or {}).get("x-ratelimit-remaining") == "0"
