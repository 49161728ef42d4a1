"""The past over the API, in the shapes of the command line: an alias at a time or between two, and the whole registry."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import BadRequest

from promoter.application.history import find_alias_at, find_alias_between, find_registry_at
from promoter.application.ports import Clock, Ledger
from promoter.application.status import load_alias_history
from promoter.domain.fields import parse_past_moment, parse_time_window
from promoter.web.api import SCHEMA, parse_param


def build_history_blueprint(ledger: Ledger, clock: Clock) -> Blueprint:
    """`/api/v1/history/...` and `/api/v1/state`."""
    routes = Blueprint("past", __name__, url_prefix="/api/v1")

    @routes.get("/history/<name>/<alias>")
    def of_alias(name: str, alias: str) -> Response:
        now, at, begin, end = clock.now(), *(request.args.get(each) for each in ("at", "from", "to"))
        if at is not None and (begin is not None or end is not None):
            raise BadRequest("`at` goes without `from` and `to`")
        if (begin is None) != (end is None):
            raise BadRequest("`from` goes with `to`")
        if at is not None:
            moment = parse_param("at", lambda: parse_past_moment(at, now))
            return jsonify({"schema": SCHEMA, **find_alias_at(ledger, name, alias, moment, now).to_json()})
        if begin is not None and end is not None:
            since, until = parse_param("from` and `to", lambda: parse_time_window(begin, end, now))
            return jsonify({"schema": SCHEMA, **find_alias_between(ledger, name, alias, since, until, now).to_json()})
        spans = [span.to_json() for span in load_alias_history(ledger, name, alias)]
        return jsonify({"schema": SCHEMA, "model": name, "alias": alias, "spans": spans})

    @routes.get("/state")
    def of_registry() -> Response:
        now, at, model = clock.now(), request.args.get("at"), request.args.get("model")
        if at is None:
            raise BadRequest("`at` is missing: a time, such as `2026-10-03T14:05Z`")
        moment: datetime = parse_param("at", lambda: parse_past_moment(at, now))
        found = find_registry_at(ledger, moment, now, None if model is None else [model])
        return jsonify({"schema": SCHEMA, **found.to_json()})

    return routes
