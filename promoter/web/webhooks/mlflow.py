"""Webhooks of MLflow: models, versions, their tags and aliases, signed over id, time and body."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from werkzeug.datastructures import Headers

from promoter.application.work_items import WorkItem, WorkKind
from promoter.domain import standard_webhooks
from promoter.domain.fields import validate_model_name
from promoter.domain.standard_webhooks import InvalidSignature
from promoter.web.webhooks.events import (
    MAX_NAME_LENGTH,
    MalformedPayload,
    WebhookEvent,
    WebhookSource,
    require_object,
    require_text,
)

_ENTITIES = ("registered_model", "model_version", "model_version_tag", "model_version_alias")


def verify_signature(headers: Headers, body: bytes, secret: str, now: datetime) -> str:
    """Return the delivery's id. The signature is HMAC-SHA256 over id, time and body. Raises `InvalidSignature`."""
    delivery, timestamp = headers.get("X-MLflow-Delivery-Id", ""), headers.get("X-MLflow-Timestamp", "")
    if not delivery or len(delivery) > MAX_NAME_LENGTH or not standard_webhooks.is_timestamp(timestamp):
        raise InvalidSignature("delivery id or timestamp missing or malformed")
    expected = standard_webhooks.compute_signature(secret.encode(), delivery, timestamp, body)
    standard_webhooks.require_same_signature([headers.get("X-MLflow-Signature", "")], expected)
    standard_webhooks.require_recent_timestamp(timestamp, now)
    return delivery


def parse_event(payload: Any, event: str, branch: str) -> WebhookEvent:
    """Read `entity`, `action`, `data.name`, `workspace`; all else that the payload says is read from the registry.

    `workspace` is that of the webhook. MLflow remembers webhooks by their events only: for a minute, it may send them what
    happens in another workspace as well.
    """
    del event, branch
    entity, action, data = require_text(payload, "entity"), require_text(payload, "action"), require_object(payload, "data")
    name = f"{entity}.{action}"
    if entity not in _ENTITIES:
        return WebhookEvent((), name)
    model = _read_model_name(data)
    workspace = payload.get("workspace")
    return WebhookEvent(
        (WorkItem(WorkKind.MODEL, model),), name, model, workspace if isinstance(workspace, str) and workspace else None
    )


def _read_model_name(data: dict[str, Any]) -> str:
    try:
        name = validate_model_name(require_text(data, "name"))
        name.encode()  # JSON can hold half a surrogate pair, which nothing can store
    except ValueError:
        raise MalformedPayload("`name` is not a model name") from None
    return name


SOURCE = WebhookSource(verify_signature, parse_event)
