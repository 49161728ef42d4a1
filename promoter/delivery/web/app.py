"""The Flask application, assembled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from promoter.application.ports import Clock, Ledger
from promoter.application.watch import Watch
from promoter.delivery.web import api, health, page, webhooks
from promoter.domain.faults import OutsideError
from promoter.settings import Settings

log = structlog.get_logger(__name__)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Parts:
    """What the web shows and asks for. `put` asks for a look, `depth` is how many wait."""

    settings: Settings
    watch: Watch
    ledger: Ledger
    clock: Clock
    put: Callable[[str, str], None]
    depth: Callable[[], int]


def create_app(parts: Parts) -> Flask:
    """Every route of the interface."""
    app = Flask("promoter.delivery.web")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = webhooks.BODY_LIMIT + 1
    receiver = webhooks.Receiver(parts.settings, parts.ledger, parts.watch, parts.clock, parts.put)
    app.register_blueprint(webhooks.blueprint(receiver))
    app.register_blueprint(health.blueprint(parts.watch, parts.depth))
    app.register_blueprint(api.blueprint(parts.watch, parts.ledger, parts.clock, parts.put))
    app.register_blueprint(page.blueprint(parts.watch, parts.ledger, parts.clock))
    app.template_filter("moment")(lambda at: f"{at:%Y-%m-%d %H:%M:%S}")

    @app.after_request
    def harden(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.errorhandler(OutsideError)
    def outside(error: OutsideError) -> tuple[Response, int]:
        log.warning("request could not be answered", error=str(error))
        return jsonify({"error": error.message}), 503

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> tuple[Response, int] | HTTPException:
        if isinstance(error, HTTPException):
            return error
        log.error("request failed in an unforeseen way", exc_info=error)
        return jsonify({"error": "internal error, see the log"}), 500

    return app
