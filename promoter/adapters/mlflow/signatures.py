"""What models take and give, as their `MLmodel` files say: columns, tensors and parameters, flattened to one line each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from promoter.adapters.mlflow.artifact import ArtifactError
from promoter.domain.observed import VersionSignature

_MAX_SIGNATURE_DEPTH = 30
_NOT_UNDERSTOOD = "its signature is not one that Promoter understands"
_SPECIAL_CHARACTERS = frozenset('.[]{}"')


def parse_signature(description: Mapping[str, Any]) -> VersionSignature | None:
    """The signature in an `MLmodel` file; None where it has none. Raises `ArtifactError`.

    MLflow writes each part as JSON in a string: columns (`{"name", "type", "required"}`, types nested in `items`,
    `properties` and `values`), tensors (`{"type": "tensor", "tensor-spec": {"dtype", "shape"}}`), and parameters
    (`{"name", "type", "default", "shape"}`).
    """
    declared = description.get("signature")
    if declared is None:
        return None
    if not isinstance(declared, dict):
        raise ArtifactError(_NOT_UNDERSTOOD)
    fields: dict[str, str] = {}
    try:
        for name, field_type in _iterate_fields(declared):
            if name in fields:
                raise ArtifactError(f"its signature names {name} twice")
            fields[name] = field_type
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise ArtifactError(_NOT_UNDERSTOOD) from None
    return VersionSignature(fields) if fields else None


def _iterate_fields(declared: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part, word in (("inputs", "input"), ("outputs", "output")):
        for place, spec in enumerate(_parse_spec_list(declared.get(part))):
            name = spec.get("name")
            yield from _describe_column(f"{word} {place if name is None else name}", spec, 0)
    for spec in _parse_spec_list(declared.get("params")):
        yield from _describe_parameter(spec)


def _parse_spec_list(text: str | None) -> list[Any]:
    if text is None:
        return []
    rows: list[Any] = json.loads(text)
    if not isinstance(rows, list):
        raise TypeError(text)
    return rows


def _describe_column(name: str, spec: Mapping[str, Any], depth: int) -> Iterator[tuple[str, str]]:
    """The column, and what is nested in it: `input x` an `array`, `input x[]` an `object`, `input x[].age` a `long`."""
    if depth > _MAX_SIGNATURE_DEPTH:
        raise ArtifactError(f"its signature is nested more than {_MAX_SIGNATURE_DEPTH} deep")
    yield name, _describe_type(spec) + ("" if spec.get("required", True) else ", optional")
    if "items" in spec:
        yield from _describe_column(f"{name}[]", spec["items"], depth + 1)
    if "values" in spec:
        yield from _describe_column(f"{name}{{}}", spec["values"], depth + 1)
    for inner, inner_spec in spec.get("properties", {}).items():
        key = json.dumps(inner) if _SPECIAL_CHARACTERS & set(inner) else inner
        yield from _describe_column(f"{name}.{key}", inner_spec, depth + 1)


def _describe_type(spec: Mapping[str, Any]) -> str:
    if spec["type"] != "tensor":
        return str(spec["type"])
    tensor = spec["tensor-spec"]
    return f"tensor {tensor['dtype']} {_format_shape(tensor['shape'])}"


def _describe_parameter(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    (name, field_type), *nested = _describe_column(f"param {spec['name']}", {"type": spec.get("dtype"), **spec}, 0)
    shape = f" {_format_shape(spec['shape'])}" if spec.get("shape") else ""
    yield name, f"{field_type}{shape}, default {json.dumps(spec.get('default'), sort_keys=True)}"
    yield from nested


def _format_shape(shape: list[Any]) -> str:
    return f"({', '.join(str(int(size)) for size in shape)}{',' if len(shape) == 1 else ''})"
