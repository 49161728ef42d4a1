"""The JSON of GitLab's API v4, as far as anybody here looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.forges.bare import BareCommit
from tests.support.forges.model import ForgeRemark, ForgeVersion, HostedStatus, Pull
from tests.support.forges.repository import HostedRepository
from tests.support.forges.routing import stamp
from tests.support.forges.state import HostedForge

if TYPE_CHECKING:
    from tests.support.forges.gitlab import GitLabFace

_STATES = {"open": "opened", "closed": "closed", "merged": "merged"}
_LATEST = 999


class GitLabJson:
    """Values of the forge as GitLab words them."""

    def __init__(self, forge: HostedForge, base: str, face: GitLabFace) -> None:
        """`base`: the address that stands in links."""
        self.forge = forge
        self.base = base
        self._face = face

    def user(self, login: str) -> dict[str, Any]:
        """An account, as everybody sees it."""
        account = self.forge.accounts.get(login)
        return {
            "id": account.id if account else 1,
            "username": login,
            "public_email": account.email if account else "",
            "name": login.title(),
            "state": "blocked" if login in self._face.inactive else "active",
            "locked": False,
            "avatar_url": None,
            "web_url": f"{self.base}/{login}",
        }

    def project_id(self, name: str) -> int:
        """The number of a project, of a fork too."""
        names = [*self.forge.repositories, name]
        return 301 + names.index(name)

    def merge_request(self, repository: HostedRepository, pull: Pull) -> dict[str, Any]:
        """A merge request."""
        merge, squash = self._landed(repository, pull)
        merged = pull.state == "merged"
        merger = self.user(pull.merged_by) if merged and pull.merged_by else None
        return {
            "id": pull.id,
            "iid": pull.number,
            "project_id": self.project_id(repository.name),
            "title": pull.title,
            "description": pull.body,
            "state": _STATES[pull.state],
            "created_at": stamp(pull.created_at),
            "updated_at": stamp(pull.updated_at),
            "merged_by": merger,
            "merge_user": merger,
            "merged_at": stamp(pull.closed_at, _LATEST) if merged else None,
            "closed_by": self.user(pull.closed_by) if pull.state == "closed" and pull.closed_by else None,
            "closed_at": stamp(pull.closed_at, _LATEST) if pull.state == "closed" else None,
            "target_branch": pull.base,
            "source_branch": pull.branch,
            "author": self.user(pull.author),
            "assignees": [],
            "reviewers": [self.user(each) for each in pull.reviewers],
            "source_project_id": self.project_id(pull.head_repository),
            "target_project_id": self.project_id(repository.name),
            "labels": sorted(pull.labels),
            "draft": pull.title.startswith("Draft:"),
            "merge_when_pipeline_succeeds": pull.auto_merge is not None,
            "detailed_merge_status": self._mergeable(repository, pull),
            "sha": pull.head,
            "merge_commit_sha": merge,
            "squash_commit_sha": squash,
            "reference": f"!{pull.number}",
            "references": {"short": f"!{pull.number}", "full": f"{repository.name}!{pull.number}"},
            "web_url": f"{self.base}/{repository.name}/-/merge_requests/{pull.number}",
        }

    def _mergeable(self, repository: HostedRepository, pull: Pull) -> str:
        if self._face.settling:
            return "checking"
        return "not_approved" if repository.blocked(pull.number) else "mergeable"

    def _landed(self, repository: HostedRepository, pull: Pull) -> tuple[str | None, str | None]:
        if pull.merge_commit is None or pull.merge_commit == pull.head:
            return None, None
        one = len(repository.git.commit(pull.merge_commit).parents) == 1
        return (None, pull.merge_commit) if one else (pull.merge_commit, None)

    def commit(self, repository: HostedRepository, commit: BareCommit) -> dict[str, Any]:
        """A commit: names and mails, no account."""
        return {
            "id": commit.sha,
            "short_id": commit.sha[:8],
            "parent_ids": [],
            "title": commit.title,
            "message": commit.message,
            "author_name": commit.author[0],
            "author_email": commit.author[1],
            "authored_date": commit.authored_at.isoformat(),
            "committer_name": commit.committer[0],
            "committer_email": commit.committer[1],
            "committed_date": commit.committed_at.isoformat(),
            "web_url": f"{self.base}/{repository.name}/-/commit/{commit.sha}",
        }

    def version(self, pull: Pull, version: ForgeVersion) -> dict[str, Any]:
        """A state that a merge request had."""
        return {
            "id": version.id,
            "head_commit_sha": version.head,
            "base_commit_sha": pull.start,
            "start_commit_sha": pull.start,
            "created_at": stamp(version.at, version.id),
            "merge_request_id": pull.id,
            "state": "collected",
            "real_size": "1",
        }

    def approvals(self, repository: HostedRepository, pull: Pull, *, timed: bool) -> dict[str, Any]:
        """Who approves now."""
        last = {review.by: review for review in pull.reviews if review.verdict != "commented"}
        given = [review for review in last.values() if review.verdict == "approved"]
        return {
            "id": pull.id,
            "iid": pull.number,
            "project_id": self.project_id(repository.name),
            "title": pull.title,
            "state": _STATES[pull.state],
            "approved": len(given) >= repository.approvals,
            "approvals_required": repository.approvals,
            "approvals_left": max(repository.approvals - len(given), 0),
            "approved_by": [
                {"user": self.user(each.by)} | ({"approved_at": stamp(each.at, each.id)} if timed else {}) for each in given
            ],
        }

    def note(self, pull: Pull, remark: ForgeRemark) -> dict[str, Any]:
        """What somebody wrote."""
        return {
            "id": remark.id,
            "type": None,
            "body": remark.body,
            "author": self.user(remark.by),
            "created_at": stamp(remark.created_at, remark.id),
            "updated_at": stamp(remark.updated_at, remark.id),
            "system": False,
            "noteable_id": pull.id,
            "noteable_type": "MergeRequest",
            "noteable_iid": pull.number,
            "internal": False,
        }

    def system_notes(self, pull: Pull) -> list[dict[str, Any]]:
        """What GitLab writes of what was done: who approved."""
        return [
            {
                **self.note(pull, ForgeRemark(each.id + 100_000, each.by, "approved this merge request", each.at, each.at)),
                "created_at": stamp(each.at, each.id),
                "system": True,
            }
            for each in pull.reviews
            if each.verdict == "approved"
        ]

    def status(self, sha: str, status: HostedStatus) -> dict[str, Any]:
        """A commit status."""
        return {
            "id": status.id,
            "sha": sha,
            "ref": "main",
            "status": status.state,
            "name": status.context,
            "target_url": status.url,
            "description": status.description,
            "created_at": stamp(status.at, status.id),
            "started_at": None,
            "finished_at": None,
            "allow_failure": False,
            "coverage": None,
            "pipeline_id": 9_001,
            "author": self.user(status.by),
        }
