"""Entries as they are kept: what each says, and what it calls itself."""

from __future__ import annotations

from typing import Any

from promoter.domain.chain import Entry, told
from promoter.domain.problems import short

Row = tuple[str, int, bytes, str]
"""An `Entry` as a plain tuple: millions go by, and to make an object of each would take longer than to hash it."""


def read(body: bytes) -> dict[str, Any] | None:
    """What an entry says; None for what is no entry."""
    try:
        facts = told(Entry("", 0, body, ""))
    except (ValueError, RecursionError):
        return None
    number, previous = facts.get("id"), facts.get("previous")
    return facts if type(number) is int and number > 0 and isinstance(previous, str) else None


def about(facts: dict[str, Any] | None) -> str:
    """What an entry calls itself, for people."""
    if facts is None:
        return ""
    model, alias, version = (facts.get(name) for name in ("model", "alias", "version"))
    what = f"{model}@{alias}" if alias else f"{model}/{version}" if model and version else model or facts.get("event") or ""
    return f"{facts.get('table')}{' ' + short(what) if what else ''}"
