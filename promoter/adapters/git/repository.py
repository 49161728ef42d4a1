"""The user's GitOps repository: a mirror to read from, and commits pushed by compare-and-swap.

Here stand the calls, one at a time and each with the mirror held while it changes. What they do is in `history` (reading
commits), `merging`, `writing` (making and pushing commits) and `signatures`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog
from pydantic import SecretStr

from promoter.adapters.git.history import History
from promoter.adapters.git.known import Known
from promoter.adapters.git.merging import merge
from promoter.adapters.git.mirror import Mirror
from promoter.adapters.git.names import HEADS, branch_ref, fetchable_ref, full_revision, identity, tracked_path
from promoter.adapters.git.remote import parse_remote
from promoter.adapters.git.signatures import Signatures
from promoter.adapters.git.sources import REGISTRY
from promoter.adapters.git.writing import Writer
from promoter.application.ports import Commit, Merge, Sources, Unsigned
from promoter.domain.faults import Protected, Refused
from promoter.domain.proposal import PREFIX

_BRANCHES = "refs/promoter/branches"
_FETCHED = "refs/promoter/fetched"
_FETCHED_LIMIT = 1_000

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
        *,
        signing_key: Path | None = None,
    ) -> None:
        """`mirror`: a folder in a cache, made when needed; `timeout`: seconds for a git command. Raises `Refused`.

        `signing_key`: the file of an SSH private key that signs Promoter's own commits.
        """
        self._ref = branch_ref(branch)
        self._remote = parse_remote(url, token)
        self._author = identity(author)
        self._mirror = Mirror(mirror, self._remote, branch, timeout)
        self._known = Known()
        self._history = History(self._mirror, self._remote, self._known)
        self._writer = Writer(self._mirror, self._remote, self._author, signing_key)
        self._signatures = Signatures(self._mirror, self._remote)
        self.vouch: Callable[[str], str] = str
        """What the messages of Promoter's own commits become right before they are made: a trailer says what else is so."""
        self._lock = threading.RLock()
        self._forced = False

    @property
    def signs(self) -> bool:
        """Whether it has a key to sign its commits with."""
        return self._writer.signs

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
            return self._known.get(("read", revision), lambda: self._mirror.sources(full_revision(revision)))

    def commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[Commit]:
        """First-parent commits after `base` up to `head` that touch `path`, oldest first, the newest 1,000 at most."""
        with self._lock:
            return self._history.commits(base, head, path, last)

    def message(self, revision: str) -> Commit:
        """One commit, of whichever branch that was fetched. Raises `Refused` for one that was not."""
        with self._lock:
            return self._known.get(("message", revision), lambda: self._history.message(revision))

    def untouched(self, base: str, head: str) -> bool:
        """Whether Promoter's own account, by name and mail, is author and committer of all that `head` has and `base` lacks."""
        with self._lock:
            return self._known.get(("untouched", base, head), lambda: self._history.all_by(self._author, base, head))

    def branches(self, prefix: str) -> Mapping[str, str]:
        """The remote's branches whose names begin so, by name, as they are now, with their heads, which can then be read."""
        ref = branch_ref(f"{prefix}x")[:-1]  # the prefix itself may end with a slash, as no branch does
        with self._lock, self._mirror.held():
            self._mirror.bring(f"+{ref}*:{_BRANCHES}/{prefix}*")
            found = self._mirror.refs(_BRANCHES)
        return {name: head for name, head in found.items() if name.startswith(prefix)}

    def fetch_ref(self, ref: str) -> str:
        """Fetch a branch by its ref, or `refs/pull/7/head`, `refs/merge-requests/7/head`; its head.

        Raises `Refused` for any other ref, and for one that the remote does not have.
        """
        kept = hashlib.sha256(fetchable_ref(ref).encode()).hexdigest()  # no name of theirs can get into another's way
        with self._lock, self._mirror.held():
            if len(self._mirror.refs(_FETCHED)) >= _FETCHED_LIMIT:
                self._mirror.forget(_FETCHED)
            self._mirror.bring(f"+{ref}:{_FETCHED}/{kept}")
            head = self._mirror.refs(_FETCHED).get(kept)
        if head is None:
            raise Refused("git", f"{ref} of {self._remote.url} is no commit")
        return head

    def merge(self, base: str, head: str) -> Merge:
        """What merging `head` into `base` would give, as git merges. Nothing is written to the remote."""
        with self._lock:
            return self._known.get(("merge", base, head), lambda: self._merged(base, head))

    def unsigned(self, base: str | None, head: str) -> Sequence[Unsigned]:
        """The commits after `base` up to `head` that change the watched files without a signature that holds, oldest first.

        `signatures` says which and by which keys. Raises `Refused` where ssh-keygen or gpg is needed and not installed.
        """
        with self._lock:
            return self._signatures.unsigned(base, head)

    def commit(self, base: str, path: str, content: bytes, message: str) -> str:
        """Commit the file on top of `base` and push it, if the branch's head is still `base`; the new revision.

        Content that `base` has already writes nothing, and returns `base`. Raises `Overtaken` where somebody pushed first,
        `Protected` where the remote's rules keep pushes from the branch.
        """
        full_revision(base)
        message = self.vouch(message)
        with self._lock, self._mirror.held():
            present = self._mirror.entries(base, tracked_path(path))
            if any(entry.path == path and entry.blob == _blob_id(content, len(base)) for entry in present):
                return base
            with self._writer.drafted(base, path, content, message) as new:
                self._writer.push(self._ref, base, new)
                self._mirror.talk("update-ref", self._ref, new)
            self._mirror.tidy()
            return new

    def propose(self, branch: str, expected: str | None, base: str, content: bytes, message: str) -> str:
        """Commit `registry.yaml` on top of `base`, and put that branch there; the new revision.

        Only if the branch's head still is `expected` (None: there is no such branch), else raises `Overtaken`. Raises
        `Refused` for a branch that is not one of Promoter's own, and where another branch's name is in the way.
        """
        ref = self._own(branch)
        for revision in (base, *([expected] if expected else [])):
            full_revision(revision)
        message = self.vouch(message)
        with self._lock, self._mirror.held():
            self._mirror.require(base)
            with self._writer.drafted(base, REGISTRY, content, message) as new:
                self._move(ref, expected, new)
                self._mirror.talk("update-ref", f"{_BRANCHES}/{branch}", new)
            self._mirror.tidy()
            return new

    def discard(self, branch: str, expected: str) -> None:
        """Delete that branch, if its head still is `expected`, else raises `Overtaken`. One that is gone is no error."""
        ref = self._own(branch)
        with self._lock, self._mirror.held():
            self._move(ref, full_revision(expected), None)
            self._mirror.talk("update-ref", "-d", f"{_BRANCHES}/{branch}")

    def _merged(self, base: str, head: str) -> Merge:
        with self._mirror.held():
            merged = merge(self._mirror, self._remote, base, head)
            self._mirror.tidy()
            return merged

    def _own(self, branch: str) -> str:
        """The ref of a branch for proposals. Raises `Refused` for any other."""
        ref = branch_ref(branch)
        if not branch.startswith(PREFIX) or ref == self._ref:
            raise Refused("git", f"{branch!r} is not a branch for proposals", f"name one that begins with {PREFIX}")
        return ref

    def _move(self, ref: str, expected: str | None, new: str | None) -> None:
        """Push a branch for proposals. Where that is protected as well, a pull request is no way out."""
        try:
            self._writer.push(ref, expected, new)
        except Protected as fault:
            fix = f"let this account make, change and delete branches that begin with {PREFIX}"
            raise Refused("git", f"{ref.removeprefix(HEADS)}: {fault.message}", fix) from None


def _blob_id(content: bytes, length: int) -> str:
    """The object id that git gives to the content, in a repository whose ids are that long."""
    kind = hashlib.sha256 if length == 64 else hashlib.sha1  # noqa: PLR2004  # the length of a SHA-256 in hex
    return kind(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
