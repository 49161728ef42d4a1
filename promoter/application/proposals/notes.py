"""One comment on a proposal's pull request that says what became of it."""

from __future__ import annotations

from promoter.application.comments import update_comment
from promoter.application.ports import Forge

NOTE = "<!-- promoter:note -->"
"""What the comment begins with: it tells it from others of the same account."""
LEFT_ALONE = (
    "There is a commit on this branch that is not Promoter's: from now on, it and what is said here are left as they are. "
    "Once this is merged, or closed and its branch deleted, Promoter goes on."
)


def update_note(forge: Forge, number: int, text: str | None) -> None:
    """Make that the one note on the pull request; None: there is to be none."""
    update_comment(forge, number, NOTE, None if text is None else f"{NOTE}\n{text}")
