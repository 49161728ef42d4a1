"""What a plain scalar means. YAML 1.1 and 1.2 disagree about many: what they read differently is refused, not guessed."""

from __future__ import annotations

import json
import re
from datetime import date, datetime

from promoter.adapters.documents.text import escape_invisible

ScalarValue = str | int | float | bool | date | datetime | None

_PLAIN_WORDS: dict[str, ScalarValue] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_PLAIN_WORDS |= {form: True for word in ("yes", "true", "on") for form in (word, word.title(), word.upper())}
_PLAIN_WORDS |= {form: False for word in ("no", "false", "off") for form in (word, word.title(), word.upper())}

_WHOLE_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]{0,38})")
_DECIMAL = re.compile(
    r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[1-9][0-9]*[eE][-+]?[0-9]+|\.(inf|Inf|INF))|\.(nan|NaN|NAN)"
)
_TIME_PATTERN = re.compile(
    r"\d{4}-\d\d-\d\d(([Tt]|[ \t]+)\d{1,2}:\d\d:\d\d(\.\d*)?([ \t]*(Z|[-+]\d\d?(:?\d\d)?))?)?",
    re.ASCII,
)
_UNCLEAR = re.compile(
    r"[-+]?(0[bB][01_]+|0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"
    r"|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?)"
)
_NUMERIC = frozenset("+-.0123456789")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class UnclearScalarError(ValueError):
    """A plain scalar that cannot be read in one way only. Says, in words, what is wrong and what to write instead."""

    def __init__(self, message: str, fix: str) -> None:
        """Keeps the two apart."""
        self.fix = fix
        super().__init__(message)


def resolve_scalar(text: str) -> ScalarValue:
    """The value of a plain scalar. Raises UnclearError."""
    if text in _PLAIN_WORDS:
        return _PLAIN_WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    if _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return _parse_float(text)
    if _TIME_PATTERN.fullmatch(text):
        return _parse_time(text)
    if _UNCLEAR.fullmatch(text):
        message = f"readers of YAML disagree about what `{text:.40}` is"
        raise UnclearScalarError(message, "write a number in plain decimal digits, or quote it if it is text")
    return text


def render_scalar(text: str) -> str:
    """A text as a scalar: plain where no reader of YAML could take it for something else, else in double quotes."""
    if _PLAIN_NAME.fullmatch(text) and text not in _PLAIN_WORDS and text.lower() not in ("y", "n"):
        return text
    return escape_invisible(json.dumps(text, ensure_ascii=False))


def _parse_float(text: str) -> float:
    special = text.lower().lstrip("+-")
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) if special in (".inf", ".nan") else float(text)


def _parse_time(text: str) -> date | datetime:
    try:
        return datetime.fromisoformat(text) if ":" in text else date.fromisoformat(text)
    except ValueError:
        message = f"`{text:.40}` is not a time that exists"
        raise UnclearScalarError(message, "write one like 2026-12-01T00:00:00Z, or quote it if it is text") from None
