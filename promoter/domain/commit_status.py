"""What a commit status on a forge says: its state, and one line."""

from __future__ import annotations

from enum import StrEnum

from promoter.domain.text import escape_invisible, shorten_to_words

STATUS_LENGTH_LIMIT = 140
"""Characters of a status's description: GitHub takes no more."""


class CommitStatusState(StrEnum):
    """The verdict of a commit status."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


def shorten_to_line(text: str) -> str:
    """Return the text on one line, visible, with at most 140 characters."""
    return shorten_to_words(escape_invisible(" ".join(text.split())), STATUS_LENGTH_LIMIT)
