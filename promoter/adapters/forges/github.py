"""A repository on GitHub, github.com or Enterprise Server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from github.Commit import Commit
from github.GithubException import GithubException
from github.GithubObject import NotSet
from github.IssueComment import IssueComment
from github.PullRequest import PullRequest as GitHubPullRequest
from github.Repository import Repository

from promoter.adapters.forges.github_client import GitHubClient, extract_error_message, translate_errors
from promoter.adapters.forges.http import ForgeBase, ForgeProject
from promoter.application.ports.forge import (
    CommitStatus,
    CommitStatusState,
    PullRequest,
    PullRequestComment,
    PullRequestDraft,
    PullRequestState,
)
from promoter.domain.errors import Conflict, PermanentError, TransientError
from promoter.domain.review import ChangeOrigin, PullRequestReview

log = structlog.get_logger(__name__)


STATUS_NAME = "promoter/plan"
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
    """A pull request. A list's rows do not say who merged."""
    number, head, base = int(row["number"]), row["head"], row["base"]
    merged_at = parse_timestamp(row.get("merged_at"))
    by = row.get("merged_by")
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
        merged_by=parse_account_name(by) if merged_at and by else None,
        closed_at=merged_at or parse_timestamp(row.get("closed_at")),
    )


def parse_account_name(row: Mapping[str, Any] | None) -> str:
    """An account's name; one that is gone is called as GitHub calls it."""
    return str(row["login"]) if row else _GHOST_ACCOUNT


def parse_commit_status(row: Mapping[str, Any]) -> CommitStatus:
    """A commit status."""
    return CommitStatus(_STATUSES[row["state"]], row.get("description") or "", row.get("target_url") or None)


def parse_active_approvals(
    rows: Iterable[Mapping[str, Any]], head: str, merged_at: datetime | None
) -> tuple[PullRequestReview, ...]:
    """The approvals in force: of each account the last that approved, asked for changes, or was dismissed, where it approves.

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
    """The accounts of the commits' authors and committers, as far as GitHub knows them; its own, for the web, is nobody's."""
    people = (row.get(role) for row in commits for role in ("author", "committer"))
    return frozenset(parse_account_name(row) for row in people if row) - {_WEB_ACCOUNT}


def find_introducing_number(rows: Iterable[Mapping[str, Any]], revision: str, branch: str) -> int | None:
    """Of a commit's pull requests, the merged one into that branch that it came with: by its merge commit, else the first."""
    merged = [pull for pull in map(parse_pull_request, rows) if pull.state is PullRequestState.MERGED and pull.base == branch]
    first = min(merged, key=lambda pull: (pull.merge_commit != revision, str(pull.closed_at), pull.number), default=None)
    return first.number if first else None


def parse_timestamp(text: str | None) -> datetime | None:
    """A time of GitHub's, such as `2026-11-24T02:02:03Z`."""
    return datetime.fromisoformat(text) if text else None


_HIDDEN_STATUSES = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


def fetch_own_account(client: GitHubClient, place: ForgeProject) -> str:
    """The account of the token. Raises `PermanentError` for a token of an app, which is not told whose it is."""
    try:
        return parse_account_name(client.get_json_object("/user"))
    except GithubException as error:
        if error.status != HTTPStatus.FORBIDDEN or (error.headers or {}).get("x-ratelimit-remaining") == "0":
            raise
    message = f"the token for {place.project} at {place.url} belongs to an app, and is not told its account"
    fix = (
        "set PROMOTER_FORGE_ACCOUNT to it: github-actions[bot] for a workflow's token, else the app's name with [bot] after it"
    )
    raise PermanentError(place.forge, message, fix)


