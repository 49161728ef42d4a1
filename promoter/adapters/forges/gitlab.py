"""A project on GitLab. Its merge requests are what the port calls pull requests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from typing import Any

import structlog
from gitlab.exceptions import GitlabError

from promoter.adapters.forges import gitlab_forms as forms
from promoter.adapters.forges.base import Connected
from promoter.adapters.forges.gitlab_client import asking, bounded, code_of, connected
from promoter.adapters.forges.gitlab_people import People
from promoter.application.ports.forge import Comment, Draft, PullRequest, State, Status, StatusState
from promoter.domain.faults import Overtaken, Refused, Unavailable
from promoter.domain.review import Origin

log = structlog.get_logger(__name__)

_TITLE_LIMIT = 255
_URL_LIMIT = 255
_UNSETTLED = frozenset({"preparing", "checking", "unchecked"})
_SETTLE_TRIES = 5
_SETTLE_SECONDS = 1.0
_WORDS = {StatusState.PENDING: "pending", StatusState.SUCCESS: "success", StatusState.FAILURE: "failed"}


class GitLab(Connected):
    """Merge requests into one branch of a project, written `group/sub/name`. `url` is the instance's.

    A team is a group, written by its path: `acme/risk`. A group at the top level is written with a slash at its end,
    `acme/`, since `acme` alone is an account. GitLab counts members of the groups above as members of a group.

    GitLab's commits name no account. Their authors are known where the mail is one of GitLab's private addresses, or is told
    as the public mail of an account; others are not among `Origin.authors`.
    """

    KIND = "GitLab"

    def _connect(self, timeout: float) -> None:
        place = self._place
        self._client = connected(place.url, place.token, timeout)
        self._project = self._client.projects.get(place.project, lazy=True)
        self._people = People(self._client, place)

    def open_pull_requests(self) -> Sequence[PullRequest]:
        """All open ones into the watched branch, by number."""
        with asking(self._place, "list the open merge requests"):
            rows = self._listed(state="opened")
            return sorted(map(forms.pull_request, rows), key=lambda pull: pull.number)

    def pull_request(self, number: int) -> PullRequest:
        """That one. Raises `Refused` where there is none."""
        with asking(self._place, f"read merge request !{number}"):
            return forms.pull_request(self._row(number))

    def latest_from(self, branch: str) -> PullRequest | None:
        """The newest from that branch of this project: the open one, where one is open."""
        with asking(self._place, "look for a merge request"):
            for state in ("opened", "all"):
                rows = self._listed(state=state, source_branch=branch, order_by="created_at", sort="desc")
                own = [pull for pull in map(forms.pull_request, rows) if not pull.fork]
                if own:
                    return max(own, key=lambda pull: pull.number)
        return None

    def propose(self, draft: Draft) -> PullRequest:
        """Open one. Raises `Overtaken` where one from that branch is open already."""
        with asking(self._place, "open a merge request"):
            reviewers = self._people.ids(draft.reviewers)
            wanted = {
                "source_branch": draft.branch,
                "target_branch": self._branch,
                "title": draft.title[:_TITLE_LIMIT],
                "description": forms.shielded(draft.body),
                **({"labels": list(draft.labels)} if draft.labels else {}),
                **({"reviewer_ids": sorted(reviewers.values())} if reviewers else {}),
            }
            try:
                row = self._project.mergerequests.create(wanted).asdict()
            except GitlabError as error:
                if code_of(error) != HTTPStatus.CONFLICT:
                    raise
                said = self._place.one_line(error.error_message)
                raise Overtaken(self.name, f"a merge request from {draft.branch} is open already: {said}") from None
            self._told_missing(reviewers, row)
            made = forms.pull_request(row)
        if draft.auto_merge:
            self._arm(made.number, row)
        return made

    def revise(self, number: int, draft: Draft) -> None:
        """Title and body as the draft has them; labels and reviewers that are missing are added, none is taken away."""
        with asking(self._place, f"revise merge request !{number}"):
            row = self._row(number)
            reviewers = self._people.ids(draft.reviewers)
            there = {int(each["id"]) for each in row.get("reviewers") or ()}
            labels = [label for label in draft.labels if label not in (row.get("labels") or ())]
            changed = self._project.mergerequests.update(
                number,
                {
                    "title": draft.title[:_TITLE_LIMIT],
                    "description": forms.shielded(draft.body),
                    **({"add_labels": ",".join(labels)} if labels else {}),
                    **({"reviewer_ids": sorted(there.union(reviewers.values()))} if set(reviewers.values()) - there else {}),
                },
            )
            self._told_missing(reviewers, changed)
        if draft.auto_merge and not row.get("merge_when_pipeline_succeeds"):
            self._arm(number, changed)

    def close(self, number: int) -> None:
        """Close it without merging; one that is not open is no error."""
        with asking(self._place, f"close merge request !{number}"):
            if forms.pull_request(self._row(number)).state is State.OPEN:
                self._project.mergerequests.update(number, {"state_event": "close"})

    def comments(self, number: int) -> Sequence[Comment]:
        """The notes of Promoter's own account, oldest first, without those that GitLab writes of what it did."""
        with asking(self._place, f"read the notes of merge request !{number}"):
            rows = [row for row in self._notes(number, "only_comments") if not row["system"]]
            own = [row for row in rows if row["author"]["username"] == self._self]
            return [Comment(int(row["id"]), forms.unshielded(row["body"])) for row in own]

    def comment(self, number: int, body: str) -> None:
        """Add a note."""
        with asking(self._place, f"write a note on merge request !{number}"):
            self._lazy(number).notes.create({"body": forms.shielded(body)})

    def edit_comment(self, number: int, comment: int, body: str) -> None:
        """Replace its text."""
        with asking(self._place, f"edit a note on merge request !{number}"):
            self._lazy(number).notes.update(comment, {"body": forms.shielded(body)})

    def delete_comment(self, number: int, comment: int) -> None:
        """Remove it; one that is gone is no error."""
        with asking(self._place, f"delete a note on merge request !{number}"):
            try:
                self._lazy(number).notes.delete(comment)
            except GitlabError as error:
                if code_of(error) != HTTPStatus.NOT_FOUND:
                    raise

    def status(self, revision: str) -> Status | None:
        """The status `promoter/plan` that the commit has now."""
        with asking(self._place, f"read the status of commit {revision[:12]}"):
            row = forms.newest_status(self._statuses(revision))
            return forms.status(row) if row else None

    def set_status(self, revision: str, status: Status) -> None:
        """Give the commit that status.

        GitLab moves a status only from one state to another, and refuses the one that it has: that is read first. New words
        for a pending one need a new status: the old one is cancelled, which `status` reads as none, so that a crash in
        between is mended by the next look.
        """
        wanted = replace(status, url=_short(status.url))
        with asking(self._place, f"set the status of commit {revision[:12]}"):
            row = forms.newest_status(self._statuses(revision))
            now = forms.status(row) if row else None
            if now == wanted:
                return
            if now and now.state is wanted.state is StatusState.PENDING:
                self._state(revision, {"state": "canceled"})
            try:
                fields = {"description": wanted.description, **({"target_url": wanted.url} if wanted.url else {})}
                self._state(revision, {"state": _WORDS[wanted.state], **fields})
            except GitlabError as error:
                if code_of(error) != HTTPStatus.BAD_REQUEST or "Cannot transition" not in str(error.error_message):
                    raise
                row = forms.newest_status(self._statuses(revision))
                if row is None or forms.status(row) != wanted:
                    raise Unavailable(self.name, f"the status of commit {revision[:12]} changes at the same time") from None

    def origin(self, number: int, teams: frozenset[str] = frozenset()) -> Origin:
        """Who wrote and who approves a merge request, and who is in these groups; of a merged one, as it was when merged."""
        with asking(self._place, f"read the approvals of merge request !{number}"):
            row = self._row(number)
            lazy = self._lazy(number)
            pull = forms.pull_request(row)
            approvals = lazy.approvals.get().asdict()["approved_by"]
            versions = bounded(lazy.diffs.list(iterator=True), "versions of a merge request") if approvals else []
            notes = self._notes(number, "only_activity") if forms.needs_notes(approvals) else []
            commits = bounded(lazy.commits(), "commits of a merge request")
            merged_at = pull.closed_at if pull.state is State.MERGED else None
            return Origin(
                number=pull.number,
                url=pull.url,
                author=pull.author,
                authors=frozenset({pull.author}) | self._people.behind(str(each["author_email"]) for each in commits),
                reviews=forms.reviews(approvals, versions, notes, merged_at),
                merged=pull.state is State.MERGED,
                merge_commit=pull.merge_commit,
                merged_by=pull.merged_by,
                teams=self._people.members(teams),
            )

    def brought(self, revision: str, teams: frozenset[str] = frozenset()) -> Origin | None:
        """The merged one that brought a commit to the watched branch: as its own, or as what its merge or squash made."""
        with asking(self._place, f"look for what brought commit {revision[:12]}"):
            found = self._project.commits.get(revision, lazy=True).merge_requests(iterator=True)
            rows = [row for row in bounded(found, "merge requests of a commit") if self._is_ours(row)]
            rows.sort(key=lambda row: (not forms.landed_as(row, revision), row.get("merged_at") or ""))
        return self.origin(int(rows[0]["iid"]), teams) if rows else None

    def _is_ours(self, row: dict[str, Any]) -> bool:
        return bool(row["state"] == "merged" and row["target_branch"] == self._branch)

    @cached_property
    def _self(self) -> str:
        """Promoter's own account: the token's, unless the settings name it."""
        return self._account or str(self._client.http_get("/user")["username"])  # type: ignore[index]  # JSON, for this path

    def _lazy(self, number: int) -> Any:
        return self._project.mergerequests.get(number, lazy=True)

    def _row(self, number: int) -> dict[str, Any]:
        row: dict[str, Any] = self._project.mergerequests.get(number).asdict()
        return row

    def _listed(self, **filters: str) -> list[dict[str, Any]]:
        filters["target_branch"] = self._branch
        return bounded(self._project.mergerequests.list(iterator=True, **filters), "merge requests")

    def _notes(self, number: int, kind: str) -> list[dict[str, Any]]:
        notes = self._lazy(number).notes
        listed = notes.list(iterator=True, order_by="created_at", sort="asc", activity_filter=kind)
        return bounded(listed, "notes of a merge request")

    def _statuses(self, revision: str) -> list[dict[str, Any]]:
        statuses = self._project.commits.get(revision, lazy=True).statuses
        return bounded(statuses.list(iterator=True, name=forms.STATUS_NAME), "statuses of a commit")

    def _state(self, revision: str, fields: dict[str, str]) -> None:
        self._project.commits.get(revision, lazy=True).statuses.create({"name": forms.STATUS_NAME, **fields})

    def _told_missing(self, reviewers: dict[str, int], row: dict[str, Any]) -> None:
        there = {int(each["id"]) for each in row.get("reviewers") or ()}
        if missing := sorted(name for name, number in reviewers.items() if number not in there):
            log.warning("GitLab does not take these reviewers", reviewers=missing, number=row["iid"])

    def _arm(self, number: int, row: dict[str, Any]) -> None:
        """Ask GitLab to merge it by itself. Whether it can be merged is still worked out just after it was opened: wait a bit.

        Instances before 17.11 know the older name of the setting.
        """
        wanted = {"auto_merge": True, "merge_when_pipeline_succeeds": True, "sha": row.get("sha")}
        for left in reversed(range(_SETTLE_TRIES)):
            try:
                with asking(self._place, f"set merge request !{number} to merge by itself"):
                    if row.get("detailed_merge_status") not in _UNSETTLED or not left:
                        self._client.http_put(f"{self._lazy(number).manager.path}/{number}/merge", post_data=wanted)
                        return
                    time.sleep(_SETTLE_SECONDS)
                    row = self._row(number)
            except (Refused, Unavailable) as error:
                log.warning("GitLab does not set it to merge by itself", number=number, answer=error.message)
                return


def _short(url: str | None) -> str | None:
    return url if url and len(url) <= _URL_LIMIT else None
