"""Promoter's own comments on a pull request: one for each mark, written only where it differs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from promoter.application.ports import Clock, CommitStatus, Forge, PullRequest, PullRequestComment
from promoter.domain.commit_status import CommitStatusState
from promoter.domain.errors import PermanentError

log = structlog.get_logger(__name__)


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


class ForkNotices:
    """States on pull requests from forks that they are not planned, and what gets them a plan. Nothing in them is fetched.

    A plan shows what the registry has, and anybody may open a pull request from a fork. The status is a failure: a required
    check must not turn green, and nothing that could be waited for follows by itself.
    """

    def __init__(self, forge: Forge, branch: str, mark: str, url: str | None = None) -> None:
        """`branch` is the watched one, `mark` that of the comment with a plan; `url` is where the status leads."""
        self._forge = forge
        self._mark = mark
        self._command = f"`promoter plan --base {branch}`"
        description = (
            f"from a fork, so not planned: a plan shows registry data. Push it to a branch here, or run {self._command}"
        )
        self._status = CommitStatus(CommitStatusState.FAILURE, description, url)
        self._noticed: dict[int, str] = {}

    def retain_pull_requests(self, numbers: Collection[int]) -> None:
        """Forget all other pull requests."""
        for number in self._noticed.keys() - numbers:
            self._noticed.pop(number, None)

    def update_notice(self, listed: PullRequest, planned: Mapping[str, int]) -> None:
        """Write the notice once for each head, unless a pull request of this repository has the same one, and its plan.

        `planned` has the numbers of those by their heads. A forge that refuses the notice is logged, and left alone.
        """
        number, head = listed.number, listed.head
        if head in planned:
            self._noticed.pop(number, None)
            return
        if self._noticed.get(number) == head:
            return
        try:
            self._write_notice(listed)
        except PermanentError as error:
            log.warning("a pull request from a fork is not told that it is not planned", number=number, answer=error.message)
        self._noticed[number] = head

    def _write_notice(self, listed: PullRequest) -> None:
        if not self._forge.shows_fork_statuses:
            update_comment(self._forge, listed.number, self._mark, self._render_comment(listed))
            return
        has = self._forge.read_commit_status(listed.head)
        if has is None or (has.state, has.description) != (self._status.state, self._status.description):
            self._forge.set_commit_status(listed.head, self._status)
            log.info("a pull request from a fork is not planned", number=listed.number, revision=listed.head)

    def _render_comment(self, listed: PullRequest) -> str:
        command = f"{self._command[:-1]} --head {listed.head}`"
        return (
            f"{self._mark}\n### ✗ Promoter does not plan this: it comes from a fork\n\n"
            "A plan shows what the registry has, and anybody may propose something from a fork.\n\n"
            "- If it is merged, Promoter plans its changes then, and the policies decide about each of them.\n"
            "- If it changes files that Promoter reads, get a plan before the merge: push its branch to this repository and "
            f"propose it from there, or run {command} in a clone that has the commit.\n"
        )
