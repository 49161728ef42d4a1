"""A repository on Gitea, or on Forgejo, whose API is the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any

from promoter.adapters.forges import gitea_forms as forms
from promoter.adapters.forges.base import Connected
from promoter.adapters.forges.gitea_client import AnswerError, Client, asking
from promoter.adapters.forges.gitea_people import members
from promoter.adapters.forges.gitea_wishes import Wishes
from promoter.application.ports.forge import Comment, Draft, PullRequest, State, Status
from promoter.domain.faults import Overtaken
from promoter.domain.review import Origin

_TITLE_LIMIT = 255
_COLOUR = "#1d76db"
_MERGED_LIMIT = 100
"""How many merged pull requests are looked into for a commit, the newest first."""


class Gitea(Connected):
    """Pull requests into one branch of a repository. `url` is the instance's; a team is written `org/team`.

    A commit that a merge by rebasing wrote anew is known only where it is the last one of its pull request: Gitea keeps no
    trace from the others.
    """

    KIND = "Gitea"

    def _connect(self, timeout: float) -> None:
        place = self._place
        self._client = Client(place.url, place.token, timeout)
        self._repo = ("repos", *place.project.split("/", 1))
        self._wishes = Wishes(self._client, place, self._repo)
        self._branches: dict[int, str] = {}
        self._commits: dict[int, frozenset[str]] = {}

    def open_pull_requests(self) -> Sequence[PullRequest]:
        """All open ones into the watched branch, by number."""
        with asking(self._place, "list the open pull requests"):
            return sorted(self._open(), key=lambda pull: pull.number)

    def pull_request(self, number: int) -> PullRequest:
        """That one. Raises `Refused` where there is none."""
        with asking(self._place, f"read pull request #{number}"):
            return forms.pull_request(self._row(number))

    def latest_from(self, branch: str) -> PullRequest | None:
        """The newest from that branch of this repository: the open one, where one is open.

        Gitea cannot be asked by branch. Which branch a pull request is from never changes, so that what was read once saves
        reading the old ones again.
        """
        with asking(self._place, "look for a pull request"):
            found = [pull for pull in self._open() if pull.branch == branch and not pull.fork]
            if found:
                return max(found, key=lambda pull: pull.number)
            self._learn_branches()
            for number in sorted((each for each, its in self._branches.items() if its == branch), reverse=True):
                pull = forms.pull_request(self._row(number))
                if pull.base == self._branch:
                    return pull
        return None

    def propose(self, draft: Draft) -> PullRequest:
        """Open one. Raises `Overtaken` where one from that branch is open already."""
        with asking(self._place, "open a pull request"):
            body = {
                "head": draft.branch,
                "base": self._branch,
                "title": draft.title[:_TITLE_LIMIT],
                "body": draft.body,
                "labels": self._label_ids(draft.labels),
            }
            try:
                row = self._client.post(*self._repo, "pulls", body=body)
            except AnswerError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
                said = self._place.one_line(error.said)
                raise Overtaken(self.name, f"a pull request from {draft.branch} is open already: {said}") from None
            made = forms.pull_request(row)
        self._wishes.reviews(made.number, draft.reviewers, row)
        if draft.auto_merge:
            self._wishes.auto_merge(made)
        return made

    def revise(self, number: int, draft: Draft) -> None:
        """Title and body as the draft has them; labels and reviewers that are missing are added, none is taken away."""
        with asking(self._place, f"revise pull request #{number}"):
            row = self._row(number)
            there = {each["name"] for each in row.get("labels") or ()}
            if missing := [label for label in draft.labels if label not in there]:
                self._client.post(*self._repo, "issues", number, "labels", body={"labels": self._label_ids(missing)})
            words = {"title": draft.title[:_TITLE_LIMIT], "body": draft.body}
            row = self._client.patch(*self._repo, "pulls", number, body=words)
            pull = forms.pull_request(row)
        self._wishes.reviews(number, draft.reviewers, row)
        if draft.auto_merge:
            self._wishes.auto_merge(pull)

    def close(self, number: int) -> None:
        """Close it without merging; one that is not open is no error."""
        with asking(self._place, f"close pull request #{number}"):
            if forms.pull_request(self._row(number)).state is State.OPEN:
                self._client.patch(*self._repo, "pulls", number, body={"state": "closed"})

    def comments(self, number: int) -> Sequence[Comment]:
        """Those of Promoter's own account, oldest first."""
        with asking(self._place, f"read the comments on pull request #{number}"):
            rows = self._client.listed(*self._repo, "issues", number, "comments")
            own = [Comment(int(row["id"]), row["body"]) for row in rows if forms.account(row["user"]) == self._self]
            return sorted(own, key=lambda comment: comment.id)

    def comment(self, number: int, body: str) -> None:
        """Add one."""
        with asking(self._place, f"comment on pull request #{number}"):
            self._client.post(*self._repo, "issues", number, "comments", body={"body": body})

    def edit_comment(self, number: int, comment: int, body: str) -> None:
        """Replace its text."""
        with asking(self._place, f"edit a comment on pull request #{number}"):
            self._client.patch(*self._repo, "issues", "comments", comment, body={"body": body})

    def delete_comment(self, number: int, comment: int) -> None:
        """Remove it; one that is gone is no error."""
        with asking(self._place, f"delete a comment on pull request #{number}"):
            try:
                self._client.delete(*self._repo, "issues", "comments", comment)
            except AnswerError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    def status(self, revision: str) -> Status | None:
        """The status `promoter/plan` that the commit has now."""
        with asking(self._place, f"read the status of commit {revision[:12]}"):
            rows = self._client.listed(*self._repo, "commits", revision, "statuses", sort="highestindex")
            row = next((row for row in rows if row["context"] == forms.STATUS_NAME), None)
            return forms.status(row) if row else None

    def set_status(self, revision: str, status: Status) -> None:
        """Give the commit that status. Gitea keeps each one that is written."""
        with asking(self._place, f"set the status of commit {revision[:12]}"):
            body = {"context": forms.STATUS_NAME, "state": str(status.state), "description": status.description}
            body |= {"target_url": status.url} if status.url else {}
            self._client.post(*self._repo, "statuses", revision, body=body)

    def origin(self, number: int, teams: frozenset[str] = frozenset()) -> Origin:
        """Who wrote and who approves a pull request, and who is in these teams; of a merged one, as it was when merged."""
        with asking(self._place, f"read the reviews of pull request #{number}"):
            pull = forms.pull_request(self._row(number))
            merged = pull.state is State.MERGED
            reviews = list(self._client.listed(*self._repo, "pulls", number, "reviews"))
            return Origin(
                number=number,
                url=pull.url,
                author=pull.author,
                authors=frozenset({pull.author}) | forms.authors(self._commit_rows(number)),
                reviews=forms.reviews(reviews, pull.head, pull.closed_at if merged else None),
                merged=merged,
                merge_commit=pull.merge_commit,
                merged_by=pull.merged_by,
                teams=members(self._client, teams),
            )

    def brought(self, revision: str, teams: frozenset[str] = frozenset()) -> Origin | None:
        """The merged one that brought a commit to the watched branch: as its own commit, or as what merging it made."""
        with asking(self._place, f"look for what brought commit {revision[:12]}"):
            number = self._merged_as(revision)
            if number is None:
                number = self._merged_with(revision)
        return None if number is None else self.origin(number, teams)

    def _merged_as(self, revision: str) -> int | None:
        """The one whose merge made the commit. Believed only where its own words agree: Gitea 1.22 names any."""
        try:
            pull = forms.pull_request(self._client.get(*self._repo, "commits", revision, "pull"))
        except AnswerError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None
        right = pull.state is State.MERGED and pull.base == self._branch and pull.merge_commit == revision
        return pull.number if right else None

    def _merged_with(self, revision: str) -> int | None:
        """The one that has the commit among its own, or was merged as it. A merged one's commits never change: kept."""
        seen = 0
        found = []
        for row in self._client.listed(*self._repo, "pulls", state="closed", sort="recentupdate"):
            pull = forms.pull_request(row)
            if pull.state is not State.MERGED or pull.base != self._branch:
                continue
            if pull.number not in self._commits:
                own = frozenset(str(each["sha"]) for each in self._commit_rows(pull.number))
                self._commits[pull.number] = own | {pull.merge_commit or ""}
            if revision in self._commits[pull.number]:
                found.append(pull)
            seen += 1
            if seen == _MERGED_LIMIT:
                break
        return min(found, key=lambda pull: (str(pull.closed_at), pull.number)).number if found else None

    @cached_property
    def _self(self) -> str:
        """Promoter's own account: the token's, unless the settings name it."""
        return self._account or forms.account(self._client.get("user"))

    def _row(self, number: int) -> dict[str, Any]:
        row: dict[str, Any] = self._client.get(*self._repo, "pulls", number)
        return row

    def _commit_rows(self, number: int) -> Iterator[dict[str, Any]]:
        return self._client.listed(*self._repo, "pulls", number, "commits", verification="false", files="false")

    def _open(self) -> Iterator[PullRequest]:
        pulls = map(forms.pull_request, self._client.listed(*self._repo, "pulls", state="open"))
        return (pull for pull in pulls if pull.base == self._branch)

    def _learn_branches(self) -> None:
        """Read back to what is known already. Kept only when all of it was read, so that no gap can be left."""
        news = {}
        for pull in map(forms.pull_request, self._client.listed(*self._repo, "pulls", state="all")):
            if pull.number in self._branches:
                break
            news[pull.number] = "" if pull.fork else pull.branch
        self._branches |= news

    def _label_ids(self, names: Iterable[str]) -> list[int]:
        names = list(names)
        if not names:
            return []
        known = {row["name"]: int(row["id"]) for row in self._client.listed(*self._repo, "labels")}
        for name in names:
            if name not in known:
                row = self._client.post(*self._repo, "labels", body={"name": name, "color": _COLOUR})
                known[name] = int(row["id"])
        return [known[name] for name in names]
