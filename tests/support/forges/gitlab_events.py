"""GitLab's webhooks: `Push Hook`, `Tag Push Hook` and `Merge Request Hook`, with a secret token or signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from typing import Any

from tests.support.forges.gitlab_json import GitLabJson
from tests.support.forges.model import ForgeEvent, Hook, HostedDelivery
from tests.support.forges.repository import HostedRepository
from tests.support.forges.routing import stamp

_SIGNING = "whsec_"
_ACTIONS = {"opened": "open", "synchronize": "update", "reopened": "reopen", "closed": "close", "merged": "merge"}
_REVIEWS = {"approved": "approved", "dismissed": "unapproved"}
_ZERO = "0" * 40


def rendered(words: GitLabJson, happening: ForgeEvent, hook: Hook) -> HostedDelivery | None:
    """What GitLab sends; of reviews, only approvals, given or taken back.

    A secret that begins with `whsec_` is a signing token; any other is sent along as it is.
    """
    repository = words.forge.repositories[happening.repository]
    if happening.kind == "review" and repository.find_review(happening.number, happening.review).verdict not in _REVIEWS:
        return None
    if happening.kind == "push":
        tag = happening.ref.startswith("refs/tags/")
        event = "Tag Push Hook" if tag else "Push Hook"
        payload = _push(words, repository, happening, "tag_push" if tag else "push")
    else:
        event, payload = "Merge Request Hook", _merge_request(words, repository, happening)
    body = json.dumps(payload).encode()
    number = str(uuid.uuid4())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitLab/18.11.0",
        "X-Gitlab-Event": event,
        "X-Gitlab-Webhook-UUID": str(uuid.uuid4()),
        "X-Gitlab-Event-UUID": number,
        "X-Gitlab-Instance": words.base,
        "Idempotency-Key": number,
    }
    if hook.secret.startswith(_SIGNING):
        headers |= signed(hook.secret, number, int(words.forge.now().timestamp()), body)
    elif hook.secret:
        headers["X-Gitlab-Token"] = hook.secret
    return HostedDelivery(headers, body)


def signed(token: str, number: str, at: int, body: bytes) -> dict[str, str]:
    """The headers that sign a delivery, in the form of Standard Webhooks: the key is what the token holds in base64."""
    key = base64.b64decode(token.removeprefix(_SIGNING))
    digest = hmac.new(key, f"{number}.{at}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": number, "webhook-timestamp": str(at), "webhook-signature": signature}


def _project(words: GitLabJson, repository: HostedRepository) -> dict[str, Any]:
    home = f"{words.base}/{repository.name}"
    host = words.base.partition("://")[2]
    return {
        "id": words.project_id(repository.name),
        "name": repository.name.rpartition("/")[2],
        "web_url": home,
        "git_ssh_url": f"git@{host}:{repository.name}.git",
        "git_http_url": f"{home}.git",
        "namespace": repository.name.rpartition("/")[0],
        "visibility_level": 0,
        "path_with_namespace": repository.name,
        "default_branch": repository.branch,
    }


def _push(words: GitLabJson, repository: HostedRepository, happening: ForgeEvent, kind: str) -> dict[str, Any]:
    gone = happening.after == _ZERO
    return {
        "object_kind": kind,
        "event_name": kind,
        "before": happening.before,
        "after": happening.after,
        "ref": happening.ref,
        "ref_protected": False,
        "checkout_sha": None if gone else happening.after,
        "user_username": happening.by,
        "project_id": words.project_id(repository.name),
        "project": _project(words, repository),
        "commits": [],
        "total_commits_count": 0,
    }


def _action(repository: HostedRepository, happening: ForgeEvent) -> str:
    if happening.kind == "review":
        return _REVIEWS[repository.find_review(happening.number, happening.review).verdict]
    return _ACTIONS[happening.action]


def _merge_request(words: GitLabJson, repository: HostedRepository, happening: ForgeEvent) -> dict[str, Any]:
    pull = repository.pull(happening.number)
    row = words.merge_request(repository, pull)
    own = _project(words, repository)
    source = own | {"id": row["source_project_id"], "path_with_namespace": pull.head_repository}
    more = {"oldrev": pull.versions[-2].head} if happening.action == "synchronize" and len(pull.versions) > 1 else {}
    return {
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": words.user(happening.by),
        "project": own,
        "object_attributes": {
            "id": pull.id,
            "iid": pull.number,
            "target_branch": pull.base,
            "source_branch": pull.branch,
            "source_project_id": row["source_project_id"],
            "target_project_id": row["target_project_id"],
            "title": pull.title,
            "description": pull.body,
            "state": row["state"],
            "created_at": stamp(pull.created_at),
            "updated_at": stamp(pull.updated_at),
            "merge_commit_sha": row["merge_commit_sha"],
            "source": source,
            "target": own,
            "last_commit": {"id": pull.head, "title": repository.git.commit(pull.head).title},
            "url": row["web_url"],
            "action": _action(repository, happening),
            **more,
        },
        "labels": [],
        "changes": {},
    }
