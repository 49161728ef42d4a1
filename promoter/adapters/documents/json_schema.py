"""JSON Schemas of the files, for editors: generated from the types that read them. Draft 2020-12.

They accept whatever the parser accepts, and refuse most of what it refuses. What no schema can say (that a policy exists, that
an expression compiles, that a name is given twice) stays with `promoter validate`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from promoter.adapters.documents.json_schema_case_words import CASE_HINTS
from promoter.adapters.documents.json_schema_words import BY_TYPE, BY_VALIDATOR, HINTS, SHORT_FORMS
from promoter.domain.approvers import ApproversDocument
from promoter.domain.cases import CasesDocument
from promoter.domain.desired import RegistryDocument
from promoter.domain.policy import PolicyDocument
from promoter.domain.rules import KINDS

Keywords = dict[str, Any]

DOCUMENTS: Mapping[str, tuple[type[BaseModel], str]] = {
    "registry": (RegistryDocument, "registry.yaml"),
    "policy": (PolicyDocument, "policies/NAME.yaml"),
    "approvers": (ApproversDocument, "approvers.yaml"),
    "policy-tests": (CasesDocument, "policies/tests/NAME.yaml"),
}
"""The documents that have a schema: the type that reads one, and its file."""

FOLDER = "schemas"

_HINTS = HINTS | CASE_HINTS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFS = "#/$defs/"
_MAPS = ("properties", "$defs", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else")
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_TEMPORAL = ("for", "every")


def schema_files() -> dict[str, str]:
    """The text of every schema, by the name of its file."""
    return {file_name(name): schema_text(name) for name in DOCUMENTS}


def file_name(document: str) -> str:
    """What the file of a document's schema is called."""
    return f"{document}.schema.json"


def schema_text(document: str) -> str:
    """The schema of one of DOCUMENTS, as its file has it."""
    return json.dumps(schema(document), indent=2, ensure_ascii=False) + "\n"


def schema(document: str) -> Keywords:
    """The schema of one of DOCUMENTS."""
    model, file = DOCUMENTS[document]
    told = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_Generator)
    told = _tidied(told)
    if "MetricRule" in told.get("$defs", {}):
        told["$defs"] |= {"Rule": _any_rule(told["$defs"], guard=False), "Guard": _any_rule(told["$defs"], guard=True)}
        if "guards" in told["properties"]:
            told["properties"]["guards"]["items"] = {"$ref": f"{_DEFS}Guard"}
    return {"$schema": _DIALECT, "$id": file_name(document), "title": f"Promoter: {file}", **told}


class _Generator(GenerateJsonSchema):
    """Says what validators check, and leaves out what cannot be written."""

    def field_is_present(self, field: Any) -> bool:
        """A field that is never written out cannot be written either: it is how a type keeps a short form."""
        return not field.get("serialization_exclude") and super().field_is_present(field)

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> Keywords:
        """What the type says, and what the validator lets through of it."""
        return {**super().function_after_schema(schema), **BY_VALIDATOR.get(_name_of(schema), {})}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> Keywords:
        """What the validator takes, where that is more or less than the type."""
        told, name = super().function_before_schema(schema), _name_of(schema)
        if name in SHORT_FORMS:
            return {"anyOf": [*SHORT_FORMS[name], told]}
        return {**told, **BY_VALIDATOR.get(name, {})}

    def model_schema(self, schema: core_schema.ModelSchema) -> Keywords:
        """What the type says of its keys together, and something to show for each: a hint, or else what the type is."""
        kind = schema["cls"]
        told = _merged(super().model_schema(schema), BY_TYPE.get(kind.__name__, {}))
        for key, each in told.get("properties", {}).items():
            hint = next((_HINTS[name] for base in kind.__mro__ if (name := f"{base.__name__}.{key}") in _HINTS), None)
            if hint or ("description" not in each and "$ref" not in each):
                each["description"] = hint or told.get("description", "")
        return told


def _name_of(schema: Any) -> str:
    function = schema["function"]["function"]
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"


def _merged(one: Keywords, other: Keywords) -> Keywords:
    both = {key: _merged(one[key], other[key]) for key in one.keys() & other.keys() if isinstance(one[key], dict)}
    return {**one, **other, **both}


def _tidied(schema: Any) -> Any:
    """Without generated titles and defaults that say nothing; each description cut to its first paragraph."""
    if not isinstance(schema, dict):
        return schema
    given: Keywords = schema
    told = {_BOUNDS.get(key, key): value for key, value in given.items() if key != "title"}
    if "default" in told and (told["default"] in (None, "", []) or isinstance(told["default"], dict)):
        del told["default"]
    if "description" in told:
        told["description"] = " ".join(told["description"].split("\n\n")[0].split())
    if "patternProperties" in told:  # which would let every other name through
        ((pattern, value),) = told.pop("patternProperties").items()
        told |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}
    told |= {key: {name: _tidied(each) for name, each in told[key].items()} for key in _MAPS if key in told}
    told |= {key: [_tidied(each) for each in told[key]] for key in _LISTS if key in told}
    told |= {key: _tidied(told[key]) for key in _SINGLE if key in told}
    return {"$ref": f"{_DEFS}Rule"} if _is_any_rule(told) else told


def _is_any_rule(schema: Keywords) -> bool:
    refs = [each.get("$ref") for each in schema.get("oneOf", ()) if isinstance(each, dict)]
    return refs == [f"{_DEFS}{kind.__name__}" for kind in KINDS]


def _any_rule(defs: Keywords, *, guard: bool) -> Keywords:
    """The key says which kind is meant, so that an editor tells what is wrong with that kind, and not with all."""
    what = "A guard: what must go on holding." if guard else "A rule: what a version must show."
    properties = {kind.kind: {"description": defs[kind.__name__].get("description", "")} for kind in KINDS}
    if not guard:
        properties |= {key: {"type": "null", "description": "For guards only."} for key in _TEMPORAL}
    return {
        "description": f"{what} The key says which: {', '.join(f'`{kind.kind}`' for kind in KINDS)}.",
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": [kind.kind]} for kind in KINDS],
        "allOf": [{"if": {"required": [kind.kind]}, "then": {"$ref": f"{_DEFS}{kind.__name__}"}} for kind in KINDS],
    }
