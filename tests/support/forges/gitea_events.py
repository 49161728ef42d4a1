"""Gitea's webhooks: `push`, `create`, `delete` and `pull_request`, signed over the body."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any

from tests.support.forges.gitea_json import GiteaJson
from tests.support.forges.model import ForgeEvent, Hook, HostedDelivery
from tests.support.forges.repository import HostedRepository

_ACTIONS = {
    "opened": "opened",
    "synchronize": "synchronized",
    "reopened": "reopened",
    "closed": "closed",
    "merged": "closed",
}
_REVIEWS = {"approved": "approved", "changes_requested": "rejected", "commented": "comment"}
_ZERO = "0" * 40


def rendered(words: GiteaJson, happening: ForgeEvent, hook: Hook) -> HostedDelivery | None:
    """What Gitea sends. A branch that goes is a `delete`; one that comes is a `push` whose `before` is zeros.

    Of reviews, that one was dismissed is not told.
    """
    repository = words.forge.repositories[happening.repository]
    if happening.kind == "pull":
        event, payload = "pull_request", _pull_request(words, repository, happening)
        kind = "pull_request_sync" if happening.action == "synchronize" else event
    elif happening.kind == "review":
        verdict = _REVIEWS.get(repository.find_review(happening.number, happening.review).verdict)
        if verdict is None:
            return None
        event, kind = f"pull_request_{verdict}", f"pull_request_review_{verdict}"
        payload = _pull_request(words, repository, happening) | {"action": "reviewed", "review": {"type": kind, "content": ""}}
    elif happening.after == _ZERO:
        event, payload = "delete", _deletion(words, repository, happening)
        kind = event
    else:
        event, payload = "push", _push(words, repository, happening)
        kind = event
    body = json.dumps(payload, indent=2).encode()
    number, digest = str(uuid.uuid4()), signature(hook.secret, body)
    headers = {
        "Content-Type": "application/json",
        "X-Gitea-Delivery": number,
        "X-Gitea-Event": event,
        "X-Gitea-Event-Type": kind,
        "X-Gitea-Signature": digest,
        "X-Gitea-Hook-Installation-Target-Type": "repository",
        "X-Gogs-Delivery": number,
        "X-Gogs-Event": event,
        "X-Gogs-Signature": digest,
        "X-GitHub-Delivery": number,
        "X-GitHub-Event": event,
        "X-Hub-Signature-256": f"sha256={digest}",
    }
    return HostedDelivery(headers, body)


def signature(secret: str, body: bytes) -> str:
    """In hexadecimal; empty without a secret."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() if secret else ""


def _push(words: GiteaJson, repository: HostedRepository, happening: ForgeEvent) -> dict[str, Any]:
    return {
        "ref": happening.ref,
        "before": happening.before,
        "after": happening.after,
        "compare_url": "",
        "commits": [],
        "total_commits": 0,
        "repository": words.repository(repository),
        "pusher": words.user(happening.by),
        "sender": words.user(happening.by),
    }


def _deletion(words: GiteaJson, repository: HostedRepository, happening: ForgeEvent) -> dict[str, Any]:
    _, kind, name = happening.ref.split("/", 2)
    return {
        "ref": name,
        "ref_type": "tag" if kind == "tags" else "branch",
        "pusher_type": "user",
        "repository": words.repository(repository),
        "sender": words.user(happening.by),
    }


def _pull_request(words: GiteaJson, repository: HostedRepository, happening: ForgeEvent) -> dict[str, Any]:
    return {
        "action": _ACTIONS.get(happening.action),
        "number": happening.number,
        "pull_request": words.pull_request(repository, repository.pull(happening.number)),
        "requested_reviewer": None,
        "repository": words.repository(repository),
        "sender": words.user(happening.by),
        "commit_id": "",
        "review": None,
    }
