"""The Flask application, assembled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from flask import Flask, Response, render_template, request
from markupsafe import Markup
from werkzeug.exceptions import HTTPException

from promoter.application.controller import Controller
from promoter.application.ports import Clock, Ledger
from promoter.application.responses import ErrorResponse
from promoter.application.work_items import EnqueueWork
from promoter.domain.errors import ExternalError
from promoter.domain.text import escape_lines
from promoter.settings import Settings
from promoter.web import admission, api, dashboard, health, openapi, webhooks

log = structlog.get_logger(__name__)


SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
MACHINE_PATHS = ("/api/", "/webhooks/", "/healthz", "/readyz", "/metrics")


@dataclass(frozen=True)
class AppDependencies:
    """What the routes read from, and where they put work."""

    settings: Settings
    controller: Controller
    ledger: Ledger
    clock: Clock
    enqueue: EnqueueWork
    depths: Callable[[], Mapping[str, int]]
    """Counts the work items that wait or run, by kind of work."""
    undelivered: Callable[[], Mapping[tuple[str, str], int]] = dict
    """Counts the events that have not arrived, by channel and state."""


def create_app(dependencies: AppDependencies) -> Flask:
    """Register every route, the headers of every answer, and what answers where a route fails or is missing."""
    app = Flask("promoter.web")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.jinja_env.finalize = _escape_page_value
    app.config["MAX_CONTENT_LENGTH"] = webhooks.BODY_LIMIT + 1
    admission.refuse_foreign_requests(app, admission.TrustedHosts(dependencies.settings))
    rates = admission.WebhookRates(app, dependencies.settings.webhook_rate)
    receiver = webhooks.WebhookReceiver(
        dependencies.settings, dependencies.ledger, dependencies.controller, dependencies.clock, dependencies.enqueue, rates
    )
    app.register_blueprint(webhooks.build_webhooks_blueprint(receiver))
    app.register_blueprint(
        health.build_health_blueprint(dependencies.controller, dependencies.depths, dependencies.undelivered)
    )
    app.register_blueprint(
        api.build_api_blueprint(dependencies.controller, dependencies.ledger, dependencies.clock, dependencies.enqueue)
    )
    app.register_blueprint(openapi.build_openapi_blueprint())
    app.register_blueprint(
        dashboard.build_dashboard_blueprint(dependencies.controller, dependencies.ledger, dependencies.clock)
    )

    app.after_request(_set_security_headers)
    app.register_error_handler(ExternalError, _answer_external_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_unexpected_error)
    return app


def _escape_page_value(value: object) -> object:
    """What a template shows, without characters that would reorder or hide what stands beside them on the page."""
    return escape_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _set_security_headers(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _answer_external_error(error: ExternalError) -> Response:
    log.warning("request could not be answered", path=request.path[:100], error=str(error))
    return _build_error_answer(503, f"{error.what}: {error.message}")


def _answer_http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if request.path.startswith("/webhooks/"):
        log.warning("webhook", status=status, result=error.name, path=request.path[:100])
    answer = _build_error_answer(status, error.description or error.name)
    for name, value in error.get_headers():
        if name in ("Allow", "Location"):
            answer.headers[name] = value
    return answer


def _answer_unexpected_error(error: Exception) -> Response:
    log.error("request failed in an unforeseen way", path=request.path[:100], exc_info=error)
    return _build_error_answer(500, "internal error, see the log")


def _build_error_answer(status: int, message: str) -> Response:
    """Answer programs in JSON, and people with a page."""
    if request.path.startswith(MACHINE_PATHS):
        answer = api.answer_json(ErrorResponse(error=message))
    else:
        answer = Response(render_template("error.html", status=status, message=message), mimetype="text/html")
    answer.status_code = status
    return answer
