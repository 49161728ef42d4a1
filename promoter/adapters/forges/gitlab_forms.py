"""What GitLab's API says, as the port has it: pure functions from its JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from promoter.application.ports.forge import PullRequest, PullRequestState, CommitStatus, CommitStatusState
from promoter.domain.review import PullRequestReview

STATUS_NAME = "promoter/plan"
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
    """The Markdown with no quick action in it; it reads the same."""
    return _QUICK_ACTION.sub(r"\\", text)


def unescape_quick_actions(text: str) -> str:
    """What was given to `shielded`."""
    return _ESCAPED_ACTION.sub("", text)


def parse_merge_request(row: Mapping[str, Any]) -> PullRequest:
    """A merge request. What a squash or a merge made is its merge commit; a fast-forward lands the head itself."""
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
    """A commit status; None where it is cancelled or skipped, which says nothing."""
    state = _STATUSES.get(row["parse_commit_status"])
    return CommitStatus(state, row.get("description") or "", row.get("target_url") or None) if state else None


def select_newest_status(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The last one of our name: a commit may have several pipelines, each with its own."""
    ours = [row for row in rows if row["name"] == STATUS_NAME]
    return max(ours, key=lambda row: int(row["id"]), default=None)


def parse_active_approvals(
    approvals: Sequence[Mapping[str, Any]],
    versions: Sequence[Mapping[str, Any]],
    notes: Sequence[Mapping[str, Any]],
    merged_at: datetime | None,
) -> tuple[PullRequestReview, ...]:
    """The approvals in force. One that was given before the newest version was pushed is stale.

    Instances without `approved_at` tell the time in a system note. Where there is none either, an approval is stale once
    there is more than one version: which of them it was for is not known.
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
    """Whether the time of an approval has to be looked for in the notes."""
    return any(not row.get("approved_at") for row in approvals)


def parse_timestamp(text: str | None) -> datetime | None:
    """A time of GitLab's, such as `2026-11-24T01:02:03.456Z`."""
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
