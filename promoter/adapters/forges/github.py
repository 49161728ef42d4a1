"""A repository on GitHub, github.com or Enterprise Server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from github.Commit import Commit
from github.GithubException import GithubException
from github.GithubObject import NotSet
from github.IssueComment import IssueComment
from github.PullRequest import PullRequest as ThePullRequest
from github.Repository import Repository

from promoter.adapters.forges import github_forms as forms
from promoter.adapters.forges.base import ForgeBase
from promoter.adapters.forges.github_client import GitHubClient, translate_errors, extract_error_message
from promoter.adapters.forges.github_people import list_team_members, fetch_own_account
from promoter.adapters.forges.github_wishes import GitHubPullRequestSetup
from promoter.application.ports.forge import PullRequestComment, PullRequestDraft, PullRequest, PullRequestState, CommitStatus
from promoter.domain.faults import Conflict, PermanentError
from promoter.domain.review import ChangeOrigin

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
            return sorted(map(forms.parse_pull_request, rows), key=lambda pull: pull.number)

    def read_pull_request(self, number: int) -> PullRequest:
        """That one. Raises `PermanentError` where there is none."""
        with translate_errors(self._place, f"read pull request #{number}"):
            return forms.parse_pull_request(self._fetch_pull_request(number))

    def find_latest_pull_request(self, branch: str) -> PullRequest | None:
        """The newest from that branch of this repository: the open one, where one is open."""
        owner = self._place.project.partition("/")[0]
        with translate_errors(self._place, "look for a pull request"):
            rows = self._client.iterate_items(f"{self._repo}/pulls", state="all", base=self._branch, head=f"{owner}:{branch}")
            # An unknown owner or branch in `head` makes GitHub leave it out of account: what comes is looked at again.
            own = [pull for pull in map(forms.parse_pull_request, rows) if pull.branch == branch and not pull.fork]
            found = max(own, key=lambda pull: (pull.state is PullRequestState.OPEN, pull.number), default=None)
            if found is None or found.state is not PullRequestState.MERGED:
                return found
            return forms.parse_pull_request(self._fetch_pull_request(found.number))

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
            pull = forms.parse_pull_request(row)
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
            if forms.parse_pull_request(row).state is PullRequestState.OPEN:
                self._build_pull_object(row).edit(state="closed")

    def list_own_comments(self, number: int) -> Sequence[PullRequestComment]:
        """Those of Promoter's own account, oldest first."""
        with translate_errors(self._place, f"read the comments on pull request #{number}"):
            own = self._own_account.lower()
            rows = self._client.iterate_items(f"{self._repo}/issues/{number}/comments")
            found = [row for row in rows if forms.parse_account_name(row.get("user")).lower() == own]
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
            row = next((row for row in rows if row["context"] == forms.STATUS_NAME), None)
            return forms.parse_commit_status(row) if row else None

    def set_commit_status(self, revision: str, status: CommitStatus) -> None:
        """Give the commit that status. GitHub keeps each one that is written, a thousand at most."""
        with translate_errors(self._place, f"set the status of commit {revision[:12]}"):
            path = f"{self._repo}/commits/{quote(revision, safe='')}"
            commit = Commit(self._client, {}, {"url": path, "sha": revision}, completed=True)
            commit.create_status(str(status.state), status.url or NotSet, status.description, forms.STATUS_NAME)

    def read_pull_request_origin(self, number: int, teams: frozenset[str] = frozenset()) -> ChangeOrigin:
        """Who wrote and who approves a pull request, and who is in these teams; of a merged one, as it was when merged.

        Raises `PermanentError` where it has so many commits that not all of their authors can be known: one of them might approve.
        """
        with translate_errors(self._place, f"read the reviews of pull request #{number}"):
            row = self._fetch_pull_request(number)
            pull = forms.parse_pull_request(row)
            if row["commits"] > _COMMITS_LIMIT:
                raise self._build_commit_limit_error(number, row["commits"])
            merged = pull.state is PullRequestState.MERGED
            reviews = list(self._client.iterate_items(f"{self._repo}/pulls/{number}/reviews"))
            commits = self._client.iterate_items(f"{self._repo}/pulls/{number}/commits")
            return ChangeOrigin(
                number=number,
                url=pull.url,
                author=pull.author,
                authors=frozenset({pull.author}) | forms.parse_commit_authors(commits),
                reviews=forms.parse_active_approvals(reviews, pull.head, pull.closed_at if merged else None),
                merged=merged,
                merge_commit=pull.merge_commit,
                merged_by=pull.merged_by,
                teams=list_team_members(self._client, teams),
            )

    def find_commit_origin(self, revision: str, teams: frozenset[str] = frozenset()) -> ChangeOrigin | None:
        """The merged pull request that brought a commit to the watched branch; None: it was pushed there."""
        with translate_errors(self._place, f"look for what brought commit {revision[:12]}"):
            rows = self._client.iterate_items(f"{self._repo}/commits/{quote(revision, safe='')}/pulls")
            number = forms.find_introducing_number(rows, revision, self._branch)
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

    def _build_pull_object(self, row: dict[str, Any]) -> ThePullRequest:
        """PyGithub's object. Its addresses are made here: those in answers may name another host."""
        number = row["number"]
        here = {"url": f"{self._repo}/pulls/{number}", "issue_url": f"{self._repo}/issues/{number}"}
        return ThePullRequest(self._client, {}, row | here, completed=True)

    def _build_comment_object(self, comment: int) -> IssueComment:
        return IssueComment(self._client, {}, {"url": f"{self._repo}/issues/comments/{comment}"}, completed=True)

    def _request_reviews_and_merge(self, draft: PullRequestDraft, row: dict[str, Any]) -> None:
        self._pull_request_setup.request_reviews(self._build_pull_object(row), draft.reviewers, row)
        if draft.auto_merge:
            self._pull_request_setup.enable_auto_merge(self._build_pull_object(row), row)
