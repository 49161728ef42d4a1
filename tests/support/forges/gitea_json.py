"""The JSON of Gitea's API v1, as far as anybody here looks at it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tests.support.forges.bare import BareCommit
from tests.support.forges.model import ForgeRemark, ForgeReview, HostedStatus, Pull
from tests.support.forges.repository import HostedRepository
from tests.support.forges.state import HostedForge

STATES = ("pending", "success", "error", "failure", "warning")
_VERDICTS = {"approved": "APPROVED", "changes_requested": "REQUEST_CHANGES", "commented": "COMMENT", "dismissed": "APPROVED"}


class GiteaJson:
    """Values of the forge as Gitea words them."""

    def __init__(self, forge: HostedForge, base: str) -> None:
        """`base`: the address that stands in links."""
        self.forge = forge
        self.base = base

    def user(self, login: str) -> dict[str, Any]:
        """An account. Whether it is active is told to nobody but itself."""
        account = self.forge.accounts.get(login)
        return {
            "id": account.id if account else 0,
            "login": login,
            "username": login,
            "full_name": "",
            "email": f"{login}@noreply.gitea.example.org",
            "html_url": f"{self.base}/{login}",
            "active": False,
        }

    def repository(self, repository: HostedRepository) -> dict[str, Any]:
        """A repository."""
        owner, _, name = repository.name.partition("/")
        return {
            "id": self.repository_id(repository.name),
            "owner": self.user(owner),
            "name": name,
            "full_name": repository.name,
            "private": True,
            "html_url": f"{self.base}/{repository.name}",
            "clone_url": f"{self.base}/{repository.name}.git",
            "default_branch": repository.branch,
        }

    def repository_id(self, name: str) -> int:
        """The number of a repository, of a fork too."""
        return 301 + [*self.forge.repositories, name].index(name)

    def label(self, repository: HostedRepository, name: str) -> dict[str, Any]:
        """A label."""
        return {"id": 701 + list(repository.labels).index(name), "name": name, "color": repository.labels[name].lstrip("#")}

    def label_names(self, repository: HostedRepository, ids: Iterable[int]) -> list[str]:
        """The names behind ids; those that are none are left out."""
        names = list(repository.labels)
        return [names[each - 701] for each in ids if 0 <= each - 701 < len(names)]

    def pull_request(self, repository: HostedRepository, pull: Pull) -> dict[str, Any]:
        """A pull request. Without its branch, the head's `ref` is the pull request's own."""
        merged = pull.state == "merged"
        return {
            "id": pull.id,
            "url": f"{self.base}/{repository.name}/pulls/{pull.number}",
            "number": pull.number,
            "user": self.user(pull.author),
            "title": pull.title,
            "body": pull.body,
            "labels": [self.label(repository, each) for each in pull.labels],
            "requested_reviewers": [self.user(each) for each in pull.reviewers] or None,
            "requested_reviewers_teams": [{"id": 1, "name": each} for each in pull.review_teams] or None,
            "state": "open" if pull.state == "open" else "closed",
            "draft": False,
            "is_locked": False,
            "html_url": f"{self.base}/{repository.name}/pulls/{pull.number}",
            "mergeable": True,
            "merged": merged,
            "merged_at": written(pull.closed_at) if merged else None,
            "merge_commit_sha": pull.merge_commit,
            "merged_by": self.user(pull.merged_by) if merged and pull.merged_by else None,
            **self._sides(repository, pull),
            "merge_base": pull.start,
            "created_at": written(pull.created_at),
            "updated_at": written(pull.updated_at),
            "closed_at": written(pull.closed_at),
        }

    def _sides(self, repository: HostedRepository, pull: Pull) -> dict[str, Any]:
        heads = repository.git.heads()
        there = pull.head_repository != repository.name or pull.branch in heads
        return {
            "base": {
                "label": pull.base,
                "ref": pull.base,
                "sha": heads.get(pull.base, ""),
                "repo_id": self.repository_id(repository.name),
                "repo": self.repository(repository),
            },
            "head": {
                "label": pull.branch,
                "ref": pull.branch if there else f"refs/pull/{pull.number}/head",
                "sha": pull.head,
                "repo_id": self.repository_id(pull.head_repository),
                "repo": self.repository(repository) if pull.head_repository == repository.name else None,
            },
        }

    def commit(self, commit: BareCommit) -> dict[str, Any]:
        """A commit; its author's account is found by the mail."""
        return {
            "sha": commit.sha,
            "html_url": f"{self.base}/commit/{commit.sha}",
            "commit": {
                "author": {"name": commit.author[0], "email": commit.author[1], "date": commit.authored_at.isoformat()},
                "committer": {
                    "name": commit.committer[0],
                    "email": commit.committer[1],
                    "date": commit.committed_at.isoformat(),
                },
                "message": commit.message,
            },
            "author": self._by_mail(commit.author[1]),
            "committer": self._by_mail(commit.committer[1]),
            "parents": [{"sha": each} for each in commit.parents],
        }

    def reviews(self, repository: HostedRepository, pull: Pull) -> list[dict[str, Any]]:
        """What reviewers said, and whose review is asked for."""
        said = [self._review(repository, pull, each) for each in pull.reviews]
        asked = [self._asked(index, each) for index, each in enumerate(pull.reviewers)]
        return said + asked

    def _review(self, repository: HostedRepository, pull: Pull, review: ForgeReview) -> dict[str, Any]:
        return {
            "id": review.id,
            "user": self.user(review.by),
            "team": None,
            "state": _VERDICTS[review.verdict],
            "body": review.body,
            "commit_id": review.commit,
            "stale": repository.is_stale(pull.number, review),
            "official": repository.may(review.by, "write"),
            "dismissed": review.verdict == "dismissed",
            "comments_count": 0,
            "submitted_at": written(review.at),
            "updated_at": written(review.at),
        }

    def _asked(self, index: int, login: str) -> dict[str, Any]:
        return {
            "id": 90_001 + index,
            "user": self.user(login),
            "team": None,
            "state": "REQUEST_REVIEW",
            "body": "",
            "commit_id": "",
            "stale": False,
            "official": False,
            "dismissed": False,
            "submitted_at": written(self.forge.now()),
        }

    def comment(self, remark: ForgeRemark) -> dict[str, Any]:
        """A comment."""
        return {
            "id": remark.id,
            "user": self.user(remark.by),
            "body": remark.body,
            "created_at": written(remark.created_at),
            "updated_at": written(remark.updated_at),
        }

    def turn(self, number: int, kind: str, by: str, at: datetime) -> dict[str, Any]:
        """A closing or an opening again, in the timeline."""
        moment = written(at)
        return {"id": number, "type": kind, "user": self.user(by), "body": "", "created_at": moment, "updated_at": moment}

    def status(self, status: HostedStatus) -> dict[str, Any]:
        """A commit status: its state is called `status`."""
        return {
            "id": status.id,
            "status": status.state,
            "target_url": status.url or "",
            "description": status.description or "",
            "context": status.context,
            "creator": self.user(status.by),
            "created_at": written(status.at),
            "updated_at": written(status.at),
        }

    def _by_mail(self, mail: str) -> dict[str, Any] | None:
        login = next((each.login for each in self.forge.accounts.values() if each.email == mail), None)
        return self.user(login) if login else None


def written(at: datetime | None) -> str | None:
    """A time as Gitea has it: whole seconds."""
    return at.isoformat().replace("+00:00", "Z") if at else None
