"""The API: models, decisions, audit records, the past of aliases, as JSON with a version."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest, NotFound

from promoter.application.audit import find_page_rewrites, read_record_page
from promoter.application.controller import Controller
from promoter.application.history import describe_overrides, find_alias_at, find_alias_between, find_registry_at
from promoter.application.ports import Clock, Ledger
from promoter.application.responses import Answer, ReconcileResponse
from promoter.application.responses.ledger import DecisionsResponse, RecordPageResponse
from promoter.application.responses.registry import (
    AliasAtResponse,
    AliasBetweenResponse,
    AliasHistoryResponse,
    ModelPageResponse,
    OneModelResponse,
    RefusalsResponse,
    RegistryAtResponse,
)
from promoter.application.status import build_model_rows, list_effective_refusals, load_alias_history
from promoter.application.work_items import GIT, PULLS, REGISTRY, EnqueueWork
from promoter.domain.audit import ChangeOutcome, RecordFilter, RecordKind
from promoter.domain.decision import Verdict
from promoter.domain.fields import parse_moment, parse_past_moment, parse_time_window

PAGE_LIMIT = 1_000
MAX_RECORD_ID = 2**63 - 1

Parsed = TypeVar("Parsed")
Word = TypeVar("Word", bound=StrEnum)


def int_param(name: str, otherwise: int, most: int = PAGE_LIMIT) -> int:
    """Return the query parameter as a whole number, at most `most`."""
    text = request.args.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit()) or len(text) > 100:  # noqa: PLR2004  # no need to read more
        raise BadRequest(f"`{name}` is not a whole number")
    return min(int(text), most)


def enum_param(name: str, choices: type[Word]) -> Word | None:
    """Return the query parameter as one of these words; None where it is not given."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        raise BadRequest(f"`{name}` is none of {', '.join(choices)}") from None


def parse_param(name: str, parse: Callable[[], Parsed]) -> Parsed:
    """Return what `parse` makes of the query parameter of that name; its ValueError becomes a 400."""
    try:
        return parse()
    except ValueError as error:
        plus = (
            " (in an address, `+` is written `%2B`)"
            if any("T" in each and " " in each for each in request.args.values())
            else ""
        )
        raise BadRequest(f"`{name}`: {error}{plus}") from None


def build_api_blueprint(controller: Controller, ledger: Ledger, clock: Clock, enqueue: EnqueueWork) -> Blueprint:
    """Build `/api/v1/...`. Errors are `{"schema": 1, "error": TEXT}`."""
    routes = Blueprint("api", __name__, url_prefix="/api/v1")

    @routes.get("/models")
    def models() -> Response:
        snapshots = controller.snapshots
        start, limit = int_param("offset", 0, MAX_RECORD_ID), int_param("limit", 100)
        names = sorted(snapshots)[start : start + limit]
        late, failing = controller.health.late_models, controller.health.failing_models
        rows = [build_model_rows(snapshots[name], ledger, clock.now(), late, failing) for name in names]
        return answer_json(ModelPageResponse.from_values(total=len(snapshots), models=rows, workspace=controller.workspace))

    @routes.get("/models/<name>")
    def one(name: str) -> Response:
        snapshot = controller.snapshots.get(name)
        if snapshot is None:
            raise NotFound("no managed model of this name")
        late, failing = controller.health.late_models, controller.health.failing_models
        rows = build_model_rows(snapshot, ledger, clock.now(), late, failing)
        return answer_json(OneModelResponse.from_values(model=rows))

    @routes.get("/refusals")
    def refusals() -> Response:
        return answer_json(RefusalsResponse.from_values(refusals=list_effective_refusals(controller.snapshots.values())))

    @routes.post("/reconcile")
    def reconcile() -> tuple[Response, int]:
        enqueue(GIT, "api")
        enqueue(REGISTRY, "api")
        if controller.pull_request_work:
            enqueue(PULLS, "api")
        return answer_json(ReconcileResponse()), 202

    _add_ledger_routes(routes, ledger, clock)
    return routes


def _add_ledger_routes(routes: Blueprint, ledger: Ledger, clock: Clock) -> None:
    """Add the routes that ask the ledger alone: decisions, audit records, the past."""

    @routes.get("/decisions")
    def decisions() -> Response:
        found = ledger.list_recent_decisions(request.args.get("model"), request.args.get("alias"), int_param("limit", 100))
        rows = [each.numbered_tree | {"evidence": each.evidence} for each in found]
        return answer_json(DecisionsResponse.from_values(decisions=rows))

    @routes.get("/audit")
    def audit() -> Response:
        where = _parse_record_filter(clock.now())
        page, rewrites = read_record_page(ledger, where), find_page_rewrites(ledger, where)
        return answer_json(RecordPageResponse.from_values(records=page.records, next=page, rewrites=rewrites))

    @routes.get("/history/<name>/<alias>")
    def history(name: str, alias: str) -> Response:
        return answer_json(_load_alias_history(ledger, name, alias, clock.now()))

    @routes.get("/state")
    def state() -> Response:
        return answer_json(_load_registry_state(ledger, clock.now()))


def answer_json(answer: Answer) -> Response:
    """Return the answer as a response of type `application/json`."""
    return jsonify(answer.to_json())


def _parse_record_filter(now: datetime) -> RecordFilter:
    """Read which records are meant. Without `before` they come from the oldest on, behind `after`."""
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


def _load_alias_history(ledger: Ledger, model: str, alias: str, now: datetime) -> Answer:
    """Load the past of an alias: at a moment (`at`), between two (`from` and `to`), or all of it."""
    at, begin, end = (request.args.get(each) for each in ("at", "from", "to"))
    if at is not None and (begin is not None or end is not None):
        raise BadRequest("`at` goes without `from` and `to`")
    if (begin is None) != (end is None):
        raise BadRequest("`from` goes with `to`")
    if at is not None:
        moment = parse_param("at", lambda: parse_past_moment(at, now))
        return AliasAtResponse.from_value(find_alias_at(ledger, model, alias, moment, now))
    if begin is not None and end is not None:
        since, until = parse_param("from` and `to", lambda: parse_time_window(begin, end, now))
        return AliasBetweenResponse.from_value(find_alias_between(ledger, model, alias, since, until, now))
    spans, notes = load_alias_history(ledger, model, alias), describe_overrides(ledger, model, alias, now)
    return AliasHistoryResponse.from_values(model=model, alias=alias, spans=spans, notes=list(notes) or None)


def _load_registry_state(ledger: Ledger, now: datetime) -> Answer:
    """Load every alias at the moment `at`, of all models or of one."""
    at, model = request.args.get("at"), request.args.get("model")
    if at is None:
        raise BadRequest("`at` is missing: a time, such as `2026-10-03T14:05Z`")
    moment = parse_param("at", lambda: parse_past_moment(at, now))
    return RegistryAtResponse.from_value(find_registry_at(ledger, moment, now, None if model is None else [model]))
