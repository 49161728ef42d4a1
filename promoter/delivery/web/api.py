"""The API: what the page shows, as JSON with a version."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest, NotFound

from promoter.application.ledger.pages import page
from promoter.application.ports import Clock, Ledger
from promoter.application.query import alias_rows, latest_moves
from promoter.application.survey import ModelView
from promoter.application.watch import GIT, PULLS, REGISTRY, Watch
from promoter.delivery.web.asked import HIGHEST_ID, parsed, whole, word
from promoter.domain.audit import Kind, Outcome, RecordFilter
from promoter.domain.moment import parse_moment
from promoter.domain.verdict import Verdict

SCHEMA = 1


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
        return jsonify({"schema": SCHEMA, **page(ledger, _asked(clock.now())).as_json()})

    @routes.post("/reconcile")
    def reconcile() -> tuple[Response, int]:
        put(GIT, "api")
        put(REGISTRY, "api")
        if watch.pulls:
            put(PULLS, "api")
        return jsonify({"schema": SCHEMA, "result": "accepted"}), 202

    return routes


def _asked(now: datetime) -> RecordFilter:
    """Which records. Without `before` they are told from the oldest on, behind `after`."""
    after, before = whole("after", 0, HIGHEST_ID) or None, whole("before", 0, HIGHEST_ID) or None
    since, until = _moment("since", now), _moment("until", now)
    if since and until and until <= since:
        raise BadRequest("`since` is not before `until`")
    return RecordFilter(
        request.args.get("model"),
        request.args.get("alias"),
        word("kind", Kind),
        word("outcome", Outcome),
        actor=request.args.get("actor"),
        verdict=word("verdict", Verdict),
        since=since,
        until=until,
        after=after,
        before=before,
        limit=whole("limit", 100),
        newest=before is not None and after is None,
    )


def _moment(name: str, now: datetime) -> datetime | None:
    text = request.args.get(name)
    return None if text is None else parsed(name, lambda: parse_moment(text, now))


def _model(view: ModelView, ledger: Ledger, clock: Clock) -> dict[str, Any]:
    rows = [row.as_json() for row in alias_rows(view, latest_moves(ledger, view), clock.now())]
    newest = view.observed.newest if view.observed else None
    return {"name": view.intent.name, "owners": list(view.intent.owners), "newest_version": newest, "aliases": rows}
