"""Moments as people write them when they ask."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

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


BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("now", BERLIN, "2026-11-23T12:00:00+00:00"),
        ("NOW", None, "2026-11-23T12:00:00+00:00"),
        ("10:00", BERLIN, "2026-11-23T09:00:00+00:00"),
        ("9:05:30", UTC, "2026-11-23T09:05:30+00:00"),
        ("yesterday 14:05", BERLIN, "2026-11-22T13:05:00+00:00"),
        ("Yesterday at  14:05", NEW_YORK, "2026-11-22T19:05:00+00:00"),
        ("today", NEW_YORK, "2026-11-23T05:00:00+00:00"),
        ("yesterday", ZoneInfo("Pacific/Kiritimati"), "2026-11-22T10:00:00+00:00"),
        ("2 hours ago", BERLIN, "2026-11-23T10:00:00+00:00"),
        ("an hour ago", BERLIN, "2026-11-23T11:00:00+00:00"),
        ("a week ago", BERLIN, "2026-11-16T12:00:00+00:00"),
    ],
)
def test_words_are_in_the_zone_of_who_writes_them(text: str, zone: tzinfo | None, expected: str) -> None:
    """And the moment is in UTC."""
    assert parse_past_moment(text, NOW, zone).isoformat() == expected


@pytest.mark.parametrize(
    ("now", "text", "zone", "expected"),
    [
        ("2026-03-29T12:00Z", "yesterday 14:05", BERLIN, "2026-03-28T13:05:00+00:00"),
        ("2026-03-29T12:00Z", "01:59", BERLIN, "2026-03-29T00:59:00+00:00"),
        ("2026-03-29T12:00Z", "02:30", BERLIN, "did not happen: the clocks went forward over 2026-03-29 02:30"),
        ("2026-10-25T12:00Z", "02:30", BERLIN, "happened twice.*`2026-10-25T00:30:00Z` or `2026-10-25T01:30:00Z`"),
        ("2026-10-25T12:00Z", "03:00", BERLIN, "2026-10-25T02:00:00+00:00"),
        (
            "2026-04-05T12:00Z",
            "01:45",
            ZoneInfo("Australia/Lord_Howe"),
            "happened twice.*`2026-04-04T14:45:00Z` or `.*15:15:00Z`",
        ),
        ("2026-09-06T12:00Z", "today", ZoneInfo("America/Santiago"), "2026-09-06T04:00:00+00:00"),
        ("2026-09-06T12:00Z", "00:30", ZoneInfo("America/Santiago"), "did not happen"),
    ],
)
def test_a_time_that_the_clocks_skipped_or_had_twice_is_refused(now: str, text: str, zone: tzinfo, expected: str) -> None:
    """The offset of the day that is meant counts, not today's."""
    moment = datetime.fromisoformat(now)
    if expected.endswith("+00:00"):
        assert parse_moment(text, moment, zone).isoformat() == expected
    else:
        with pytest.raises(ValueError, match=expected):
            parse_moment(text, moment, zone)


def test_the_zone_of_the_machine_is_that_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No zone at all means this machine's."""
    for name, expected in (("America/New_York", 19), ("Asia/Tokyo", 5)):
        with monkeypatch.context() as patched:
            patched.setenv("TZ", name)
            time.tzset()
            assert parse_moment("yesterday 14:05", NOW, None).hour == expected
    time.tzset()


@pytest.mark.parametrize("text", ["24:00", "10:60", "10", "yesterday 25:00", "tomorrow", "at 10:00", "10:00 ago", "x ago"])
def test_what_is_no_time_of_the_clock_names_the_forms(text: str) -> None:
    """All of them, so that one is copied."""
    with pytest.raises(ValueError, match=r"is no moment.*`30d`.*`now`, `10:00` or `yesterday 14:05`"):
        parse_moment(text, NOW)


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
