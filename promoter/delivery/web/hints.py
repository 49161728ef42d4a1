"""Hints: what a webhook's body may tell at most, which is where to look; and how its fields are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MAX_TEXT_LENGTH = 500
"""Longer than any name."""


class MalformedPayload(Exception):  # noqa: N818  # says what the request is
    """The body is signed, and still not what its sender documents."""


@dataclass(frozen=True)
class WebhookEvent:
    """Where to look, and because of what. No `keys`: nothing of ours."""

    keys: tuple[str, ...]
    name: str
    model: str | None = None


def require_object(payload: Any, key: str) -> dict[str, Any]:
    """The object under the key. Raises `MalformedPayload`."""
    value = payload.get(key) if isinstance(payload, dict) else None
    if not isinstance(value, dict):
        raise MalformedPayload(f"`{key}` is not an object")
    return value


def require_text(payload: Any, key: str) -> str:
    """The text under the key. Raises `MalformedPayload`."""
    value = payload.get(key) if isinstance(payload, dict) else None
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT_LENGTH:
        raise MalformedPayload(f"`{key}` is not a text")
    return value
