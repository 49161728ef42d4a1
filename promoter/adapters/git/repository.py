"""The user's GitOps repository: a mirror to read from, and commits pushed by compare-and-swap."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import SecretStr

from promoter.adapters.git.errors import failure, overtaken, push_failure
from promoter.adapters.git.mirror import Mirror, full_revision
from promoter.adapters.git.remote import parse_remote
from promoter.application.ports import Commit, Sources
from promoter.domain.faults import Refused, Unavailable

_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{|/\.|\.lock(?:/|$)|\.$|/$))[^-./\x00-\x20\x7f~^:?*\[\\][^\x00-\x20\x7f~^:?*\[\\]*")
_PATH = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[^/\"\x00-\x1f\x7f][^\"\x00-\x1f\x7f]*")
_UNSIGNED = re.compile(r"[<>\x00-\x1f\x7f]")
_DRAFT = "refs/promoter/draft"
"""Where a commit stands until the remote has it. One name is enough: whoever writes it holds the mirror."""
_HISTORY_LIMIT = 1_000
_COMMIT = "%H%n%an <%ae>%n%ct%n%s%n%(trailers:only,unfold)"
"""A line each, and one for each trailer: unfolding leaves no line break in a value, and commits end with NUL, which no message
has. So nothing that a message says can pass for another field, another trailer or another commit."""
_TRAILERS = 100
_KEY_LENGTH = 100
_VALUE_LENGTH = 1_000

log = structlog.get_logger(__name__)


class GitRepository:
    """One branch of one remote. Calls from several threads are served one after the other."""

    def __init__(
        self,
        url: str,
        branch: str,
        mirror: Path,
        token: SecretStr | None = None,
        author: tuple[str, str] = ("Promoter", "promoter@localhost"),
        timeout: float = 60.0,
    ) -> None:
        """`mirror`: a folder in a cache, made when needed; `timeout`: seconds for a git command. Raises `Refused`."""
        if len(branch) > 200 or not _BRANCH.fullmatch(branch):  # noqa: PLR2004  # git's file names end at 255
            raise Refused("git", f"{branch[:80]!r} is not a branch name", "name a branch, such as main")
        self._remote = parse_remote(url, token)
        self._ref = f"refs/heads/{branch}"
        self._mirror = Mirror(mirror, self._remote, branch, timeout)
        name, mail = (_UNSIGNED.sub("", part).strip() for part in author)
        self._author = f"{name} <{mail}>"
        self._lock = threading.RLock()
        self._forced = False

    def __repr__(self) -> str:
        """Address and branch; the address has no credentials in it."""
        return f"GitRepository({self._remote.url!r}, {self._ref!r})"

    @property
    def forced(self) -> bool:
        """Whether the last fetch found the branch moved other than forward: somebody rewrote history."""
        return self._forced

    def fetch(self) -> str:
        """Fetch the branch; the full object id of its head. `forced` says whether it was rewritten."""
        with self._lock, self._mirror.held():
            expected = self._mirror.remote_head()
            before = self._mirror.head()
            if expected == before:
                self._forced = False
                return expected
            after = self._mirror.follow(expected)
            self._forced = before is not None and self._mirror.moved_back(before, after)
            if self._forced:
                log.warning("the branch was rewritten", branch=self._ref, before=before, after=after)
            return after

    def read(self, revision: str) -> Sources:
        """The files of that revision that Promoter reads, as bytes; what is not there is not in the mapping."""
        with self._lock:
            return self._mirror.sources(full_revision(revision))

    def commits(self, base: str | None, head: str, path: str) -> Sequence[Commit]:
        """First-parent commits after `base` up to `head` that touch `path`, oldest first, the newest 1,000 at most.

        Only the last one without a base, or with one that a rewritten history has dropped. Trailers are those of the commit's
        own message, as git sees them (in its last paragraph): the last 100, values cut at 1,000 characters.
        """
        full_revision(head)
        with self._lock:
            self._mirror.require(head)
            known = base is not None and self._mirror.knows(full_revision(base))
            span, count = (f"{base}..{head}", _HISTORY_LIMIT) if known else (head, 1)
            options = (
                "--first-parent",
                "--no-color",
                "--no-show-signature",
                "--no-mailmap",
                "--no-notes",
                f"--max-count={count}",
            )
            reply = self._mirror.talk(
                "log", "-z", *options, f"--format={_COMMIT}", "--end-of-options", span, "--", _tracked(path)
            )
            if reply.status != 0:
                raise failure("log", reply, self._remote)
        found = [_commit(text) for text in reply.out.decode("utf-8", "replace").split("\0") if text]
        return found[::-1]

    def commit(self, base: str, path: str, content: bytes, message: str) -> str:
        """Commit the file on top of `base` and push it, if the branch's head is still `base`; the new revision.

        Content that `base` has already writes nothing, and returns `base`. Raises `Overtaken` where somebody pushed first.
        """
        full_revision(base)
        with self._lock, self._mirror.held():
            present = self._mirror.entries(base, _tracked(path))
            if any(entry.path == path and entry.blob == _blob_id(content, len(base)) for entry in present):
                return base
            new = self._draft(base, path, content, message)
            try:
                self._push(base, new)
            finally:
                self._mirror.talk("update-ref", "-d", _DRAFT)
            self._mirror.talk("update-ref", self._ref, new)
            self._mirror.tidy()
            return new

    def _draft(self, base: str, path: str, content: bytes, message: str) -> str:
        """Write the commit into the mirror, without a checkout."""
        text = (message.replace("\0", "").strip() or f"Change {path}").encode() + b"\n"
        signed = f"{self._author} {int(time.time())} +0000"
        head = f"commit {_DRAFT}\nmark :1\nauthor {signed}\ncommitter {signed}\ndata {len(text)}\n".encode()
        change = f"from {base}\nM 100644 inline {path}\ndata {len(content)}\n".encode()
        stream = b"".join((head, text, change, content, b"\n\nget-mark :1\ndone\n"))
        reply = self._mirror.talk("fast-import", "--quiet", "--done", "--force", "--date-format=raw", stdin=stream)
        if reply.status != 0:
            raise failure("fast-import", reply, self._remote)
        return full_revision(reply.text)

    def _push(self, base: str, new: str) -> None:
        lease = f"--force-with-lease={self._ref}:{base}"
        options = ("--porcelain", "--no-verify", "--no-signed", "--no-follow-tags", "--recurse-submodules=no", lease)
        reply = self._mirror.talk("push", *options, "--end-of-options", self._remote.url, f"{new}:{self._ref}")
        if reply.status == 0:
            return
        fault = push_failure(reply, self._remote)
        if fault is None:
            moved = self._mirror.remote_head() != base
            fault = overtaken() if moved else Unavailable("git", "the remote could not move the branch just now")
        raise fault


def _tracked(path: str) -> str:
    """The path itself. Raises `Refused` for one that could not be a file of the repository."""
    if not _PATH.fullmatch(path):
        raise Refused("git", f"{path[:80]!r} is not the path of a file in the repository")
    return path


def _blob_id(content: bytes, length: int) -> str:
    """The object id that git gives to the content, in a repository whose ids are that long."""
    kind = hashlib.sha256 if length == 64 else hashlib.sha1  # noqa: PLR2004  # the length of a SHA-256 in hex
    return kind(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


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
