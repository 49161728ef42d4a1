"""Counts, versions and words from outside, as every output writes them."""

from __future__ import annotations

import re
from decimal import Decimal

_PLAIN_EXPONENTS = range(-20, 21)
"""The powers of ten between which a number is written without an exponent."""

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


def format_number(value: float) -> str:
    """The number with every digit that it has, and no more: `0.9999996`, `50` for 50.0; `nan` and `inf` as Python has them."""
    exact = Decimal(repr(value))
    if not exact.is_finite():
        return str(value)
    if not exact:
        return "0"
    exact = exact.normalize()
    return f"{exact:f}" if exact.adjusted() in _PLAIN_EXPONENTS else str(exact).lower()


def escape_invisible(text: str) -> str:
    """The text with everything that does not print, or that turns direction, as an escape."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def escape_lines(text: str) -> str:
    """The text line by line, without what would steer a terminal: tags and names come from outside."""
    return "\n".join(map(escape_invisible, text.split("\n")))


def escape_json_text(document: str) -> str:
    """A JSON document that means the same, with everything that does not print as an escape; its line breaks stay."""
    return "".join(each if each.isprintable() or each == "\n" else _escape_json_character(each) for each in document)


def _escape_json_character(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


_SKIP_DIRECTIVE = re.compile(r"\[([^\[\]\n]*(?<![a-z])(?:skip|ci)(?![a-z])[^\[\]\n]*)\]", re.IGNORECASE)
"""`[skip ci]` and its relatives, which keep a forge from running its checks."""
_SKIP_TRAILER = re.compile("skip-checks", re.IGNORECASE)
_FORGE_REFERENCE = re.compile(
    r"(?<![\w.])@(?=\w)|#(?=\w)|[!&](?=\d)|\bGH-(?=\d)"
    r"|\b(?:issues|pulls?|merge_requests|work_items|discussions|epics)/(?=\d)",
    re.IGNORECASE,
)
"""What a forge takes for a person, an issue or a switch, and would notify, close or obey."""


def disarm_commit_text(text: str) -> str:
    """The text of a commit message or title, so that no forge obeys what stands in it: `[skip ci]`, `Closes #1`, `@team`.

    Tags, names and reasons come from outside. The words stay readable: `(skip ci)`, `Closes # 1`, `@ team`.
    """
    while (disarmed := _SKIP_DIRECTIVE.sub(r"(\1)", text)) != text:
        text = disarmed
    text = _SKIP_TRAILER.sub("skip checks", text.replace("***", "* * *"))
    return _FORGE_REFERENCE.sub(lambda found: f"{found[0]} ", text)
