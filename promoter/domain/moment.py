"""Moments as they are written in files: an ISO 8601 time with its zone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator


def _moment(value: object) -> object:
    if isinstance(value, date) and not (isinstance(value, datetime) and value.tzinfo):
        raise ValueError("give a full time with its zone, such as 2026-12-01T00:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]


def in_utc(moment: datetime) -> str:
    """For people: to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
