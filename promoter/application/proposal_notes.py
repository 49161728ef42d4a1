"""One comment on a proposal's pull request that says what became of it."""

from __future__ import annotations

from promoter.application.ports import Comment, Forge

NOTE = "<!-- promoter:note -->"
"""What the comment begins with: it tells it from others of the same account."""
LEFT_ALONE = (
    "There is a commit on this branch that is not Promoter's: from now on, it and what is said here are left as they are. "
    "Once this is merged, or closed and its branch deleted, Promoter goes on."
)


def keep_note(forge: Forge, number: int, text: str | None) -> None:
    """Make that the one note on the pull request; None: there is to be none. Writes nothing where it is so already."""
    there = _notes(forge, number)
    wanted = None if text is None else f"{NOTE}\n{text}"
    if wanted is not None and not there:
        forge.comment(number, wanted)
        there = _notes(forge, number)  # another Promoter may have written one in the same moment
    for extra in there[1:] if wanted else there:
        forge.delete_comment(number, extra.id)
    if wanted and there and there[0].body.replace("\r\n", "\n").strip() != wanted:
        forge.edit_comment(number, there[0].id, wanted)


def _notes(forge: Forge, number: int) -> list[Comment]:
    return [each for each in forge.comments(number) if each.body.lstrip().startswith(NOTE)]
