"""Webhooks of GitLab: pushes and merge requests, signed in the form of Standard Webhooks, or with a token in the clear."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from werkzeug.datastructures import Headers

from promoter.domain import standard_webhooks
from promoter.domain.standard_webhooks import SECRET_PREFIX, InvalidSignature
from promoter.web.webhooks.events import (
    MAX_NAME_LENGTH,
    WebhookEvent,
    WebhookSource,
    build_pull_request_event,
    is_zero_revision,
    parse_push_event,
    require_body,
    require_object,
    require_text,
)

_MAX_SIGNATURES = 10
_SYSTEM_EVENTS = {"push": "Push Hook", "merge_request": "Merge Request Hook"}


def verify_signature(headers: Headers, body: bytes, secret: str, now: datetime) -> str:
    """Return the delivery's id. Raises `InvalidSignature`.

    A secret that begins with `whsec_` is a signing token: the request must bear its signature, and a token in a header is
    worth nothing. Any other is the secret token, which GitLab sends in the clear.
    """
    delivery = headers.get("webhook-id") or headers.get("Idempotency-Key") or headers.get("X-Gitlab-Event-UUID", "")
    if secret.startswith(SECRET_PREFIX):
        _verify_signing_token(headers, body, secret, now)
    else:
        standard_webhooks.require_same_signature([headers.get("X-Gitlab-Token", "")], secret)
    return delivery[:MAX_NAME_LENGTH]


def _verify_signing_token(headers: Headers, body: bytes, secret: str, now: datetime) -> None:
    """The header may have several signatures."""
    try:
        key = standard_webhooks.parse_signing_key(secret)
    except ValueError:
        raise InvalidSignature("the configured signing token is not `whsec_` and base64") from None
    delivery, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not delivery or not standard_webhooks.is_timestamp(timestamp):
        raise InvalidSignature("webhook-id or webhook-timestamp missing or malformed")
    signatures = headers.get("webhook-signature", "").split()[:_MAX_SIGNATURES]
    standard_webhooks.require_same_signature(signatures, standard_webhooks.compute_signature(key, delivery, timestamp, body))
    standard_webhooks.require_recent_timestamp(timestamp, now)


def parse_event(payload: Any, event: str, branch: str) -> WebhookEvent:
    """Parse `Push Hook` and `Merge Request Hook`; a `System Hook`, which an administrator sets up, has its kind in the body."""
    body = require_body(payload)
    if event == "System Hook":
        event = _SYSTEM_EVENTS.get(str(body.get("object_kind") or body.get("event_name")), event)
    if event == "Push Hook":
        return parse_push_event(body, branch, event, deleted=is_zero_revision(body.get("after")))
    if event != "Merge Request Hook":
        return WebhookEvent((), event)
    attributes = require_object(body, "object_attributes")
    same_project = attributes.get("source_project_id") == attributes.get("target_project_id")
    ours = require_text(attributes, "target_branch") == branch and same_project
    return build_pull_request_event(attributes, "iid", event, attributes.get("action"), ours=ours)


SOURCE = WebhookSource(verify_signature, parse_event, ("X-Gitlab-Event",))
