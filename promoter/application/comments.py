"""Promoter's own comments on a pull request: one for each mark, written only where it differs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from promoter.application.ports import Clock, Forge, PullRequestComment


def find_marked_comments(forge: Forge, number: int, mark: str) -> Sequence[PullRequestComment]:
    """Return the comments of this Promoter that begin with the mark, oldest first."""
    own = forge.folder.mark_comment(mark)
    return [each for each in forge.list_own_comments(number) if each.body.lstrip().startswith(own)]


def update_comment(
    forge: Forge, number: int, mark: str, text: str | None, there: Sequence[PullRequestComment] | None = None
) -> None:
    """Make `text` the one comment with the mark that it begins with; None removes it.

    `there` has the comments that were just read. Nothing is written where the comment is right already. On the pull request the
    mark names Promoter's folder: other folders of the repository may have a Promoter with the same account.
    """
    text = None if text is None else forge.folder.mark_comment(mark) + text.removeprefix(mark)
    there = find_marked_comments(forge, number, mark) if there is None else there
    if text is not None and not there:
        forge.add_comment(number, text)
        there = find_marked_comments(forge, number, mark)  # another Promoter may have written one in the same moment
    for extra in there if text is None else there[1:]:
        forge.delete_comment(number, extra.id)
    if text is not None and there and _normalize_body(there[0].body) != _normalize_body(text):
        forge.edit_comment(number, there[0].id, text)


def _normalize_body(body: str) -> str:
    """Return the text without differences that forges make: line ends, and blanks around it."""
    return body.replace("\r\n", "\n").strip()


NOTE = "<!-- promoter:note -->"
"""What the comment begins with: it tells it from others of the same account."""
LEFT_ALONE = (
    "There is a commit on this branch that is not Promoter's: from now on, it and what is said here are left as they are. "
    "Once this is merged, or closed and its branch deleted, Promoter goes on."
)


def update_note(forge: Forge, number: int, text: str | None) -> None:
    """Make `text` the one note on the pull request; None removes it."""
    update_comment(forge, number, NOTE, None if text is None else f"{NOTE}\n{text}")


VERIFIED_LIFETIME = timedelta(minutes=10)
"""So long a comment or a status that somebody else takes away may be missing; forges count the calls of an hour."""


class VerifiedStates:
    """What was last read or written on each pull request, by number, and when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[int, tuple[datetime, object]] = {}

    def is_verified(self, number: int, what: object) -> bool:
        """Return whether exactly that was true within the last ten minutes."""
        at, known = self._known.get(number, (None, None))
        return at is not None and known == what and self._clock.now() - at < VERIFIED_LIFETIME

    def record_verified(self, number: int, what: object) -> None:
        """Record that it is true now."""
        self._known[number] = self._clock.now(), what

    def retain_pull_requests(self, numbers: Collection[int]) -> None:
        """Forget all other pull requests."""
        for number in list(self._known):  # looks at other pull requests may add to it meanwhile
            if number not in numbers:
                self._known.pop(number, None)
