"""Counts, versions and words from outside, as every output writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from difflib import get_close_matches

_PLAIN_EXPONENTS = range(-20, 21)
"""The powers of ten between which a number is written without an exponent."""

NO_VERSION = "none"
"""What stands for a version where there is none."""


def version_label(number: int | None) -> str:
    """`v7`, or `none`."""
    return NO_VERSION if number is None else f"v{number}"


def plural(number: float, one: str, many: str = "") -> str:
    """The word that goes with the number: `one`, or `many` (without it: with an s)."""
    return one if number == 1 else many or f"{one}s"


def shorten_to_words(text: str, limit: int) -> str:
    """The text, or as many whole words of it as fit into so many characters, with an ellipsis."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    words, blank, _ = cut.rpartition(" ") if text[limit - 1] != " " else (cut, " ", "")
    return (words.rstrip(" ,;:(") if blank and len(words) > limit // 2 else cut) + "…"


def format_count(number: int, one: str, many: str = "") -> str:
    """`1 change`, `2 changes`."""
    return f"{number} {plural(number, one, many)}"


def summarize_lines(text: str) -> str:
    """The first of several lines, and how many there are besides: `m has no version 3; and 2 more`."""
    first, *others = text.splitlines() or [""]
    return first + (f"; and {len(others)} more" if others else "")


def suggest_known_name(name: str, known: Iterable[str]) -> str | None:
    """Return `did you mean ...?` where one of the known names is close; else None."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else None


def format_number(value: float) -> str:
    """The number with every digit that it has, and no more: `0.9999996`, `50` for 50.0; `nan` and `inf` as Python has them."""
    exact = Decimal(repr(value))
    if not exact.is_finite():
        return str(value)
    if not exact:
        return "0"
    exact = exact.normalize()
    return f"{exact:f}" if exact.adjusted() in _PLAIN_EXPONENTS else str(exact).lower()


_SIGNIFICANT_DIGITS = 6
"""How many digits of a figure people are shown. JSON has all of them."""
_FIGURE = re.compile(r"(?<![\w.:])-?\d+\.\d+(?:e[+-]?\d+)?(?!\w|\.\d|:)")
"""A figure with a fraction in running text: no part of a version such as 1.2.3, and none of a time."""


def shorten_number(value: float) -> str:
    """The number with six significant digits."""
    return format_number(float(f"{value:.{_SIGNIFICANT_DIGITS}g}"))


def shorten_figures(value: float, text: str) -> tuple[str, str]:
    """The value, and the text with the figures that it is compared with: six significant digits of each.

    All digits stay where fewer would make two figures look equal that are not.
    """
    figures = [float(found) for found in _FIGURE.findall(text)]
    shown = float(shorten_number(value))
    if any(_compare(value, each) != _compare(shown, float(shorten_number(each))) for each in figures):
        return format_number(value), text
    return shorten_number(value), _FIGURE.sub(lambda found: shorten_number(float(found[0])), text)


def _compare(one: float, other: float) -> int:
    return (one > other) - (one < other)


_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Letters and marks that leave nothing to see, though they count as printable: fillers, joiners, blanks, selectors."""
_PICTURE = re.compile("[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff]")
_PICTURE_STYLE = "\ufe0f"
"""What makes a sign a picture: harmless behind one, and hidden anywhere else."""


def is_visible(character: str, before: str = "") -> bool:
    """Whether the character shows as something, and steers nothing; `before`: the text in front of it."""
    if character == _PICTURE_STYLE and _PICTURE.fullmatch(before[-1:]):
        return True
    return character.isprintable() and not _UNSEEN.fullmatch(character)


def escape_invisible(text: str) -> str:
    """The text with everything that does not print, that nobody sees, or that turns direction, as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each if is_visible(each, text[max(0, place - 1) : place]) else each.encode("unicode_escape").decode()
        for place, each in enumerate(text)
    )


def escape_lines(text: str) -> str:
    """The text line by line, without what would steer a terminal: tags and names come from outside."""
    return "\n".join(map(escape_invisible, text.split("\n")))


def escape_json_text(document: str) -> str:
    """A JSON document that means the same, with everything that does not print as an escape; its line breaks stay."""
    if document.isascii() and document.replace("\n", "").isprintable():
        return document
    return "".join(
        each if each == "\n" or is_visible(each, document[max(0, place - 1) : place]) else _escape_json_character(each)
        for place, each in enumerate(document)
    )


def _escape_json_character(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


_CHAT_MARKUP = re.compile(r"(?<![A-Za-z0-9_])@(?=\w)|<(?=[!@#]|\w+:)|\](?=\()|^\s*(?=/\w)")
"""What chats and mail take for people, channels, links, tags and commands."""


def replace_unstorable(text: str) -> str:
    """The text with a sign in the place of NUL and of lone halves of a pair, which no database keeps."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def disarm_message_text(text: str) -> str:
    """One line for people in a chat or a mail, in which nobody is called, and nothing is a link that says another address."""
    return _CHAT_MARKUP.sub(lambda found: f"{found[0]} ", escape_invisible(text))


_SKIP_DIRECTIVE = re.compile(r"\[([^\[\]\n]*(?<![a-z])(?:skip|ci)(?![a-z])[^\[\]\n]*)\]", re.IGNORECASE)
"""`[skip ci]` and its relatives, which keep a forge from running its checks."""
_SKIP_TRAILER = re.compile("skip-checks", re.IGNORECASE)
_FORGE_REFERENCE = re.compile(
    r"(?<![A-Za-z0-9_])@(?=\w)|#(?=\w)|[!&](?=\d)|\bGH-(?=\d)"
    r"|\b(?:issues|pulls?|merge_requests|work_items|discussions|epics)/(?=\d)",
    re.IGNORECASE,
)
"""What a forge takes for a person, an issue or a switch, and would notify, close or obey. Letters of other scripts than ASCII's
end no name there: `é@team` is one, too."""
_TRACKER_CLOSING = re.compile(
    r"\b(?:clos|fix|resolv|implement)(?:e|es|ed|s|d|ing)?:?\s+[A-Z][A-Z0-9_]+-\d+(?:(?:\s*,\s*|\s+and\s+)[A-Z][A-Z0-9_]+-\d+)*",
    re.IGNORECASE,
)
"""`Closes KEY-1`, with which a forge closes an issue in a tracker beside it."""


def disarm_commit_text(text: str) -> str:
    """The text of a commit message or title, so that no forge obeys what stands in it: `[skip ci]`, `Closes #1`, `@team`.

    Tags, names and reasons come from outside. The words stay readable: `(skip ci)`, `Closes # 1`, `@ team`.
    """
    while (disarmed := _SKIP_DIRECTIVE.sub(r"(\1)", text)) != text:
        text = disarmed
    text = _SKIP_TRAILER.sub("skip checks", text.replace("***", "* * *"))
    text = _TRACKER_CLOSING.sub(lambda found: re.sub(r"-(?=\d)", "- ", found[0]), text)
    return _FORGE_REFERENCE.sub(lambda found: f"{found[0]} ", text)
