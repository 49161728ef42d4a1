"""What a type's validators say of its keys together, in the words of JSON Schema, for editors. See `promoter schema`."""

from __future__ import annotations

from typing import Any

Keywords = dict[str, Any]


def said(key: str, value: Keywords | None = None) -> Keywords:
    """The key is there and is not null; or with `value`, is that."""
    return {"required": [key], "properties": {key: value or {"not": {"type": "null"}}}}


def exactly_one(*keys: str) -> Keywords:
    """One of the keys is said, and no other."""
    return {"oneOf": [said(key) for key in keys]}


def at_least_one(*keys: str) -> Keywords:
    """One of the keys is said, or several."""
    return {"anyOf": [said(key) for key in keys]}


def never(*conditions: Keywords) -> Keywords:
    """These do not go together."""
    return {"not": {"allOf": list(conditions)}}
