"""A project on GitLab. Its merge requests are what the port calls pull requests.

The client is python-gitlab, but without retries and waits of its own, for one host only, and with bounded lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import gitlab
import requests
import structlog
from gitlab.exceptions import GitlabAuthenticationError, GitlabError, GitlabParsingError
from pydantic import SecretStr

from promoter.adapters._http import BoundedSession
from promoter.adapters.forges.base import HIDDEN_STATUSES, ForgeBase, ForgeProject, bound_list
from promoter.application.ports.forge import (
    CommitStatus,
    CommitStatusName,
    PullRequest,
    PullRequestComment,
    PullRequestDraft,
    PullRequestState,
)
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.errors import Conflict, ExternalError, PermanentError, TransientError
from promoter.domain.review import PullRequestReview

log = structlog.get_logger(__name__)


PAGE_SIZE = 100
_UNAUTHORIZED = 401


class GitLabClient(gitlab.Gitlab):
    """The client. It takes a 429 as an answer like any other: the caller comes again later."""

    def http_request(self, verb: str, path: str, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request, once, to this instance."""
        if path.startswith(("http://", "https://")) and not path.startswith(f"{self.api_url}/"):
            raise GitlabParsingError("a page's link leads to another host")
        kwargs["obey_rate_limit"] = False
        kwargs["retry_transient_errors"] = False
        return super().http_request(verb, path, *args, **kwargs)


def create_gitlab_client(url: str, token: SecretStr, timeout: float) -> GitLabClient:
    """Create a client of the instance at that base URL. Sends nothing yet."""
    return GitLabClient(
        url,
        private_token=token.get_secret_value(),
        timeout=timeout,
        per_page=PAGE_SIZE,
        keep_base_url=True,
        user_agent="promoter",
        session=BoundedSession(timeout),
    )


def collect_bounded(items: Iterable[Any], what: str) -> list[dict[str, Any]]:
    """List the attributes of the first thousand items."""
    return [dict(item) if isinstance(item, Mapping) else item.asdict() for item in bound_list(items, what)]


def get_status_code(error: GitlabError) -> int:
    """Return the status behind an error; 0 where there was no answer that could be read."""
    return error.response_code or (_UNAUTHORIZED if isinstance(error, GitlabAuthenticationError) else 0)


def convert_error(error: Exception, place: ForgeProject, doing: str) -> ExternalError | None:
    """Convert an error of python-gitlab; None for any other."""
    if not isinstance(error, GitlabError):
        return None
    code = get_status_code(error)
    return place.build_status_error(doing, code, error.error_message) if code else place.build_format_error(doing)


_STATES = {
    "opened": PullRequestState.OPEN,
    "locked": PullRequestState.OPEN,
    "closed": PullRequestState.CLOSED,
    "merged": PullRequestState.MERGED,
}
_STATUSES = {
    "pending": CommitStatusState.PENDING,
    "running": CommitStatusState.PENDING,
    "success": CommitStatusState.SUCCESS,
    "failed": CommitStatusState.FAILURE,
}
_APPROVED = "approved this merge request"
_UNAPPROVED = "unapproved this merge request"

# A line that begins with a slash and a word may be a quick action: GitLab would approve, merge or close, and drop the line.
# Lines that have backslashes there get one more, so that taking one off gives back what was written.
_QUICK_ACTION = re.compile(r"^(?=\\*/[A-Za-z])", re.MULTILINE)
_ESCAPED_ACTION = re.compile(r"^\\(?=\\*/[A-Za-z])", re.MULTILINE)


def escape_quick_actions(text: str) -> str:
    """Escape quick actions in Markdown; it reads the same."""
    return _QUICK_ACTION.sub(r"\\", text)


def unescape_quick_actions(text: str) -> str:
    """Undo `escape_quick_actions`."""
    return _ESCAPED_ACTION.sub("", text)


def parse_merge_request(row: Mapping[str, Any]) -> PullRequest:
    """Parse a merge request. What a squash or a merge made is its merge commit; a fast-forward lands the head itself."""
    state = _STATES[row["state"]]
    merged = state is PullRequestState.MERGED
    landed = row.get("merge_commit_sha") or row.get("squash_commit_sha") or row.get("sha")
    merger = row.get("merge_user") or row.get("merged_by") or {}
    return PullRequest(
        number=int(row["iid"]),
        url=str(row["web_url"]),
        title=str(row["title"]),
        body=unescape_quick_actions(row.get("description") or ""),
        author=str(row["author"]["username"]),
        branch=str(row["source_branch"]),
        head=row.get("sha") or "",
        ref=f"refs/merge-requests/{int(row['iid'])}/head",
        base=str(row["target_branch"]),
        fork=row.get("source_project_id") != row["target_project_id"],
        state=state,
        merge_commit=landed if merged else None,
        merged_by=merger.get("username") if merged else None,
        closed_at=parse_timestamp(row.get("merged_at") if merged else row.get("closed_at")),
    )


