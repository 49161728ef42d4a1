"""Webhooks: each asks for work. It is authenticated before it is parsed, recorded once, and never taken for state."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

import structlog
from flask import Blueprint, Response, request
from pydantic import SecretStr
from werkzeug.exceptions import RequestEntityTooLarge

from promoter.application.controller import Controller
from promoter.application.ports import Clock, ObservationLog
from promoter.application.work_items import REGISTRY, EnqueueWork, WorkItem, WorkKind
from promoter.domain.audit import WebhookDelivery, build_webhook_trigger
from promoter.domain.copy_source import AliasRef
from promoter.domain.desired import Declaration
from promoter.domain.errors import ExternalError
from promoter.domain.standard_webhooks import InvalidSignature
from promoter.settings import Settings
from promoter.web.admission import WebhookRates
from promoter.web.webhooks import gitea, github, gitlab, mlflow
from promoter.web.webhooks.events import MAX_NAME_LENGTH, MalformedPayload, WebhookEvent, WebhookSource

log = structlog.get_logger(__name__)


BODY_LIMIT = 1024 * 1024
_FORM_START = b"payload="
_MAX_FORM_FIELDS = 8
_CONTENT_TYPE_FIX = "set the content type of the webhook to application/json"
SOURCES = {"mlflow": mlflow.SOURCE, "github": github.SOURCE, "gitlab": gitlab.SOURCE, "gitea": gitea.SOURCE}


class RequestedSurveys:
    """The survey that deliveries about unknown models requested last, and the newest of these deliveries, in memory."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._surveys = -1
        self._deliveries: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def is_first(self, surveys: int) -> bool:
        """Whether this is the first request since that many surveys had begun; it counts as one from now on."""
        with self._lock:
            first, self._surveys = self._surveys != surveys, surveys
            return first

    def has_seen(self, trigger: str) -> bool:
        """Whether that delivery is remembered."""
        with self._lock:
            return trigger in self._deliveries

    def remember(self, trigger: str) -> None:
        """Remember the delivery, and forget the oldest where these are too many."""
        with self._lock:
            self._deliveries[trigger] = None
            if len(self._deliveries) > self._limit:
                self._deliveries.popitem(last=False)


