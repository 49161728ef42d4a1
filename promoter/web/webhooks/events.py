"""What a source of webhooks provides, and what a delivery comes to: an event, and the work that it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from werkzeug.datastructures import Headers

from promoter.application.work_items import GIT, PULLS, WorkItem, WorkKind

_MAX_TEXT_LENGTH = 500
"""Longer than any name."""
MAX_NAME_LENGTH = 100
"""Characters of an event's name or of a delivery's id that are kept."""
_MAX_PULL_REQUEST_NUMBER = 2**31
_CHANGE_ACTIONS = frozenset(
    {
        *("opened", "synchronize", "synchronized", "reopened", "edited", "submitted", "dismissed", "ready_for_review"),
        *("open", "reopen", "update", "approved", "unapproved", "approval", "unapproval"),
        *("reviewed", "rejected"),
    }
)
"""How forges call it when a pull request, or a review of it, has changed."""
_CLOSE_ACTIONS = frozenset({"closed", "close", "merge", "merged"})


class MalformedPayload(Exception):  # noqa: N818  # says what the request is
    """The body is signed, but it is not what its sender documents."""


@dataclass(frozen=True)
class WebhookEvent:
    """What a delivery is about. It says where to look, never what is there."""

    items: tuple[WorkItem, ...]
    """The work that it asks for; empty where it is none of ours."""
    name: str
    """The event's name, for the log and the ledger."""
    model: str | None = None
    """The model that it names."""
    workspace: str | None = None
    """The workspace of the MLflow server that has the webhook; None: the server has no workspaces."""


@dataclass(frozen=True)
class WebhookSource:
    """A sender of webhooks. Its secret is the setting `NAME_webhook_secret`."""

    verify_signature: Callable[[Headers, bytes, str, datetime], str]
    """From headers, body, secret and time to the delivery's id. Raises `InvalidSignature`."""
    parse_event: Callable[[Any, str, str], WebhookEvent]
    """From payload, event header and watched branch to the event. Raises `MalformedPayload`."""
    event_headers: tuple[str, ...] = ()
    """The headers that name the event; the first that is there counts."""


def require_object(payload: Any, key: str) -> dict[str, Any]:
    """Return the object under the key. Raises `MalformedPayload`."""
    value = payload.get(key) if isinstance(payload, dict) else None
    if not isinstance(value, dict):
        raise MalformedPayload(f"`{key}` is not an object")
    return value


def require_text(payload: Any, key: str) -> str:
    """Return the text under the key. Raises `MalformedPayload`."""
    value = payload.get(key) if isinstance(payload, dict) else None
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT_LENGTH:
        raise MalformedPayload(f"`{key}` is not a text")
    return value


def require_body(payload: Any) -> dict[str, Any]:
    """Return the payload, which has to be an object. Raises `MalformedPayload`."""
    return require_object({"body": payload}, "body")


def parse_push_event(payload: dict[str, Any], branch: str, event: str, *, deleted: bool) -> WebhookEvent:
    """Parse a push, in the form that all forges have. `deleted`: the push deletes its branch."""
    ours = require_text(payload, "ref") == f"refs/heads/{branch}" and not deleted
    return WebhookEvent((GIT,) if ours else (), event)


def parse_pull_request_event(payload: dict[str, Any], branch: str, event: str) -> WebhookEvent:
    """Parse an event of a pull request, in the form that GitHub and Gitea share."""
    pull_request = require_object(payload, "pull_request")
    head, base = require_object(pull_request, "head"), require_object(pull_request, "base")
    ours = require_text(base, "ref") == branch and _is_same_repository(head, base)
    return build_pull_request_event(pull_request, "number", event, payload.get("action"), ours=ours)


def build_pull_request_event(
    attributes: dict[str, Any], number_key: str, event: str, action: object, *, ours: bool
) -> WebhookEvent:
    """Build the event of a pull request. `ours`: it goes from a branch of the repository into the watched one."""
    name = f"{event}.{action}"[:MAX_NAME_LENGTH] if isinstance(action, str) else event
    return WebhookEvent(_choose_work_items(action, _read_number(attributes, number_key)) if ours else (), name)


def is_zero_revision(revision: object) -> bool:
    """Whether a push leads to nothing: a revision of zeros deletes the branch."""
    return isinstance(revision, str) and bool(revision) and not revision.strip("0")


def _is_same_repository(head: dict[str, Any], base: dict[str, Any]) -> bool:
    """A deleted fork has no repository at all."""
    theirs, ours = head.get("repo"), base.get("repo")
    return isinstance(theirs, dict) and isinstance(ours, dict) and theirs.get("id") == ours.get("id")


def _choose_work_items(action: object, number: int) -> tuple[WorkItem, ...]:
    if action in _CLOSE_ACTIONS:
        return (GIT, PULLS)
    return (WorkItem(WorkKind.PULL, str(number)),) if action in _CHANGE_ACTIONS else ()


def _read_number(attributes: dict[str, Any], key: str) -> int:
    number = attributes.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < _MAX_PULL_REQUEST_NUMBER:
        raise MalformedPayload(f"`{key}` is not a number of a pull request")
    return number
