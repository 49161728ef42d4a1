"""Durations as people write them in policies: `90s`, `30m`, `24h`, `7d`, `2w`, or several of them: `1d12h`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

_DURATION_PART = re.compile(r"(\d{1,9})(w|d|h|m|s)")
_DURATION_TEXT = re.compile(r"(?:\d{1,9}[wdhms])+")
_UNIT_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SHOWN_UNITS = tuple((unit, seconds) for unit, seconds in _UNIT_SECONDS.items() if unit != "w")
_LARGEST_AMOUNT = 1_000
_LONGEST_SECONDS = 3_660 * 86_400
_TEXT_LIMIT = 50


def parse_duration(value: object) -> timedelta:
    """The duration. Raises ValueError, in words, for anything else, and for nothing and for more than ten years."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT or not _DURATION_TEXT.fullmatch(value):
        raise ValueError("a duration is written like `90s`, `30m`, `24h`, `7d` or `1d12h`")
    seconds = sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise ValueError("a duration is longer than nothing, and at most ten years")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """In the largest unit that comes out even (`62h`, `7d`); in several where that would be a long number (`1d12h30m`)."""
    left = int(duration.total_seconds())
    for unit, seconds in _SHOWN_UNITS:
        if left and left % seconds == 0 and left // seconds < _LARGEST_AMOUNT:
            return f"{left // seconds}{unit}"
    text = ""
    for unit, seconds in _SHOWN_UNITS:
        amount, left = divmod(left, seconds)
        text += f"{amount}{unit}" if amount else ""
    return text or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration, json_schema_input_type=Annotated[str, Field(pattern=r"^([0-9]{1,9}[wdhms])+$")]),
    PlainSerializer(format_duration),
]
