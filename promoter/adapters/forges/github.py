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
from promoter.adapters.forges.base import Connected
from promoter.adapters.forges.github_client import Client, asking, said
from promoter.adapters.forges.github_people import members, own_account
from promoter.adapters.forges.github_wishes import Wishes
from promoter.application.ports.forge import Comment, Draft, PullRequest, State, Status
from promoter.domain.faults import Overtaken, Refused
from promoter.domain.review import Origin

_TITLE_LIMIT = 256
_COMMITS_LIMIT = 250
"""GitHub lists no more commits of a pull request, and says nothing of that."""
_OVERTAKEN = "pull request already exists"


class GitHub(Connected):
    """Pull requests into one branch of a repository. A team is written `org/team`, by its slug.

    `url` is that of the API, `https://api.github.com` or `https://HOST/api/v3`. The token of an app, a workflow's among
    them, is not told its account: then it has to be given.
    """

    KIND = "GitHub"

    def _connect(self, timeout: float) -> None:
        place = self._place
        self._client = Client(place.url, place.token, timeout)
        self._repo = "/repos/" + "/".join(quote(part, safe="") for part in place.project.split("/", 1))
        self._repository = Repository(self._client, {}, {"url": self._repo}, completed=False)
        self._wishes = Wishes(self._client, place, self._repo, self._repository)

    def open_pull_requests(self) -> Sequence[PullRequest]:
        """All open ones into the watched branch, by number."""
        with asking(self._place, "list the open pull requests"):
            rows = self._client.listed(f"{self._repo}/pulls", state="open", base=self._branch)
            return sorted(map(forms.pull_request, rows), key=lambda pull: pull.number)

    def pull_request(self, number: int) -> PullRequest:
        """That one. Raises `Refused` where there is none."""
        with asking(self._place, f"read pull request #{number}"):
            return forms.pull_request(self._row(number))

    def latest_from(self, branch: str) -> PullRequest | None:
        """The newest from that branch of this repository: the open one, where one is open."""
        owner = self._place.project.partition("/")[0]
        with asking(self._place, "look for a pull request"):
            rows = self._client.listed(f"{self._repo}/pulls", state="all", base=self._branch, head=f"{owner}:{branch}")
            # An unknown owner or branch in `head` makes GitHub leave it out of account: what comes is looked at again.
            own = [pull for pull in map(forms.pull_request, rows) if pull.branch == branch and not pull.fork]
            found = max(own, key=lambda pull: (pull.state is State.OPEN, pull.number), default=None)
            if found is None or found.state is not State.MERGED:
                return found
            return forms.pull_request(self._row(found.number))

    def propose(self, draft: Draft) -> PullRequest:
        """Open one. Raises `Overtaken` where one from that branch is open already.

        Labels, reviewers and auto-merge are asked for afterwards: it is open by then, whatever becomes of that.
        """
        with asking(self._place, "open a pull request"):
            try:
                made = self._repository.create_pull(
                    self._branch, draft.branch, title=draft.title[:_TITLE_LIMIT], body=draft.body
                )
            except GithubException as error:
                if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or _OVERTAKEN not in said(error):
                    raise
                words = self._place.one_line(said(error))
                raise Overtaken(self.name, f"a pull request from {draft.branch} is open already: {words}") from None
            row = made.raw_data
            pull = forms.pull_request(row)
        with asking(self._place, f"label pull request #{pull.number}"):
            self._wishes.labels(draft.labels, row)
        self._wish(draft, row)
        return pull

    def revise(self, number: int, draft: Draft) -> None:
        """Title and body as the draft has them; labels and reviewers that are missing are added, none is taken away."""
        with asking(self._place, f"revise pull request #{number}"):
            row = self._row(number)
            pull = self._pull(row)
            self._wishes.labels(draft.labels, row)
            pull.edit(title=draft.title[:_TITLE_LIMIT], body=draft.body)
        self._wish(draft, row)

    def close(self, number: int) -> None:
        """Close it without merging; one that is not open is no error."""
        with asking(self._place, f"close pull request #{number}"):
            row = self._row(number)
            if forms.pull_request(row).state is State.OPEN:
                self._pull(row).edit(state="closed")

    def comments(self, number: int) -> Sequence[Comment]:
        """Those of Promoter's own account, oldest first."""
        with asking(self._place, f"read the comments on pull request #{number}"):
            own = self._self.lower()
            rows = self._client.listed(f"{self._repo}/issues/{number}/comments")
            found = [row for row in rows if forms.account(row.get("user")).lower() == own]
            return sorted((Comment(int(row["id"]), row["body"]) for row in found), key=lambda comment: comment.id)

    def comment(self, number: int, body: str) -> None:
        """Add one."""
        with asking(self._place, f"comment on pull request #{number}"):
            self._pull({"number": number}).create_issue_comment(body)

    def edit_comment(self, number: int, comment: int, body: str) -> None:
        """Replace its text."""
        with asking(self._place, f"edit a comment on pull request #{number}"):
            self._comment(comment).edit(body)

    def delete_comment(self, number: int, comment: int) -> None:
        """Remove it; one that is gone is no error."""
        with asking(self._place, f"delete a comment on pull request #{number}"):
            try:
                self._comment(comment).delete()
            except GithubException as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    def status(self, revision: str) -> Status | None:
        """The status `promoter/plan` that the commit has now."""
        with asking(self._place, f"read the status of commit {revision[:12]}"):
            rows = self._client.listed(f"{self._repo}/commits/{quote(revision, safe='')}/status", within="statuses")
            row = next((row for row in rows if row["context"] == forms.STATUS_NAME), None)
            return forms.status(row) if row else None

    def set_status(self, revision: str, status: Status) -> None:
        """Give the commit that status. GitHub keeps each one that is written, a thousand at most."""
        with asking(self._place, f"set the status of commit {revision[:12]}"):
            path = f"{self._repo}/commits/{quote(revision, safe='')}"
            commit = Commit(self._client, {}, {"url": path, "sha": revision}, completed=True)
            commit.create_status(str(status.state), status.url or NotSet, status.description, forms.STATUS_NAME)

    def origin(self, number: int, teams: frozenset[str] = frozenset()) -> Origin:
        """Who wrote and who approves a pull request, and who is in these teams; of a merged one, as it was when merged.

        Raises `Refused` where it has so many commits that not all of their authors can be known: one of them might approve.
        """
        with asking(self._place, f"read the reviews of pull request #{number}"):
            row = self._row(number)
            pull = forms.pull_request(row)
            if row["commits"] > _COMMITS_LIMIT:
                raise self._too_long(number, row["commits"])
            merged = pull.state is State.MERGED
            reviews = list(self._client.listed(f"{self._repo}/pulls/{number}/reviews"))
            commits = self._client.listed(f"{self._repo}/pulls/{number}/commits")
            return Origin(
                number=number,
                url=pull.url,
                author=pull.author,
                authors=frozenset({pull.author}) | forms.authors(commits),
                reviews=forms.reviews(reviews, pull.head, pull.closed_at if merged else None),
                merged=merged,
                merge_commit=pull.merge_commit,
                merged_by=pull.merged_by,
                teams=members(self._client, teams),
            )

    def brought(self, revision: str, teams: frozenset[str] = frozenset()) -> Origin | None:
        """The merged pull request that brought a commit to the watched branch; None: it was pushed there."""
        with asking(self._place, f"look for what brought commit {revision[:12]}"):
            rows = self._client.listed(f"{self._repo}/commits/{quote(revision, safe='')}/pulls")
            number = forms.brought(rows, revision, self._branch)
        return None if number is None else self.origin(number, teams)

    @cached_property
    def _self(self) -> str:
        """Promoter's own account: the token's, unless the settings name it."""
        return self._account or own_account(self._client, self._place)

    def _too_long(self, number: int, commits: int) -> Refused:
        message = f"pull request #{number} of {self._place.project} at {self._place.url} has {commits} commits"
        listed = f"GitHub lists the first {_COMMITS_LIMIT}, so that not all of their authors are known"
        return Refused(self.name, f"{message}, and {listed}", "squash its commits, or bring the change in smaller ones")

    def _row(self, number: int) -> dict[str, Any]:
        return self._client.row(f"{self._repo}/pulls/{number}")

    def _pull(self, row: dict[str, Any]) -> ThePullRequest:
        """PyGithub's object. Its addresses are made here: those in answers may name another host."""
        number = row["number"]
        here = {"url": f"{self._repo}/pulls/{number}", "issue_url": f"{self._repo}/issues/{number}"}
        return ThePullRequest(self._client, {}, row | here, completed=True)

    def _comment(self, comment: int) -> IssueComment:
        return IssueComment(self._client, {}, {"url": f"{self._repo}/issues/comments/{comment}"}, completed=True)

    def _wish(self, draft: Draft, row: dict[str, Any]) -> None:
        self._wishes.reviews(self._pull(row), draft.reviewers, row)
        if draft.auto_merge:
            self._wishes.auto_merge(self._pull(row), row)
