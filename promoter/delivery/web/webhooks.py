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

from promoter.application.ports import Clock, Ledger
from promoter.application.watch import GIT, MODEL, WEBHOOK, Watch
from promoter.delivery.web import forge_events, signatures
from promoter.delivery.web.hints import Hint, Malformed, mapping, text
from promoter.domain.audit import Delivery
from promoter.domain.faults import OutsideError
from promoter.domain.names import model_name
from promoter.settings import Settings

log = structlog.get_logger(__name__)

BODY_LIMIT = 1024 * 1024
Read = Callable[[Any, str, str], Hint]
"""From a payload, its event and the watched branch."""
Prove = Callable[[Headers, bytes, Settings, datetime], str]
"""The delivery's id; raises `Unsigned`."""
MLFLOW_ENTITIES = ("registered_model", "model_version", "model_version_tag", "model_version_alias")


@dataclass(frozen=True)
class Sender:
    """A forge: which headers name the event (the first that is there), what proves a delivery, and what reads it."""

    event: tuple[str, ...]
    prove: Prove
    read: Read


FORGES = {
    "github": Sender(
        ("X-GitHub-Event",),
        lambda headers, body, settings, _now: signatures.github(headers, body, settings.github_webhook_secret),
        forge_events.github,
    ),
    "gitlab": Sender(
        ("X-Gitlab-Event",),
        lambda headers, body, settings, now: signatures.gitlab(headers, body, settings.gitlab_webhook_secret, now),
        forge_events.gitlab,
    ),
    "gitea": Sender(
        ("X-Gitea-Event", "X-Forgejo-Event"),
        lambda headers, body, settings, _now: signatures.gitea(headers, body, settings.gitea_webhook_secret),
        forge_events.gitea,
    ),
}


@dataclass(frozen=True)
class Receiver:
    """What the webhooks need."""

    settings: Settings
    ledger: Ledger
    watch: Watch
    clock: Clock
    put: Callable[[str, str], None]

    def take(self, source: str, authenticate: Callable[[bytes], str], read: Callable[[Any], Hint]) -> Response:
        """Cap, authenticate, parse, record, ask for a look. One log line, whatever comes of it."""
        try:
            delivery = authenticate(body := _body())
            hint = read(_json(body))
        except RequestEntityTooLarge:
            return self._answer(413, source, "too large")
        except signatures.Unsigned as unsigned:
            return self._answer(401, source, str(unsigned))
        except Malformed as malformed:
            return self._answer(400, source, str(malformed))
        if not hint.keys:
            return self._answer(200, source, "not for us", hint)
        return self._record(source, delivery, hint)

    def _record(self, source: str, delivery: str, hint: Hint) -> Response:
        now = self.clock.now()
        try:
            new = not delivery or self.ledger.deliver(Delivery(source, delivery, now, hint.event, hint.model))
        except OutsideError as error:
            return self._answer(503, source, error.message, hint)
        if not new:
            return self._answer(200, source, "duplicate", hint)
        for key in hint.keys:
            self.put(key, WEBHOOK + source + (f":{delivery}" if delivery else ""))
        return self._answer(202, source, "accepted", hint)

    def mlflow(self, told: Any) -> Hint:
        """`entity`, `action`, `data.name`; whatever else it says is read from the registry, not from here."""
        entity, action, data = text(told, "entity"), text(told, "action"), mapping(told, "data")
        event = f"{entity}.{action}"
        if entity not in MLFLOW_ENTITIES:
            return Hint((), event)
        name = _model(data)
        declaration = self.watch.revisions.in_force
        if declaration is not None and not declaration.desired.manages(name):
            return Hint((), event, name)
        return Hint((MODEL + name,), event, name)

    def forge(self, read: Read, event: str) -> Callable[[Any], Hint]:
        """What a forge's payload names. Pull requests are nothing of ours where no forge is configured."""

        def hint(told: Any) -> Hint:
            found = read(told, event, self.settings.branch)
            keys = found.keys if self.watch.pulls else tuple(key for key in found.keys if key == GIT)
            return replace(found, keys=keys)

        return hint

    def _answer(self, status: int, source: str, what: str, hint: Hint | None = None) -> Response:
        tell = log.info if status < 400 else log.warning  # noqa: PLR2004  # HTTP's own line between good and bad
        tell("webhook", source=source, status=status, result=what, event_name=hint.event if hint else None,
             model=hint.model if hint else None)  # fmt: skip
        return Response(json.dumps({"result": what}) + "\n", status=status, mimetype="application/json")


def blueprint(receiver: Receiver) -> Blueprint:
    """`POST /webhooks/...`."""
    routes = Blueprint("webhooks", __name__)
    settings = receiver.settings

    @routes.post("/webhooks/mlflow")
    def mlflow() -> Response:
        return receiver.take(
            "mlflow",
            lambda body: signatures.mlflow(request.headers, body, settings.mlflow_webhook_secret, receiver.clock.now()),
            receiver.mlflow,
        )

    @routes.post(f"/webhooks/<any({', '.join(FORGES)}):name>")
    def forge(name: str) -> Response:
        sender, headers = FORGES[name], request.headers
        event = next((found for each in sender.event if (found := headers.get(each))), "")[:100]
        return receiver.take(
            name,
            lambda body: sender.prove(headers, body, settings, receiver.clock.now()),
            receiver.forge(sender.read, event),
        )

    return routes


def _body() -> bytes:
    # One byte more than the limit: a chunked body that is cut exactly there would look whole.
    request.max_content_length = BODY_LIMIT + 1
    body = request.get_data(cache=False)
    if len(body) > BODY_LIMIT:
        raise RequestEntityTooLarge
    return body


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Malformed("the body is not JSON") from None


def _no_number(_word: str) -> None:
    """`NaN` and `Infinity`, which Python reads and JSON does not know."""
    raise ValueError


def _model(data: dict[str, Any]) -> str:
    try:
        name = model_name(text(data, "name"))
        name.encode()  # half a surrogate pair can be written in JSON, and nowhere be kept
    except ValueError:
        raise Malformed("`name` is not a model name") from None
    return name
