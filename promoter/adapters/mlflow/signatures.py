"""What models take and give, as their `MLmodel` files say: columns, tensors and parameters, flattened to one line each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from promoter.adapters.mlflow.artifact import Flawed
from promoter.domain.observed import Signature

_DEPTH = 30
_NOT_UNDERSTOOD = "its signature is not one that Promoter understands"
_SPECIAL = frozenset('.[]{}"')


def signature_of(description: Mapping[str, Any]) -> Signature | None:
    """The signature in an `MLmodel` file; None where it has none. Raises `Flawed`.

    MLflow writes each part as JSON in a string: columns (`{"name", "type", "required"}`, types nested in `items`,
    `properties` and `values`), tensors (`{"type": "tensor", "tensor-spec": {"dtype", "shape"}}`), and parameters
    (`{"name", "type", "default", "shape"}`).
    """
    said = description.get("signature")
    if said is None:
        return None
    if not isinstance(said, dict):
        raise Flawed(_NOT_UNDERSTOOD)
    fields: dict[str, str] = {}
    try:
        for name, told in _fields(said):
            if name in fields:
                raise Flawed(f"its signature names {name} twice")
            fields[name] = told
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise Flawed(_NOT_UNDERSTOOD) from None
    return Signature(fields) if fields else None


def _fields(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part, word in (("inputs", "input"), ("outputs", "output")):
        for place, spec in enumerate(_listed(said.get(part))):
            name = spec.get("name")
            yield from _column(f"{word} {place if name is None else name}", spec, 0)
    for spec in _listed(said.get("params")):
        yield from _parameter(spec)


def _listed(text: str | None) -> list[Any]:
    if text is None:
        return []
    rows: list[Any] = json.loads(text)
    if not isinstance(rows, list):
        raise TypeError(text)
    return rows


def _column(name: str, spec: Mapping[str, Any], depth: int) -> Iterator[tuple[str, str]]:
    """The column, and what is nested in it: `input x` an `array`, `input x[]` an `object`, `input x[].age` a `long`."""
    if depth > _DEPTH:
        raise Flawed(f"its signature is nested more than {_DEPTH} deep")
    yield name, _type(spec) + ("" if spec.get("required", True) else ", optional")
    if "items" in spec:
        yield from _column(f"{name}[]", spec["items"], depth + 1)
    if "values" in spec:
        yield from _column(f"{name}{{}}", spec["values"], depth + 1)
    for inner, inner_spec in spec.get("properties", {}).items():
        told = json.dumps(inner) if _SPECIAL & set(inner) else inner
        yield from _column(f"{name}.{told}", inner_spec, depth + 1)


def _type(spec: Mapping[str, Any]) -> str:
    if spec["type"] != "tensor":
        return str(spec["type"])
    tensor = spec["tensor-spec"]
    return f"tensor {tensor['dtype']} {_shape(tensor['shape'])}"


def _parameter(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    (name, told), *nested = _column(f"param {spec['name']}", {"type": spec.get("dtype"), **spec}, 0)
    shape = f" {_shape(spec['shape'])}" if spec.get("shape") else ""
    yield name, f"{told}{shape}, default {json.dumps(spec.get('default'), sort_keys=True)}"
    yield from nested


def _shape(shape: list[Any]) -> str:
    return f"({', '.join(str(int(size)) for size in shape)}{',' if len(shape) == 1 else ''})"
