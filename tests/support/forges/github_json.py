"""The JSON of GitHub's REST API, whole enough to satisfy its public description."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.support.forges.bare import BareCommit
from tests.support.forges.github_places import of_repository, of_user
from tests.support.forges.model import ForgeRemark, ForgeReview, HostedStatus, Pull
from tests.support.forges.repository import HostedRepository
from tests.support.forges.state import HostedForge

WEB = "web-flow"
_VERDICTS = {
    "approved": "APPROVED",
    "changes_requested": "CHANGES_REQUESTED",
    "commented": "COMMENTED",
    "dismissed": "DISMISSED",
}


class GitHubJson:
    """Values of the forge as GitHub words them."""

    def __init__(self, forge: HostedForge, base: str, api: str) -> None:
        """`base`: the address of pages that stands in links; `api`: of the API."""
        self.forge = forge
        self.base = base
        self.api = api
        self._homes: dict[str, int] = {}

    def user(self, login: str) -> dict[str, Any]:
        """An account."""
        account = self.forge.accounts.get(login)
        kind = "Bot" if login.endswith("[bot]") else "User"
        number = account.id if account else 3
        return {"login": login, "id": number, "node_id": f"U_{number}", "type": kind, "site_admin": False} | of_user(
            self.base, self.api, login
        )

    def whole_user(self, login: str) -> dict[str, Any]:
        """An account, as it sees itself."""
        unknown = dict.fromkeys(("bio", "company", "email", "hireable", "location", "name"))
        counts = dict.fromkeys(("followers", "following", "public_gists", "public_repos"), 0)
        times = dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00Z")
        return self.user(login) | unknown | counts | times | {"blog": "", "user_view_type": "public"}

    def repository(self, name: str) -> dict[str, Any]:
        """A repository, or a fork."""
        owner, _, short = name.partition("/")
        number = self._homes.setdefault(name, 301 + len(self._homes))
        hosted = self.forge.repositories.get(name)
        flags = dict.fromkeys(("has_issues", "has_projects", "has_wiki", "has_discussions", "has_downloads"), True)
        counts = dict.fromkeys(("forks", "forks_count", "open_issues", "open_issues_count", "size", "stargazers_count"), 0)
        counts |= dict.fromkeys(("watchers", "watchers_count", "network_count", "subscribers_count"), 0)
        times = dict.fromkeys(("created_at", "updated_at", "pushed_at"), "2026-01-01T00:00:00Z")
        return {
            "id": number,
            "node_id": f"R_{number}",
            "name": short,
            "full_name": name,
            "owner": self.user(owner),
            "private": True,
            "fork": hosted is None,
            "description": None,
            "default_branch": hosted.branch if hosted else "main",
            "homepage": None,
            "language": None,
            "license": None,
            "mirror_url": None,
            "has_pages": False,
            "archived": False,
            "disabled": False,
            **(flags | counts | times | of_repository(self.base, self.api, name)),
        }

    def whole_repository(self, repository: HostedRepository) -> dict[str, Any]:
        """A repository asked for by itself, with what may be done to it."""
        ways = {"allow_merge_commit": True, "allow_squash_merge": True, "allow_rebase_merge": True}
        return self.repository(repository.name) | ways | {"allow_auto_merge": repository.auto_merge_allowed}

    def label(self, repository: HostedRepository, name: str) -> dict[str, Any]:
        """A label."""
        number = 701 + list(repository.labels).index(name)
        return {
            "id": number,
            "node_id": f"LA_{number}",
            "url": f"{self.api}/repos/{repository.name}/labels/{name}",
            "name": name,
            "description": "",
            "color": repository.labels[name],
            "default": False,
        }

    def team(self, name: str) -> dict[str, Any]:
        """A team."""
        org, _, slug = name.partition("/")
        number = 501 + sorted(self.forge.teams).index(name)
        here = f"{self.api}/organizations/1/team/{number}"
        return {
            "id": number,
            "node_id": f"T_{number}",
            "url": here,
            "members_url": f"{here}/members{{/member}}",
            "repositories_url": f"{here}/repos",
            "html_url": f"{self.base}/orgs/{org}/teams/{slug}",
            "name": slug,
            "slug": slug,
            "description": None,
            "permission": "pull",
            "privacy": "closed",
            "type": "organization",
            "organization_id": 1,
            "parent": None,
        }

    def pull_request(self, repository: HostedRepository, pull: Pull) -> dict[str, Any]:
        """A pull request as in lists. Who has said something is no requested reviewer any more."""
        said = {each.by for each in pull.reviews}
        waiting = [each for each in pull.reviewers if each not in said]
        org = repository.name.partition("/")[0]
        return {
            "id": pull.id,
            "node_id": f"PR_{pull.id}",
            "number": pull.number,
            "state": "open" if pull.state == "open" else "closed",
            "locked": False,
            "active_lock_reason": None,
            "title": pull.title,
            "body": pull.body or None,
            "user": self.user(pull.author),
            "labels": [self.label(repository, each) for each in pull.labels],
            "milestone": None,
            "assignee": None,
            "assignees": [],
            "requested_reviewers": [self.user(each) for each in waiting],
            "requested_teams": [self.team(f"{org}/{each}") for each in pull.review_teams],
            "draft": False,
            "created_at": written(pull.created_at),
            "updated_at": written(pull.updated_at),
            "closed_at": written(pull.closed_at),
            "merged_at": written(pull.closed_at) if pull.state == "merged" else None,
            "merge_commit_sha": pull.merge_commit if pull.state == "merged" else None,
            "head": self._side(pull.head_repository, pull.branch, pull.head),
            "base": self._side(repository.name, pull.base, repository.git.heads().get(pull.base, pull.start)),
            "author_association": self.association(repository, pull.author),
            "auto_merge": self._auto_merge(pull),
            **self._links(repository.name, pull),
        }

    def whole_pull_request(self, repository: HostedRepository, pull: Pull) -> dict[str, Any]:
        """A pull request asked for by itself."""
        merged = pull.state == "merged"
        return self.pull_request(repository, pull) | {
            "merged": merged,
            "mergeable": None if merged else True,
            "rebaseable": None if merged else True,
            "mergeable_state": "unknown" if merged else "blocked" if repository.blocked(pull.number) else "clean",
            "merged_by": self.user(pull.merged_by) if merged and pull.merged_by else None,
            "comments": len(pull.remarks),
            "review_comments": 0,
            "maintainer_can_modify": False,
            "commits": len(repository.git.shas(pull.start, pull.head)),
            "additions": 1,
            "deletions": 1,
            "changed_files": 1,
        }

    def association(self, repository: HostedRepository, login: str) -> str:
        """What the account has to do with the repository."""
        return "COLLABORATOR" if repository.may(login, "read") else "NONE"

    def commit(self, repository: HostedRepository, commit: BareCommit) -> dict[str, Any]:
        """A commit; accounts are found by mail."""
        here, page = f"{self.api}/repos/{repository.name}", f"{self.base}/{repository.name}"
        name, mail = commit.author
        by, by_mail = commit.committer
        return {
            "sha": commit.sha,
            "node_id": f"C_{commit.sha}",
            "url": f"{here}/commits/{commit.sha}",
            "html_url": f"{page}/commit/{commit.sha}",
            "comments_url": f"{here}/commits/{commit.sha}/comments",
            "commit": {
                "url": f"{here}/git/commits/{commit.sha}",
                "author": {"name": name, "email": mail, "date": written(commit.authored_at)},
                "committer": {"name": by, "email": by_mail, "date": written(commit.committed_at)},
                "message": commit.message,
                "tree": {"sha": commit.tree, "url": f"{here}/git/trees/{commit.tree}"},
                "comment_count": 0,
            },
            "author": self._by_mail(mail),
            "committer": self._by_mail(by_mail),
            "parents": [{"sha": each, "url": f"{here}/commits/{each}"} for each in commit.parents],
        }

    def review(self, repository: HostedRepository, pull: Pull, review: ForgeReview) -> dict[str, Any]:
        """What a reviewer said."""
        page, about = self._at(repository.name, pull), f"{self.api}/repos/{repository.name}/pulls/{pull.number}"
        return {
            "id": review.id,
            "node_id": f"PRR_{review.id}",
            "user": self.user(review.by),
            "body": review.body,
            "state": _VERDICTS[review.verdict],
            "html_url": f"{page}#pullrequestreview-{review.id}",
            "pull_request_url": about,
            "author_association": self.association(repository, review.by),
            "_links": {"html": {"href": f"{page}#pullrequestreview-{review.id}"}, "pull_request": {"href": about}},
            "submitted_at": written(review.at),
            "commit_id": review.commit,
        }

    def issue(self, repository: HostedRepository, pull: Pull) -> dict[str, Any]:
        """A pull request as an issue, which says who closed it."""
        here = f"{self.api}/repos/{repository.name}/issues/{pull.number}"
        whole = self.pull_request(repository, pull)
        names = (
            *("id", "node_id", "number", "state", "locked", "title", "body", "user", "labels", "milestone", "assignee"),
            *("assignees", "html_url", "created_at", "updated_at", "closed_at", "author_association"),
        )
        return {name: whole[name] for name in names} | {
            "url": here,
            "repository_url": f"{self.api}/repos/{repository.name}",
            "labels_url": f"{here}/labels{{/name}}",
            "comments_url": f"{here}/comments",
            "events_url": f"{here}/events",
            "comments": len(pull.remarks),
            "closed_by": self.user(pull.closed_by) if pull.closed_by else None,
        }

    def comment(self, repository: HostedRepository, pull: Pull, remark: ForgeRemark) -> dict[str, Any]:
        """A comment."""
        here = f"{self.api}/repos/{repository.name}/issues"
        return {
            "id": remark.id,
            "node_id": f"IC_{remark.id}",
            "url": f"{here}/comments/{remark.id}",
            "html_url": f"{self._at(repository.name, pull)}#issuecomment-{remark.id}",
            "issue_url": f"{here}/{pull.number}",
            "body": remark.body,
            "user": self.user(remark.by),
            "created_at": written(remark.created_at),
            "updated_at": written(remark.updated_at),
            "author_association": self.association(repository, remark.by),
        }

    def status(self, repository: HostedRepository, sha: str, status: HostedStatus) -> dict[str, Any]:
        """A commit status, as the combined status has it."""
        return {
            "id": status.id,
            "node_id": f"SC_{status.id}",
            "url": f"{self.api}/repos/{repository.name}/statuses/{sha}",
            "avatar_url": f"{self.base}/avatars/{status.by}",
            "state": status.state,
            "description": status.description,
            "target_url": status.url,
            "context": status.context,
            "created_at": written(status.at),
            "updated_at": written(status.at),
        }

    def _side(self, name: str, ref: str, sha: str) -> dict[str, Any]:
        owner = name.partition("/")[0]
        return {"label": f"{owner}:{ref}", "ref": ref, "sha": sha, "user": self.user(owner), "repo": self.repository(name)}

    def _auto_merge(self, pull: Pull) -> dict[str, Any] | None:
        if pull.auto_merge is None:
            return None
        words = {"commit_title": f"Merge pull request #{pull.number}", "commit_message": pull.title}
        return {"enabled_by": self.user(pull.auto_merge), "merge_method": pull.auto_merge_method, **words}

    def _at(self, name: str, pull: Pull) -> str:
        return f"{self.base}/{name}/pull/{pull.number}"

    def _links(self, name: str, pull: Pull) -> dict[str, Any]:
        page, home = self._at(name, pull), f"{self.api}/repos/{name}"
        one, issue = f"{home}/pulls/{pull.number}", f"{home}/issues/{pull.number}"
        links = {
            "html": page,
            "issue": issue,
            "comments": f"{issue}/comments",
            "commits": f"{one}/commits",
            "review_comments": f"{one}/comments",
            "review_comment": f"{home}/pulls/comments{{/number}}",
            "statuses": f"{home}/statuses/{pull.head}",
        }
        urls = {f"{kind}_url": link for kind, link in links.items()} | {"url": one}
        urls |= {"diff_url": f"{page}.diff", "patch_url": f"{page}.patch"}
        return urls | {"_links": {kind: {"href": link} for kind, link in (links | {"self": one}).items()}}

    def _by_mail(self, mail: str) -> dict[str, Any] | None:
        if mail == "noreply@github.com":
            return self.user(WEB)
        login = next((each.login for each in self.forge.accounts.values() if each.email == mail), None)
        return self.user(login) if login else None


def written(at: datetime | None) -> str | None:
    """A time as GitHub has it: whole seconds, UTC."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
