"""Asks the JSON Schemas, as an editor does."""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from promoter.adapters.yaml.json_schema import build_json_schema


def as_json(value: Any) -> Any:
    """As an editor hands it to the schema: times are text."""
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value


@cache
def validator(document: str) -> Draft202012Validator:
    """The schema, ready to be asked."""
    return Draft202012Validator(build_json_schema(document))


def complaints(document: str, value: Any) -> list[str]:
    """What the schema says is wrong."""
    return [error.message for error in validator(document).iter_errors(as_json(value))]
