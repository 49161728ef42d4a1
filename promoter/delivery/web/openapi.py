"""`GET /api/v1/openapi.json`: the API, described for programs (OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from promoter import __version__
from promoter.delivery.web.asked import PAGE_LIMIT
from promoter.delivery.web.openapi_shapes import (
    MOMENT,
    COMPONENT_SCHEMAS,
    ALIAS_STATE_PROPERTIES,
    TEXT,
    INTEGER,
    Schema,
    response_schema,
    nullable_schema,
    schema_reference,
    array_schema,
    enum_schema,
)
from promoter.domain.audit import RecordKind, ChangeOutcome
from promoter.domain.verdict import Verdict

_TIME_DESCRIPTION = "ISO 8601 with a zone (2026-10-03T14:05Z), or how long ago (`3 days ago`)."
_LIMIT_SCHEMA = {
    "type": "integer",
    "minimum": 0,
    "default": 100,
    "description": f"At most so many; never more than {PAGE_LIMIT:,}.",
}
_NON_NEGATIVE_SCHEMA = {"type": "integer", "minimum": 0, "default": 0}


def build_openapi_blueprint() -> Blueprint:
    """The description, served."""
    routes = Blueprint("openapi", __name__, url_prefix="/api/v1")

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(build_openapi_document())

    return routes


def build_openapi_document() -> dict[str, Any]:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Promoter",
            "version": __version__,
            "description": "What git says of the registry's aliases, what the registry holds, and what was decided and done. "
            "Times are ISO 8601 in UTC, versions are integers, what is unknown is null.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "paths": _build_paths(),
        "components": {"schemas": COMPONENT_SCHEMAS},
    }


def _build_paths() -> dict[str, Any]:
    return {
        "/api/v1/models": {"get": _models_operation()},
        "/api/v1/models/{name}": {"get": _model_operation()},
        "/api/v1/decisions": {"get": _decisions_operation()},
        "/api/v1/audit": {"get": _audit_operation()},
        "/api/v1/history/{name}/{alias}": {"get": _history_operation()},
        "/api/v1/state": {"get": _state_operation()},
        "/api/v1/reconcile": {"post": _reconcile_operation()},
        "/api/v1/openapi.json": {"get": _openapi_operation()},
    }


def _models_operation() -> dict[str, Any]:
    page = [
        _query_parameter("offset", _NON_NEGATIVE_SCHEMA, "How many to pass over."),
        _query_parameter("limit", _LIMIT_SCHEMA),
    ]
    body = response_schema(
        {"total": {**INTEGER, "description": "How many there are."}, "models": array_schema(schema_reference("Model"))}
    )
    return _build_operation("models", "The managed models, by name", body, page, bad=True)


def _model_operation() -> dict[str, Any]:
    return _build_operation(
        "model",
        "One model",
        response_schema({"model": schema_reference("Model")}),
        [_path_parameter("name")],
        missing="No managed model.",
    )


def _decisions_operation() -> dict[str, Any]:
    parameters = [_query_parameter("model", TEXT), _query_parameter("alias", TEXT), _query_parameter("limit", _LIMIT_SCHEMA)]
    return _build_operation(
        "decisions",
        "Decisions, the newest first",
        response_schema({"decisions": array_schema(schema_reference("Evidenced"))}),
        parameters,
        bad=True,
    )


def _audit_operation() -> dict[str, Any]:
    after = _query_parameter("after", _NON_NEGATIVE_SCHEMA, "Only records with a greater `id`, the first of them.")
    before = _query_parameter(
        "before", _NON_NEGATIVE_SCHEMA, "Only records with a smaller `id`: the last of them, unless there is an `after`."
    )
    names = [_query_parameter(name, TEXT) for name in ("model", "alias", "actor")]
    enums = (("kind", RecordKind), ("outcome", ChangeOutcome), ("verdict", Verdict))
    chosen = [_query_parameter(name, enum_schema(of)) for name, of in enums]
    times = [
        _query_parameter("since", TEXT, f"The first moment that counts. {_TIME_DESCRIPTION}"),
        _query_parameter("until", TEXT, "The first that does not."),
    ]
    parameters = [*names, *chosen, *times, after, before, _query_parameter("limit", _LIMIT_SCHEMA)]
    body = response_schema({"records": array_schema(schema_reference("Record")), "next": schema_reference("Neighbours")})
    return _build_operation("audit", "Audit records, oldest first, page by page", body, parameters, bad=True)


def _history_operation() -> dict[str, Any]:
    names = {"model": TEXT, "alias": TEXT}
    whole = response_schema({**names, "spans": array_schema(schema_reference("Span"))})
    record, decision, gap = (nullable_schema(schema_reference(name)) for name in ("Record", "Decision", "Gap"))
    moment = {
        "at": MOMENT,
        **ALIAS_STATE_PROPERTIES,
        "record": record,
        "decision": decision,
        "gap": gap,
        "notes": array_schema(TEXT),
    }
    spans = {
        "known_from": nullable_schema(MOMENT),
        "spans": array_schema(schema_reference("Span")),
        "doubts": array_schema(schema_reference("Doubt")),
        "gaps": array_schema(schema_reference("Gap")),
    }
    period = {"from": MOMENT, "to": MOMENT, **spans, "notes": array_schema(TEXT)}
    body = {"anyOf": [whole, response_schema({**names, **moment}), response_schema({**names, **period})]}
    times = [
        _query_parameter("at", TEXT, f"Only that moment. {_TIME_DESCRIPTION}"),
        _query_parameter("from", TEXT, f"With `to`. {_TIME_DESCRIPTION}"),
        _query_parameter("to", TEXT),
    ]
    summary = "Who held an alias when: always, at a moment (`at`), or between two (`from` and `to`)"
    return _build_operation("history", summary, body, [_path_parameter("name"), _path_parameter("alias"), *times], bad=True)


def _state_operation() -> dict[str, Any]:
    body = response_schema(
        {
            "at": MOMENT,
            "aliases": array_schema(schema_reference("AliasThen")),
            "gap": nullable_schema(schema_reference("Gap")),
            "notes": array_schema(TEXT),
        }
    )
    parameters = [{**_query_parameter("at", TEXT, _TIME_DESCRIPTION), "required": True}, _query_parameter("model", TEXT)]
    return _build_operation("state", "Every alias at a moment", body, parameters, bad=True)


def _reconcile_operation() -> dict[str, Any]:
    body = response_schema({"result": enum_schema(("accepted",))})
    return _build_operation("reconcile", "Ask for a look at git, the registry and pull requests", body, status="202")


def _openapi_operation() -> dict[str, Any]:
    return _build_operation("openapi", "This description", {"type": "object", "required": ["openapi", "info", "paths"]})


def _build_operation(
    name: str,
    summary: str,
    body: Schema,
    parameters: list[dict[str, Any]] | None = None,
    *,
    status: str = "200",
    bad: bool = False,
    missing: str = "",
) -> dict[str, Any]:
    """`bad`: there are parameters that cannot be read. `missing`: what there may be none of."""
    answers = {status: _build_response("The answer.", body)}
    answers |= {"400": _build_response("A parameter cannot be read.", schema_reference("Error"))} if bad else {}
    answers |= {"404": _build_response(missing, schema_reference("Error"))} if missing else {}
    answers["default"] = _build_response(
        "It cannot be answered, for example because the ledger cannot be read (503).", schema_reference("Error")
    )
    return {"operationId": name, "summary": summary, "parameters": parameters or [], "responses": answers}


def _build_response(description: str, body: Schema) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": body}}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def _query_parameter(name: str, of: Schema, description: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": of, **({"description": description} if description else {})}
