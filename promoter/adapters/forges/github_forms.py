"""What GitHub's API says, as the port has it: pure functions from its JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from promoter.application.ports.forge import PullRequest, PullRequestState, CommitStatus, CommitStatusState
from promoter.domain.review import PullRequestReview

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
