"""What forges' webhooks name: a push to the watched branch, or a pull request into it from the same repository.

Nothing else of a payload is taken: whatever it says is read again from git and from the forge.
"""

from __future__ import annotations

from typing import Any

from promoter.application.watch import GIT, PULL, PULLS
from promoter.delivery.web.hints import WebhookEvent, MalformedPayload, require_object, require_text

CHANGE_ACTIONS = frozenset(
    {
        *("opened", "synchronize", "synchronized", "reopened", "edited", "submitted", "dismissed", "ready_for_review"),
        *("open", "reopen", "update", "approved", "unapproved", "approval", "unapproval"),
        *("reviewed", "rejected"),
    }
)
"""What forges call it when a pull request, or what people say of it, has changed."""
CLOSE_ACTIONS = frozenset({"closed", "close", "merge", "merged"})
_MAX_PULL_REQUEST_NUMBER = 2**31


def parse_github_event(payload: Any, event: str, branch: str) -> WebhookEvent:
    """`push`, `pull_request`, `pull_request_review` as GitHub sends them."""
    require_object({"body": payload}, "body")
    if event == "push":
        return _parse_push_event(payload, branch, event, deleted=payload.get("deleted") is True)
    if event not in ("pull_request", "pull_request_review"):
        return WebhookEvent((), event)
    return _parse_pull_request_event(payload, branch, event)


def parse_gitea_event(payload: Any, event: str, branch: str) -> WebhookEvent:
    """The same from Gitea and Forgejo; a review's event has its verdict in its name."""
    require_object({"body": payload}, "body")
    if event == "push":
        return _parse_push_event(payload, branch, event, deleted=_is_zero_revision(payload.get("after")))
    if event != "pull_request" and not event.startswith("pull_request_"):
        return WebhookEvent((), event)
    return _parse_pull_request_event(payload, branch, event)


def parse_gitlab_event(payload: Any, event: str, branch: str) -> WebhookEvent:
    """`Push Hook` and `Merge Request Hook`."""
    require_object({"body": payload}, "body")
    if event == "Push Hook":
        return _parse_push_event(payload, branch, event, deleted=_is_zero_revision(payload.get("after")))
    if event != "Merge Request Hook":
        return WebhookEvent((), event)
    attributes = require_object(payload, "object_attributes")
    action = attributes.get("action")
    name = f"{event}.{action}"[:100] if isinstance(action, str) else event
    ours = require_text(attributes, "target_branch") == branch and attributes.get("source_project_id") == attributes.get(
        "target_project_id"
    )
    return WebhookEvent(_choose_queue_keys(action, _read_pull_request_number(attributes, "iid")) if ours else (), name)


def _parse_push_event(payload: dict[str, Any], branch: str, event: str, *, deleted: bool) -> WebhookEvent:
    ours = require_text(payload, "ref") == f"refs/heads/{branch}" and not deleted
    return WebhookEvent((GIT,) if ours else (), event)


def _parse_pull_request_event(payload: dict[str, Any], branch: str, event: str) -> WebhookEvent:
    pull_request = require_object(payload, "pull_request")
    action = payload.get("action")
    head, base = require_object(pull_request, "head"), require_object(pull_request, "base")
    name = f"{event}.{action}"[:100] if isinstance(action, str) else event
    ours = require_text(base, "ref") == branch and _is_same_repository(head, base)
    return WebhookEvent(_choose_queue_keys(action, _read_pull_request_number(pull_request, "number")) if ours else (), name)


def _is_same_repository(head: dict[str, Any], base: dict[str, Any]) -> bool:
    """A fork that was deleted has no repository at all any more."""
    theirs, ours = head.get("repo"), base.get("repo")
    return isinstance(theirs, dict) and isinstance(ours, dict) and theirs.get("id") == ours.get("id")


def _choose_queue_keys(action: object, number: int) -> tuple[str, ...]:
    if action in CLOSE_ACTIONS:
        return (GIT, PULLS)
    return (f"{PULL}{number}",) if action in CHANGE_ACTIONS else ()


def _read_pull_request_number(attributes: dict[str, Any], key: str) -> int:
    number = attributes.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < _MAX_PULL_REQUEST_NUMBER:
        raise MalformedPayload(f"`{key}` is not a number of a pull request")
    return number


def _is_zero_revision(revision: object) -> bool:
    """A push of all zeros deletes the branch."""
    return isinstance(revision, str) and bool(revision) and not revision.strip("0")
