"""Gitea's face of a hosted forge: API v1, as far as Promoter asks, in its shapes, status codes and pages."""

from __future__ import annotations

from tests.support.forges.gitea_events import rendered
from tests.support.forges.gitea_json import STATES, GiteaJson
from tests.support.forges.model import ForgeRefusal, Pull, Refusal
from tests.support.forges.repository import HostedRepository
from tests.support.forges.routing import ForgeReply, ForgeRequest, HttpFailure, ReplyPages, Routes
from tests.support.forges.state import HostedForge

BASE = "http://gitea.example.org"
"""What the instance believes its own address to be: it stands in links, and need not be the one that it is asked at."""


class GiteaFace(Routes):
    """`settling`: how often a merge is answered with "Please try again later".

    `confused`: as 1.22, which names any pull request for a commit; `old`: as before it, which cannot be asked for a commit's.
    """

    def __init__(self, forge: HostedForge) -> None:
        """Words the forge's webhooks too."""
        words = lambda message: {"message": message, "url": f"{BASE}/api/swagger"}  # noqa: E731  # one line, one use
        super().__init__("/api/v1", ReplyPages("limit", 30, 50, BASE), words)
        self.forge = forge
        self.settling = 0
        self.confused = False
        self.old = False
        self._json = GiteaJson(forge, BASE)
        forge.render = lambda happening, hook: rendered(self._json, happening, hook)
        home = "/repos/{owner}/{name}"
        one, all_, issue = f"{home}/pulls/{{index}}", f"{home}/pulls", f"{home}/issues/{{index}}"
        for method, path, endpoint in (
            ("GET", "/user", self._user),
            ("GET", home, self._home),
            ("GET", f"{home}/labels", self._labels),
            ("POST", f"{home}/labels", self._make_label),
            ("GET", all_, self._list),
            ("POST", all_, self._create),
            ("GET", one, self._get),
            ("PATCH", one, self._edit),
            ("POST", f"{one}/merge", self._merge),
            ("GET", f"{one}/commits", self._commits),
            ("GET", f"{one}/reviews", self._reviews),
            ("POST", f"{one}/requested_reviewers", self._request_reviews),
            ("POST", f"{issue}/labels", self._add_labels),
            ("GET", f"{issue}/comments", self._comments),
            ("GET", f"{issue}/timeline", self._timeline),
            ("POST", f"{issue}/comments", self._comment),
            ("PATCH", f"{home}/issues/comments/{{comment}}", self._edit_comment),
            ("DELETE", f"{home}/issues/comments/{{comment}}", self._delete_comment),
            ("GET", f"{home}/commits/{{sha}}/pull", self._of_commit),
            ("GET", f"{home}/commits/{{sha}}/statuses", self._statuses),
            ("POST", f"{home}/statuses/{{sha}}", self._set_status),
            ("GET", "/orgs/{org}/teams/search", self._teams),
            ("GET", "/teams/{team}/members", self._members),
        ):
            self.add(method, path, endpoint)

    def _repository(self, asked: ForgeRequest, level: str = "read") -> HostedRepository:
        if asked.account is None:
            raise HttpFailure(401, "user does not exist [uid: 0, name: ]")
        found = self.forge.repositories.get(f"{asked.parts['owner']}/{asked.parts['name']}")
        if found is None or not found.may(asked.login, "read"):
            raise HttpFailure(404, "The target couldn't be found.")
        if not found.may(asked.login, level):
            raise HttpFailure(403, "token does not have at least one of required scope(s): [write:repository]")
        return found

    def _pull(self, asked: ForgeRequest, level: str = "read") -> tuple[HostedRepository, Pull]:
        repository = self._repository(asked, level)
        try:
            return repository, repository.pull(asked.number("index"))
        except ForgeRefusal:
            raise HttpFailure(404, "The target couldn't be found.") from None

    # Accounts and teams.

    def _user(self, asked: ForgeRequest) -> ForgeReply:
        if asked.account is None:
            raise HttpFailure(401, "token is required")
        return ForgeReply(body=self._json.user(asked.login))

    def _teams(self, asked: ForgeRequest) -> ForgeReply:
        org, word = asked.parts["org"], asked.query.get("q", "").lower()
        names = sorted(self.forge.teams)
        own = [each for each in names if each.startswith(f"{org}/")]
        if not own:
            raise HttpFailure(404, "The target couldn't be found.")
        found = [each.partition("/")[2] for each in own if word in each.partition("/")[2].lower()]
        rows = [{"id": 501 + names.index(f"{org}/{each}"), "name": each, "permission": "read"} for each in found]
        return ForgeReply(body={"ok": True, "data": rows})

    def _members(self, asked: ForgeRequest) -> ForgeReply:
        name = sorted(self.forge.teams)[asked.number("team") - 501]
        return ForgeReply(rows=[self._json.user(each) for each in sorted(self.forge.teams[name])])

    # The repository.

    def _home(self, asked: ForgeRequest) -> ForgeReply:
        return ForgeReply(body=self._json.repository(self._repository(asked)) | {"default_merge_style": "merge"})

    def _labels(self, asked: ForgeRequest) -> ForgeReply:
        repository = self._repository(asked)
        return ForgeReply(rows=[self._json.label(repository, each) for each in sorted(repository.labels)])

    def _make_label(self, asked: ForgeRequest) -> ForgeReply:
        repository, body = self._repository(asked, "write"), asked.body
        if not str(body.get("color", "")).startswith("#"):
            raise HttpFailure(422, "ColorPattern")
        repository.labels[body["name"]] = body["color"]
        return ForgeReply(201, self._json.label(repository, body["name"]))

    # Pull requests.

    def _list(self, asked: ForgeRequest) -> ForgeReply:
        repository = self._repository(asked)
        wanted = {"open": ("open",), "closed": ("closed", "merged")}.get(asked.query.get("state", "open"))
        pulls = [pull for pull in repository.pulls.values() if wanted is None or pull.state in wanted]
        if asked.query.get("sort") == "recentupdate":
            pulls.sort(key=lambda pull: (pull.updated_at, pull.number), reverse=True)
        else:
            pulls.sort(key=lambda pull: pull.number, reverse=True)
        return ForgeReply(rows=[self._json.pull_request(repository, pull) for pull in pulls])

    def _create(self, asked: ForgeRequest) -> ForgeReply:
        repository, body = self._repository(asked, "write"), asked.body
        try:
            made = repository.open(asked.login, body["head"], body["title"], body.get("body", ""), body["base"])
        except ForgeRefusal as refusal:
            if refusal.why is not Refusal.DUPLICATE:
                raise
            there = repository.opened_from(body["head"], body["base"])
            number = there.number if there else 0
            raise HttpFailure(409, f"pull request already exists for these targets [id: 890, issue_id: {number}]") from None
        made.labels = self._json.label_names(repository, body.get("labels") or ())
        return ForgeReply(201, self._json.pull_request(repository, made))

    def _get(self, asked: ForgeRequest) -> ForgeReply:
        return ForgeReply(body=self._json.pull_request(*self._pull(asked)))

    def _edit(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked, "write")
        body = asked.body
        pull.title = body.get("title") or pull.title
        pull.body = body.get("body", pull.body)
        if body.get("labels") is not None:
            pull.labels = self._json.label_names(repository, body["labels"])
        if body.get("state") == "closed":
            if pull.state == "merged":
                raise HttpFailure(412, "cannot change state of this pull request, it was already merged")
            repository.close(pull.number, asked.login)
        return ForgeReply(201, self._json.pull_request(repository, pull))

    def _add_labels(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked, "write")
        pull.labels += [each for each in self._json.label_names(repository, asked.body["labels"]) if each not in pull.labels]
        return ForgeReply(body=[self._json.label(repository, each) for each in pull.labels])

    def _merge(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked, "write")
        if pull.state != "open":
            raise HttpFailure(404, "The target couldn't be found.")
        if self.settling:
            self.settling -= 1
            raise HttpFailure(405, "Please try again later")
        auto = bool(asked.body.get("merge_when_checks_succeed"))
        if (auto and not repository.auto_merge_allowed) or asked.body.get("Do") not in ("merge", "squash", "rebase"):
            raise HttpFailure(405, "User not allowed to merge PR")
        if not repository.blocked(pull.number):
            repository.merge(pull.number, asked.login, asked.body["Do"])
            return ForgeReply(200)
        if not auto:
            raise HttpFailure(405, "Not all required status checks successful")
        if pull.auto_merge:
            raise HttpFailure(409, "pull request is already scheduled to auto merge when checks succeed [pull_id: 890]")
        pull.auto_merge, pull.auto_merge_method = asked.login, asked.body["Do"]
        return ForgeReply(201)

    def _commits(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked)
        return ForgeReply(rows=[self._json.commit(each) for each in reversed(repository.commits_of(pull.number))])

    def _reviews(self, asked: ForgeRequest) -> ForgeReply:
        return ForgeReply(rows=self._json.reviews(*self._pull(asked)))

    def _request_reviews(self, asked: ForgeRequest) -> ForgeReply:
        """Of one who has reviewed, the request counts more than what was said."""
        repository, pull = self._pull(asked, "write")
        for login in asked.body.get("reviewers") or ():
            if login not in self.forge.accounts:
                raise HttpFailure(404, f"User '{login}' not exist")
            if login == pull.author or not repository.may(login, "read"):
                raise HttpFailure(422, "poster of pr can't be reviewer")
            pull.reviewers.append(login)
            pull.reviews = [each for each in pull.reviews if each.by != login]
        for team in asked.body.get("team_reviewers") or ():
            if f"{repository.name.partition('/')[0]}/{team}" not in self.forge.teams:
                raise HttpFailure(404, f"Team '{team}' not exist")
            pull.review_teams.append(team)
        return ForgeReply(201, [])

    # Comments: one list without pages.

    def _comments(self, asked: ForgeRequest) -> ForgeReply:
        _, pull = self._pull(asked)
        return ForgeReply(rows=[self._json.comment(each) for each in pull.remarks], paged=False)

    def _timeline(self, asked: ForgeRequest) -> ForgeReply:
        """List comments and events, oldest first, as `GET /repos/{owner}/{repo}/issues/{index}/timeline` does."""
        _, pull = self._pull(asked)
        rows = [{**self._json.comment(each), "type": "comment"} for each in pull.remarks]
        rows += [self._json.turn(*each) for each in pull.turns]
        return ForgeReply(rows=sorted(rows, key=lambda row: int(row["id"])))

    def _comment(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked)
        return ForgeReply(201, self._json.comment(repository.remark(pull.number, asked.login, asked.body["body"])))

    def _edit_comment(self, asked: ForgeRequest) -> ForgeReply:
        repository = self._own_comment(asked)
        return ForgeReply(200, self._json.comment(repository.edit_remark(asked.number("comment"), asked.body["body"])))

    def _delete_comment(self, asked: ForgeRequest) -> ForgeReply:
        self._own_comment(asked).delete_remark(asked.number("comment"))
        return ForgeReply(204)

    def _own_comment(self, asked: ForgeRequest) -> HostedRepository:
        repository = self._repository(asked)
        if repository.find_remark(asked.number("comment"))[1].by != asked.login:
            raise HttpFailure(403, "user should be the poster of the comment")
        return repository

    # Commits.

    def _of_commit(self, asked: ForgeRequest) -> ForgeReply:
        repository, sha = self._repository(asked), asked.parts["sha"]
        found = [each for each in repository.pulls.values() if each.merge_commit == sha or self.confused]
        if not found or self.old:
            raise HttpFailure(404, "pull request does not exist [id: 0, issue_id: 0]")
        return ForgeReply(body=self._json.pull_request(repository, found[0]))

    def _statuses(self, asked: ForgeRequest) -> ForgeReply:
        repository = self._repository(asked)
        if not repository.git.exists(asked.parts["sha"]):
            raise HttpFailure(404, "object does not exist")
        newest_first = asked.query.get("sort") == "highestindex"
        rows = sorted(repository.statuses.get(asked.parts["sha"], []), key=lambda each: each.id, reverse=newest_first)
        return ForgeReply(rows=[self._json.status(each) for each in rows])

    def _set_status(self, asked: ForgeRequest) -> ForgeReply:
        repository, body = self._repository(asked, "write"), asked.body
        if body.get("state") not in STATES:
            raise HttpFailure(422, "state is not one that there is")
        words = (body.get("description"), body.get("target_url"))
        made = repository.set_status(asked.parts["sha"], asked.login, body.get("context", "default"), body["state"], *words)
        return ForgeReply(201, self._json.status(made))
