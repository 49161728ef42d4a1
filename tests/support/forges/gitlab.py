"""GitLab's face of a hosted forge: API v4, as far as Promoter asks, in its shapes, status codes and pages."""

from __future__ import annotations

from typing import Any

from tests.support.forges.gitlab_events import rendered
from tests.support.forges.gitlab_json import GitLabJson
from tests.support.forges.model import ForgeRefusal, HostedStatus, Pull, Refusal
from tests.support.forges.repository import HostedRepository
from tests.support.forges.routing import ForgeReply, ForgeRequest, HttpFailure, ReplyPages, Routes
from tests.support.forges.state import HostedForge

BASE = "http://gitlab.example.org"
"""What the instance believes its own address to be: it stands in links, and need not be the one that it is asked at."""
_LIVE = ("pending", "running")
_STATES = ("pending", "running", "success", "failed", "canceled", "skipped")


class GitLabFace(Routes):
    """`settling`: how often a merge request still reads as being checked. `inactive`: accounts that are blocked.

    `old`: approvals without times, notes of all kinds together, no `enable_auto_merge`. Groups are the forge's teams:
    `acme/risk`, or `acme/` at the top level.
    """

    def __init__(self, forge: HostedForge) -> None:
        """Words the forge's webhooks too."""
        super().__init__("/api/v4", ReplyPages("per_page", 20, 100, BASE), lambda message: {"message": message})
        self.forge = forge
        self.settling = 0
        self.old = False
        self.inactive: set[str] = set()
        self._json = GitLabJson(forge, BASE, self)
        forge.render = lambda happening, hook: rendered(self._json, happening, hook)
        one, all_ = "/projects/{project}/merge_requests/{iid}", "/projects/{project}/merge_requests"
        commit = "/projects/{project}/repository/commits/{sha}"
        for method, path, endpoint in (
            ("GET", "/user", self._user),
            ("GET", "/users", self._users),
            ("GET", all_, self._list),
            ("POST", all_, self._create),
            ("GET", one, self._get),
            ("PUT", one, self._update),
            ("PUT", f"{one}/merge", self._merge),
            ("GET", f"{one}/commits", self._commits),
            ("GET", f"{one}/versions", self._versions),
            ("GET", f"{one}/approvals", self._approvals),
            ("GET", f"{one}/notes", self._notes),
            ("POST", f"{one}/notes", self._note),
            ("PUT", f"{one}/notes/{{note}}", self._edit_note),
            ("DELETE", f"{one}/notes/{{note}}", self._delete_note),
            ("GET", f"{commit}/merge_requests", self._of_commit),
            ("GET", f"{commit}/statuses", self._statuses),
            ("POST", "/projects/{project}/statuses/{sha}", self._set_status),
            ("GET", "/groups/{group}/members/all", self._members),
        ):
            self.add(method, path, endpoint)

    def _repository(self, asked: ForgeRequest, level: str = "read") -> HostedRepository:
        if asked.account is None:
            raise HttpFailure(401, "401 Unauthorized")
        found = self.forge.repositories.get(asked.parts["project"])
        if found is None or not found.may(asked.login, "read"):
            raise HttpFailure(404, "404 Project Not Found")
        if not found.may(asked.login, level):
            raise HttpFailure(403, "403 Forbidden")
        return found

    def _pull(self, asked: ForgeRequest, level: str = "read") -> tuple[HostedRepository, Pull]:
        repository = self._repository(asked, level)
        try:
            return repository, repository.pull(asked.number("iid"))
        except ForgeRefusal:
            raise HttpFailure(404, "404 Not found") from None

    # Accounts and groups.

    def _user(self, asked: ForgeRequest) -> ForgeReply:
        if asked.account is None:
            raise HttpFailure(401, "401 Unauthorized")
        return ForgeReply(body=self._json.user(asked.login))

    def _users(self, asked: ForgeRequest) -> ForgeReply:
        name, search = asked.query.get("username", ""), asked.query.get("search", "")
        found = [a for a in self.forge.accounts.values() if a.login.lower() == name.lower() or (search and a.email == search)]
        return ForgeReply(rows=[self._json.user(each.login) for each in found])

    def _members(self, asked: ForgeRequest) -> ForgeReply:
        group = asked.parts["group"]
        members = self.forge.teams.get(group, self.forge.teams.get(f"{group}/"))
        if members is None:
            raise HttpFailure(404, "404 Group Not Found")
        return ForgeReply(rows=[self._json.user(each) | {"access_level": 30} for each in sorted(members)])

    # Merge requests.

    def _list(self, asked: ForgeRequest) -> ForgeReply:
        repository, query = self._repository(asked), asked.query
        states = {"opened": ("open",), "closed": ("closed",), "merged": ("merged",)}.get(query.get("state", "all"))
        pulls = [
            pull
            for pull in repository.pulls.values()
            if (states is None or pull.state in states)
            and query.get("source_branch") in (None, pull.branch)
            and query.get("target_branch") in (None, pull.base)
        ]
        pulls.sort(key=lambda pull: pull.number, reverse=query.get("sort", "desc") == "desc")
        return ForgeReply(rows=[self._json.merge_request(repository, pull) for pull in pulls])

    def _create(self, asked: ForgeRequest) -> ForgeReply:
        repository, body = self._repository(asked, "write"), asked.body
        branch, base = body["source_branch"], body["target_branch"]
        there = repository.opened_from(branch, base)
        if there:
            raise HttpFailure(409, [f"Another open merge request already exists for this source branch: !{there.number}"])
        try:
            made = repository.open(asked.login, branch, body["title"], body.get("description") or "", base)
        except ForgeRefusal as refusal:
            if refusal.why is Refusal.INVALID:
                raise HttpFailure(422, [refusal.message]) from None
            raise
        self._dress(repository, made, body, asked.login)
        return ForgeReply(201, self._json.merge_request(repository, made))

    def _get(self, asked: ForgeRequest) -> ForgeReply:
        row = self._json.merge_request(*self._pull(asked))
        self.settling = max(self.settling - 1, 0)
        return ForgeReply(body=row)

    def _update(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked, "write")
        body = asked.body
        pull.title = body.get("title", pull.title)
        pull.body = body.get("description", pull.body)
        self._dress(repository, pull, body, asked.login)
        if body.get("state_event") == "close":
            repository.close(pull.number, asked.login)
        return ForgeReply(body=self._json.merge_request(repository, pull))

    def _dress(self, repository: HostedRepository, pull: Pull, body: Any, by: str) -> None:
        """Labels, reviewers, and the quick actions that a description holds. Those who may not read are left out silently."""
        labels = body.get("labels", [])
        labels = labels.split(",") if isinstance(labels, str) else list(labels)
        labels += body["add_labels"].split(",") if body.get("add_labels") else []
        for label in labels:
            repository.labels.setdefault(label, "#6699cc")
            if label not in pull.labels:
                pull.labels.append(label)
        if "reviewer_ids" in body:
            ids = set(body["reviewer_ids"])
            pull.reviewers = [a.login for a in self.forge.accounts.values() if a.id in ids and repository.may(a.login, "read")]
        self._act(repository, pull, body.get("description") or "", by)

    def _act(self, repository: HostedRepository, pull: Pull, text: str, by: str) -> None:
        for line in text.splitlines():
            if line.startswith("/close"):
                repository.close(pull.number, by)

    def _merge(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked, "write")
        if pull.state != "open" or self.settling:
            raise HttpFailure(405, "405 Method Not Allowed")
        if asked.body.get("sha") not in (None, pull.head):
            raise HttpFailure(409, f"SHA does not match HEAD of source branch: {pull.head}")
        wanted = asked.body.get("merge_when_pipeline_succeeds") or (asked.body.get("auto_merge") and not self.old)
        if wanted and not repository.auto_merge_allowed:
            raise HttpFailure(405, "405 Method Not Allowed")
        if repository.blocked(pull.number) and not wanted:
            raise HttpFailure(405, "405 Method Not Allowed")
        pull.auto_merge = asked.login
        repository.merge_what_may()
        return ForgeReply(body=self._json.merge_request(repository, pull))

    def _commits(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked)
        return ForgeReply(rows=[self._json.commit(repository, each) for each in reversed(repository.commits_of(pull.number))])

    def _versions(self, asked: ForgeRequest) -> ForgeReply:
        _, pull = self._pull(asked)
        return ForgeReply(rows=[self._json.version(pull, each) for each in reversed(pull.versions)])

    def _approvals(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked)
        return ForgeReply(body=self._json.approvals(repository, pull, timed=not self.old))

    # Notes.

    def _notes(self, asked: ForgeRequest) -> ForgeReply:
        _, pull = self._pull(asked)
        rows = [self._json.note(pull, each) for each in pull.remarks] + self._json.system_notes(pull)
        kind = "all_notes" if self.old else asked.query.get("activity_filter", "all_notes")
        rows = [row for row in rows if kind == "all_notes" or row["system"] == (kind == "only_activity")]
        rows.sort(key=lambda row: row["created_at"], reverse=asked.query.get("sort", "desc") == "desc")
        return ForgeReply(rows=rows)

    def _note(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._pull(asked)
        if not str(asked.body.get("body", "")).strip():
            raise HttpFailure(400, "body is missing")
        self._act(repository, pull, asked.body["body"], asked.login)
        return ForgeReply(201, self._json.note(pull, repository.remark(pull.number, asked.login, asked.body["body"])))

    def _edit_note(self, asked: ForgeRequest) -> ForgeReply:
        repository, pull = self._own_note(asked)
        self._act(repository, pull, asked.body["body"], asked.login)
        return ForgeReply(body=self._json.note(pull, repository.edit_remark(asked.number("note"), asked.body["body"])))

    def _delete_note(self, asked: ForgeRequest) -> ForgeReply:
        repository, _ = self._own_note(asked)
        repository.delete_remark(asked.number("note"))
        return ForgeReply(204)

    def _own_note(self, asked: ForgeRequest) -> tuple[HostedRepository, Pull]:
        repository, pull = self._pull(asked)
        note = next((each for each in pull.remarks if each.id == asked.number("note")), None)
        if note is None:
            raise HttpFailure(404, "404 Note Not Found")
        if note.by != asked.login:
            raise HttpFailure(403, "403 Forbidden")
        return repository, pull

    # Commits.

    def _of_commit(self, asked: ForgeRequest) -> ForgeReply:
        repository = self._repository(asked)
        if not repository.git.exists(asked.parts["sha"]):
            raise HttpFailure(404, "404 Commit Not Found")
        pulls = repository.pulls_with(asked.parts["sha"])
        return ForgeReply(rows=[self._json.merge_request(repository, pull) for pull in pulls])

    def _statuses(self, asked: ForgeRequest) -> ForgeReply:
        repository, sha = self._repository(asked), asked.parts["sha"]
        if not repository.git.exists(sha):
            raise HttpFailure(404, "404 Commit Not Found")
        name = asked.query.get("name")
        newest: dict[tuple[str, str], HostedStatus] = {}
        for status in repository.statuses.get(sha, []):
            if name in (None, status.context):
                newest[status.context, status.by] = status
        return ForgeReply(rows=[self._json.status(sha, each) for each in newest.values()])

    def _set_status(self, asked: ForgeRequest) -> ForgeReply:
        """The account's running one of that name is moved on; one that has ended is followed by another.

        POST /projects/:id/statuses/:sha without `ref` takes a branch of the project that has the commit: a fork's has none.
        """
        repository, sha, body = self._repository(asked, "write"), asked.parts["sha"], asked.body
        if not repository.git.exists(sha):
            raise HttpFailure(404, "404 Commit Not Found")
        if not any(repository.git.contains(head, sha) for head in repository.git.heads().values()):
            raise HttpFailure(404, "404 References for commit Not Found")
        state, name = body.get("state"), body.get("name") or body.get("context") or "default"
        if state not in _STATES:
            raise HttpFailure(400, "state does not have a valid value")
        own = [each for each in repository.statuses.get(sha, []) if each.context == name and each.by == asked.login]
        now = own[-1].state if own and own[-1].state in _LIVE else "created"
        if state == now or (state, now) == ("pending", "running"):
            verb = {"pending": "enqueue", "running": "run"}[state]
            reason = f'Cannot transition status via :{verb} from :{now} (Reason(s): Status cannot transition via "{verb}")'
            raise HttpFailure(400, reason)
        made = repository.set_status(sha, asked.login, name, state, body.get("description"), body.get("target_url"))
        return ForgeReply(201, self._json.status(sha, made))
