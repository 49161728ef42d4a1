"""Reads a document's types: which mapping a fault lies in, and which keys that one knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from promoter.domain.faults import DocumentPath

KEY_MARKER = "[key]"


@dataclass(frozen=True)
class LocationTrace:
    """A location as the document is written. `on_key`: the key itself is at fault. `keys`: those that its mapping knows."""

    path: DocumentPath
    on_key: bool
    keys: tuple[str, ...]


def trace_location(model: type[BaseModel], location: tuple[str | int, ...], *, unknown: bool) -> LocationTrace:
    """Follow a location of pydantic's, in which the members of a union stand as parts of their own.

    `unknown`: it ends with a key that its mapping does not know.
    """
    options: list[Any] = [model]
    path: list[str | int] = []
    keys: tuple[str, ...] = ()
    on_key = False
    for number, part in enumerate(location, start=1):
        if part == KEY_MARKER and number == len(location):
            on_key = True
            continue
        members = [option for option in options if part in (getattr(option, "kind", None), getattr(option, "__name__", None))]
        if len(options) > 1 and members:
            options = members
            continue
        inside = [found for option in options if (found := _find_part_type(option, part)) is not None]
        if inside:
            path.append(part)
            keys = inside[0][1]
            options = [choice for found, _ in inside for choice in _list_type_choices(found)]
        elif unknown and number == len(location):
            path.append(part)
            keys = tuple(key for option in options if _is_model_type(option) for key in list_known_keys(option))
    return LocationTrace(tuple(path), on_key, keys)


def list_known_keys(model: type[BaseModel]) -> Iterator[str]:
    """The keys that a mapping may have, as they are written."""
    return (field.alias or name for name, field in model.model_fields.items() if not field.exclude)


def _find_part_type(kind: Any, part: str | int) -> tuple[Any, tuple[str, ...]] | None:
    """The type of one part, and the keys beside it; None where there is no such part."""
    if _is_model_type(kind):
        fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
        return (fields[str(part)], tuple(list_known_keys(kind))) if part in fields else None
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is dict and isinstance(part, str):
        return arguments[1], ()
    return (arguments[0], ()) if origin is tuple and isinstance(part, int) else None


def _list_type_choices(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _list_type_choices(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for member in get_args(kind):
            yield from _list_type_choices(member)
    elif kind is not type(None):
        yield kind


def _is_model_type(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
