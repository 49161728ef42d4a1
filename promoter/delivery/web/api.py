"""The API: what the page shows, as JSON with a version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest, NotFound

from promoter.application.ports import Clock, Ledger
from promoter.application.query import alias_rows, latest_moves
from promoter.application.survey import ModelView
from promoter.application.watch import GIT, PULLS, REGISTRY, Watch
from promoter.domain.audit import RecordFilter

SCHEMA = 1
PAGE_LIMIT = 1_000
HIGHEST_ID = 2**63 - 1


def blueprint(watch: Watch, ledger: Ledger, clock: Clock, put: Callable[[str, str], None]) -> Blueprint:
    """`/api/v1/...`. Errors are `{"schema": 1, "error": TEXT}`."""
    routes = Blueprint("api", __name__, url_prefix="/api/v1")

    @routes.get("/models")
    def models() -> Response:
        views = watch.views
        start, limit = whole("offset", 0, HIGHEST_ID), whole("limit", 100)
        names = sorted(views)[start : start + limit]
        return jsonify(
            {"schema": SCHEMA, "total": len(views), "models": [_model(views[name], ledger, clock) for name in names]}
        )

    @routes.get("/models/<name>")
    def one(name: str) -> Response:
        view = watch.views.get(name)
        if view is None:
            raise NotFound("no managed model of this name")
        return jsonify({"schema": SCHEMA, "model": _model(view, ledger, clock)})

    @routes.get("/decisions")
    def decisions() -> Response:
        found = ledger.decisions(request.args.get("model"), request.args.get("alias"), whole("limit", 100))
        told = [{"id": each.id, "revision": each.revision, **each.tree, "evidence": each.evidence} for each in found]
        return jsonify({"schema": SCHEMA, "decisions": told})

    @routes.get("/audit")
    def audit() -> Response:
        return jsonify({"schema": SCHEMA, "records": [record.as_json() for record in ledger.records(_asked())]})

    @routes.post("/reconcile")
    def reconcile() -> tuple[Response, int]:
        put(GIT, "api")
        put(REGISTRY, "api")
        if watch.pulls:
            put(PULLS, "api")
        return jsonify({"schema": SCHEMA, "result": "accepted"}), 202

    return routes


def _asked() -> RecordFilter:
    after, limit = whole("after", 0, HIGHEST_ID) or None, whole("limit", 100)
    return RecordFilter(request.args.get("model"), request.args.get("alias"), after=after, limit=limit)


def _model(view: ModelView, ledger: Ledger, clock: Clock) -> dict[str, Any]:
    rows = [row.as_json() for row in alias_rows(view, latest_moves(ledger, view), clock.now())]
    newest = view.observed.newest if view.observed else None
    return {"name": view.intent.name, "owners": list(view.intent.owners), "newest_version": newest, "aliases": rows}


def whole(name: str, otherwise: int, most: int = PAGE_LIMIT) -> int:
    """The query parameter as a whole number, at most `most`. Raises `BadRequest` for anything else."""
    text = request.args.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit()) or len(text) > 100:  # noqa: PLR2004  # no need to read more
        raise BadRequest(f"`{name}` is not a whole number")
    return min(int(text), most)
