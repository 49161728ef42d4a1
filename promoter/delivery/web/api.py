"""The API: what the page shows, as JSON with a version."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest, NotFound

from promoter.application.ledger.pages import read_record_page
from promoter.application.ports import Clock, Ledger
from promoter.application.query import build_alias_rows, load_latest_moves
from promoter.application.survey import ModelSnapshot
from promoter.application.watch import GIT, PULLS, REGISTRY, Controller
from promoter.delivery.web.asked import MAX_RECORD_ID, parse_param, int_param, enum_param
from promoter.domain.audit import RecordKind, ChangeOutcome, RecordFilter
from promoter.domain.moment import parse_moment
from promoter.domain.verdict import Verdict

SCHEMA = 1


def build_api_blueprint(controller: Controller, ledger: Ledger, clock: Clock, enqueue: Callable[[str, str], None]) -> Blueprint:
    """`/api/v1/...`. Errors are `{"schema": 1, "error": TEXT}`."""
    routes = Blueprint("api", __name__, url_prefix="/api/v1")

    @routes.get("/models")
    def models() -> Response:
        snapshots = controller.snapshots
        start, limit = int_param("offset", 0, MAX_RECORD_ID), int_param("limit", 100)
        names = sorted(snapshots)[start : start + limit]
        return jsonify(
            {
                "schema": SCHEMA,
                "total": len(snapshots),
                "models": [_render_model_json(snapshots[name], ledger, clock) for name in names],
            }
        )

    @routes.get("/models/<name>")
    def one(name: str) -> Response:
        snapshot = controller.snapshots.get(name)
        if snapshot is None:
            raise NotFound("no managed model of this name")
        return jsonify({"schema": SCHEMA, "model": _render_model_json(snapshot, ledger, clock)})

    @routes.get("/decisions")
    def decisions() -> Response:
        found = ledger.list_recent_decisions(request.args.get("model"), request.args.get("alias"), int_param("limit", 100))
        rows = [{"id": each.id, "revision": each.revision, **each.tree, "evidence": each.evidence} for each in found]
        return jsonify({"schema": SCHEMA, "decisions": rows})

    @routes.get("/audit")
    def audit() -> Response:
        return jsonify({"schema": SCHEMA, **read_record_page(ledger, _parse_record_filter(clock.now())).to_json()})

    @routes.post("/reconcile")
    def reconcile() -> tuple[Response, int]:
        enqueue(GIT, "api")
        enqueue(REGISTRY, "api")
        if controller.pull_request_work:
            enqueue(PULLS, "api")
        return jsonify({"schema": SCHEMA, "result": "accepted"}), 202

    return routes


def _parse_record_filter(now: datetime) -> RecordFilter:
    """Which records. Without `before` they are told from the oldest on, behind `after`."""
    after, before = int_param("after", 0, MAX_RECORD_ID) or None, int_param("before", 0, MAX_RECORD_ID) or None
    since, until = _parse_moment_param("since", now), _parse_moment_param("until", now)
    if since and until and until <= since:
        raise BadRequest("`since` is not before `until`")
    return RecordFilter(
        request.args.get("model"),
        request.args.get("alias"),
        enum_param("kind", RecordKind),
        enum_param("outcome", ChangeOutcome),
        actor=request.args.get("actor"),
        verdict=enum_param("verdict", Verdict),
        since=since,
        until=until,
        after=after,
        before=before,
        limit=int_param("limit", 100),
        newest=before is not None and after is None,
    )


def _parse_moment_param(name: str, now: datetime) -> datetime | None:
    text = request.args.get(name)
    return None if text is None else parse_param(name, lambda: parse_moment(text, now))


def _render_model_json(snapshot: ModelSnapshot, ledger: Ledger, clock: Clock) -> dict[str, Any]:
    rows = [row.to_json() for row in build_alias_rows(snapshot, load_latest_moves(ledger, snapshot), clock.now())]
    newest = snapshot.observed.newest_version if snapshot.observed else None
    return {"name": snapshot.intent.name, "owners": list(snapshot.intent.owners), "newest_version": newest, "aliases": rows}