def is_merge_commit(row: Mapping[str, Any], revision: str) -> bool:
    """Whether the commit is the one that merging made."""
    return revision in (row.get("merge_commit_sha"), row.get("squash_commit_sha"))


def parse_commit_status(row: Mapping[str, Any]) -> CommitStatus | None:
    """Parse a commit status; None where it is cancelled or skipped, which says nothing."""
    state = _STATUSES.get(row["status"])
    return CommitStatus(state, row.get("description") or "", row.get("target_url") or None) if state else None


def select_newest_status(rows: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """Select the newest one of that name: a commit may have several pipelines, each with its own."""
    ours = [row for row in rows if row["name"] == name]
    return max(ours, key=lambda row: int(row["id"]), default=None)


def parse_active_approvals(
    approvals: Sequence[Mapping[str, Any]],
    versions: Sequence[Mapping[str, Any]],
    notes: Sequence[Mapping[str, Any]],
    merged_at: datetime | None,
) -> tuple[PullRequestReview, ...]:
    """Parse the approvals in force. One that was given before the newest version was pushed is stale.

    Instances without `approved_at` have the time in a system note. Without either, an approval is stale as soon as there is
    more than one version: which of them it was for is not known.
    """
    newest = max((at for row in versions if (at := parse_timestamp(row["created_at"]))), default=None)
    found = []
    for row in approvals:
        by = str(row["user"]["username"])
        at = parse_timestamp(row.get("approved_at")) or _find_approval_time(by, notes)
        if at and merged_at and at > merged_at:
            continue
        stale = newest is not None and at < newest if at else len(versions) > 1
        found.append(PullRequestReview(by, at, stale))
    return tuple(sorted(found, key=lambda review: review.by))


def needs_approval_notes(approvals: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the time of an approval has to be searched for in the notes."""
    return any(not row.get("approved_at") for row in approvals)


def parse_timestamp(text: str | None) -> datetime | None:
    """Parse a time of GitLab's, such as `2026-11-24T01:02:03.456Z`."""
    return datetime.fromisoformat(text) if text else None


def _find_approval_time(by: str, notes: Iterable[Mapping[str, Any]]) -> datetime | None:
    events = [
        (at, row["body"])
        for row in notes
        if row.get("system") and row["author"]["username"] == by and row["body"] in (_APPROVED, _UNAPPROVED)
        if (at := parse_timestamp(row["created_at"]))
    ]
    at, body = max(events, default=(None, ""))
    return at if body == _APPROVED else None


_PRIVATE_MAIL = re.compile(r"\d+-(?P<account>[A-Za-z0-9_.-]+)@users\.noreply\.(?P<host>[A-Za-z0-9.-]+)")
_MAX_MAIL_LOOKUPS = 20
"""Mail addresses that are searched for, for one merge request."""
_TITLE_LIMIT = 255
_URL_LIMIT = 255
_UNSETTLED_STATES = frozenset({"preparing", "checking", "unchecked"})
_STATUS_WORDS = {
    CommitStatusState.PENDING: "pending",
    CommitStatusState.SUCCESS: "success",
    CommitStatusState.FAILURE: "failed",
}


class GitLab(ForgeBase):
    """Merge requests into one branch of a project, written `group/sub/name`. `url` is the instance's.

    A team is a group, written by its path: `acme/risk`. A group at the top level is written with a slash at its end,
    `acme/`, since `acme` alone is an account. GitLab counts members of the groups above as members of a group.

    GitLab's commits name no account. Their authors are known where the mail is one of GitLab's private addresses, or the
    public mail of an account; others are not among `ChangeOrigin.authors`. Reviewers are attributes of a merge request.
    """

    KIND = "GitLab"
    PULL_REQUEST = "merge request !{}"
    TEAM = "group"
    REVIEWS = "approvals"
    SHOWS_FORK_STATUSES = False  # it shows those of the fork's own project only

    def _create_client(self, timeout: float) -> None:
        place = self._place
        self._client = create_gitlab_client(place.url, place.token, timeout)
        self._project = self._client.projects.get(place.project, lazy=True)
        self._host = (urlsplit(place.url).hostname or "").lower()

    def _convert_error(self, error: Exception, doing: str) -> ExternalError | None:
        return convert_error(error, self._place, doing)

    def list_open_pull_requests(self) -> Sequence[PullRequest]:
        """List the open merge requests into the watched branch, by number."""
        with self._translate_errors("list the open merge requests"):
            rows = self._list_merge_requests(state="opened")
            return sorted(map(parse_merge_request, rows), key=lambda pull: pull.number)

    def find_latest_pull_request(self, branch: str) -> PullRequest | None:
        """Find the newest from that branch of this project: the open one, where one is open."""
        with self._translate_errors("look for a merge request"):
            for state in ("opened", "all"):
                rows = self._list_merge_requests(state=state, source_branch=branch, order_by="created_at", sort="desc")
                own = [pull for pull in map(parse_merge_request, rows) if not pull.fork]
                if own:
                    return max(own, key=lambda pull: pull.number)
        return None

    def open_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """Open a merge request. Raises `Conflict` where one from that branch is open already."""
        with self._translate_errors("open a merge request"):
            reviewers = self._find_account_ids(draft.reviewers)
            attributes = {
                "source_branch": draft.branch,
                "target_branch": self._branch,
                "title": draft.title[:_TITLE_LIMIT],
                "description": escape_quick_actions(draft.body),
                **({"labels": list(draft.labels)} if draft.labels else {}),
                **({"reviewer_ids": sorted(reviewers.values())} if reviewers else {}),
            }
            try:
                row = self._project.mergerequests.create(attributes).asdict()
            except GitlabError as error:
                if get_status_code(error) != HTTPStatus.CONFLICT:
                    raise
                detail = self._place.redact_message(error.error_message)
                raise Conflict(self.name, f"a merge request from {draft.branch} is open already: {detail}") from None
            self._log_missing_reviewers(reviewers, row)
            opened = parse_merge_request(row)
        if draft.auto_merge:
            self._enable_auto_merge(opened, row)
        return opened

    def update_pull_request(self, number: int, draft: PullRequestDraft) -> None:
        """Set title and body as the draft has them; add labels and reviewers that are missing, remove none."""
        with self._translate_errors(f"revise merge request !{number}"):
            row = self._fetch_pull_request(number)
            reviewers = self._find_account_ids(draft.reviewers)
            present = _list_reviewer_ids(row)
            labels = [label for label in draft.labels if label not in (row.get("labels") or ())]
            changed: dict[str, Any] = self._project.mergerequests.update(
                number,
                {
                    "title": draft.title[:_TITLE_LIMIT],
                    "description": escape_quick_actions(draft.body),
                    **({"add_labels": ",".join(labels)} if labels else {}),
                    **(
                        {"reviewer_ids": sorted(present.union(reviewers.values()))} if set(reviewers.values()) - present else {}
                    ),
                },
            )
            self._log_missing_reviewers(reviewers, changed)
            pull = parse_merge_request(changed)
        if draft.auto_merge and not row.get("merge_when_pipeline_succeeds"):
            self._enable_auto_merge(pull, changed)

    def request_reviews_again(self, number: int, accounts: Sequence[str]) -> None:
        """Make reviewers of those who are none yet. GitLab has no call that asks a reviewer twice: a comment has to."""
        try:
            with self._translate_errors(f"ask for a review of merge request !{number}"):
                present = _list_reviewer_ids(self._fetch_pull_request(number))
                wanted = present.union(self._find_account_ids(accounts).values())
                if wanted != present:
                    self._project.mergerequests.update(number, {"reviewer_ids": sorted(wanted)})
        except (PermanentError, TransientError) as error:
            log.warning("GitLab does not take these reviewers", number=number, answer=error.message)

    def _close_pull_request(self, row: dict[str, Any]) -> None:
        self._project.mergerequests.update(row["iid"], {"state_event": "close"})

    def _fetch_closing_account(self, number: int) -> str | None:
        closer = self._fetch_pull_request(number).get("closed_by")
        return str(closer["username"]) if closer else None

    def list_own_comments(self, number: int) -> Sequence[PullRequestComment]:
        """List the notes of Promoter's own account, oldest first, without those that GitLab writes about its own acts."""
        with self._translate_errors(f"read the notes of merge request !{number}"):
            rows = [row for row in self._list_notes(number, "only_comments") if not row["system"]]
            own = [row for row in rows if row["author"]["username"] == self._own_account]
            return [PullRequestComment(int(row["id"]), unescape_quick_actions(row["body"])) for row in own]

    def add_comment(self, number: int, body: str) -> None:
        """Add a note."""
        with self._translate_errors(f"write a note on merge request !{number}"):
            self._lazy_merge_request(number).notes.create({"body": escape_quick_actions(body)})

    def edit_comment(self, number: int, comment: int, body: str) -> None:
        """Replace a note's text."""
        with self._translate_errors(f"edit a note on merge request !{number}"):
            self._lazy_merge_request(number).notes.update(comment, {"body": escape_quick_actions(body)})

    def delete_comment(self, number: int, comment: int) -> None:
        """Delete a note; one that is gone is no error."""
        with self._translate_errors(f"delete a note on merge request !{number}"):
            try:
                self._lazy_merge_request(number).notes.delete(comment)
            except GitlabError as error:
                if get_status_code(error) != HTTPStatus.NOT_FOUND:
                    raise

    def read_commit_status(self, revision: str, name: CommitStatusName = CommitStatusName.PLAN) -> CommitStatus | None:
        """Read the status of that name that the commit has now."""
        with self._translate_errors(f"read the status of commit {revision[:12]}"):
            row = select_newest_status(self._list_statuses(revision, name), self._name_status(name))
            return parse_commit_status(row) if row else None

    def set_commit_status(self, revision: str, status: CommitStatus, name: CommitStatusName = CommitStatusName.PLAN) -> None:
        """Give the commit that status.

        GitLab moves a status only from one state to another, and refuses the one that it has: that is read first. A new text
        for a pending status needs a new status: the old one is cancelled, and a cancelled one reads as none, so that the next
        reconciliation sets it again after a crash in between.
        """
        desired = replace(status, url=_drop_long_url(status.url))
        with self._translate_errors(f"set the status of commit {revision[:12]}"):
            row = select_newest_status(self._list_statuses(revision, name), self._name_status(name))
            now = parse_commit_status(row) if row else None
            if now == desired:
                return
            if now and now.state is desired.state is CommitStatusState.PENDING:
                self._create_status(revision, name, {"state": "canceled"})
            try:
                fields = {"description": desired.description, **({"target_url": desired.url} if desired.url else {})}
                self._create_status(revision, name, {"state": _STATUS_WORDS[desired.state], **fields})
            except GitlabError as error:
                if get_status_code(error) != HTTPStatus.BAD_REQUEST or "Cannot transition" not in str(error.error_message):
                    raise
                row = select_newest_status(self._list_statuses(revision, name), self._name_status(name))
                if row is None or parse_commit_status(row) != desired:
                    raise TransientError(self.name, f"the status of commit {revision[:12]} changes at the same time") from None

    def _list_approvals(self, pull: PullRequest, merged_at: datetime | None) -> tuple[PullRequestReview, ...]:
        lazy = self._lazy_merge_request(pull.number)
        approvals = lazy.approvals.get().asdict()["approved_by"]
        versions = collect_bounded(lazy.diffs.list(iterator=True), "versions of a merge request") if approvals else []
        notes = self._list_notes(pull.number, "only_activity") if needs_approval_notes(approvals) else []
        return parse_active_approvals(approvals, versions, notes, merged_at)

    def _list_commit_authors(self, row: Mapping[str, Any]) -> frozenset[str]:
        """List the accounts behind the mail addresses of the commits, as far as GitLab shows them."""
        commits = collect_bounded(self._lazy_merge_request(int(row["iid"])).commits(), "commits of a merge request")
        found, lookups = set(), 0
        for mail in dict.fromkeys(str(each["author_email"]) for each in commits):
            private = _PRIVATE_MAIL.fullmatch(mail)
            if private and private["host"].lower() == self._host:
                found.add(private["account"])
            elif "@" in mail and lookups < _MAX_MAIL_LOOKUPS:
                lookups += 1
                found.update(str(each["username"]) for each in self._search_users(search=mail))
        return frozenset(found)

    def _list_team_members(self, team: str) -> frozenset[str] | None:
        """List the active members of a group, those of the groups above among them."""
        try:
            members = self._client.groups.get(team.strip("/"), lazy=True).members_all.list(iterator=True)
            rows = collect_bounded(members, "members of a group")
        except GitlabError as error:
            if get_status_code(error) not in HIDDEN_STATUSES:
                raise
            return None
        return frozenset(str(row["username"]) for row in rows if row["state"] == "active")

    def _find_account_ids(self, names: Iterable[str]) -> dict[str, int]:
        """Find the ids of accounts; those that GitLab does not know are logged, and groups, which cannot review."""
        found = {}
        for name in names:
            rows = [] if "/" in name else self._search_users(username=name)
            if rows:
                found[name] = int(rows[0]["id"])
            else:
                log.warning("GitLab has no such account to ask for a review", reviewer=name)
        return found

    def _search_users(self, **filters: str) -> list[dict[str, Any]]:
        try:
            return collect_bounded(self._client.users.list(iterator=True, **filters), "accounts")
        except GitlabError as error:
            if get_status_code(error) not in HIDDEN_STATUSES:
                raise
            return []

    def _schedule_merge(self, pull: PullRequest, row: Mapping[str, Any], *, is_last: bool) -> bool:
        """Instances before 17.11 know the older name of the setting."""
        if row.get("detailed_merge_status") in _UNSETTLED_STATES and not is_last:
            return False
        parameters = {"auto_merge": True, "merge_when_pipeline_succeeds": True, "sha": row.get("sha")}
        path = f"{self._lazy_merge_request(pull.number).manager.path}/{pull.number}/merge"
        self._client.http_put(path, post_data=parameters)
        return True

    def _refresh_merge_status(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._fetch_pull_request(int(row["iid"]))

    def _find_introducing_number(self, revision: str) -> int | None:
        """Find the one that brought it as its own commit, or as what its merge or squash made."""
        found = self._project.commits.get(revision, lazy=True).merge_requests(iterator=True)
        rows = [row for row in collect_bounded(found, "merge requests of a commit") if self._is_merged_here(row)]
        rows.sort(key=lambda row: (not is_merge_commit(row, revision), row.get("merged_at") or ""))
        return int(rows[0]["iid"]) if rows else None

    def _is_merged_here(self, row: dict[str, Any]) -> bool:
        return bool(row["state"] == "merged" and row["target_branch"] == self._branch)

    def _fetch_own_account(self) -> str:
        return str(self._client.http_get("/user")["username"])  # type: ignore[index]  # JSON, for this path

    def _lazy_merge_request(self, number: int) -> Any:
        return self._project.mergerequests.get(number, lazy=True)

    def _parse_pull_request(self, row: Mapping[str, Any]) -> PullRequest:
        return parse_merge_request(row)

    def _fetch_pull_request(self, number: int) -> dict[str, Any]:
        row: dict[str, Any] = self._project.mergerequests.get(number).asdict()
        return row

    def _list_merge_requests(self, **filters: str) -> list[dict[str, Any]]:
        filters["target_branch"] = self._branch
        return collect_bounded(self._project.mergerequests.list(iterator=True, **filters), "merge requests")

    def _list_notes(self, number: int, kind: str) -> list[dict[str, Any]]:
        notes = self._lazy_merge_request(number).notes
        listed = notes.list(iterator=True, order_by="created_at", sort="asc", activity_filter=kind)
        return collect_bounded(listed, "notes of a merge request")

    def _list_statuses(self, revision: str, name: CommitStatusName) -> list[dict[str, Any]]:
        statuses = self._project.commits.get(revision, lazy=True).statuses
        return collect_bounded(statuses.list(iterator=True, name=self._name_status(name)), "statuses of a commit")

    def _create_status(self, revision: str, name: CommitStatusName, fields: dict[str, str]) -> None:
        self._project.commits.get(revision, lazy=True).statuses.create({"name": self._name_status(name), **fields})

    def _log_missing_reviewers(self, reviewers: dict[str, int], row: dict[str, Any]) -> None:
        present = _list_reviewer_ids(row)
        if missing := sorted(name for name, number in reviewers.items() if number not in present):
            log.warning("GitLab does not take these reviewers", reviewers=missing, number=row["iid"])


def _list_reviewer_ids(row: Mapping[str, Any]) -> set[int]:
    return {int(each["id"]) for each in row.get("reviewers") or ()}


def _drop_long_url(url: str | None) -> str | None:
    return url if url and len(url) <= _URL_LIMIT else None
