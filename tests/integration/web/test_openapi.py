"""The description of the API: every route is in it, and what it says is what the API answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator, FormatChecker

from promoter import __version__
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.plan import ChangeCause
from promoter.domain.review import ChangeOrigin, PullRequestReview
from promoter.web.app import create_app
from promoter.web.openapi import build_openapi_document
from tests.support import dashboard_states
from tests.support.web_site import WebSite

GOLDEN = Path(__file__).with_name("openapi.json")
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def busy(web_site: WebSite) -> WebSite:
    """With a model for each status, an override that a pull request brought, and some history."""
    dashboard_states.every_status(web_site)
    reviews = (PullRequestReview("bob"),)
    review = ChangeOrigin(
        7, "https://git.example.org/pull/7", "alice", reviews=reviews, merged=True, merged_by="carol", merge_commit="c" * 40
    )
    now = web_site.clock.now()
    web_site.ledger.record_override(
        NewAuditRecord(
            now, RecordKind.OVERRIDE, "recommender", "champion", 4, 3, actor="alice", trigger="rollback", reason="bad recall",
            cause=ChangeCause.OVERRIDE.value, until=now + timedelta(hours=24), review=review.to_json(),
        )
    )  # fmt: skip
    web_site.look("recommender")
    return web_site


def list_operations() -> set[tuple[str, str]]:
    """List method and path of all operations."""
    return {(method, path) for path, item in build_openapi_document()["paths"].items() for method in item}


def forbid_other_fields(schema: Any) -> Any:
    """Return the schema with nothing allowed that is not described."""
    if isinstance(schema, list):
        return [forbid_other_fields(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: forbid_other_fields(each) for name, each in schema.items()}
    return found | ({"additionalProperties": False} if isinstance(found.get("properties"), dict) and "type" in found else {})


def find_faults(path: str, method: str, status: int, body: Any) -> list[str]:
    """Return what is wrong with the answer, by the description of that path."""
    answers = build_openapi_document()["paths"][path][method]["responses"]
    answer = answers.get(str(status), answers["default"])
    schema = answer["content"]["application/json"]["schema"]
    whole = forbid_other_fields({**schema, "components": build_openapi_document()["components"]})
    checker = Draft202012Validator(whole, format_checker=_formats())
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(body)]


def _formats() -> FormatChecker:
    checker = FormatChecker(())

    @checker.checks("date-time", raises=ValueError)
    def is_moment(value: object) -> bool:
        return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None

    return checker


def walk_schemas(node: Any) -> Iterator[Any]:
    """Yield every schema in the document."""
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "schema")
        for value in node.values():
            yield from walk_schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk_schemas(value)


def test_every_route_is_described(web_site: WebSite) -> None:
    """And nothing else is."""
    rules = [rule for rule in create_app(web_site.parts).url_map.iter_rules() if rule.rule.startswith("/api/")]
    served = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in rule.methods or ()
        if method.lower() in METHODS
    }
    assert served == list_operations()


def test_it_is_served(web_site: WebSite) -> None:
    """With the version of Promoter; the same as in the code."""
    answer = web_site.ask("/api/v1/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == build_openapi_document()
    assert answer.json["info"]["version"] == __version__


def test_it_says_what_it_said() -> None:
    """Byte by byte, but for the version: programs are generated from it."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    golden["info"]["version"] = __version__
    assert json.dumps(build_openapi_document(), indent=1) == json.dumps(golden, indent=1)


def test_it_is_an_openapi_document() -> None:
    """Of a form that other programs read, with schemas that are some, and references that lead somewhere."""
    OpenAPI.model_validate(build_openapi_document())
    shapes = build_openapi_document()["components"]["schemas"]
    for schema in [*walk_schemas(build_openapi_document()["paths"]), *shapes.values()]:
        Draft202012Validator.check_schema(schema)
    text = str(build_openapi_document())
    used = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert used == shapes.keys()
    names = [each["operationId"] for item in build_openapi_document()["paths"].values() for each in item.values()]
    assert len(names) == len(set(names))
    for path, item in build_openapi_document()["paths"].items():
        for operation in item.values():
            inside = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
            assert inside == set(re.findall(r"{(\w+)}", path))


