"""How counts, versions and words from outside are written."""

from __future__ import annotations

import json

import pytest

from promoter.domain.text import (
    disarm_commit_text,
    disarm_message_text,
    escape_invisible,
    escape_json_text,
    escape_lines,
    format_count,
    format_number,
    plural,
    replace_unstorable,
    shorten_figures,
    version_label,
)


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


def test_what_nobody_sees_is_escaped() -> None:
    """Fillers, joiners, blanks and selectors count as printable, and two names must not look like one; pictures stay."""
    hidden = "a\u034fb\u3164c\ufe0fd\U000e0100e\u2800f\u115fg\u180bh\ufe00"
    assert escape_invisible(hidden) == hidden.encode("unicode_escape").decode()
    assert escape_invisible("\u26a0\ufe0f 東 e\u0301") == "\u26a0\ufe0f 東 e\u0301"
    assert json.loads(escape_json_text(json.dumps(hidden, ensure_ascii=False))) == hidden
    assert escape_json_text(json.dumps(hidden, ensure_ascii=False)).isascii()


@pytest.mark.parametrize(
    ("text", "disarmed"),
    [
        ("<!channel> <@U1> <#C1> <http://e|click>", "< !channel> < @ U1> < #C1> < http://e|click>"),
        ("[click](http://e) @everyone .@here é@team", "[click] (http://e) @ everyone .@ here é@ team"),
        ("/giphy x", " /giphy x"),
        ("a\r\nBcc: x\u202e", "a\\r\\nBcc: x\\u202e"),
        (
            "fraud@champion moved from v7 to v8: <b>b</b> & ada@example.org",
            "fraud@champion moved from v7 to v8: <b>b</b> & ada@example.org",
        ),
    ],
)
def test_no_chat_obeys_a_message(text: str, disarmed: str) -> None:
    """Nobody is called, nothing is a link under another name, no line is made; the words stay readable."""
    assert disarm_message_text(text) == disarmed


def test_what_no_database_keeps_is_replaced() -> None:
    """A NUL and lone halves of a pair; all else stays."""
    assert replace_unstorable("a\0b\ud800c\n東\U0001f600") == "a\ufffdb?c\n東\U0001f600"


def test_json_means_the_same_without_what_does_not_print() -> None:
    """Also beyond the first 65,536 characters, and with lone halves of a pair."""
    value = {"a\x85": "é\u2028\u202e\x7f\U000e0001\ud800 東"}
    shown = escape_json_text(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(shown) == value
    assert shown == escape_lines(shown)


@pytest.mark.parametrize(
    ("text", "disarmed"),
    [
        ("[skip ci]", "(skip ci)"),
        ("[[CI-Skip]]", "((CI-Skip))"),
        ("[no ci] [skip actions] [skip azurepipelines]", "(no ci) (skip actions) (skip azurepipelines)"),
        ("***NO_CI***", "* * *NO_CI* * *"),
        ("skip-checks: true", "skip checks: true"),
        ("Closes #1, fixes group/project#2, GH-3, !4 and &5", "Closes # 1, fixes group/project# 2, GH- 3, ! 4 and & 5"),
        ("Closes https://git.example/a/b/issues/7", "Closes https://git.example/a/b/issues/ 7"),
        ("thanks @team, and PROJ-1 #close", "thanks @ team, and PROJ-1 # close"),
        ("so.@team é@team 東@team", "so.@ team é@ team 東@ team"),
        ("Closes PROJ-1, PROJ-2 and ABC-3; fixed: AB_C-4", "Closes PROJ- 1, PROJ- 2 and ABC- 3; fixed: AB_C- 4"),
        ("trained on GPT-4, closes the gap", "trained on GPT-4, closes the gap"),
        (
            "fraud@champion by Ada <ada@example.org> or renovate[bot]",
            "fraud@champion by Ada <ada@example.org> or renovate[bot]",
        ),
        ("metric auc in [0.1, 0.2], specific [precise]", "metric auc in [0.1, 0.2], specific [precise]"),
    ],
)
def test_no_forge_obeys_a_commit_message(text: str, disarmed: str) -> None:
    """What would stop checks, close issues or notify people stays readable, and does neither; twice is the same as once."""
    assert disarm_commit_text(text) == disarmed
    assert disarm_commit_text(disarmed) == disarmed


@pytest.mark.parametrize(
    ("value", "text", "shown"),
    [
        (0.9731182795698925, "at least 0.9", ("0.973118", "at least 0.9")),
        (50.0, "at most 50 (champion v7 has 49.123456789)", ("50", "at most 50 (champion v7 has 49.1235)")),
        (0.9499999996, "at least 0.95", ("0.9499999996", "at least 0.95")),
        (0.9500000004, "better than 0.9500000001", ("0.9500000004", "better than 0.9500000001")),
        (123456789.5, "at least 1.0", ("123457000", "at least 1")),
        (0.1, "at 12:00:01.1234567 with 1.2.3456789", ("0.1", "at 12:00:01.1234567 with 1.2.3456789")),
        (1e-9, "at most 1.23456789e-8", ("0.000000001", "at most 0.0000000123457")),
    ],
)
def test_people_are_shown_six_digits(value: float, text: str, shown: tuple[str, str]) -> None:
    """All digits stay where fewer would make two figures look equal; times and versions stay as they are."""
    assert shorten_figures(value, text) == shown
