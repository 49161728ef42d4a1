"""A repository on Gitea, or on Forgejo, whose API is the same."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any

import structlog

from promoter.adapters.forges.gitea_client import GiteaClient, GiteaStatusError, translate_errors
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
_DECIDING_STATES = ("APPROVED", "REQUEST_CHANGES")
_STATUSES = {
    "pending": CommitStatusState.PENDING,
    "success": CommitStatusState.SUCCESS,
    "failure": CommitStatusState.FAILURE,
    "error": CommitStatusState.FAILURE,
    "warning": CommitStatusState.FAILURE,
}


def parse_pull_request(row: Mapping[str, Any]) -> PullRequest:
    """A pull request. Once its branch is deleted, `ref` is the pull request's own, and only the label names the branch."""
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
    """An account's name."""
    return str(row["login"])


def parse_commit_status(row: Mapping[str, Any]) -> CommitStatus | None:
    """A commit status; None where it says nothing of the commit, such as `skipped`."""
    state = _STATUSES.get(row["status"])
    return CommitStatus(state, row.get("description") or "", row.get("target_url") or None) if state else None


def parse_active_approvals(
    rows: Iterable[Mapping[str, Any]], head: str, merged_at: datetime | None
) -> tuple[PullRequestReview, ...]:
    """The approvals in force: of each account the last that approved or asked for changes, where it approves and still stands.

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
    """The accounts that wrote these commits, as far as Gitea knows an account by the commit's mail."""
    return frozenset(parse_account_name(row["author"]) for row in commits if row.get("author"))


def parse_timestamp(text: str | None) -> datetime | None:
    """A time of Gitea's, such as `2026-11-24T02:02:03+01:00`."""
    return datetime.fromisoformat(text) if text else None


_HIDDEN_STATUSES = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


