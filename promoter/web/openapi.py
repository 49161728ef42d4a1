"""`GET /api/v1/openapi.json`: the API, described for programs (OpenAPI 3.1), from the models that it answers with."""

from __future__ import annotations

import functools
from typing import Any

from flask import Blueprint, Response, jsonify
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from promoter import __version__
from promoter.application.responses import Answer, ErrorResponse, ReconcileResponse, enum_words
from promoter.application.responses.ledger import (
    CopyOriginResponse,
    DecisionResponse,
    DecisionsResponse,
    EvidencedResponse,
    NeighboursResponse,
    RecordPageResponse,
    RecordResponse,
    ReviewResponse,
    RuleResponse,
)
from promoter.application.responses.registry import (
    AliasAtResponse,
    AliasBetweenResponse,
    AliasHistoryResponse,
    AliasResponse,
    AliasThenResponse,
    DoubtResponse,
    GapResponse,
    ModelPageResponse,
    ModelResponse,
    OneModelResponse,
    OverrideResponse,
    RefusalResponse,
    RefusalsResponse,
    RegistryAtResponse,
    SpanResponse,
)
from promoter.domain.audit import ChangeOutcome, RecordKind
from promoter.domain.decision import Verdict
from promoter.web.api import PAGE_LIMIT

Schema = dict[str, Any]

COMPONENTS = (
    ErrorResponse, ModelResponse, AliasResponse, OverrideResponse, RecordResponse, NeighboursResponse, ReviewResponse,
    RefusalResponse, RuleResponse, DecisionResponse, EvidencedResponse, SpanResponse, DoubtResponse, GapResponse,
    AliasThenResponse, CopyOriginResponse,
)  # fmt: skip
"""The models with a name of their own in the document: that of the class, without `Response`. Others stand where they occur."""
ANSWERS: tuple[type[Answer], ...] = (
    ModelPageResponse, OneModelResponse, DecisionsResponse, RecordPageResponse, AliasHistoryResponse, AliasAtResponse,
    AliasBetweenResponse, RegistryAtResponse, RefusalsResponse, ReconcileResponse,
)  # fmt: skip
"""What the operations answer with."""
_MODELS: tuple[type[BaseModel], ...] = (*COMPONENTS, *ANSWERS)

_REF_PREFIX = "#/components/schemas/"
_TEXT: Schema = {"type": "string"}
_TIME_DESCRIPTION = "ISO 8601 with a zone (2026-10-03T14:05Z), or how long ago (`3 days ago`)."
_LIMIT_SCHEMA = {
    "type": "integer",
    "minimum": 0,
    "default": 100,
    "description": f"At most so many; never more than {PAGE_LIMIT:,}.",
}
_NON_NEGATIVE_SCHEMA = {"type": "integer", "minimum": 0, "default": 0}


def build_openapi_blueprint() -> Blueprint:
    """Build the route that serves the document."""
    routes = Blueprint("openapi", __name__, url_prefix="/api/v1")

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(build_openapi_document())

    return routes


def build_openapi_document() -> dict[str, Any]:
    """Build the whole document."""
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
        "components": {"schemas": {_component_name(each): _load_model_schemas()[each.__name__] for each in COMPONENTS}},
    }