MODELS = ("fraud-detector", "demand-berlin", "recommender", "not-registered")
ANSWERS = [
    ("/api/v1/models", "?limit=1000"),
    ("/api/v1/models/{name}", ""),
    ("/api/v1/decisions", "?limit=1000"),
    ("/api/v1/audit", "?limit=1000"),
    ("/api/v1/history/{name}/{alias}", ""),
    ("/api/v1/history/{name}/{alias}", "?at=2026-11-20T12:00Z"),
    ("/api/v1/history/{name}/{alias}", "?at=2026-11-23T12:00Z"),
    ("/api/v1/history/{name}/{alias}", "?at=2020-01-01T00:00Z"),
    ("/api/v1/history/{name}/{alias}", "?from=2026-11-01T00:00Z&to=2026-11-24T00:00Z"),
    ("/api/v1/state", "?at=2026-11-23T12:00Z"),
    ("/api/v1/openapi.json", ""),
]


def ask_about(web_site: WebSite, path: str, query: str, model: str) -> Any:
    """Return what the API answers about that model."""
    answer = web_site.ask(path.format(name=model, alias="champion") + query)
    assert answer.status == 200, answer.text
    return answer.json


@pytest.mark.parametrize(("path", "query"), ANSWERS)
def test_what_is_answered_is_described(busy: WebSite, path: str, query: str) -> None:
    """Not a field more, not a field less."""
    for model in MODELS:
        assert find_faults(path, "get", 200, ask_about(busy, path, query, model)) == [], model


def test_all_that_is_described_is_seen(busy: WebSite) -> None:
    """Each shape in some answer, so that the test above has something to hold against it."""
    seen: set[frozenset[str]] = set()

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            seen.add(frozenset(node))
        for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            collect(each)

    for path, query in ANSWERS:
        for model in MODELS:
            collect(ask_about(busy, path, query, model))
    collect(busy.ask("/api/v1/models/nobody").json)
    shapes = build_openapi_document()["components"]["schemas"].items()
    assert [
        name for name, each in shapes if not any({*each["required"]} <= keys <= each["properties"].keys() for keys in seen)
    ] == []


def test_a_reconcile_that_is_requested(web_site: WebSite) -> None:
    """202."""
    answer = web_site.ask("/api/v1/reconcile", "POST")
    assert find_faults("/api/v1/reconcile", "post", answer.status, answer.json) == []


@pytest.mark.parametrize(
    ("path", "address", "status"),
    [
        ("/api/v1/models/{name}", "/api/v1/models/nobody", 404),
        ("/api/v1/models", "/api/v1/models?limit=ten", 400),
        ("/api/v1/decisions", "/api/v1/decisions?limit=ten", 400),
        ("/api/v1/audit", "/api/v1/audit?after=ten", 400),
        ("/api/v1/history/{name}/{alias}", "/api/v1/history/fraud/champion?at=ten", 400),
        ("/api/v1/state", "/api/v1/state", 400),
        ("/api/v1/state", "/api/v1/state?at=ten", 400),
    ],
)
def test_errors_are_described(web_site: WebSite, path: str, address: str, status: int) -> None:
    """By their own status."""
    answer = web_site.ask(address)
    assert answer.status == status
    assert str(status) in build_openapi_document()["paths"][path]["get"]["responses"]
    assert find_faults(path, "get", status, answer.json) == []


def test_the_ledger_cannot_be_read(web_site: WebSite) -> None:
    """503, as by default."""
    with web_site.ledger._database.write_transaction() as writing:
        writing.exec_driver_sql("ALTER TABLE records RENAME TO hidden")
    answer = web_site.ask("/api/v1/audit")
    assert answer.status == 503
    assert find_faults("/api/v1/audit", "get", 503, answer.json) == []


def test_the_check_is_one(busy: WebSite) -> None:
    """A field that is missing, of another type, or not described is found, also deep inside."""
    good = busy.ask("/api/v1/models").json
    first = good["models"][0]
    row = first["aliases"][0]
    broken = [
        {**good, "total": "ten"},
        {**good, "more": 1},
        {**good, "models": [{**first, "owners": None}]},
        {**good, "models": [{**first, "aliases": [{**row, "last_change": {**row["last_change"], "at": "yesterday"}}]}]},
        {**good, "models": [{**first, "aliases": [{**row, "status": "fine"}]}]},
        {**good, "models": [{**first, "aliases": [{key: row[key] for key in row if key != "detail"}]}]},
    ]
    assert all(find_faults("/api/v1/models", "get", 200, each) for each in broken)
