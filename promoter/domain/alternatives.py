"""What a type's validators say of its keys together, in the words of JSON Schema, for editors. See `promoter schema`."""

from __future__ import annotations

from typing import Any

SchemaKeywords = dict[str, Any]


def require_key(key: str, value: SchemaKeywords | None = None) -> SchemaKeywords:
    """The key is there and is not null; or with `value`, is that."""
    return {"required": [key], "properties": {key: value or {"not": {"type": "null"}}}}


def require_exactly_one(*keys: str) -> SchemaKeywords:
    """One of the keys is said, and no other."""
    return {"oneOf": [require_key(key) for key in keys]}


def require_at_least_one(*keys: str) -> SchemaKeywords:
    """One of the keys is said, or several."""
    return {"anyOf": [require_key(key) for key in keys]}


def forbid_together(*conditions: SchemaKeywords) -> SchemaKeywords:
    """These do not go together."""
    return {"not": {"allOf": list(conditions)}}
