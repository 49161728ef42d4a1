"""Hints: what a webhook's body may tell at most, which is where to look; and how its fields are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_LONGEST = 500
"""Longer than any name."""


class Malformed(Exception):  # noqa: N818  # says what the request is
    """The body is signed, and still not what its sender documents."""


@dataclass(frozen=True)
class Hint:
    """Where to look, and because of what. No `keys`: nothing of ours."""

    keys: tuple[str, ...]
    event: str
    model: str | None = None


def mapping(told: Any, key: str) -> dict[str, Any]:
    """The object under the key. Raises `Malformed`."""
    value = told.get(key) if isinstance(told, dict) else None
    if not isinstance(value, dict):
        raise Malformed(f"`{key}` is not an object")
    return value


def text(told: Any, key: str) -> str:
    """The text under the key. Raises `Malformed`."""
    value = told.get(key) if isinstance(told, dict) else None
    if not isinstance(value, str) or not value or len(value) > _LONGEST:
        raise Malformed(f"`{key}` is not a text")
    return value
