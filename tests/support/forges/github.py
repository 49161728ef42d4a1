"""GitHub's face of a hosted forge: REST and one mutation of GraphQL, as far as Promoter asks, in its shapes."""

from __future__ import annotations

from typing import Any

from tests.support.forges.github_events import rendered
from tests.support.forges.github_json import GitHubJson
from tests.support.forges.model import ForgeRefusal, Pull, Refusal
from tests.support.forges.repository import HostedRepository
from tests.support.forges.routing import ForgeReply, ForgeRequest, HttpFailure, ReplyPages, Routes
from tests.support.forges.state import HostedForge

BASE = "https://github.example.org"
"""What the instance believes its own address to be: it stands in links, and need not be the one that it is asked at."""
STATES = ("error", "failure", "pending", "success")
_METHODS = ("merge", "squash", "rebase")


class GitHubFace(Routes):
    """As Enterprise Server has it, below `/api/v3`, and GraphQL beside it."""

    def __init__(self, forge: HostedForge) -> None:
        """Words the forge's webhooks too."""
        super().__init__("/api", ReplyPages("per_page", 30, 100, BASE, counted=False), _worded)
        self.forge = forge
        self._json = GitHubJson(forge, BASE, f"{BASE}/api/v3")
        forge.render = lambda happening, hook: rendered(self._json, happening, hook)
        self.add("POST", "/graphql", self._graphql)
        home = "/repos/{owner}/{name}"
        one, issue = f"{home}/pulls/{{number}}", f"{home}/issues/{{number}}"
        for method, path, endpoint in (
            ("GET", "/user", self._user),
            ("GET", "/orgs/{org}/teams/{slug}/members", self._members),
            ("GET", home, self._home),
            ("GET", f"{home}/labels/{{label}}", self._label),
            ("POST", f"{home}/labels", self._make_label),
            ("GET", f"{home}/pulls", self._list),
            ("POST", f"{home}/pulls", self._create),
            ("GET", one, self._get),
            ("PATCH", one, self._edit),
            ("PUT", f"{one}/merge", self._merge),
            ("GET", f"{one}/commits", self._commits),
            ("GET", f"{one}/reviews", self._reviews),
            ("POST", f"{one}/requested_reviewers", self._request_reviews),
            ("POST", f"{issue}/labels", self._add_labels),
            ("GET", issue, self._issue),
            ("GET", f"{issue}/comments", self._comments),
            ("POST", f"{issue}/comments", self._comment),
            ("PATCH", f"{home}/issues/comments/{{comment}}", self._edit_comment),
            ("DELETE", f"{home}/issues/comments/{{comment}}", self._delete_comment),
            ("GET", f"{home}/commits/{{sha}}/pulls", self._of_commit),
            ("GET", f"{home}/commits/{{sha}}/status", self._status),
            ("POST", f"{home}/statuses/{{sha}}", self._set_status),
        ):
            self.add(method, f"/v3{path}", endpoint)

    def _repository(self, asked: ForgeRequest, level: str = "read") -> HostedRepository:
        if asked.account is None:
            raise HttpFailure(401, "Bad credentials")
        found = self.forge.repositories.get(f"{asked.parts['owner']}/{asked.parts['name']}")
        if found is None or not found.may(asked.login, "read"):
            raise HttpFailure(404, "Not Found")
        if not found.may(asked.login, level):
            kind = "integration" if asked.account.installation else "personal access token"
            raise HttpFailure(403, f"Resource not accessible by {kind}")
        return found

    def _pull(self, asked: ForgeRequest, level: str = "read") -> tuple[HostedRepository, Pull]:
        repository = self._repository(asked, level)
        return repository, repository.pull(asked.number("number"))

    # Accounts and teams.

    def _user(self, asked: ForgeRequest) -> ForgeReply:
        if asked.account is None:
            raise HttpFailure(401, "Requires authentication")
        if asked.account.installation:
            raise HttpFailure(403, "Resource not accessible by integration")
        return ForgeReply(body=self._json.whole_user(asked.login))

    def _members(self, asked: ForgeRequest) -> ForgeReply:
        name = f"{asked.parts['org']}/{asked.parts['slug']}"
        if asked.account is None or name not in self.forge.teams:
            raise HttpFailure(404, "Not Found")
        return ForgeReply(rows=[self._json.user(each) for each in sorted(self.forge.teams[name])])

    # The repository.

    def _home(self, asked: ForgeRequest) -> ForgeReply:
        return ForgeReply(body=self._json.whole_repository(self._repository(asked)))

    def _label(self, asked: ForgeRequest) -> ForgeReply:
        repository = self._repository(asked)
        name = _same(asked.parts["label"], repository.labels)
        if name is None:
            raise HttpFailure(404, "Not Found")
        return ForgeReply(body=self._json.label(repository, name))

    def _make_label(self, asked: ForgeRequest) -> ForgeReply:
        repository, body = self._repository(asked, "write"), asked.body
        if _same(body["name"], repository.labels) is not None:
            raise HttpFailure(422, _wrong({"resource": "Label", "code": "already_exists", "field": "name"}))
        if str(body.get("color", "")).startswith("#"):
            raise HttpFailure(422, _wrong({"resource": "Label", "code": "invalid", "field": "color"}))
        repository.labels[body["name"]] = body.get("color", "ededed")
        return ForgeReply(201, self._json.label(repository, body["name"]))

    # Pull requests.

    def _list(self, asked: ForgeRequest) -> ForgeReply:
        repository, query = self._repository(asked), asked.query
        wanted = {"open": ("open",), "closed": ("closed", "merged")}.get(query.get("state", "open"))
        owner, _, branch = query.get("head", "").partition(":")
        found = [
            pull
            for pull in repository.pulls.values()
            if (wanted is None or pull.state in wanted)
            and query.get("base", pull.base) == pull.base
            and (not branch or (pull.branch == branch and pull.head_repository.partition("/")[0] == owner))
        ]
        found.sort(key=lambda pull: pull.number, reverse=True)
        return ForgeReply(rows=[self._json.pull_request(repository, pull) for pull in found])

    def _create(self, asked: ForgeRequest) -> ForgeReply:
        repository, body = self._repository(asked, "write"), asked.body
        try:
            made = repository.open(asked.login, body["head"], body["title"], body.get("body") or "", body["base"])
        except ForgeRefusal as refusal:
            custom = refusal.why is Refusal.DUPLICATE or refusal.message.startswith("No commits")
            more = {"code": "custom", "message": refusal.message} if custom else {"code": "invalid", "field": "head"}
            raise HttpFailure(422, _wrong({"resource": "PullRequest", **more})) from None
        return ForgeReply(201, self._json.whole_pull_request(repository, made))

    def _get(self, asked: ForgeRequest) -> ForgeReply:
        return ForgeReply(body=self._json.whole_pull_request(*self._pull(asked)))

    def _edit(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked, "write")
        pull.title = asked.body.get("title") or pull.title
        pull.body = asked.body.get("body", pull.body)
        if asked.body.get("state") == "closed":
            repository.close(pull.number, asked.login)
        return ForgeReply(body=self._json.whole_pull_request(repository, pull))

    def _add_labels(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked, "write")
        for name in asked.body["labels"]:
            repository.labels.setdefault(name, "ededed")
            pull.labels += [] if name in pull.labels else [name]
        return ForgeReply(body=[self._json.label(repository, each) for each in pull.labels])

    def _merge(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked, "write")
        if pull.state != "open" or repository.blocked(pull.number):
            raise HttpFailure(405, "Pull Request is not mergeable")
        if asked.body.get("sha", pull.head) != pull.head:
            raise HttpFailure(409, "Head branch was modified. Review and try the merge again.")
        sha = repository.merge(pull.number, asked.login, asked.body.get("merge_method", "merge"))
        return ForgeReply(body={"sha": sha, "merged": True, "message": "Pull Request successfully merged"})

    def _commits(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked)
        return ForgeReply(rows=[self._json.commit(repository, each) for each in repository.commits_of(pull.number)[:250]])

    def _reviews(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked)
        return ForgeReply(rows=[self._json.review(repository, pull, each) for each in pull.reviews])

    def _request_reviews(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked, "write")
        org = repository.name.partition("/")[0]
        logins, teams = asked.body.get("reviewers") or [], asked.body.get("team_reviewers") or []
        if pull.author in logins:
            raise HttpFailure(422, "Review cannot be requested from pull request author.")
        if not all(repository.may(each, "read") for each in logins):
            raise HttpFailure(422, "Reviews may only be requested from collaborators.")
        if not all(f"{org}/{each}" in self.forge.teams for each in teams):
            raise HttpFailure(422, "Could not resolve to a node with the global id of 'T_0'.")
        pull.reviewers += logins
        pull.review_teams += teams
        return ForgeReply(201, self._json.pull_request(repository, pull))

    def _issue(self, asked: ForgeRequest) -> ForgeReply:
        """Who closed a pull request stands in its issue only."""
        repository, pull = self._pull(asked)
        return ForgeReply(body=self._json.issue(repository, pull))

    # Comments.

    def _comments(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked)
        return ForgeReply(rows=[self._json.comment(repository, pull, each) for each in pull.remarks])

    def _comment(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked)
        return ForgeReply(
            201, self._json.comment(repository, pull, repository.remark(pull.number, asked.login, asked.body["body"]))
        )

    def _edit_comment(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._own_comment(asked)
        remark = repository.edit_remark(asked.number("comment"), asked.body["body"])
        return ForgeReply(body=self._json.comment(repository, pull, remark))

    def _delete_comment(self, asked: ForgeRequest) -> ForgeReply:
        self._own_comment(asked)[0].delete_remark(asked.number("comment"))
        return ForgeReply(204)

    def _own_comment(self, asked: ForgeRequest) -> tuple[HostedRepository, Pull]:
        """Who may write may edit others' comments too."""
        repository = self._repository(asked)
        pull, remark = repository.find_remark(asked.number("comment"))
        if remark.by != asked.login and not repository.may(asked.login, "write"):
            raise HttpFailure(403, "Must have admin rights to Repository.")
        return repository, pull

    # Commits.

    def _of_commit(self, asked: ForgeRequest) -> ForgeReply:
        repository = self._known(asked)
        return ForgeReply(
            rows=[self._json.pull_request(repository, each) for each in repository.pulls_with(asked.parts["sha"])]
        )

    def _status(self, asked: ForgeRequest) -> ForgeReply:
        repository, sha = self._known(asked), asked.parts["sha"]
        newest = {each.context: each for each in repository.statuses.get(sha, [])}
        here = f"{BASE}/api/v3/repos/{repository.name}/commits/{sha}"
        about = {
            "state": "success" if newest else "pending",
            "sha": sha,
            "total_count": len(newest),
            "repository": self._json.repository(repository.name),
            "commit_url": here,
            "url": f"{here}/status",
        }
        rows = [self._json.status(repository, sha, each) for each in newest.values()]
        return ForgeReply(rows=rows, around=lambda page: about | {"statuses": page})

    def _set_status(self, asked: ForgeRequest) -> ForgeReply:
        repository, sha, body = self._repository(asked, "write"), asked.parts["sha"], asked.body
        if body.get("state") not in STATES:
            raise HttpFailure(422, _wrong({"resource": "Status", "code": "custom", "field": "state"}))
        words = (body.get("description"), body.get("target_url"))
        made = repository.set_status(sha, asked.login, body.get("context", "default"), body["state"], *words)
        return ForgeReply(201, self._json.status(repository, sha, made) | {"creator": self._json.user(asked.login)})

    def _known(self, asked: ForgeRequest) -> HostedRepository:
        repository, sha = self._repository(asked), asked.parts["sha"]
        if not repository.git.exists(sha):
            raise HttpFailure(422, f"No commit found for SHA: {sha}")
        return repository

    # GraphQL: one mutation.

    def _graphql(self, asked: ForgeRequest) -> ForgeReply:
        if asked.account is None:
            raise HttpFailure(401, "Bad credentials")
        if "enablePullRequestAutoMerge" not in str(asked.body.get("query")):
            raise HttpFailure(400, "Problems parsing JSON")
        told = asked.body["variables"]["input"]
        every = [(home, pull) for home in self.forge.repositories.values() for pull in home.pulls.values()]
        found = next(((home, pull) for home, pull in every if f"PR_{pull.id}" == told["pullRequestId"]), None)
        words = "Could not resolve to a node" if found is None else self._no_auto_merge(*found, told)
        answer: dict[str, Any] = {"enablePullRequestAutoMerge": None if words else {"clientMutationId": None}}
        if words:
            path = ["enablePullRequestAutoMerge"]
            return ForgeReply(body={"data": answer, "errors": [{"type": "UNPROCESSABLE", "path": path, "message": words}]})
        assert found is not None
        found[1].auto_merge, found[1].auto_merge_method = asked.login, told.get("mergeMethod", "MERGE").lower()
        return ForgeReply(body={"data": answer})

    def _no_auto_merge(self, repository: HostedRepository, pull: Pull, told: dict[str, Any]) -> str | None:
        """Why it is not set to merge by itself."""
        if not repository.auto_merge_allowed:
            return "Pull request Auto merge is not allowed for this repository"
        if pull.base not in repository.protected:
            return "Pull request Protected branch rules not configured for this branch"
        if told.get("expectedHeadOid", pull.head) != pull.head:
            return f"Head sha didn't match the expected {told['expectedHeadOid']}"
        if pull.state != "open" or told.get("mergeMethod", "MERGE").lower() not in _METHODS:
            return "Pull request is not open"
        return None if repository.blocked(pull.number) else "Pull request Pull request is in clean status"


def _worded(message: object) -> dict[str, Any]:
    words = message if isinstance(message, dict) else {"message": message}
    return {**words, "documentation_url": "https://docs.github.com/rest"}


def _wrong(error: dict[str, str]) -> dict[str, Any]:
    return {"message": "Validation Failed", "errors": [error]}


def _same(name: str, names: dict[str, str]) -> str | None:
    """Labels' names differ in more than their case."""
    return next((each for each in names if each.lower() == name.lower()), None)
