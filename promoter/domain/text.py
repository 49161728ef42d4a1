"""Counts, versions and words from outside, as every output writes them."""

from __future__ import annotations

NO_VERSION = "none"
"""What stands for a version where there is none."""


def version_label(number: int | None) -> str:
    """`v7`, or `none`."""
    return NO_VERSION if number is None else f"v{number}"


def plural(number: float, one: str, many: str = "") -> str:
    """The word that goes with the number: `one`, or `many` (without it: with an s)."""
    return one if number == 1 else many or f"{one}s"


def format_count(number: int, one: str, many: str = "") -> str:
    """`1 change`, `2 changes`."""
    return f"{number} {plural(number, one, many)}"


def escape_invisible(text: str) -> str:
    """The text with everything that does not print, or that turns direction, as an escape."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def escape_lines(text: str) -> str:
    """The text line by line, without what would steer a terminal: tags and names come from outside."""
    return "\n".join(map(escape_invisible, text.split("\n")))
