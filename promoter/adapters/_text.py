"""Text that comes from outside, made fit for a message: on one line, printable, bounded, and without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

MESSAGE_LIMIT = 300
"""Characters of a message that quotes somebody else."""
_MASK = "***"
_USER_INFO = re.compile(r"//[^/\s'\"]*@")
_QUERY = re.compile(r"(://[^\s?'\"]*)\?[^\s'\"]*")
_AUTHORIZATION = re.compile(r"(authorization:\s*)\S+(\s+\S+)?", re.IGNORECASE)

NO_ANSWER = "it does not answer in time"

# What the layers below say, in the order in which it is searched for. Their text is matched, never repeated: it may hold an
# address with its password.
_NETWORK_MESSAGES = (
    (re.compile(r"certificate|SSLError", re.IGNORECASE), "its certificate is not trusted"),
    (re.compile(r"too many (\d{3}) error responses"), "it keeps answering with status {}"),
    (re.compile(r"Connection refused"), "the connection is refused"),
    (re.compile(r"Failed to resolve|Name or service not known|nodename nor servname"), "its name cannot be resolved"),
    (re.compile(r"answer is too large"), "its answer is too large"),
    (re.compile(r"timed? ?out", re.IGNORECASE), NO_ANSWER),
)


def redact_secrets(text: str, secrets: Iterable[str] = (), *, user_info: str = f"{_MASK}@") -> str:
    """Replace the secrets and the values of `Authorization`; URLs lose their query, and have `user_info` before the host."""
    for secret in filter(None, secrets):
        text = text.replace(secret, _MASK)
    text = _QUERY.sub(r"\1", _USER_INFO.sub(f"//{user_info}", text))
    return _AUTHORIZATION.sub(rf"\1{_MASK}", text)


def to_one_line(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return the text on one line of at most that many characters; what could steer a terminal becomes a question mark."""
    return truncate_message(replace_unprintable(" ".join(text.split())), limit)


def replace_unprintable(text: str) -> str:
    """Return the text with a question mark in the place of each character that does not print."""
    return "".join(character if character.isprintable() else "?" for character in text)


def truncate_message(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Cut the text to that many characters; an ellipsis shows the cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def explain_network_text(text: str) -> str | None:
    """Say in words of ours what a client's message means; None where it is not known."""
    found = ((pattern.search(text), words) for pattern, words in _NETWORK_MESSAGES)
    return next((words.format(*match.groups()) for match, words in found if match), None)


def explain_network_error(error: BaseException) -> str:
    """Say in words of ours why there is no answer."""
    return explain_network_text(f"{type(error).__name__} {error}") or f"it cannot be reached ({type(error).__name__})"
