"""The API: what the page shows, as JSON with a version."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest, NotFound

from promoter.application.audit import read_record_page
from promoter.application.controller import GIT, PULLS, REGISTRY, Controller, EnqueueWork
from promoter.application.planner import ModelSnapshot
from promoter.application.ports import Clock, Ledger
from promoter.application.status import build_alias_rows, load_latest_moves
from promoter.domain.audit import ChangeOutcome, RecordFilter, RecordKind
from promoter.domain.decision import Verdict
from promoter.domain.fields import parse_moment

PAGE_LIMIT = 1_000
MAX_RECORD_ID = 2**63 - 1

Parsed = TypeVar("Parsed")
Word = TypeVar("Word", bound=StrEnum)


def int_param(name: str, otherwise: int, most: int = PAGE_LIMIT) -> int:
    """The query parameter as a whole number, at most `most`."""
    text = request.args.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit()) or len(text) > 100:  # noqa: PLR2004  # no need to read more
        raise BadRequest(f"`{name}` is not a whole number")
    return min(int(text), most)


def enum_param(name: str, choices: type[Word]) -> Word | None:
    """The query parameter as one of these words; None where it is not given."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        raise BadRequest(f"`{name}` is none of {', '.join(choices)}") from None


def parse_param(name: str, parse: Callable[[], Parsed]) -> Parsed:
    """What was parsed of the query parameter of that name; `parse` raises ValueError."""
    try:
        return parse()
    except ValueError as error:
        plus = (
            " (in an address, `+` is written `%2B`)"
            if any("T" in each and " " in each for each in request.args.values())
            else ""
        )
        raise BadRequest(f"`{name}`: {error}{plus}") from None


SCHEMA = 1


def build_api_blueprint(controller: Controller, ledger: Ledger, clock: Clock, enqueue: EnqueueWork) -> Blueprint:
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
