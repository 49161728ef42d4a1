"""Since when: a moment as people write it on a command line."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from promoter.domain.duration import parse_duration

_AGO = re.compile(r"(\d{1,6}) (second|minute|hour|day|week)s? ago")


def parse_since(text: str, now: datetime) -> datetime:
    """`2026-11-01T08:00:00Z`, `2026-11-01` (its beginning in UTC), `30d`, `3 days ago`; in UTC.

    Raises ValueError, in words, for anything else, and for what is yet to come.
    """
    found = _parse(text.strip(), now)
    if found >= now:
        raise ValueError(f"`{text}` is yet to come")
    return found


def _parse(text: str, now: datetime) -> datetime:
    if ago := _AGO.fullmatch(text):
        return now - parse_duration(f"{int(ago[1])}{ago[2][0]}")
    if text[-1:] in "wdhms" and text[:1].isdigit() and not text.startswith("0") and "-" not in text:
        return now - parse_duration(text)
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"`{text:.60}` is no moment: write one like `2026-11-01`, `2026-11-01T08:00:00Z`, `30d` or `3 days ago`"
        ) from None
    if moment.tzinfo is None:
        raise ValueError(f"`{text}` has no time zone: write `{text}Z` for UTC")
    return moment.astimezone(UTC)
