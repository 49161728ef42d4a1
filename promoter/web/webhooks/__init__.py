"""Webhooks: each is a hint to look, authenticated before it is parsed, taken durably once, and never a statement of state."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from flask import Blueprint, Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge

from promoter.application.controller import GIT, Controller, EnqueueWork, WorkItem, WorkKind, build_webhook_trigger
from promoter.application.ports import Clock, Ledger
from promoter.domain.audit import WebhookDelivery
from promoter.domain.errors import ExternalError
from promoter.domain.fields import validate_model_name
from promoter.settings import Settings
from promoter.web.webhooks import sources
from promoter.web.webhooks.sources import MalformedPayload, WebhookEvent, require_object, require_text

log = structlog.get_logger(__name__)


BODY_LIMIT = 1024 * 1024
ParseEvent = Callable[[Any, str, str], WebhookEvent]
"""From a payload, its event and the watched branch."""
VerifySignature = Callable[[Headers, bytes, Settings, datetime], str]
"""The delivery's id; raises `Unsigned`."""
MLFLOW_ENTITIES = ("registered_model", "model_version", "model_version_tag", "model_version_alias")


@dataclass(frozen=True)
class WebhookSource:
    """A forge: which headers name the event (the first that is there), what proves a delivery, and what reads it."""

    event_headers: tuple[str, ...]
    verify_signature: VerifySignature
    parse_event: ParseEvent


FORGE_SOURCES = {
    "github": WebhookSource(
        ("X-GitHub-Event",),
        lambda headers, body, settings, _now: sources.verify_github_signature(headers, body, settings.github_webhook_secret),
        sources.parse_github_event,
    ),
    "gitlab": WebhookSource(
        ("X-Gitlab-Event",),
        lambda headers, body, settings, now: sources.verify_gitlab_signature(
            headers, body, settings.gitlab_webhook_secret, now
        ),
        sources.parse_gitlab_event,
    ),
    "gitea": WebhookSource(
        ("X-Gitea-Event", "X-Forgejo-Event"),
        lambda headers, body, settings, _now: sources.verify_gitea_signature(headers, body, settings.gitea_webhook_secret),
        sources.parse_gitea_event,
    ),
}


@dataclass(frozen=True)
class WebhookReceiver:
    """What the webhooks need."""

    settings: Settings
    ledger: Ledger
    controller: Controller
    clock: Clock
    enqueue: EnqueueWork

    def accept_delivery(
        self, source: str, verify_signature: Callable[[bytes], str], parse_event: Callable[[Any], WebhookEvent]
    ) -> Response:
        """Cap, authenticate, parse, record, ask for a look. One log line, whatever comes of it."""
        try:
            delivery = verify_signature(body := _read_limited_body())
            event = parse_event(_parse_json_body(body))
        except RequestEntityTooLarge:
            return self._answer_delivery(413, source, "too large")
        except sources.InvalidSignature as invalid:
            return self._answer_delivery(401, source, str(invalid))
        except MalformedPayload as malformed:
            return self._answer_delivery(400, source, str(malformed))
        if not event.items:
            return self._answer_delivery(200, source, "not for us", event)
        return self._record_delivery(source, delivery, event)

    def _record_delivery(self, source: str, delivery: str, event: WebhookEvent) -> Response:
        now = self.clock.now()
        try:
            new = not delivery or self.ledger.record_delivery(WebhookDelivery(source, delivery, now, event.name, event.model))
        except ExternalError as error:
            return self._answer_delivery(503, source, error.message, event)
        if not new:
            return self._answer_delivery(200, source, "duplicate", event)
        for item in event.items:
            self.enqueue(item, build_webhook_trigger(source, delivery))
        return self._answer_delivery(202, source, "accepted", event)

    def parse_mlflow_event(self, payload: Any) -> WebhookEvent:
        """`entity`, `action`, `data.name`; whatever else it says is read from the registry, not from here."""
        entity, action, data = require_text(payload, "entity"), require_text(payload, "action"), require_object(payload, "data")
        event = f"{entity}.{action}"
        if entity not in MLFLOW_ENTITIES:
            return WebhookEvent((), event)
        name = _read_model_name(data)
        declaration = self.controller.revisions.declaration_in_force
        if declaration is not None and not declaration.desired.manages_model(name):
            return WebhookEvent((), event, name)
        return WebhookEvent((WorkItem(WorkKind.MODEL, name),), event, name)

    def build_forge_parser(self, parse_event: ParseEvent, event: str) -> Callable[[Any], WebhookEvent]:
        """What a forge's payload names. Pull requests are nothing of ours where no forge is configured."""

        def hint(payload: Any) -> WebhookEvent:
            found = parse_event(payload, event, self.settings.branch)
            items = found.items if self.controller.pull_request_work else tuple(item for item in found.items if item == GIT)
            return replace(found, items=items)

        return hint

    def _answer_delivery(self, status: int, source: str, result: str, event: WebhookEvent | None = None) -> Response:
        write_log = log.info if status < 400 else log.warning  # noqa: PLR2004  # HTTP's own line between good and bad
        write_log("webhook", source=source, status=status, result=result, event_name=event.name if event else None,
             model=event.model if event else None)  # fmt: skip
        return Response(json.dumps({"result": result}) + "\n", status=status, mimetype="application/json")


def build_webhooks_blueprint(receiver: WebhookReceiver) -> Blueprint:
    """`POST /webhooks/...`."""
    routes = Blueprint("webhooks", __name__)
    settings = receiver.settings

    @routes.post("/webhooks/mlflow")
    def mlflow() -> Response:
        return receiver.accept_delivery(
            "mlflow",
            lambda body: sources.verify_mlflow_signature(
                request.headers, body, settings.mlflow_webhook_secret, receiver.clock.now()
            ),
            receiver.parse_mlflow_event,
        )

    @routes.post(f"/webhooks/<any({', '.join(FORGE_SOURCES)}):name>")
    def forge(name: str) -> Response:
        source, headers = FORGE_SOURCES[name], request.headers
        event = next((found for each in source.event_headers if (found := headers.get(each))), "")[:100]
        return receiver.accept_delivery(
            name,
            lambda body: source.verify_signature(headers, body, settings, receiver.clock.now()),
            receiver.build_forge_parser(source.parse_event, event),
        )

    return routes


def _read_limited_body() -> bytes:
    # One byte more than the limit: a chunked body that is cut exactly there would look whole.
    request.max_content_length = BODY_LIMIT + 1
    body = request.get_data(cache=False)
    if len(body) > BODY_LIMIT:
        raise RequestEntityTooLarge
    return body


def _parse_json_body(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_reject_json_constant)
    except (ValueError, RecursionError):
        raise MalformedPayload("the body is not JSON") from None


def _reject_json_constant(_word: str) -> None:
    """`NaN` and `Infinity`, which Python reads and JSON does not know."""
    raise ValueError


def _read_model_name(data: dict[str, Any]) -> str:
    try:
        name = validate_model_name(require_text(data, "name"))
        name.encode()  # half a surrogate pair can be written in JSON, and nowhere be kept
    except ValueError:
        raise MalformedPayload("`name` is not a model name") from None
    return name
