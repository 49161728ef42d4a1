"""Moments as people write them when they ask."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.domain.fields import format_utc_window, parse_moment, parse_past_moment, parse_time_window
from tests.support.strategies.plans import NOW


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-10-03T14:05Z", "2026-10-03T14:05:00+00:00"),
        ("2026-10-03T14:05:06.789Z", "2026-10-03T14:05:06.789000+00:00"),
        ("2026-10-03 14:05+02:00", "2026-10-03T12:05:00+00:00"),
        ("20261003T140500Z", "2026-10-03T14:05:00+00:00"),
        ("2026-W40-6T14:05Z", "2026-10-03T14:05:00+00:00"),
        ("2026-W40-6", "2026-10-03T00:00:00+00:00"),
        (" 2026-10-03 ", "2026-10-03T00:00:00+00:00"),
        ("20261003", "2026-10-03T00:00:00+00:00"),
        ("3 days ago", "2026-11-20T12:00:00+00:00"),
        ("90m", "2026-11-23T10:30:00+00:00"),
    ],
)
def test_any_iso_8601_and_how_long_ago(text: str, expected: str) -> None:
    """In UTC; a day is its beginning."""
    assert parse_moment(text, NOW).isoformat() == expected
    assert parse_past_moment(text, NOW).isoformat() == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-10-03T14:05", "has no time zone: write `2026-10-03T14:05Z` for UTC"),
        ("2026-10-32", "is no moment: write one like `2026-11-01`"),
        ("0001-01-01T00:00+14:00", "is no moment"),
        ("yesterday-ish", "is no moment"),
        ("", "is no moment"),
        ("x" * 10_000, f"`{'x' * 60}` is no moment"),
        ("2026-11-24", "is yet to come"),
    ],
)
def test_faults_are_told_in_words(text: str, words: str) -> None:
    """What is wrong, and what to write."""
    with pytest.raises(ValueError, match="`") as told:
        parse_past_moment(text, NOW)
    assert words in str(told.value)
    assert len(str(told.value)) < 300


@given(st.text(max_size=40))
def test_whatever_is_written_is_a_moment_or_told_to_be_none(text: str) -> None:
    """Nothing but ValueError, and nothing but UTC."""
    try:
        found = parse_moment(text, NOW)
    except ValueError:
        return
    assert found.utcoffset() is not None
    assert found.utcoffset().total_seconds() == 0  # type: ignore[union-attr]


def test_a_period_begins_before_it_ends() -> None:
    """It may end in the future, and may not begin there."""
    assert [each.day for each in parse_time_window("2026-11-01", "2026-12-24", NOW)] == [1, 24]
    for begin, end in (("2026-11-02", "2026-11-01"), ("2026-11-01", "2026-11-01")):
        with pytest.raises(ValueError, match="is not before"):
            parse_time_window(begin, end, NOW)
    with pytest.raises(ValueError, match="yet to come"):
        parse_time_window("2026-12-01", "2026-12-02", NOW)


def test_a_window_never_looks_like_a_moment() -> None:
    """To the second; to the millisecond where both ends lie in the same one."""
    assert format_utc_window(NOW, NOW + timedelta(seconds=1)) == ("2026-11-23 12:00:00 UTC", "2026-11-23 12:00:01 UTC")
    shown = format_utc_window(NOW + timedelta(milliseconds=20), NOW + timedelta(milliseconds=450))
    assert shown == ("2026-11-23 12:00:00.020 UTC", "2026-11-23 12:00:00.450 UTC")
