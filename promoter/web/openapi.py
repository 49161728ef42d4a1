"""`GET /api/v1/openapi.json`: the API, described for programs (OpenAPI 3.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response, jsonify

from promoter import __version__
from promoter.application.status import BLOCKED, DRIFT, DUE, GUARD, HOLD, IN_STEP, OPEN, OVERRIDE
from promoter.domain.audit import ChangeOutcome, RecordKind
from promoter.domain.decision import Verdict
from promoter.domain.history import Certainty
from promoter.web.api import PAGE_LIMIT

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
MOMENT: Schema = {"type": "string", "format": "date-time"}


def schema_reference(name: str) -> Schema:
    """One of `COMPONENT_SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable_schema(of: Schema) -> Schema:
    """That, or null."""
    if "type" not in of:
        return {"anyOf": [of, {"type": "null"}]}
    enumeration = {"enum": [*of["enum"], None]} if "enum" in of else {}
    return {**of, "type": [of["type"], "null"], **enumeration}


def array_schema(of: Schema) -> Schema:
    """A list of that."""
    return {"type": "array", "items": of}


def enum_schema(of: Iterable[str]) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": [str(each) for each in of]}


def described_schema(description: str, of: Schema) -> Schema:
    """That, with words for people."""
    return {**of, "description": description}


def object_schema(description: str, properties: dict[str, Schema], optional: Iterable[str] = ()) -> Schema:
    """An object. All of its properties are always there, except for the optional ones."""
    required = [name for name in properties if name not in set(optional)]
    return {"type": "object", "description": description, "properties": properties, "required": required}


def response_schema(properties: dict[str, Schema]) -> Schema:
    """The whole of an answer."""
    return object_schema("The answer.", {"schema": {"const": 1, "description": "The version of this form."}, **properties})


VERDICT = enum_schema(Verdict)
VERSION = described_schema("The version; null: absent, or nobody knows.", nullable_schema(INTEGER))
REVISION = described_schema("The commit.", nullable_schema(TEXT))

_RULE_PROPERTIES: dict[str, Schema] = {
    "rule": described_schema("As it is written in the policy.", TEXT),
    "verdict": VERDICT,
    "value": described_schema("What was seen; null: nothing.", {"type": ["string", "number", "boolean", "null"]}),
    "expected": described_schema("In words.", TEXT),
    "rules": array_schema(schema_reference("Rule")),
    "interval": object_schema("A confidence interval.", {"low": NUMBER, "high": NUMBER, "level": NUMBER}),
    "waived": object_schema("What it was without the waiver.", {"verdict": VERDICT, "waiver": TEXT}),
}
_DECISION_PROPERTIES: dict[str, Schema] = {
    "id": described_schema("Its number in the ledger.", INTEGER),
    "revision": REVISION,
    "model": TEXT,
    "alias": nullable_schema(TEXT),
    "version": INTEGER,
    "policy": described_schema("null: no policy's decision, only whether the version is ready.", nullable_schema(TEXT)),
    "policy_digest": described_schema("SHA-256 of the policy.", nullable_schema(TEXT)),
    "verdict": VERDICT,
    "enforcement": described_schema("`audit`: it only watches, and blocks nothing.", enum_schema(("enforce", "audit"))),
    "at": MOMENT,
    "rules": array_schema(schema_reference("Rule")),
}
_EVIDENCE = described_schema(
    "What the decision was taken on; null where there was none, or where it was dropped since.", {"type": "object"}
)
_RECORD_PROPERTIES: dict[str, Schema] = {
    "id": described_schema("Its number in the ledger.", INTEGER),
    "at": described_schema("When it was recorded.", MOMENT),
    "kind": described_schema("`observed`: somebody else moved the alias.", enum_schema(RecordKind)),
    "model": TEXT,
    "alias": TEXT,
    "from": VERSION,
    "to": VERSION,
    "revision": REVISION,
    "actor": nullable_schema(TEXT),
    "trigger": nullable_schema(TEXT),
    "policy": nullable_schema(TEXT),
    "verdict": nullable_schema(VERDICT),
    "outcome": nullable_schema(enum_schema(ChangeOutcome)),
    "reason": nullable_schema(TEXT),
    "cause": nullable_schema(TEXT),
    "review": described_schema("The pull request that brought it.", nullable_schema(schema_reference("Review"))),
    "until": described_schema("When the override expires.", nullable_schema(MOMENT)),
    "not_before": described_schema("When the registry was last seen as it was before.", nullable_schema(MOMENT)),
    "hold": described_schema("The reason of the hold that git states with it.", nullable_schema(TEXT)),
    "intent": described_schema("The intent that it closes.", nullable_schema(INTEGER)),
    "decision": described_schema("The number of the decision behind it.", nullable_schema(INTEGER)),
    "hash": described_schema("SHA-256 of the entry in the ledger's chain.", nullable_schema(TEXT)),
}
_ROW_PROPERTIES: dict[str, Schema] = {
    "model": TEXT,
    "alias": TEXT,
    "version": described_schema("What the registry holds.", nullable_schema(INTEGER)),
    "stated": described_schema("What git says; null: nothing, or that it must not exist (`absent`).", nullable_schema(INTEGER)),
    "absent": described_schema("Git says that it must not exist.", BOOLEAN),
    "status": enum_schema((IN_STEP, DUE, BLOCKED, DRIFT, HOLD, OPEN, GUARD, OVERRIDE)),
    "detail": TEXT,
    "failing": described_schema("Guards that failed when they were last asked.", TEXT),
    "override": nullable_schema(schema_reference("Override")),
    "last_change": nullable_schema(schema_reference("Record")),
}
_SPAN_PROPERTIES: dict[str, Schema] = {
    "version": VERSION,
    "since": described_schema("When it was recorded; null: before the ledger began.", nullable_schema(MOMENT)),
    "until": described_schema("null: still.", nullable_schema(MOMENT)),
    "not_before": described_schema("It began between then and `since`; null: nobody recorded more.", nullable_schema(MOMENT)),
    "revision": REVISION,
    "actor": nullable_schema(TEXT),
    "reason": nullable_schema(TEXT),
    "review": nullable_schema(schema_reference("Review")),
    "record": described_schema("The number of the record that put the version there.", nullable_schema(INTEGER)),
    "hash": described_schema("That record's hash.", nullable_schema(TEXT)),
}
ALIAS_STATE_PROPERTIES: dict[str, Schema] = {
    "known": described_schema("`either`: one of `versions`; `no`: before the first record of it.", enum_schema(Certainty)),
    "version": VERSION,
    "versions": described_schema("All that it may have been; null among them: absent.", array_schema(nullable_schema(INTEGER))),
    "span": nullable_schema(schema_reference("Span")),
    "doubt": nullable_schema(schema_reference("Doubt")),
}
_UNCERTAINTY_PROPERTIES = {
    "from": MOMENT,
    "to": MOMENT,
    "versions": array_schema(nullable_schema(INTEGER)),
    "record": INTEGER,
    "note": TEXT,
}
_OVERRIDE_PROPERTIES = {
    "id": INTEGER, "version": INTEGER, "replaces": nullable_schema(INTEGER), "since": MOMENT, "until": MOMENT, "by": TEXT, "reason": TEXT,
}  # fmt: skip
_REVIEW_PROPERTIES = {
    "pull_request": TEXT, "number": INTEGER, "author": TEXT, "reviewers": array_schema(TEXT),
    "merged_by": nullable_schema(TEXT), "merge_commit": nullable_schema(TEXT),
}  # fmt: skip
_NEIGHBOUR_PROPERTIES = {
    "before": described_schema("For the page of older records.", nullable_schema(INTEGER)), "after": described_schema("For newer ones.", nullable_schema(INTEGER)),
}  # fmt: skip
_MODEL_PROPERTIES = {
    "name": TEXT,
    "owners": array_schema(TEXT),
    "newest_version": nullable_schema(INTEGER),
    "aliases": array_schema(schema_reference("Alias")),
}
_ALIAS_AT_PROPERTIES = {"model": TEXT, "alias": TEXT, **ALIAS_STATE_PROPERTIES, "notes": array_schema(TEXT)}

COMPONENT_SCHEMAS: dict[str, Schema] = {
    "Error": response_schema({"error": described_schema("What is wrong, in words.", TEXT)}),
    "Model": object_schema("A managed model.", _MODEL_PROPERTIES),
    "Alias": object_schema("An alias: where it is, where git says it is to be, and what stands in between.", _ROW_PROPERTIES),
    "Override": object_schema("What stands in for git's word until a pull request is decided.", _OVERRIDE_PROPERTIES),
    "Record": object_schema("An audit record.", _RECORD_PROPERTIES),
    "Neighbours": object_schema("What to ask for next; null: there are no more.", _NEIGHBOUR_PROPERTIES),
    "Review": object_schema("A pull request.", _REVIEW_PROPERTIES),
    "Rule": object_schema("What a rule found.", _RULE_PROPERTIES, ("rules", "interval", "waived")),
    "Decision": object_schema("Whether a version may hold an alias.", _DECISION_PROPERTIES, ("enforcement",)),
    "Evidenced": object_schema(
        "A decision, and its evidence.", {**_DECISION_PROPERTIES, "evidence": nullable_schema(_EVIDENCE)}, ("enforcement",)
    ),
    "Span": object_schema("A stretch of time in which a version held an alias.", _SPAN_PROPERTIES),
    "Doubt": object_schema("A time in which the version is not certain.", _UNCERTAINTY_PROPERTIES),
    "Gap": object_schema(
        "A time in which nobody watched.", {"from": nullable_schema(MOMENT), "to": nullable_schema(MOMENT), "note": TEXT}
    ),
    "AliasThen": object_schema("An alias at a moment.", _ALIAS_AT_PROPERTIES),
}


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