def list_team_members(client: GitHubClient, teams: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """The members of these teams, each written `org/team`. Who is only invited is none; a hidden team is left out."""
    found = {}
    for team in sorted(teams):
        org, _, slug = team.partition("/")
        try:
            rows = client.iterate_items(f"/orgs/{quote(org, safe='')}/teams/{quote(slug, safe='')}/members") if slug else None
            if rows is not None:
                found[team] = frozenset(parse_account_name(row) for row in rows)
        except GithubException as error:
            if error.status not in _HIDDEN_STATUSES or (error.headers or {}).get("x-ratelimit-remaining") == "0":
                raise
        if team not in found:
            log.warning("GitHub shows no such team to this account", team=team)
    return found


_LABEL_COLOUR = "1d76db"
_CLEAN_STATUS = "clean status"
_MERGE_METHODS = ("merge", "squash", "rebase")


class GitHubPullRequestSetup:
    """For one repository."""

    def __init__(self, client: GitHubClient, place: ForgeProject, repo: str, repository: Repository) -> None:
        """`repo`: the beginning of its paths."""
        self._client = client
        self._place = place
        self._repo = repo
        self._repository = repository

    def add_missing_labels(self, names: Sequence[str], row: Mapping[str, Any]) -> None:
        """Add those that are missing; a label that the repository lacks is made."""
        there = {str(each["name"]).lower() for each in row.get("labels") or ()}
        missing = [name for name in names if name.lower() not in there]
        for name in missing:
            self._ensure_label(name)
        if missing:
            # PyGithub sends a bare list, which the API's description does not name.
            path = f"{self._repo}/issues/{row['number']}/labels"
            self._client.requestJsonAndCheck("POST", path, input={"labels": missing})

    def request_reviews(self, pull: GitHubPullRequest, reviewers: Sequence[str], row: Mapping[str, Any]) -> None:
        """Ask those who were not asked, and have said nothing yet. One call each; a refusal is logged."""
        if not reviewers:
            return
        number = int(row["number"])
        try:
            there = self._list_known_reviewers(number, row)
        except (PermanentError, TransientError) as error:
            log.warning("GitHub does not tell who was asked for a review", number=number, answer=error.message)
            return
        for reviewer in reviewers:
            if reviewer.lower() not in there:
                self._request_review(pull, number, reviewer)

    def enable_auto_merge(self, pull: GitHubPullRequest, row: Mapping[str, Any]) -> None:
        """Merged once it may be; at once where nothing keeps it back any more. A refusal is logged."""
        number = int(row["number"])
        if row.get("auto_merge") or row.get("state") != "open":
            return
        try:
            with translate_errors(self._place, f"set pull request #{number} to merge by itself"):
                self._schedule_merge(pull, row)
        except (PermanentError, TransientError) as error:
            log.warning("GitHub does not set it to merge by itself", number=number, answer=error.message)

    def _schedule_merge(self, pull: GitHubPullRequest, row: Mapping[str, Any]) -> None:
        """GitHub takes the wish only while something still keeps the pull request back."""
        home = self._client.get_json_object(self._repo)
        names = {"merge": "allow_merge_commit", "squash": "allow_squash_merge", "rebase": "allow_rebase_merge"}
        method = next((each for each in _MERGE_METHODS if home.get(names[each], True)), _MERGE_METHODS[0])
        head = str(row["head"]["sha"])
        try:
            pull.enable_automerge(merge_method=method.upper(), expected_head_oid=head)
        except GithubException as error:
            if _CLEAN_STATUS not in extract_error_message(error):
                raise
            pull.merge(merge_method=method, sha=head)

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
            made = any(isinstance(row, dict) and row.get("code") == "already_exists" for row in rows or ())
            if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or not made:
                raise

    def _list_known_reviewers(self, number: int, row: Mapping[str, Any]) -> set[str]:
        """Who was asked or has said something, in small letters; a team as `org/team`, its organisation being the owner."""
        with translate_errors(self._place, f"read the reviews of pull request #{number}"):
            rows = list(self._client.iterate_items(f"{self._repo}/pulls/{number}/reviews"))
            accounts = [each.get("user") for each in rows] + list(row.get("requested_reviewers") or ())
            teams = [f"{self._repository_owner}/{each['slug']}" for each in row.get("requested_teams") or ()]
            return {each.lower() for each in (*map(parse_account_name, accounts), *teams)}

    def _request_review(self, pull: GitHubPullRequest, number: int, reviewer: str) -> None:
        org, of_team, team = reviewer.partition("/")
        if of_team and org.lower() != self._repository_owner.lower():
            log.warning("GitHub asks only teams of the repository's owner for a review", reviewer=reviewer, number=number)
            return
        try:
            with translate_errors(self._place, f"ask for a review of pull request #{number}"):
                if of_team:
                    pull.create_review_request(team_reviewers=[team])
                else:
                    pull.create_review_request(reviewers=[reviewer])
        except (PermanentError, TransientError) as error:
            log.warning("GitHub does not take this reviewer", reviewer=reviewer, number=number, answer=error.message)

    @property
    def _repository_owner(self) -> str:
        return self._place.project.partition("/")[0]


_TITLE_LIMIT = 256
_COMMITS_LIMIT = 250
"""GitHub lists no more commits of a pull request, and says nothing of that."""
_ALREADY_EXISTS = "pull request already exists"


class GitHub(ForgeBase):
    """Pull requests into one branch of a repository. A team is written `org/team`, by its slug.

    `url` is that of the API, `https://api.github.com` or `https://HOST/api/v3`. The token of an app, a workflow's among
    them, is not told its account: then it has to be given.
    """

    KIND = "GitHub"

    def _create_client(self, timeout: float) -> None:
        place = self._place
        self._client = GitHubClient(place.url, place.token, timeout)
        self._repo = "/repos/" + "/".join(quote(part, safe="") for part in place.project.split("/", 1))
        self._repository = Repository(self._client, {}, {"url": self._repo}, completed=False)
        self._pull_request_setup = GitHubPullRequestSetup(self._client, place, self._repo, self._repository)

    def list_open_pull_requests(self) -> Sequence[PullRequest]:
        """All open ones into the watched branch, by number."""
        with translate_errors(self._place, "list the open pull requests"):
            rows = self._client.iterate_items(f"{self._repo}/pulls", state="open", base=self._branch)
            return sorted(map(parse_pull_request, rows), key=lambda pull: pull.number)

    def read_pull_request(self, number: int) -> PullRequest:
        """That one. Raises `PermanentError` where there is none."""
        with translate_errors(self._place, f"read pull request #{number}"):
            return parse_pull_request(self._fetch_pull_request(number))

    def find_latest_pull_request(self, branch: str) -> PullRequest | None:
        """The newest from that branch of this repository: the open one, where one is open."""
        owner = self._place.project.partition("/")[0]
        with translate_errors(self._place, "look for a pull request"):
            rows = self._client.iterate_items(f"{self._repo}/pulls", state="all", base=self._branch, head=f"{owner}:{branch}")
            # An unknown owner or branch in `head` makes GitHub leave it out of account: what comes is looked at again.
            own = [pull for pull in map(parse_pull_request, rows) if pull.branch == branch and not pull.fork]
            found = max(own, key=lambda pull: (pull.state is PullRequestState.OPEN, pull.number), default=None)
            if found is None or found.state is not PullRequestState.MERGED:
                return found
            return parse_pull_request(self._fetch_pull_request(found.number))

    def open_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """Open one. Raises `Conflict` where one from that branch is open already.

        Labels, reviewers and auto-merge are asked for afterwards: it is open by then, whatever becomes of that.
        """
        with translate_errors(self._place, "open a pull request"):
            try:
                made = self._repository.create_pull(
                    self._branch, draft.branch, title=draft.title[:_TITLE_LIMIT], body=draft.body
                )
            except GithubException as error:
                if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or _ALREADY_EXISTS not in extract_error_message(error):
                    raise
                words = self._place.format_one_line(extract_error_message(error))
                raise Conflict(self.name, f"a pull request from {draft.branch} is open already: {words}") from None
            row = made.raw_data
            pull = parse_pull_request(row)
        with translate_errors(self._place, f"label pull request #{pull.number}"):
            self._pull_request_setup.add_missing_labels(draft.labels, row)
        self._request_reviews_and_merge(draft, row)
        return pull

    def update_pull_request(self, number: int, draft: PullRequestDraft) -> None:
        """Title and body as the draft has them; labels and reviewers that are missing are added, none is taken away."""
        with translate_errors(self._place, f"revise pull request #{number}"):
            row = self._fetch_pull_request(number)
            pull = self._build_pull_object(row)
            self._pull_request_setup.add_missing_labels(draft.labels, row)
            pull.edit(title=draft.title[:_TITLE_LIMIT], body=draft.body)
        self._request_reviews_and_merge(draft, row)

    def close_pull_request(self, number: int) -> None:
        """Close it without merging; one that is not open is no error."""
        with translate_errors(self._place, f"close pull request #{number}"):
            row = self._fetch_pull_request(number)
            if parse_pull_request(row).state is PullRequestState.OPEN:
                self._build_pull_object(row).edit(state="closed")

    def list_own_comments(self, number: int) -> Sequence[PullRequestComment]:
        """Those of Promoter's own account, oldest first."""
        with translate_errors(self._place, f"read the comments on pull request #{number}"):
            own = self._own_account.lower()
            rows = self._client.iterate_items(f"{self._repo}/issues/{number}/comments")
            found = [row for row in rows if parse_account_name(row.get("user")).lower() == own]
            return sorted((PullRequestComment(int(row["id"]), row["body"]) for row in found), key=lambda comment: comment.id)

    def add_comment(self, number: int, body: str) -> None:
        """Add one."""
        with translate_errors(self._place, f"comment on pull request #{number}"):
            self._build_pull_object({"number": number}).create_issue_comment(body)

    def edit_comment(self, number: int, comment: int, body: str) -> None:
        """Replace its text."""
        with translate_errors(self._place, f"edit a comment on pull request #{number}"):
            self._build_comment_object(comment).edit(body)

    def delete_comment(self, number: int, comment: int) -> None:
        """Remove it; one that is gone is no error."""
        with translate_errors(self._place, f"delete a comment on pull request #{number}"):
            try:
                self._build_comment_object(comment).delete()
            except GithubException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    def read_commit_status(self, revision: str) -> CommitStatus | None:
        """The status `promoter/plan` that the commit has now."""
        with translate_errors(self._place, f"read the status of commit {revision[:12]}"):
            rows = self._client.iterate_items(f"{self._repo}/commits/{quote(revision, safe='')}/status", within="statuses")
            row = next((row for row in rows if row["context"] == STATUS_NAME), None)
            return parse_commit_status(row) if row else None

    def set_commit_status(self, revision: str, status: CommitStatus) -> None:
        """Give the commit that status. GitHub keeps each one that is written, a thousand at most."""
        with translate_errors(self._place, f"set the status of commit {revision[:12]}"):
            path = f"{self._repo}/commits/{quote(revision, safe='')}"
            commit = Commit(self._client, {}, {"url": path, "sha": revision}, completed=True)
            commit.create_status(str(status.state), status.url or NotSet, status.description, STATUS_NAME)

    def read_pull_request_origin(self, number: int, teams: frozenset[str] = frozenset()) -> ChangeOrigin:
        """Who wrote and who approves a pull request, and who is in these teams; of a merged one, as it was when merged.

        Raises `PermanentError` where it has so many commits that not all of their authors can be known: one of them might approve.
        """
        with translate_errors(self._place, f"read the reviews of pull request #{number}"):
            row = self._fetch_pull_request(number)
            pull = parse_pull_request(row)
            if row["commits"] > _COMMITS_LIMIT:
                raise self._build_commit_limit_error(number, row["commits"])
            merged = pull.state is PullRequestState.MERGED
            reviews = list(self._client.iterate_items(f"{self._repo}/pulls/{number}/reviews"))
            commits = self._client.iterate_items(f"{self._repo}/pulls/{number}/commits")
            return ChangeOrigin(
                number=number,
                url=pull.url,
                author=pull.author,
                authors=frozenset({pull.author}) | parse_commit_authors(commits),
                reviews=parse_active_approvals(reviews, pull.head, pull.closed_at if merged else None),
                merged=merged,
                merge_commit=pull.merge_commit,
                merged_by=pull.merged_by,
                teams=list_team_members(self._client, teams),
            )

    def find_commit_origin(self, revision: str, teams: frozenset[str] = frozenset()) -> ChangeOrigin | None:
        """The merged pull request that brought a commit to the watched branch; None: it was pushed there."""
        with translate_errors(self._place, f"look for what brought commit {revision[:12]}"):
            rows = self._client.iterate_items(f"{self._repo}/commits/{quote(revision, safe='')}/pulls")
            number = find_introducing_number(rows, revision, self._branch)
        return None if number is None else self.read_pull_request_origin(number, teams)

    @cached_property
    def _own_account(self) -> str:
        """Promoter's own account: the token's, unless the settings name it."""
        return self._account or fetch_own_account(self._client, self._place)

    def _build_commit_limit_error(self, number: int, commits: int) -> PermanentError:
        message = f"pull request #{number} of {self._place.project} at {self._place.url} has {commits} commits"
        listed = f"GitHub lists the first {_COMMITS_LIMIT}, so that not all of their authors are known"
        return PermanentError(self.name, f"{message}, and {listed}", "squash its commits, or bring the change in smaller ones")

    def _fetch_pull_request(self, number: int) -> dict[str, Any]:
        return self._client.get_json_object(f"{self._repo}/pulls/{number}")

    def _build_pull_object(self, row: dict[str, Any]) -> GitHubPullRequest:
        """PyGithub's object. Its addresses are made here: those in answers may name another host."""
        number = row["number"]
        here = {"url": f"{self._repo}/pulls/{number}", "issue_url": f"{self._repo}/issues/{number}"}
        return GitHubPullRequest(self._client, {}, row | here, completed=True)

    def _build_comment_object(self, comment: int) -> IssueComment:
        return IssueComment(self._client, {}, {"url": f"{self._repo}/issues/comments/{comment}"}, completed=True)

    def _request_reviews_and_merge(self, draft: PullRequestDraft, row: dict[str, Any]) -> None:
        self._pull_request_setup.request_reviews(self._build_pull_object(row), draft.reviewers, row)
        if draft.auto_merge:
            self._pull_request_setup.enable_auto_merge(self._build_pull_object(row), row)
