"""Signatures of webhooks: who sent this body. Constant-time, and closed where no secret is configured."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import SecretStr
from werkzeug.datastructures import Headers

from promoter.application.controller import GIT, PULLS, WorkItem, WorkKind

TIMESTAMP_TOLERANCE_SECONDS = 300
"""MLflow sends retries with the first try's timestamp, so that a delivery may be some seconds old, not minutes."""


_SIGNING_TOKEN_PREFIX = b"whsec_"
_MAX_SIGNATURES = 10


class InvalidSignature(Exception):  # noqa: N818  # says what the request is
    """The request does not prove who sent it. The text says why, for the log, without what was sent."""


def verify_mlflow_signature(headers: Headers, body: bytes, secret: SecretStr | None, now: datetime) -> str:
    """The delivery id of a request that MLflow signed: HMAC-SHA256 over `id.timestamp.body`. Raises `Unsigned`."""
    key = _require_secret(secret)
    delivery, stamp = headers.get("X-MLflow-Delivery-Id", ""), headers.get("X-MLflow-Timestamp", "")
    signature = headers.get("X-MLflow-Signature", "")
    if not delivery or len(delivery) > 100 or not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:  # noqa: PLR2004
        raise InvalidSignature("delivery id or timestamp missing or malformed")
    expected = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    _require_same_signature(signature, "v1," + base64.b64encode(expected).decode())
    if abs(now.timestamp() - int(stamp)) > TIMESTAMP_TOLERANCE_SECONDS:
        raise InvalidSignature(f"timestamp more than {TIMESTAMP_TOLERANCE_SECONDS} s from now")
    return delivery


def verify_github_signature(headers: Headers, body: bytes, secret: SecretStr | None) -> str:
    """The delivery id of a request that GitHub signed: HMAC-SHA256 over the body, in hex. Raises `Unsigned`."""
    expected = hmac.new(_require_secret(secret), body, hashlib.sha256).hexdigest()
    _require_same_signature(headers.get("X-Hub-Signature-256", ""), "sha256=" + expected)
    return headers.get("X-GitHub-Delivery", "")[:100]


def verify_gitlab_signature(headers: Headers, body: bytes, secret: SecretStr | None, now: datetime) -> str:
    """The delivery id of a request from GitLab. Raises `Unsigned`.

    A secret that begins with `whsec_` is a signing token: the request must bear its signature, in the form of Standard
    Webhooks, and a token in a header is worth nothing. Any other is the secret token, which GitLab sends in the clear.
    """
    key = _require_secret(secret)
    delivery = headers.get("webhook-id") or headers.get("Idempotency-Key") or headers.get("X-Gitlab-Event-UUID", "")
    if key.startswith(_SIGNING_TOKEN_PREFIX):
        _verify_standard_webhook(headers, body, key, now)
    else:
        _require_same_signature(headers.get("X-Gitlab-Token", ""), key.decode())
    return delivery[:100]


def _verify_standard_webhook(headers: Headers, body: bytes, token: bytes, now: datetime) -> None:
    """HMAC-SHA256 over `id.timestamp.body`, in base64; the header may have several signatures."""
    try:
        key = base64.b64decode(token.removeprefix(_SIGNING_TOKEN_PREFIX), validate=True)
    except ValueError:
        raise InvalidSignature("the configured signing token is not `whsec_` and base64") from None
    delivery, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not delivery or not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:  # noqa: PLR2004
        raise InvalidSignature("webhook-id or webhook-timestamp missing or malformed")
    made = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    expected = ("v1," + base64.b64encode(made).decode()).encode()
    given = headers.get("webhook-signature", "").split()[:_MAX_SIGNATURES]
    if not given:
        raise InvalidSignature("signature missing")
    if not any(hmac.compare_digest(each.encode("utf-8", "surrogateescape"), expected) for each in given):
        raise InvalidSignature("signature does not match")
    if abs(now.timestamp() - int(stamp)) > TIMESTAMP_TOLERANCE_SECONDS:
        raise InvalidSignature(f"timestamp more than {TIMESTAMP_TOLERANCE_SECONDS} s from now")


