"""Webhooks of GitHub: pushes, pull requests and their reviews, signed over the body."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from typing import Any

from werkzeug.datastructures import Headers

from promoter.domain.standard_webhooks import require_same_signature
from promoter.web.webhooks.events import (
    MAX_NAME_LENGTH,
    WebhookEvent,
    WebhookSource,
    parse_pull_request_event,
    parse_push_event,
    require_body,
)


def verify_signature(headers: Headers, body: bytes, secret: str, now: datetime) -> str:
    """Return the delivery's id. The signature is HMAC-SHA256 over the body, in hex. Raises `InvalidSignature`."""
    del now
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    require_same_signature([headers.get("X-Hub-Signature-256", "")], "sha256=" + expected)
    return headers.get("X-GitHub-Delivery", "")[:MAX_NAME_LENGTH]


def parse_event(payload: Any, event: str, branch: str) -> WebhookEvent:
    """Parse `push`, `pull_request` and `pull_request_review`."""
    body = require_body(payload)
    if event == "push":
        return parse_push_event(body, branch, event, deleted=body.get("deleted") is True)
    if event not in ("pull_request", "pull_request_review"):
        return WebhookEvent((), event)
    return parse_pull_request_event(body, branch, event)


SOURCE = WebhookSource(verify_signature, parse_event, ("X-GitHub-Event",))
