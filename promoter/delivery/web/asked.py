"""What is asked for in an address, behind the question mark. Each function raises `BadRequest`, in words."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from flask import request
from werkzeug.exceptions import BadRequest

PAGE_LIMIT = 1_000
MAX_RECORD_ID = 2**63 - 1

Parsed = TypeVar("Parsed")
Word = TypeVar("Word", bound=StrEnum)


def int_param(name: str, otherwise: int, most: int = PAGE_LIMIT) -> int:
    """The query parameter as a whole number, at most `most`."""
    text = request.args.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit()) or len(text) > 100:  # noqa: PLR2004  # no need to read more
        raise BadRequest(f"`{name}` is not a whole number")
    return min(int(text), most)


def enum_param(name: str, choices: type[Word]) -> Word | None:
    """The query parameter as one of these words; None where it is not given."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        raise BadRequest(f"`{name}` is none of {', '.join(choices)}") from None


def parse_param(name: str, parse: Callable[[], Parsed]) -> Parsed:
    """What was parsed of the query parameter of that name; `parse` raises ValueError."""
    try:
        return parse()
    except ValueError as error:
        plus = (
            " (in an address, `+` is written `%2B`)"
            if any("T" in each and " " in each for each in request.args.values())
            else ""
        )
        raise BadRequest(f"`{name}`: {error}{plus}") from None