@dataclass(frozen=True)
class WebhookReceiver:
    """Takes deliveries, and asks the controller for the work that they name."""

    settings: Settings
    ledger: ObservationLog
    controller: Controller
    clock: Clock
    enqueue: EnqueueWork
    rates: WebhookRates
    surveys: RequestedSurveys = field(default_factory=RequestedSurveys)

    def accept_delivery(self, name: str, source: WebhookSource) -> Response:
        """Cap the request's body, authenticate, parse and record it, and ask for work. Writes one log line in any case."""
        headers = request.headers
        header = next((found for each in source.event_headers if (found := headers.get(each))), "")[:MAX_NAME_LENGTH]
        try:
            body = _read_limited_body()
            delivery, payload = self._authenticate_body(name, source, body)
            event = source.parse_event(_parse_json_body(payload), header, self.settings.branch)
        except RequestEntityTooLarge:
            return self._answer_delivery(413, name, "too large")
        except InvalidSignature as invalid:
            if self.rates.count_refused():
                return self.rates.build_refusal_answer()
            return self._answer_delivery(401, name, str(invalid))
        except MalformedPayload as malformed:
            return self._answer_delivery(400, name, str(malformed))
        items = self._select_items(event)
        if not items:
            return self._answer_delivery(200, name, "not for us", event)
        take = self._request_survey if items == (REGISTRY,) else self._record_delivery
        return take(name, delivery, event, items)

    def _authenticate_body(self, name: str, source: WebhookSource, body: bytes) -> tuple[str, bytes]:
        """Return the delivery's id, and its payload. Raises `InvalidSignature` or `MalformedPayload`.

        A form has the payload in a field. GitHub signs the form, Gitea the payload in it: either proves what is parsed.
        """
        secret, now = self._require_secret(name), self.clock.now()
        if not _is_form(body):
            return source.verify_signature(request.headers, body, secret, now), body
        try:
            delivery = source.verify_signature(request.headers, body, secret, now)
        except InvalidSignature as invalid:
            payload = _find_form_payload(body)
            if payload is None:
                raise invalid from None
            return source.verify_signature(request.headers, payload, secret, now), payload
        payload = _find_form_payload(body)
        if payload is None:
            raise MalformedPayload(f"the body is a form without one field `payload`: {_CONTENT_TYPE_FIX}")
        return delivery, payload

    def _require_secret(self, name: str) -> str:
        secret: SecretStr | None = getattr(self.settings, f"{name}_webhook_secret")
        if secret is None or not secret.get_secret_value():
            raise InvalidSignature("no secret is configured for this webhook")
        return secret.get_secret_value()

    def _select_items(self, event: WebhookEvent) -> tuple[WorkItem, ...]:
        """Select the work to do: none for models that are not managed here, or for pull requests where no forge is configured.

        A model that git does not list, and no survey has seen, may not exist: one survey looks for all such models. An event
        about a model that others copy from is one about these, too.
        """
        if self._is_of_another_workspace(event):
            return ()
        declaration = self.controller.revisions.declaration_in_force
        if event.model is not None and "\0" in event.model:  # no registry.yaml and no ledger can hold the name
            return ()
        copying = self._find_copying_models(event) if event.model is not None else ()
        if event.model is not None and declaration is not None and not declaration.desired.manages_model(event.model):
            return copying
        if event.model is not None and not self._is_known(event.model, declaration):
            return (REGISTRY,) if event.items else ()
        if self.controller.pull_request_work:
            return (*event.items, *copying)
        return (*(item for item in event.items if item.kind not in (WorkKind.PULL, WorkKind.PULLS)), *copying)

    def _find_copying_models(self, event: WebhookEvent) -> tuple[WorkItem, ...]:
        """Find the models of this registry that copy versions from the event's model (`promote_from`)."""
        if not event.items:
            return ()
        sources = {
            name: {place for alias in snapshot.intent.aliases.values() if (place := AliasRef.from_intent(alias))}
            for name, snapshot in self.controller.snapshots.items()
        }
        return tuple(
            WorkItem(WorkKind.MODEL, name)
            for name, places in sorted(sources.items())
            if any(not place.registry and place.model == event.model for place in places)
        )

    def _is_of_another_workspace(self, event: WebhookEvent) -> bool:
        if event.workspace is None:
            return False
        own = self.controller.workspace
        return own is not None and event.workspace != own

    def _is_known(self, model: str, declaration: Declaration | None) -> bool:
        return declaration is not None and (model in declaration.desired.listed or model in self.controller.snapshots)

    def _request_survey(self, source: str, delivery: str, event: WebhookEvent, items: tuple[WorkItem, ...]) -> Response:
        """Ask for one survey, whose trigger is the first delivery since the last survey began; the others cost no more."""
        trigger = build_webhook_trigger(source, delivery)
        if self.surveys.has_seen(trigger):
            return self._answer_delivery(200, source, "duplicate", event)
        if self.surveys.is_first(self.controller.health.surveys):
            answer = self._record_delivery(source, delivery, event, items)
        else:
            self.enqueue(REGISTRY, build_webhook_trigger(source, ""))
            answer = self._answer_delivery(202, source, "accepted", event)
        if answer.status_code < 500:  # noqa: PLR2004  # else the sender tries again
            self.surveys.remember(trigger)
        return answer

    def _record_delivery(self, source: str, delivery: str, event: WebhookEvent, items: tuple[WorkItem, ...]) -> Response:
        now = self.clock.now()
        try:
            new = not delivery or self.ledger.record_delivery(WebhookDelivery(source, delivery, now, event.name, event.model))
        except ExternalError as error:
            return self._answer_delivery(503, source, error.message, event)
        if not new:
            return self._answer_delivery(200, source, "duplicate", event)
        for item in items:
            self.enqueue(item, build_webhook_trigger(source, delivery))
        return self._answer_delivery(202, source, "accepted", event)

    def _answer_delivery(self, status: int, source: str, result: str, event: WebhookEvent | None = None) -> Response:
        write_log = log.info if status < 400 else log.warning  # noqa: PLR2004  # HTTP's own line between good and bad
        write_log("webhook", source=source, status=status, result=result, event_name=event.name if event else None,
             model=event.model if event else None)  # fmt: skip
        return Response(json.dumps({"result": result}) + "\n", status=status, mimetype="application/json")


def build_webhooks_blueprint(receiver: WebhookReceiver) -> Blueprint:
    """Build the routes `POST /webhooks/NAME`."""
    routes = Blueprint("webhooks", __name__)

    @routes.post(f"/webhooks/<any({', '.join(SOURCES)}):name>")
    @receiver.rates.limit_route
    def webhook(name: str) -> Response:
        return receiver.accept_delivery(name, SOURCES[name])

    return routes


def _read_limited_body() -> bytes:
    # One byte more than the limit: a chunked body that is cut exactly there would look whole.
    request.max_content_length = BODY_LIMIT + 1
    body = request.get_data(cache=False)
    if len(body) > BODY_LIMIT:
        raise RequestEntityTooLarge
    return body


def _is_form(body: bytes) -> bool:
    """Whether the payload comes in a form: as it is declared, or else as it looks. JSON stays JSON whatever it is called."""
    declared = request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data")
    return body.startswith(_FORM_START) or (declared and body.lstrip()[:1] not in (b"{", b"["))


def _find_form_payload(body: bytes) -> bytes | None:
    """Return the one field `payload` of the form; None where there is none, or more than one."""
    try:
        fields = parse_qs(body.decode(), strict_parsing=True, max_num_fields=_MAX_FORM_FIELDS)
    except ValueError:  # UnicodeDecodeError is such
        return None
    found = fields.get("payload", [])
    return found[0].encode() if len(found) == 1 else None


def _parse_json_body(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_reject_json_constant)
    except (ValueError, RecursionError):
        raise MalformedPayload(f"the body is not JSON: {_CONTENT_TYPE_FIX}") from None


def _reject_json_constant(_word: str) -> None:
    """Refuse `NaN` and `Infinity`, which Python reads and JSON does not know."""
    raise ValueError
