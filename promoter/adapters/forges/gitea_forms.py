"""What Gitea's API says, as the port has it: pure functions from its JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from promoter.application.ports.forge import PullRequest, PullRequestState, CommitStatus, CommitStatusState
from promoter.domain.review import PullRequestReview

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
    state = _STATUSES.get(row["parse_commit_status"])
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
