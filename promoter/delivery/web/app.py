"""The Flask application, assembled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from promoter.application.ports import Clock, Ledger
from promoter.application.watch import Watch
from promoter.delivery.web import api, health, openapi, page, past, webhooks
from promoter.domain.faults import OutsideError
from promoter.settings import Settings

log = structlog.get_logger(__name__)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
FOR_PROGRAMS = ("/api/", "/webhooks/", "/healthz", "/readyz", "/metrics")


@dataclass(frozen=True)
class Parts:
    """What the web shows and asks for. `put` asks for a look, `depth` is how many wait.

    `undelivered` counts the events that have not arrived, by channel and state.
    """

    settings: Settings
    watch: Watch
    ledger: Ledger
    clock: Clock
    put: Callable[[str, str], None]
    depth: Callable[[], int]
    undelivered: Callable[[], Mapping[tuple[str, str], int]] = dict


def create_app(parts: Parts) -> Flask:
    """Every route of the interface, and what answers where none does."""
    app = Flask("promoter.delivery.web")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = webhooks.BODY_LIMIT + 1
    receiver = webhooks.Receiver(parts.settings, parts.ledger, parts.watch, parts.clock, parts.put)
    app.register_blueprint(webhooks.blueprint(receiver))
    app.register_blueprint(health.blueprint(parts.watch, parts.depth, parts.undelivered))
    app.register_blueprint(api.blueprint(parts.watch, parts.ledger, parts.clock, parts.put))
    app.register_blueprint(past.blueprint(parts.ledger, parts.clock))
    app.register_blueprint(openapi.blueprint())
    app.register_blueprint(page.blueprint(parts.watch, parts.ledger, parts.clock))

    app.after_request(_harden)
    app.register_error_handler(OutsideError, _outside)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _unforeseen)
    return app


def _harden(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _outside(error: OutsideError) -> Response:
    log.warning("request could not be answered", path=request.path[:100], error=str(error))
    return _told(503, f"{error.what}: {error.message}")


def _refused(error: HTTPException) -> Response:
    status = error.code or 500
    if request.path.startswith("/webhooks/"):
        log.warning("webhook", status=status, result=error.name, path=request.path[:100])
    answer = _told(status, error.description or error.name)
    for name, value in error.get_headers():
        if name in ("Allow", "Location"):
            answer.headers[name] = value
    return answer


def _unforeseen(error: Exception) -> Response:
    log.error("request failed in an unforeseen way", path=request.path[:100], exc_info=error)
    return _told(500, "internal error, see the log")


def _told(status: int, message: str) -> Response:
    """JSON for programs, a page for people."""
    if request.path.startswith(FOR_PROGRAMS):
        answer = jsonify({"schema": api.SCHEMA, "error": message})
    else:
        answer = Response(render_template("error.html", status=status, message=message), mimetype="text/html")
    answer.status_code = status
    return answer
