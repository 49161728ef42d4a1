"""What commits say of themselves: who made them, when, and with which words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from promoter.adapters.git.errors import failure
from promoter.adapters.git.known import Known
from promoter.adapters.git.mirror import Mirror
from promoter.adapters.git.names import full_revision, tracked_path
from promoter.adapters.git.remote import Remote
from promoter.application.ports import Commit

_LIMIT = 1_000
_COMMIT = "%H%n%an <%ae>%n%ct%n%s%n%(trailers:only,unfold)"
"""A line each, and one for each trailer: unfolding leaves no line break in a value, and commits end with NUL, which no message
has. So nothing that a message says can pass for another field, another trailer or another commit."""
_MAKERS = "%an%n%ae%n%cn%n%ce"
_AS_WRITTEN = ("--no-color", "--no-show-signature", "--no-mailmap", "--no-notes")
_TRAILERS = 100
_KEY_LENGTH = 100
_VALUE_LENGTH = 1_000


class History:
    """Reads commits of a mirror."""

    def __init__(self, mirror: Mirror, remote: Remote, known: Known) -> None:
        """Touches nothing yet. `known`: where answers are kept."""
        self._mirror = mirror
        self._remote = remote
        self._known = known

    def commits(self, base: str | None, head: str, path: str, last: int) -> Sequence[Commit]:
        """First-parent commits after `base` up to `head` that touch `path`, oldest first, the newest 1,000 at most.

        The `last` so many without a base, or with one that a rewritten history has dropped. Trailers are those of the commit's
        own message, as git sees them (in its last paragraph): the last 100, values cut at 1,000 characters.
        """
        if base is not None:
            since = self._known.get(("since", base, head, path), lambda: self._since(base, head, path))
            if since is not None:
                return since
        return self._known.get(("last", head, path, str(last)), lambda: self._last(head, path, last))

    def _since(self, base: str, head: str, path: str) -> Sequence[Commit] | None:
        """None where `base` is not in the mirror."""
        self._mirror.require(full_revision(head))
        return self._touching(f"{base}..{head}", path, _LIMIT) if self._mirror.knows(full_revision(base)) else None

    def _last(self, head: str, path: str, count: int) -> Sequence[Commit]:
        self._mirror.require(full_revision(head))
        return self._touching(head, path, min(count, _LIMIT))

    def _touching(self, span: str, path: str, count: int) -> Sequence[Commit]:
        found = self._log(_COMMIT, "--first-parent", f"--max-count={count}", "--end-of-options", span, "--", tracked_path(path))
        return [_commit(text) for text in found[::-1]]

    def message(self, revision: str) -> Commit:
        """One commit. Raises `Refused` where it is not in the mirror."""
        self._mirror.require(full_revision(revision))
        (found,) = self._log(_COMMIT, "--no-walk", "--end-of-options", revision, "--")
        return _commit(found)

    def all_by(self, maker: tuple[str, str], base: str, head: str) -> bool:
        """Whether author and committer of each commit that `head` has and `base` lacks are that name and mail.

        More than 1,000 commits are more than one account makes there, and are not looked through.
        """
        for revision in (base, head):
            self._mirror.require(full_revision(revision))
        found = self._log(_MAKERS, f"--max-count={_LIMIT + 1}", "--end-of-options", f"{base}..{head}", "--")
        return len(found) <= _LIMIT and all(tuple(text.lstrip("\n").split("\n")) == maker * 2 for text in found)

    def _log(self, form: str, *arguments: str) -> list[str]:
        """What `git log` says of each commit, newest first."""
        reply = self._mirror.talk("log", "-z", *_AS_WRITTEN, f"--format={form}", *arguments)
        if reply.status != 0:
            raise failure("log", reply, self._remote)
        return [text for text in reply.out.decode("utf-8", "replace").split("\0") if text]


def _commit(text: str) -> Commit:
    revision, author, seconds, subject, *trailers = text.lstrip("\n").split("\n")
    return Commit(revision, author, _moment(seconds), subject, _trailers(trailers))


def _moment(seconds: str) -> datetime:
    """The time of a commit; the start of 1970 where it bears none that can be: anybody can write such a commit."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _trailers(lines: Sequence[str]) -> dict[str, str]:
    """By key, as written; the last one of a key. A key longer than any that means something is left out."""
    told = (line.partition(":") for line in [line for line in lines if line][-_TRAILERS:])
    return {key: _shown(value) for key, colon, value in told if colon and len(key) <= _KEY_LENGTH}


def _shown(value: str) -> str:
    """Cut, and without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in value.strip()[:_VALUE_LENGTH])
