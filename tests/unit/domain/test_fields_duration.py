"""Durations as they are written, and as they are told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from promoter.domain.fields import format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "duration", "told"),
    [
        ("90s", timedelta(seconds=90), "90s"),
        ("60m", timedelta(hours=1), "1h"),
        ("24h", timedelta(days=1), "1d"),
        ("62h", timedelta(hours=62), "62h"),
        ("2w", timedelta(days=14), "14d"),
        ("1d12h", timedelta(hours=36), "36h"),
        ("1d12h30m", timedelta(hours=36, minutes=30), "1d12h30m"),
        ("3660d", timedelta(days=3_660), "3660d"),
    ],
)
def test_a_duration(written: str, duration: timedelta, told: str) -> None:
    """Told in one unit where that is short, and read back as the same."""
    assert parse_duration(written) == duration
    assert parse_duration(format_duration(duration)) == duration
    assert format_duration(duration) == told


@pytest.mark.parametrize(
    "written", ["", "0s", "1", "1 h", "-1h", "1.5h", "1y", "3661d", "999999999w", "1h" * 30, 60, 1.5, None, True]
)
def test_what_is_no_duration(written: object) -> None:
    """In words, whatever it is; never more than ten years."""
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(written)
