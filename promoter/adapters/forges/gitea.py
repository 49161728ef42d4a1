"""A repository on Gitea, or on Forgejo, whose API is the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any

from promoter.adapters.forges import gitea_forms as forms
from promoter.adapters.forges.base import ForgeBase
from promoter.adapters.forges.gitea_client import GiteaStatusError, GiteaClient, translate_errors
from promoter.adapters.forges.gitea_people import list_team_members
from promoter.adapters.forges.gitea_wishes import GiteaPullRequestSetup
from promoter.application.ports.forge import PullRequestComment, PullRequestDraft, PullRequest, PullRequestState, CommitStatus
from promoter.domain.faults import Conflict
from promoter.domain.review import ChangeOrigin

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
            return forms.parse_pull_request(self._fetch_pull_request(number))

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
                pull = forms.parse_pull_request(self._fetch_pull_request(number))
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
            made = forms.parse_pull_request(row)
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
            pull = forms.parse_pull_request(row)
        self._pull_request_setup.request_reviews(number, draft.reviewers, row)
        if draft.auto_merge:
            self._pull_request_setup.enable_auto_merge(pull)

    def close_pull_request(self, number: int) -> None:
        """Close it without merging; one that is not open is no error."""
        with translate_errors(self._place, f"close pull request #{number}"):
            if forms.parse_pull_request(self._fetch_pull_request(number)).state is PullRequestState.OPEN:
                self._client.patch_json(*self._repo, "pulls", number, body={"state": "closed"})

    def list_own_comments(self, number: int) -> Sequence[PullRequestComment]:
        """Those of Promoter's own account, oldest first."""
        with translate_errors(self._place, f"read the comments on pull request #{number}"):
            rows = self._client.iterate_items(*self._repo, "issues", number, "comments")
            own = [
                PullRequestComment(int(row["id"]), row["body"])
                for row in rows
                if forms.parse_account_name(row["user"]) == self._own_account
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
            row = next((row for row in rows if row["context"] == forms.STATUS_NAME), None)
            return forms.parse_commit_status(row) if row else None

    def set_commit_status(self, revision: str, status: CommitStatus) -> None:
        """Give the commit that status. Gitea keeps each one that is written."""
        with translate_errors(self._place, f"set the status of commit {revision[:12]}"):
            body = {"context": forms.STATUS_NAME, "state": str(status.state), "description": status.description}
            body |= {"target_url": status.url} if status.url else {}
            self._client.post_json(*self._repo, "statuses", revision, body=body)

    def read_pull_request_origin(self, number: int, teams: frozenset[str] = frozenset()) -> ChangeOrigin:
        """Who wrote and who approves a pull request, and who is in these teams; of a merged one, as it was when merged."""
        with translate_errors(self._place, f"read the reviews of pull request #{number}"):
            pull = forms.parse_pull_request(self._fetch_pull_request(number))
            merged = pull.state is PullRequestState.MERGED
            reviews = list(self._client.iterate_items(*self._repo, "pulls", number, "reviews"))
            return ChangeOrigin(
                number=number,
                url=pull.url,
                author=pull.author,
                authors=frozenset({pull.author}) | forms.parse_commit_authors(self._iterate_commits(number)),
                reviews=forms.parse_active_approvals(reviews, pull.head, pull.closed_at if merged else None),
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
            pull = forms.parse_pull_request(self._client.get_json(*self._repo, "commits", revision, "pull"))
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
            pull = forms.parse_pull_request(row)
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
        return self._account or forms.parse_account_name(self._client.get_json("user"))

    def _fetch_pull_request(self, number: int) -> dict[str, Any]:
        row: dict[str, Any] = self._client.get_json(*self._repo, "pulls", number)
        return row

    def _iterate_commits(self, number: int) -> Iterator[dict[str, Any]]:
        return self._client.iterate_items(*self._repo, "pulls", number, "commits", verification="false", files="false")

    def _iterate_open_pulls(self) -> Iterator[PullRequest]:
        pulls = map(forms.parse_pull_request, self._client.iterate_items(*self._repo, "pulls", state="open"))
        return (pull for pull in pulls if pull.base == self._branch)

    def _learn_branches(self) -> None:
        """Read back to what is known already. Kept only when all of it was read, so that no gap can be left."""
        news = {}
        for pull in map(forms.parse_pull_request, self._client.iterate_items(*self._repo, "pulls", state="all")):
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