def list_team_members(client: GiteaClient, teams: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """The members of these teams, each written `org/team`. A team that is not shown to the token is left out."""
    found = {}
    for team in sorted(teams):
        try:
            accounts = _find_team_members(client, *team.split("/", 1)) if "/" in team else None
        except GiteaStatusError as error:
            if error.status not in _HIDDEN_STATUSES:
                raise
            accounts = None
        if accounts is None:
            log.warning("Gitea shows no such team to this account", team=team)
        else:
            found[team] = accounts
    return found


def _find_team_members(client: GiteaClient, org: str, name: str) -> frozenset[str] | None:
    rows = client.iterate_items("orgs", org, "teams", "search", within="data", q=name, include_desc="false")
    number = next((int(row["id"]) for row in rows if row["name"].lower() == name.lower()), None)
    if number is None:
        return None
    return frozenset(str(row["login"]) for row in client.iterate_items("teams", number, "members"))


_SETTLE_TRIES = 5
_SETTLE_SECONDS = 1.0
_NOT_READY_MESSAGE = "try again later"


class GiteaPullRequestSetup:
    """For one repository. Raises nothing of what the forge says."""

    def __init__(self, client: GiteaClient, place: ForgeProject, repo: Sequence[str]) -> None:
        """`repo`: the beginning of its paths."""
        self._client = client
        self._place = place
        self._repo = repo

    def request_reviews(self, number: int, reviewers: Sequence[str], row: Mapping[str, Any]) -> None:
        """Ask those who were not asked, and have said nothing yet: to ask again takes an approval back. One call each."""
        if not reviewers:
            return
        try:
            there = self._list_known_reviewers(number, row)
        except (PermanentError, TransientError) as error:
            log.warning("Gitea does not tell who was asked for a review", number=number, answer=error.message)
            return
        for reviewer in reviewers:
            if reviewer not in there:
                self._request_review(number, reviewer)

    def enable_auto_merge(self, pull: PullRequest) -> None:
        """Just after a push, Gitea still works out whether it can be merged: asked again, a few times."""
        answer = ""
        for attempt in range(_SETTLE_TRIES):
            if attempt:
                time.sleep(_SETTLE_SECONDS)
            try:
                with translate_errors(self._place, f"set pull request #{pull.number} to merge by itself"):
                    self._schedule_merge(pull)
            except (PermanentError, TransientError) as error:
                answer = error.message
                if _NOT_READY_MESSAGE not in answer:
                    break
            else:
                return
        log.warning("Gitea does not set it to merge by itself", number=pull.number, answer=answer)

    def _list_known_reviewers(self, number: int, row: Mapping[str, Any]) -> set[str]:
        """Who was asked or has said something; a team as `org/team`, its organisation being the repository's owner."""
        with translate_errors(self._place, f"read the reviews of pull request #{number}"):
            rows = list(self._client.iterate_items(*self._repo, "pulls", number, "reviews"))
            accounts = [each["user"] for each in rows if each.get("user")] + list(row.get("requested_reviewers") or ())
            teams = row.get("requested_reviewers_teams") or ()
            owner = self._repo[1]
            return {parse_account_name(each) for each in accounts} | {f"{owner}/{each['name']}" for each in teams}

    def _request_review(self, number: int, reviewer: str) -> None:
        org, of_team, team = reviewer.partition("/")
        if of_team and org != self._repo[1]:
            log.warning("Gitea asks only teams of the repository's owner for a review", reviewer=reviewer, number=number)
            return
        body = {"team_reviewers": [team]} if of_team else {"reviewers": [reviewer]}
        try:
            with translate_errors(self._place, f"ask for a review of pull request #{number}"):
                self._client.post_json(*self._repo, "pulls", number, "requested_reviewers", body=body)
        except (PermanentError, TransientError) as error:
            log.warning("Gitea does not take this reviewer", reviewer=reviewer, number=number, answer=error.message)

    def _schedule_merge(self, pull: PullRequest) -> None:
        style = self._client.get_json(*self._repo).get("default_merge_style") or "merge"
        body = {"Do": style, "merge_when_checks_succeed": True, "head_commit_id": pull.head}
        try:
            self._client.post_json(*self._repo, "pulls", pull.number, "merge", body=body)
        except GiteaStatusError as error:
            if error.status != HTTPStatus.CONFLICT or "scheduled" not in error.message:
                raise


_TITLE_LIMIT = 255
_LABEL_COLOUR = "#1d76db"
_MERGED_LIMIT = 100
"""How many merged pull requests are looked into for a commit, the newest first."""


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
        self._pull_request_setup = GiteaPullRequestSetup(self._client, place, self._repo)
        self._branches: dict[int, str] = {}
        self._commits: dict[int, frozenset[str]] = {}

    def list_open_pull_requests(self) -> Sequence[PullRequest]:
        """All open ones into the watched branch, by number."""
        with translate_errors(self._place, "list the open pull requests"):
            return sorted(self._iterate_open_pulls(), key=lambda pull: pull.number)

    def read_pull_request(self, number: int) -> PullRequest:
        """That one. Raises `PermanentError` where there is none."""
        with translate_errors(self._place, f"read pull request #{number}"):
            return parse_pull_request(self._fetch_pull_request(number))

    def find_latest_pull_request(self, branch: str) -> PullRequest | None:
        """The newest from that branch of this repository: the open one, where one is open.

        Gitea cannot be asked by branch. Which branch a pull request is from never changes, so that what was read once saves
        reading the old ones again.
        """
        with translate_errors(self._place, "look for a pull request"):
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
        """Open one. Raises `Conflict` where one from that branch is open already."""
        with translate_errors(self._place, "open a pull request"):
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
                detail = self._place.format_one_line(error.message)
                raise Conflict(self.name, f"a pull request from {draft.branch} is open already: {detail}") from None
            made = parse_pull_request(row)
        self._pull_request_setup.request_reviews(made.number, draft.reviewers, row)
        if draft.auto_merge:
            self._pull_request_setup.enable_auto_merge(made)
        return made

    def update_pull_request(self, number: int, draft: PullRequestDraft) -> None:
        """Title and body as the draft has them; labels and reviewers that are missing are added, none is taken away."""
        with translate_errors(self._place, f"revise pull request #{number}"):
            row = self._fetch_pull_request(number)
            there = {each["name"] for each in row.get("labels") or ()}
            if missing := [label for label in draft.labels if label not in there]:
                self._client.post_json(
                    *self._repo, "issues", number, "labels", body={"labels": self._ensure_label_ids(missing)}
                )
            words = {"title": draft.title[:_TITLE_LIMIT], "body": draft.body}
            row = self._client.patch_json(*self._repo, "pulls", number, body=words)
            pull = parse_pull_request(row)
        self._pull_request_setup.request_reviews(number, draft.reviewers, row)
        if draft.auto_merge:
            self._pull_request_setup.enable_auto_merge(pull)

    def close_pull_request(self, number: int) -> None:
        """Close it without merging; one that is not open is no error."""
        with translate_errors(self._place, f"close pull request #{number}"):
            if parse_pull_request(self._fetch_pull_request(number)).state is PullRequestState.OPEN:
                self._client.patch_json(*self._repo, "pulls", number, body={"state": "closed"})

    def list_own_comments(self, number: int) -> Sequence[PullRequestComment]:
        """Those of Promoter's own account, oldest first."""
        with translate_errors(self._place, f"read the comments on pull request #{number}"):
            rows = self._client.iterate_items(*self._repo, "issues", number, "comments")
            own = [
                PullRequestComment(int(row["id"]), row["body"])
                for row in rows
                if parse_account_name(row["user"]) == self._own_account
            ]
            return sorted(own, key=lambda comment: comment.id)

    def add_comment(self, number: int, body: str) -> None:
        """Add one."""
        with translate_errors(self._place, f"comment on pull request #{number}"):
            self._client.post_json(*self._repo, "issues", number, "comments", body={"body": body})

    def edit_comment(self, number: int, comment: int, body: str) -> None:
        """Replace its text."""
        with translate_errors(self._place, f"edit a comment on pull request #{number}"):
            self._client.patch_json(*self._repo, "issues", "comments", comment, body={"body": body})

    def delete_comment(self, number: int, comment: int) -> None:
        """Remove it; one that is gone is no error."""
        with translate_errors(self._place, f"delete a comment on pull request #{number}"):
            try:
                self._client.delete_resource(*self._repo, "issues", "comments", comment)
            except GiteaStatusError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    def read_commit_status(self, revision: str) -> CommitStatus | None:
        """The status `promoter/plan` that the commit has now."""
        with translate_errors(self._place, f"read the status of commit {revision[:12]}"):
            rows = self._client.iterate_items(*self._repo, "commits", revision, "statuses", sort="highestindex")
            row = next((row for row in rows if row["context"] == STATUS_NAME), None)
            return parse_commit_status(row) if row else None

    def set_commit_status(self, revision: str, status: CommitStatus) -> None:
        """Give the commit that status. Gitea keeps each one that is written."""
        with translate_errors(self._place, f"set the status of commit {revision[:12]}"):
            body = {"context": STATUS_NAME, "state": str(status.state), "description": status.description}
            body |= {"target_url": status.url} if status.url else {}
            self._client.post_json(*self._repo, "statuses", revision, body=body)

    def read_pull_request_origin(self, number: int, teams: frozenset[str] = frozenset()) -> ChangeOrigin:
        """Who wrote and who approves a pull request, and who is in these teams; of a merged one, as it was when merged."""
        with translate_errors(self._place, f"read the reviews of pull request #{number}"):
            pull = parse_pull_request(self._fetch_pull_request(number))
            merged = pull.state is PullRequestState.MERGED
            reviews = list(self._client.iterate_items(*self._repo, "pulls", number, "reviews"))
            return ChangeOrigin(
                number=number,
                url=pull.url,
                author=pull.author,
                authors=frozenset({pull.author}) | parse_commit_authors(self._iterate_commits(number)),
                reviews=parse_active_approvals(reviews, pull.head, pull.closed_at if merged else None),
                merged=merged,
                merge_commit=pull.merge_commit,
                merged_by=pull.merged_by,
                teams=list_team_members(self._client, teams),
            )

    def find_commit_origin(self, revision: str, teams: frozenset[str] = frozenset()) -> ChangeOrigin | None:
        """The merged one that brought a commit to the watched branch: as its own commit, or as what merging it made."""
        with translate_errors(self._place, f"look for what brought commit {revision[:12]}"):
            number = self._find_by_merge_commit(revision)
            if number is None:
                number = self._find_by_contained_commit(revision)
        return None if number is None else self.read_pull_request_origin(number, teams)

    def _find_by_merge_commit(self, revision: str) -> int | None:
        """The one whose merge made the commit. Believed only where its own words agree: Gitea 1.22 names any."""
        try:
            pull = parse_pull_request(self._client.get_json(*self._repo, "commits", revision, "pull"))
        except GiteaStatusError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None
        right = pull.state is PullRequestState.MERGED and pull.base == self._branch and pull.merge_commit == revision
        return pull.number if right else None

    def _find_by_contained_commit(self, revision: str) -> int | None:
        """The one that has the commit among its own, or was merged as it. A merged one's commits never change: kept."""
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

    @cached_property
    def _own_account(self) -> str:
        """Promoter's own account: the token's, unless the settings name it."""
        return self._account or parse_account_name(self._client.get_json("user"))

    def _fetch_pull_request(self, number: int) -> dict[str, Any]:
        row: dict[str, Any] = self._client.get_json(*self._repo, "pulls", number)
        return row

    def _iterate_commits(self, number: int) -> Iterator[dict[str, Any]]:
        return self._client.iterate_items(*self._repo, "pulls", number, "commits", verification="false", files="false")

    def _iterate_open_pulls(self) -> Iterator[PullRequest]:
        pulls = map(parse_pull_request, self._client.iterate_items(*self._repo, "pulls", state="open"))
        return (pull for pull in pulls if pull.base == self._branch)

    def _learn_branches(self) -> None:
        """Read back to what is known already. Kept only when all of it was read, so that no gap can be left."""
        news = {}
        for pull in map(parse_pull_request, self._client.iterate_items(*self._repo, "pulls", state="all")):
            if pull.number in self._branches:
                break
            news[pull.number] = "" if pull.fork else pull.branch
        self._branches |= news

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
