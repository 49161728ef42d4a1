"""How counts, versions and words from outside are written."""

from __future__ import annotations

import pytest

from promoter.domain.text import escape_invisible, escape_lines, format_count, format_number, plural, version_label


def test_versions_have_one_word_for_none() -> None:
    """Version 0 is no version of MLflow's, and is written all the same."""
    assert [version_label(number) for number in (7, 0, None)] == ["v7", "v0", "none"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 entries, faults"), (1, "1 entry, fault"), (2, "2 entries, faults"), (-1, "-1 entries, faults")],
)
def test_words_follow_their_number(number: int, expected: str) -> None:
    """With an s, or in the form that is given."""
    assert f"{format_count(number, 'entry', 'entries')}, {plural(number, 'fault')}" == expected


def test_what_does_not_print_is_escaped() -> None:
    """Twice gives the same as once; only `escape_lines` leaves line breaks."""
    hostile = "a\x1b[31m\nb\u202ec\u00a0é東"
    assert escape_invisible(hostile) == "a\\x1b[31m\\nb\\u202ec\\xa0é東"
    assert escape_lines(hostile) == "a\\x1b[31m\nb\\u202ec\\xa0é東"
    assert escape_lines(escape_lines(hostile)) == escape_lines(hostile)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.9999996, "0.9999996"),
        (0.9500004, "0.9500004"),
        (50.0, "50"),
        (-0.0, "0"),
        (1e6, "1000000"),
        (1234567.25, "1234567.25"),
        (1e-7, "0.0000001"),
        (1e300, "1e+300"),
        (5e-324, "5e-324"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_numbers_keep_every_digit(number: float, expected: str) -> None:
    """No digit is rounded away, and none is made up."""
    assert format_number(number) == expected
    assert expected in ("0", "nan") or float(expected) == number
