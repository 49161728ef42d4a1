"""Moments: as they are written in files (ISO 8601 with its zone), and as people write them when they ask."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator

from promoter.domain.duration import parse_duration

_AGO_PATTERN = re.compile(r"(\d{1,6}) (second|minute|hour|day|week)s? ago")
_SHOWN_CHARACTERS = 60


def _require_time_zone(value: object) -> object:
    if isinstance(value, date) and not (isinstance(value, datetime) and value.tzinfo):
        raise ValueError("give a full time with its zone, such as 2026-12-01T00:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_require_time_zone)]


def format_utc(moment: datetime) -> str:
    """For people: to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def format_utc_window(begin: datetime, end: datetime) -> tuple[str, str]:
    """The ends of a window, for people: to the millisecond where they would else look the same."""
    window = format_utc(begin), format_utc(end)
    return window if window[0] != window[1] else (_format_utc_milliseconds(begin), _format_utc_milliseconds(end))


def _format_utc_milliseconds(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'milliseconds')} UTC"


def parse_past_moment(text: str, now: datetime) -> datetime:
    """As `parse_moment`. Raises ValueError, in words, also for what is yet to come."""
    found = parse_moment(text, now)
    if found >= now:
        raise ValueError(f"`{text:.{_SHOWN_CHARACTERS}}` is yet to come")
    return found


def parse_time_window(begin: str, end: str, now: datetime) -> tuple[datetime, datetime]:
    """From the one moment, which is past, up to the other. Raises ValueError, in words, where that is no time."""
    since, until = parse_past_moment(begin, now), parse_moment(end, now)
    if until <= since:
        raise ValueError(f"`{begin:.{_SHOWN_CHARACTERS}}` is not before `{end:.{_SHOWN_CHARACTERS}}`")
    return since, until


def parse_moment(text: str, now: datetime) -> datetime:
    """Any ISO 8601 that names its zone; a day, by its beginning in UTC; `30d`, `3 days ago`. In UTC.

    Raises ValueError, in words, for anything else.
    """
    text = text.strip()
    if ago := _AGO_PATTERN.fullmatch(text):
        return now - parse_duration(f"{int(ago[1])}{ago[2][0]}")
    if text[-1:] in "wdhms" and text[:1].isdigit() and not text.startswith("0") and "-" not in text:
        return now - parse_duration(text)
    found = _parse_iso_day(text) or _parse_iso_time(text)
    if found is None:
        raise ValueError(
            f"`{text:.{_SHOWN_CHARACTERS}}` is no moment: write one like `2026-11-01`, `2026-11-01T08:00:00Z`, `30d` or `3 days ago`"
        )
    return found


def _parse_iso_day(text: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        return None


def _parse_iso_time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None:
        raise ValueError(f"`{text:.{_SHOWN_CHARACTERS}}` has no time zone: write `{text:.{_SHOWN_CHARACTERS}}Z` for UTC")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        return None
