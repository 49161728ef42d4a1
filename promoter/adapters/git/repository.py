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

from promoter.adapters.git.history import CommitHistory
from promoter.adapters.git.known import GitAnswerCache
from promoter.adapters.git.merging import compute_merge
from promoter.adapters.git.mirror import BareMirror
from promoter.adapters.git.names import (
    HEADS,
    build_branch_ref,
    require_fetchable_ref,
    require_full_revision,
    normalize_identity,
    require_tracked_path,
)
from promoter.adapters.git.remote import parse_remote_address
from promoter.adapters.git.signatures import SignatureVerifier
from promoter.adapters.git.sources import REGISTRY_PATH
from promoter.adapters.git.writing import CommitWriter
from promoter.application.ports import GitCommit, MergePreview, Sources, UnsignedCommit
from promoter.domain.faults import BranchProtected, PermanentError
from promoter.domain.proposal import BRANCH_PREFIX

_PROPOSAL_REFS = "refs/promoter/branches"
_FETCHED_REFS = "refs/promoter/fetched"
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
        """`mirror`: a folder in a cache, made when needed; `timeout`: seconds for a git command. Raises `PermanentError`.

        `parse_signing_key`: the file of an SSH private key that signs Promoter's own commits.
        """
        self._ref = build_branch_ref(branch)
        self._remote = parse_remote_address(url, token)
        self._author = normalize_identity(author)
        self._mirror = BareMirror(mirror, self._remote, branch, timeout)
        self._cache = GitAnswerCache()
        self._history = CommitHistory(self._mirror, self._remote, self._cache)
        self._writer = CommitWriter(self._mirror, self._remote, self._author, signing_key)
        self._signatures = SignatureVerifier(self._mirror, self._remote)
        self.attest: Callable[[str], str] = str
        """What the messages of Promoter's own commits become right before they are made: a trailer says what else is so."""
        self._lock = threading.RLock()
        self._is_rewritten = False

    @property
    def signs_commits(self) -> bool:
        """Whether it has a key to sign its commits with."""
        return self._writer.signs

    def __repr__(self) -> str:
        """Address and branch; the address has no credentials in it."""
        return f"GitRepository({self._remote.url!r}, {self._ref!r})"

    @property
    def is_rewritten(self) -> bool:
        """Whether the last fetch found the branch moved other than forward: somebody rewrote history."""
        return self._is_rewritten

    def fetch_branch(self) -> str:
        """Fetch the branch; the full object id of its head. `forced` says whether it was rewritten."""
        with self._lock, self._mirror.hold_lock():
            expected = self._mirror.read_remote_head()
            before = self._mirror.read_local_head()
            if expected == before:
                self._is_rewritten = False
                return expected
            after = self._mirror.fetch_branch(expected)
            self._is_rewritten = before is not None and self._mirror.is_rewritten(before, after)
            if self._is_rewritten:
                log.warning("the branch was rewritten", branch=self._ref, before=before, after=after)
            return after

    def read_sources(self, revision: str) -> Sources:
        """The files of that revision that Promoter reads, as bytes; what is not there is not in the mapping."""
        with self._lock:
            return self._cache.get_or_compute(
                ("read", revision), lambda: self._mirror.read_sources(require_full_revision(revision))
            )

    def list_commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[GitCommit]:
        """First-parent commits after `base` up to `head` that touch `path`, oldest first, the newest 1,000 at most."""
        with self._lock:
            return self._history.find_commits(base, head, path, last)

    def read_commit(self, revision: str) -> GitCommit:
        """One commit, of whichever branch that was fetched. Raises `PermanentError` for one that was not."""
        with self._lock:
            return self._cache.get_or_compute(("message", revision), lambda: self._history.read_commit(revision))

    def has_only_own_commits(self, base: str, head: str) -> bool:
        """Whether Promoter's own account, by name and mail, is author and committer of all that `head` has and `base` lacks."""
        with self._lock:
            return self._cache.get_or_compute(
                ("untouched", base, head), lambda: self._history.is_all_made_by(self._author, base, head)
            )

    def list_branches(self, prefix: str) -> Mapping[str, str]:
        """The remote's branches whose names begin so, by name, as they are now, with their heads, which can then be read."""
        ref = build_branch_ref(f"{prefix}x")[:-1]  # the prefix itself may end with a slash, as no branch does
        with self._lock, self._mirror.hold_lock():
            self._mirror.fetch_refspec(f"+{ref}*:{_PROPOSAL_REFS}/{prefix}*")
            found = self._mirror.list_own_refs(_PROPOSAL_REFS)
        return {name: head for name, head in found.items() if name.startswith(prefix)}

    def fetch_ref(self, ref: str) -> str:
        """Fetch a branch by its ref, or `refs/pull/7/head`, `refs/merge-requests/7/head`; its head.

        Raises `PermanentError` for any other ref, and for one that the remote does not have.
        """
        kept = hashlib.sha256(require_fetchable_ref(ref).encode()).hexdigest()  # no name of theirs can get into another's way
        with self._lock, self._mirror.hold_lock():
            if len(self._mirror.list_own_refs(_FETCHED_REFS)) >= _FETCHED_LIMIT:
                self._mirror.delete_own_refs(_FETCHED_REFS)
            self._mirror.fetch_refspec(f"+{ref}:{_FETCHED_REFS}/{kept}")
            head = self._mirror.list_own_refs(_FETCHED_REFS).get(kept)
        if head is None:
            raise PermanentError("git", f"{ref} of {self._remote.url} is no commit")
        return head

    def preview_merge(self, base: str, head: str) -> MergePreview:
        """What merging `head` into `base` would give, as git merges. Nothing is written to the remote."""
        with self._lock:
            return self._cache.get_or_compute(("merge", base, head), lambda: self._compute_merge(base, head))

    def find_unsigned_commits(self, base: str | None, head: str) -> Sequence[UnsignedCommit]:
        """The commits after `base` up to `head` that change the watched files without a signature that holds, oldest first.

        `signatures` says which and by which keys. Raises `PermanentError` where ssh-keygen or gpg is needed and not installed.
        """
        with self._lock:
            return self._signatures.find_unsigned_commits(base, head)

    def commit_file(self, base: str, path: str, content: bytes, message: str) -> str:
        """Commit the file on top of `base` and push it, if the branch's head is still `base`; the new revision.

        Content that `base` has already writes nothing, and returns `base`. Raises `Conflict` where somebody pushed first,
        `BranchProtected` where the remote's rules keep pushes from the branch.
        """
        require_full_revision(base)
        message = self.attest(message)
        with self._lock, self._mirror.hold_lock():
            present = self._mirror.list_tree_entries(base, require_tracked_path(path))
            if any(entry.path == path and entry.blob == _compute_blob_id(content, len(base)) for entry in present):
                return base
            with self._writer.draft_commit(base, path, content, message) as new:
                self._writer.push_branch(self._ref, base, new)
                self._mirror.run_git("update-ref", self._ref, new)
            self._mirror.collect_garbage()
            return new

    def push_proposal(self, branch: str, expected: str | None, base: str, content: bytes, message: str) -> str:
        """Commit `registry.yaml` on top of `base`, and put that branch there; the new revision.

        Only if the branch's head still is `expected` (None: there is no such branch), else raises `Conflict`. Raises
        `PermanentError` for a branch that is not one of Promoter's own, and where another branch's name is in the way.
        """
        ref = self._require_proposal_ref(branch)
        for revision in (base, *([expected] if expected else [])):
            require_full_revision(revision)
        message = self.attest(message)
        with self._lock, self._mirror.hold_lock():
            self._mirror.require_commit(base)
            with self._writer.draft_commit(base, REGISTRY_PATH, content, message) as new:
                self._push_proposal_branch(ref, expected, new)
                self._mirror.run_git("update-ref", f"{_PROPOSAL_REFS}/{branch}", new)
            self._mirror.collect_garbage()
            return new

    def delete_branch(self, branch: str, expected: str) -> None:
        """Delete that branch, if its head still is `expected`, else raises `Conflict`. One that is gone is no error."""
        ref = self._require_proposal_ref(branch)
        with self._lock, self._mirror.hold_lock():
            self._push_proposal_branch(ref, require_full_revision(expected), None)
            self._mirror.run_git("update-ref", "-d", f"{_PROPOSAL_REFS}/{branch}")

    def _compute_merge(self, base: str, head: str) -> MergePreview:
        with self._mirror.hold_lock():
            merged = compute_merge(self._mirror, self._remote, base, head)
            self._mirror.collect_garbage()
            return merged

    def _require_proposal_ref(self, branch: str) -> str:
        """The ref of a branch for proposals. Raises `PermanentError` for any other."""
        ref = build_branch_ref(branch)
        if not branch.startswith(BRANCH_PREFIX) or ref == self._ref:
            raise PermanentError(
                "git", f"{branch!r} is not a branch for proposals", f"name one that begins with {BRANCH_PREFIX}"
            )
        return ref

    def _push_proposal_branch(self, ref: str, expected: str | None, new: str | None) -> None:
        """Push a branch for proposals. Where that is protected as well, a pull request is no way out."""
        try:
            self._writer.push_branch(ref, expected, new)
        except BranchProtected as fault:
            fix = f"let this account make, change and delete branches that begin with {BRANCH_PREFIX}"
            raise PermanentError("git", f"{ref.removeprefix(HEADS)}: {fault.message}", fix) from None


def _compute_blob_id(content: bytes, length: int) -> str:
    """The object id that git gives to the content, in a repository whose ids are that long."""
    kind = hashlib.sha256 if length == 64 else hashlib.sha1  # noqa: PLR2004  # the length of a SHA-256 in hex
    return kind(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