def verify_gitea_signature(headers: Headers, body: bytes, secret: SecretStr | None) -> str:
    """The delivery id of a request that Gitea or Forgejo signed: HMAC-SHA256 over the body, in hex. Raises `Unsigned`."""
    expected = hmac.new(_require_secret(secret), body, hashlib.sha256).hexdigest()
    _require_same_signature(headers.get("X-Gitea-Signature") or headers.get("X-Forgejo-Signature", ""), expected)
    return (headers.get("X-Gitea-Delivery") or headers.get("X-Forgejo-Delivery", ""))[:100]


def _require_secret(secret: SecretStr | None) -> bytes:
    if secret is None or not secret.get_secret_value():
        raise InvalidSignature("no secret is configured for this webhook")
    return secret.get_secret_value().encode()


def _require_same_signature(given: str, expected: str) -> None:
    if not given:
        raise InvalidSignature("signature missing")
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise InvalidSignature("signature does not match")


_MAX_TEXT_LENGTH = 500
"""Longer than any name."""


class MalformedPayload(Exception):  # noqa: N818  # says what the request is
    """The body is signed, and still not what its sender documents."""


@dataclass(frozen=True)
class WebhookEvent:
    """What a delivery asks for, and the name of its event. No `items`: nothing of ours."""

    items: tuple[WorkItem, ...]
    name: str
    model: str | None = None


def require_object(payload: Any, key: str) -> dict[str, Any]:
    """The object under the key. Raises `MalformedPayload`."""
    value = payload.get(key) if isinstance(payload, dict) else None
    if not isinstance(value, dict):
        raise MalformedPayload(f"`{key}` is not an object")
    return value


def require_text(payload: Any, key: str) -> str:
    """The text under the key. Raises `MalformedPayload`."""
    value = payload.get(key) if isinstance(payload, dict) else None
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT_LENGTH:
        raise MalformedPayload(f"`{key}` is not a text")
    return value


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
    return WebhookEvent(_choose_work_items(action, _read_pull_request_number(attributes, "iid")) if ours else (), name)


def _parse_push_event(payload: dict[str, Any], branch: str, event: str, *, deleted: bool) -> WebhookEvent:
    ours = require_text(payload, "ref") == f"refs/heads/{branch}" and not deleted
    return WebhookEvent((GIT,) if ours else (), event)


def _parse_pull_request_event(payload: dict[str, Any], branch: str, event: str) -> WebhookEvent:
    pull_request = require_object(payload, "pull_request")
    action = payload.get("action")
    head, base = require_object(pull_request, "head"), require_object(pull_request, "base")
    name = f"{event}.{action}"[:100] if isinstance(action, str) else event
    ours = require_text(base, "ref") == branch and _is_same_repository(head, base)
    return WebhookEvent(_choose_work_items(action, _read_pull_request_number(pull_request, "number")) if ours else (), name)


def _is_same_repository(head: dict[str, Any], base: dict[str, Any]) -> bool:
    """A fork that was deleted has no repository at all any more."""
    theirs, ours = head.get("repo"), base.get("repo")
    return isinstance(theirs, dict) and isinstance(ours, dict) and theirs.get("id") == ours.get("id")


def _choose_work_items(action: object, number: int) -> tuple[WorkItem, ...]:
    if action in CLOSE_ACTIONS:
        return (GIT, PULLS)
    return (WorkItem(WorkKind.PULL, str(number)),) if action in CHANGE_ACTIONS else ()


def _read_pull_request_number(attributes: dict[str, Any], key: str) -> int:
    number = attributes.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < _MAX_PULL_REQUEST_NUMBER:
        raise MalformedPayload(f"`{key}` is not a number of a pull request")
    return number


def _is_zero_revision(revision: object) -> bool:
    """A push of all zeros deletes the branch."""
    return isinstance(revision, str) and bool(revision) and not revision.strip("0")
