"""JSON Schemas of the files, for editors: generated from the types that read them. Draft 2020-12.

The schema of the data of events is for their receivers, and is no document's.

They accept whatever the parser accepts, and refuse most of what it refuses. What no schema can express (that a policy
exists, that an expression compiles, that a name is given twice) stays with `promoter validate`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from promoter.application.responses.events import EventDataResponse
from promoter.domain.approvals import ApproversDocument
from promoter.domain.desired import RegistryDocument
from promoter.domain.notifications import EVENT_DATA_SCHEMA
from promoter.domain.policy.document import PolicyDocument
from promoter.domain.policy.rules import RULES
from promoter.domain.policy.test_cases import CasesDocument

SchemaKeywords = dict[str, Any]

DOCUMENTS: Mapping[str, tuple[type[BaseModel], str]] = {
    "registry": (RegistryDocument, "registry.yaml"),
    "policy": (PolicyDocument, "policies/NAME.yaml"),
    "approvers": (ApproversDocument, "approvers.yaml"),
    "policy-tests": (CasesDocument, "policies/tests/NAME.yaml"),
}
"""The documents that have a schema: the type that reads one, and its file."""

SCHEMAS_FOLDER = "schemas"
EVENT_SCHEMA_NAME = "event"
"""The name of the schema of the data of events, beside those of the documents."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFS_PREFIX = "#/$defs/"
_MAP_KEYWORDS = ("properties", "$defs", "dependentSchemas")
_LIST_KEYWORDS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE_KEYWORDS = ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else")
_BOUND_KEYWORDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_GUARD_ONLY_KEYS = ("for", "every")


def render_schema_files() -> dict[str, str]:
    """Return the text of every document's schema, by the name of its file."""
    return {schema_file_name(name): render_schema_text(name) for name in DOCUMENTS}


def render_event_schema_text() -> str:
    """Return the schema of the data of events as the text of its file."""
    found = EventDataResponse.model_json_schema(mode="serialization", schema_generator=_EventSchemaGenerator)
    head = {"$schema": _DIALECT, "$id": EVENT_DATA_SCHEMA, "title": "Promoter: the data of an event"}
    return json.dumps(head | _tidy_schema(found), indent=2, ensure_ascii=False) + "\n"


def schema_file_name(document: str) -> str:
    """Return the name of the file that has a document's schema."""
    return f"{document}.schema.json"


def render_schema_text(document: str) -> str:
    """Return the schema of one of DOCUMENTS as the text of its file."""
    return json.dumps(build_json_schema(document), indent=2, ensure_ascii=False) + "\n"


def build_json_schema(document: str) -> SchemaKeywords:
    """Return the schema of one of DOCUMENTS."""
    model, file = DOCUMENTS[document]
    result = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_DocumentSchemaGenerator)
    result = _tidy_schema(result)
    if model is PolicyDocument:
        result["$defs"] |= {
            "Rule": _build_rule_union(result["$defs"], guard=False),
            "Guard": _build_rule_union(result["$defs"], guard=True),
        }
        result["properties"]["guards"]["items"] = {"$ref": f"{_DEFS_PREFIX}Guard"}
    return {"$schema": _DIALECT, "$id": schema_file_name(document), "title": f"Promoter: {file}", **result}


class _EventSchemaGenerator(GenerateJsonSchema):
    """Leaves out the models' defaults: a field that an event may lack has none for its receiver."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> SchemaKeywords:
        """Return the schema of the value alone."""
        return self.generate_inner(schema["schema"])


class _DocumentSchemaGenerator(GenerateJsonSchema):
    """Gives every key a description, and leaves out what cannot be written."""

    def field_is_present(self, field: Any) -> bool:
        """Leave out fields that are never written out: a type keeps a short form in them."""
        return not field.get("serialization_exclude") and super().field_is_present(field)

    def model_schema(self, schema: core_schema.ModelSchema) -> SchemaKeywords:
        """Give each key the description of its field, or else that of its type."""
        result = super().model_schema(schema)
        for each in result.get("properties", {}).values():
            description = each.pop("description", None)
            if description or "$ref" not in each:
                each["description"] = description or result.get("description", "")
        return result


def _tidy_schema(schema: Any) -> Any:
    """Return the schema without generated titles and needless defaults; descriptions are cut to their first paragraph."""
    if not isinstance(schema, dict):
        return schema
    given: SchemaKeywords = schema
    tidied = {_BOUND_KEYWORDS.get(key, key): value for key, value in given.items() if key != "title"}
    if "default" in tidied and (tidied["default"] in (None, "", []) or isinstance(tidied["default"], dict)):
        del tidied["default"]
    if "description" in tidied:
        tidied["description"] = " ".join(tidied["description"].split("\n\n")[0].split())
    if "patternProperties" in tidied:  # which would let every other name through
        ((pattern, value),) = tidied.pop("patternProperties").items()
        tidied |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}
    tidied |= {key: {name: _tidy_schema(each) for name, each in tidied[key].items()} for key in _MAP_KEYWORDS if key in tidied}
    tidied |= {key: [_tidy_schema(each) for each in tidied[key]] for key in _LIST_KEYWORDS if key in tidied}
    tidied |= {key: _tidy_schema(tidied[key]) for key in _SINGLE_KEYWORDS if key in tidied}
    return {"$ref": f"{_DEFS_PREFIX}Rule"} if _is_rule_union(tidied) else tidied


def _is_rule_union(schema: SchemaKeywords) -> bool:
    refs = [each.get("$ref") for each in schema.get("oneOf", ()) if isinstance(each, dict)]
    return refs == [f"{_DEFS_PREFIX}{kind.__name__}" for kind in RULES]


def _build_rule_union(defs: SchemaKeywords, *, guard: bool) -> SchemaKeywords:
    """Return a union in which the key decides the kind, so that an editor shows only the faults of that kind."""
    what = "A guard: what must go on holding." if guard else "A rule: what a version must show."
    properties = {kind.kind: {"description": defs[kind.__name__].get("description", "")} for kind in RULES}
    if not guard:
        properties |= {key: {"type": "null", "description": "For guards only."} for key in _GUARD_ONLY_KEYS}
    return {
        "description": f"{what} The key says which: {', '.join(f'`{kind.kind}`' for kind in RULES)}.",
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": [kind.kind]} for kind in RULES],
        "allOf": [{"if": {"required": [kind.kind]}, "then": {"$ref": f"{_DEFS_PREFIX}{kind.__name__}"}} for kind in RULES],
    }
