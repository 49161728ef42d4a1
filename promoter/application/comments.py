"""One comment of Promoter's on a pull request, told from its others by a mark, and kept as it is to be."""

from __future__ import annotations

from collections.abc import Sequence

from promoter.application.ports import PullRequestComment, Forge


def find_marked_comments(forge: Forge, number: int, mark: str) -> Sequence[PullRequestComment]:
    """Promoter's own comments that begin with that mark, oldest first."""
    return [each for each in forge.list_own_comments(number) if each.body.lstrip().startswith(mark)]


def update_comment(
    forge: Forge, number: int, mark: str, text: str | None, there: Sequence[PullRequestComment] | None = None
) -> None:
    """Make that the one comment with the mark, which `text` begins with; None: there is to be none.

    `there` are those that were just read. Writes nothing where it is so already.
    """
    there = find_marked_comments(forge, number, mark) if there is None else there
    if text is not None and not there:
        forge.add_comment(number, text)
        there = find_marked_comments(forge, number, mark)  # another Promoter may have written one in the same moment
    for extra in there if text is None else there[1:]:
        forge.delete_comment(number, extra.id)
    if text is not None and there and _normalize_body(there[0].body) != _normalize_body(text):
        forge.edit_comment(number, there[0].id, text)


def _normalize_body(body: str) -> str:
    """Forges keep line ends, and what is around a text, as they like."""
    return body.replace("\r\n", "\n").strip()