class _SchemaGenerator(GenerateJsonSchema):
    """Writes what may be null as one more type; and neither titles, which only repeat the names, nor the models' defaults."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's signature
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:  # noqa: ARG002
        return value

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        return {name: found[name] for name in ("type", "description") if name in found} | found

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if "type" not in inner:
            return {"anyOf": [inner, {"type": "null"}]}
        words = {"enum": [*inner["enum"], None]} if "enum" in inner else {}
        return {**inner, "type": [inner["type"], "null"], **words}


@functools.cache
def _load_model_schemas() -> dict[str, Schema]:
    """Return the schemas of all models by their class names; references lead to components only."""
    _, found = models_json_schema(
        [(each, "serialization") for each in _MODELS],
        ref_template=_REF_PREFIX + "{model}",
        schema_generator=_SchemaGenerator,
    )
    definitions: dict[str, Schema] = found["$defs"]
    return {name: _resolve_schema(schema, definitions) for name, schema in definitions.items()}


def _resolve_schema(node: Any, definitions: dict[str, Schema]) -> Any:
    """Lead references to components by their names in the document, and put everything else where it is referred to."""
    if isinstance(node, list):
        return [_resolve_schema(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    target = str(node.get("$ref", "")).removeprefix(_REF_PREFIX)
    if target in {each.__name__ for each in COMPONENTS}:
        return {**node, "$ref": _REF_PREFIX + target.removesuffix("Response")}
    if target:
        return _resolve_schema(definitions[target], definitions)
    return {name: _resolve_schema(each, definitions) for name, each in node.items() if name != "title"}


def _component_name(model: type) -> str:
    return model.__name__.removesuffix("Response")


def _reference(model: type) -> Schema:
    return {"$ref": _REF_PREFIX + _component_name(model)}


def _answer_schema(model: type[Answer]) -> Schema:
    return {**_load_model_schemas()[model.__name__], "description": "The answer."}


def _build_paths() -> dict[str, Any]:
    return {
        "/api/v1/models": {"get": _models_operation()},
        "/api/v1/models/{name}": {"get": _model_operation()},
        "/api/v1/refusals": {"get": _refusals_operation()},
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
    return _build_operation("models", "The managed models, by name", _answer_schema(ModelPageResponse), page, bad=True)


def _model_operation() -> dict[str, Any]:
    body = _answer_schema(OneModelResponse)
    return _build_operation("model", "One model", body, [_path_parameter("name")], missing="No managed model.")


def _refusals_operation() -> dict[str, Any]:
    return _build_operation("refusals", "What people turned down, the newest first", _answer_schema(RefusalsResponse))


def _decisions_operation() -> dict[str, Any]:
    parameters = [_query_parameter("model", _TEXT), _query_parameter("alias", _TEXT), _query_parameter("limit", _LIMIT_SCHEMA)]
    body = _answer_schema(DecisionsResponse)
    return _build_operation("decisions", "Decisions, the newest first", body, parameters, bad=True)


def _audit_operation() -> dict[str, Any]:
    after = _query_parameter("after", _NON_NEGATIVE_SCHEMA, "Only records with a greater `id`, the first of them.")
    before = _query_parameter(
        "before", _NON_NEGATIVE_SCHEMA, "Only records with a smaller `id`: the last of them, unless there is an `after`."
    )
    names = [_query_parameter(name, _TEXT) for name in ("model", "alias", "actor")]
    enums = (("kind", RecordKind), ("outcome", ChangeOutcome), ("verdict", Verdict))
    chosen = [_query_parameter(name, enum_words(of).json_schema or {}) for name, of in enums]
    times = [
        _query_parameter("since", _TEXT, f"The first moment that counts. {_TIME_DESCRIPTION}"),
        _query_parameter("until", _TEXT, "The first that does not."),
    ]
    parameters = [*names, *chosen, *times, after, before, _query_parameter("limit", _LIMIT_SCHEMA)]
    body = _answer_schema(RecordPageResponse)
    return _build_operation("audit", "Audit records, oldest first, page by page", body, parameters, bad=True)


def _history_operation() -> dict[str, Any]:
    body = {"anyOf": [_answer_schema(each) for each in (AliasHistoryResponse, AliasAtResponse, AliasBetweenResponse)]}
    times = [
        _query_parameter("at", _TEXT, f"Only that moment. {_TIME_DESCRIPTION}"),
        _query_parameter("from", _TEXT, f"With `to`. {_TIME_DESCRIPTION}"),
        _query_parameter("to", _TEXT),
    ]
    summary = "Who held an alias when: always, at a moment (`at`), or between two (`from` and `to`)"
    return _build_operation("history", summary, body, [_path_parameter("name"), _path_parameter("alias"), *times], bad=True)


def _state_operation() -> dict[str, Any]:
    body = _answer_schema(RegistryAtResponse)
    parameters = [{**_query_parameter("at", _TEXT, _TIME_DESCRIPTION), "required": True}, _query_parameter("model", _TEXT)]
    return _build_operation("state", "Every alias at a moment", body, parameters, bad=True)


def _reconcile_operation() -> dict[str, Any]:
    body = _answer_schema(ReconcileResponse)
    found = _build_operation("reconcile", "Ask for a look at git, the registry and pull requests", body, status="202")
    foreign = {"application/problem+json": {"schema": _reference(ErrorResponse)}}
    refused = {
        "description": "The page of another site sends it (`Origin`), or the `Host` is no name of this daemon.",
        "content": foreign,
    }
    return found | {"responses": {"202": found["responses"]["202"], "403": refused, "default": found["responses"]["default"]}}


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
    """Build an operation. `bad`: a parameter may be unreadable. `missing`: what 404 says, where there may be no such thing."""
    error = _reference(ErrorResponse)
    answers = {status: _build_response("The answer.", body)}
    answers |= {"400": _build_response("A parameter cannot be read.", error)} if bad else {}
    answers |= {"404": _build_response(missing, error)} if missing else {}
    answers["default"] = _build_response("It cannot be answered, for example because the ledger cannot be read (503).", error)
    return {"operationId": name, "summary": summary, "parameters": parameters or [], "responses": answers}


def _build_response(description: str, body: Schema) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": body}}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}


def _query_parameter(name: str, of: Schema, description: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": of, **({"description": description} if description else {})}
