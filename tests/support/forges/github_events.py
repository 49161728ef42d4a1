"""GitHub's webhooks: `push`, `pull_request` and `pull_request_review`, signed over the body."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any

from tests.support.forges.github_json import GitHubJson
from tests.support.forges.model import ForgeEvent, Hook, HostedDelivery
from tests.support.forges.repository import HostedRepository

_ZERO = "0" * 40


def rendered(words: GitHubJson, happening: ForgeEvent, hook: Hook) -> HostedDelivery:
    """What GitHub sends. A branch that comes or goes is a `push` like any other."""
    repository = words.forge.repositories[happening.repository]
    if happening.kind == "push":
        event, payload = "push", _push(words, repository, happening)
    elif happening.kind == "review":
        event, payload = "pull_request_review", _review(words, repository, happening)
    else:
        event, payload = "pull_request", _pull_request(words, repository, happening)
    body = json.dumps(payload | _common(words, repository, happening)).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/f00ba12",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": "1",
        "X-GitHub-Hook-Installation-Target-Type": "repository",
    }
    if hook.secret:
        headers["X-Hub-Signature-256"] = "sha256=" + hmac.new(hook.secret.encode(), body, hashlib.sha256).hexdigest()
    return HostedDelivery(headers, body)


def _common(words: GitHubJson, repository: HostedRepository, happening: ForgeEvent) -> dict[str, Any]:
    return {"repository": words.repository(repository.name), "sender": words.user(happening.by)}


def _push(words: GitHubJson, repository: HostedRepository, happening: ForgeEvent) -> dict[str, Any]:
    made, gone = happening.before == _ZERO, happening.after == _ZERO
    account = words.forge.accounts.get(happening.by)
    return {
        "ref": happening.ref,
        "before": happening.before,
        "after": happening.after,
        "created": made,
        "deleted": gone,
        "forced": not made and not gone and not repository.git.contains(happening.after, happening.before),
        "base_ref": None,
        "compare": f"{words.base}/{repository.name}/compare/{happening.before[:12]}...{happening.after[:12]}",
        "commits": [],
        "head_commit": None,
        "pusher": {"name": happening.by, "email": account.email if account else ""},
    }


def _pull_request(words: GitHubJson, repository: HostedRepository, happening: ForgeEvent) -> dict[str, Any]:
    return {
        "action": "closed" if happening.action == "merged" else happening.action,
        "number": happening.number,
        "pull_request": words.whole_pull_request(repository, repository.pull(happening.number)),
    }


def _review(words: GitHubJson, repository: HostedRepository, happening: ForgeEvent) -> dict[str, Any]:
    """Here a review's state is written small."""
    pull = repository.pull(happening.number)
    review = repository.find_review(happening.number, happening.review)
    told = words.review(repository, pull, review)
    return {
        "action": happening.action,
        "review": told | {"state": told["state"].lower()},
        "pull_request": words.pull_request(repository, pull),
    }
