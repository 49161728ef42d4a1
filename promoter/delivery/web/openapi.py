"""`GET /api/v1/openapi.json`: the API, described for programs (OpenAPI 3.1)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from promoter import __version__
from promoter.delivery.web.asked import PAGE_LIMIT
from promoter.delivery.web.openapi_shapes import MOMENT, SHAPES, STOOD, TEXT, WHOLE, Schema, answer, maybe, ref, some, words
from promoter.domain.audit import Kind, Outcome
from promoter.domain.verdict import Verdict

_TIME = "ISO 8601 with a zone (2026-10-03T14:05Z), or how long ago (`3 days ago`)."
_LIMIT = {"type": "integer", "minimum": 0, "default": 100, "description": f"At most so many; never more than {PAGE_LIMIT:,}."}
_FROM_ZERO = {"type": "integer", "minimum": 0, "default": 0}


def blueprint() -> Blueprint:
    """The description, served."""
    routes = Blueprint("openapi", __name__, url_prefix="/api/v1")

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return jsonify(document())

    return routes


def document() -> dict[str, Any]:
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
        "paths": _paths(),
        "components": {"schemas": SHAPES},
    }


def _paths() -> dict[str, Any]:
    return {
        "/api/v1/models": {"get": _models()},
        "/api/v1/models/{name}": {"get": _model()},
        "/api/v1/decisions": {"get": _decisions()},
        "/api/v1/audit": {"get": _audit()},
        "/api/v1/history/{name}/{alias}": {"get": _history()},
        "/api/v1/state": {"get": _state()},
        "/api/v1/reconcile": {"post": _reconcile()},
        "/api/v1/openapi.json": {"get": _openapi()},
    }


def _models() -> dict[str, Any]:
    page = [_asked("offset", _FROM_ZERO, "How many to pass over."), _asked("limit", _LIMIT)]
    body = answer({"total": {**WHOLE, "description": "How many there are."}, "models": some(ref("Model"))})
    return _operation("models", "The managed models, by name", body, page, bad=True)


def _model() -> dict[str, Any]:
    return _operation("model", "One model", answer({"model": ref("Model")}), [_named("name")], missing="No managed model.")


def _decisions() -> dict[str, Any]:
    asked = [_asked("model", TEXT), _asked("alias", TEXT), _asked("limit", _LIMIT)]
    return _operation(
        "decisions", "Decisions, the newest first", answer({"decisions": some(ref("Evidenced"))}), asked, bad=True
    )


def _audit() -> dict[str, Any]:
    after = _asked("after", _FROM_ZERO, "Only records with a greater `id`, the first of them.")
    before = _asked("before", _FROM_ZERO, "Only records with a smaller `id`: the last of them, unless there is an `after`.")
    names = [_asked(name, TEXT) for name in ("model", "alias", "actor")]
    enums = (("kind", Kind), ("outcome", Outcome), ("verdict", Verdict))
    chosen = [_asked(name, words(of)) for name, of in enums]
    times = [_asked("since", TEXT, f"The first moment that counts. {_TIME}"), _asked("until", TEXT, "The first that does not.")]
    asked = [*names, *chosen, *times, after, before, _asked("limit", _LIMIT)]
    body = answer({"records": some(ref("Record")), "next": ref("Neighbours")})
    return _operation("audit", "Audit records, oldest first, page by page", body, asked, bad=True)


def _history() -> dict[str, Any]:
    names = {"model": TEXT, "alias": TEXT}
    whole = answer({**names, "spans": some(ref("Span"))})
    record, decision, gap = (maybe(ref(name)) for name in ("Record", "Decision", "Gap"))
    moment = {"at": MOMENT, **STOOD, "record": record, "decision": decision, "gap": gap, "notes": some(TEXT)}
    spans = {"known_from": maybe(MOMENT), "spans": some(ref("Span")), "doubts": some(ref("Doubt")), "gaps": some(ref("Gap"))}
    period = {"from": MOMENT, "to": MOMENT, **spans, "notes": some(TEXT)}
    body = {"anyOf": [whole, answer({**names, **moment}), answer({**names, **period})]}
    times = [_asked("at", TEXT, f"Only that moment. {_TIME}"), _asked("from", TEXT, f"With `to`. {_TIME}"), _asked("to", TEXT)]
    summary = "Who held an alias when: always, at a moment (`at`), or between two (`from` and `to`)"
    return _operation("history", summary, body, [_named("name"), _named("alias"), *times], bad=True)


def _state() -> dict[str, Any]:
    body = answer({"at": MOMENT, "aliases": some(ref("AliasThen")), "gap": maybe(ref("Gap")), "notes": some(TEXT)})
    asked = [{**_asked("at", TEXT, _TIME), "required": True}, _asked("model", TEXT)]
    return _operation("state", "Every alias at a moment", body, asked, bad=True)


def _reconcile() -> dict[str, Any]:
    body = answer({"result": words(("accepted",))})
    return _operation("reconcile", "Ask for a look at git, the registry and pull requests", body, status="202")


def _openapi() -> dict[str, Any]:
    return _operation("openapi", "This description", {"type": "object", "required": ["openapi", "info", "paths"]})


def _operation(
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
    answers = {status: _answer("The answer.", body)}
    answers |= {"400": _answer("A parameter cannot be read.", ref("Error"))} if bad else {}
    answers |= {"404": _answer(missing, ref("Error"))} if missing else {}
    answers["default"] = _answer("It cannot be answered, for example because the ledger cannot be read (503).", ref("Error"))
    return {"operationId": name, "summary": summary, "parameters": parameters or [], "responses": answers}


def _answer(description: str, body: Schema) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": body}}}


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": TEXT}


def _asked(name: str, of: Schema, description: str = "") -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": of, **({"description": description} if description else {})}
