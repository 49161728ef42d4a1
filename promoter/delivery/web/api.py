"""The API: what the page shows, as JSON with a version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request

from promoter.application.ports import Clock, Ledger
from promoter.application.query import alias_rows, last_moves
from promoter.application.survey import ModelView
from promoter.application.watch import GIT, REGISTRY, Watch
from promoter.domain.audit import RecordFilter

SCHEMA = 1
PAGE_LIMIT = 1_000


def blueprint(watch: Watch, ledger: Ledger, clock: Clock, put: Callable[[str, str], None]) -> Blueprint:
    """`/api/v1/...`."""
    routes = Blueprint("api", __name__, url_prefix="/api/v1")

    def model(view: ModelView) -> dict[str, Any]:
        last = last_moves(ledger.records(RecordFilter(model=view.intent.name, limit=PAGE_LIMIT, newest=True)))
        rows = [row.as_json() for row in alias_rows(view, last, clock.now())]
        newest = view.observed.newest if view.observed else None
        return {"name": view.intent.name, "owners": list(view.intent.owners), "newest_version": newest, "aliases": rows}

    @routes.get("/models")
    def models() -> Response:
        views = watch.views
        start, limit = _whole("offset", 0), _whole("limit", 100)
        names = sorted(views)[start : start + limit]
        return jsonify({"schema": SCHEMA, "total": len(views), "models": [model(views[name]) for name in names]})

    @routes.get("/models/<name>")
    def one(name: str) -> tuple[Response, int]:
        view = watch.views.get(name)
        if view is None:
            return jsonify({"schema": SCHEMA, "error": "no managed model of this name"}), 404
        return jsonify({"schema": SCHEMA, "model": model(view)}), 200

    @routes.get("/decisions")
    def decisions() -> Response:
        found = ledger.decisions(request.args.get("model"), request.args.get("alias"), _whole("limit", 100))
        told = [{"id": each.id, "revision": each.revision, **each.tree, "evidence": each.evidence} for each in found]
        return jsonify({"schema": SCHEMA, "decisions": told})

    @routes.get("/audit")
    def audit() -> Response:
        where = RecordFilter(
            model=request.args.get("model"),
            alias=request.args.get("alias"),
            after=_whole("after", 0, PAGE_LIMIT**3) or None,
            limit=_whole("limit", 100),
        )
        return jsonify({"schema": SCHEMA, "records": [record.as_json() for record in ledger.records(where)]})

    @routes.post("/reconcile")
    def reconcile() -> tuple[Response, int]:
        put(GIT, "api")
        put(REGISTRY, "api")
        return jsonify({"schema": SCHEMA, "result": "accepted"}), 202

    return routes


def _whole(name: str, otherwise: int, most: int = PAGE_LIMIT) -> int:
    text = request.args.get(name, "")
    return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 12 else otherwise  # noqa: PLR2004
