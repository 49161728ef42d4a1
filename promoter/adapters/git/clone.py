"""The clone that one stands in, for reading: any of its commits, and what a merge of two would give. No network, no checkout.

What git writes to compute a merge goes to a folder of its own that is thrown away.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from promoter.adapters.git.command import GitCommand, GitReply
from promoter.adapters.git.errors import redact_to_one_line
from promoter.adapters.git.history import CommitHistory
from promoter.adapters.git.known import GitAnswerCache
from promoter.adapters.git.merging import compute_merge
from promoter.adapters.git.mirror import BareMirror
from promoter.adapters.git.names import is_revision
from promoter.adapters.git.remote import RemoteAddress, GitTransport
from promoter.adapters.git.signatures import SignatureVerifier
from promoter.application.ports import GitCommit, MergePreview, Sources, UnsignedCommit
from promoter.domain.faults import PermanentError
from promoter.domain.verdict import escape_invisible

_CLONE_TIMEOUT_SECONDS = 60.0
_SHOWN_LENGTH = 80
_DEPTH_FIX = (
    "fetch all of history: `git fetch --unshallow`, `fetch-depth: 0` of actions/checkout, or `GIT_DEPTH: 0` in GitLab CI"
)


class _CloneMirror(BareMirror):
    """The clone's own objects, with a place beside them for what is written."""

    def __init__(self, folder: Path, objects: str) -> None:
        super().__init__(folder, RemoteAddress(str(folder), GitTransport.LOCAL), "-", _CLONE_TIMEOUT_SECONDS)
        self._objects = objects
        self.scratch: str | None = None

    def run_git(self, *arguments: str, stdin: bytes | None = None, variables: Mapping[str, str] | None = None) -> GitReply:
        apart = {}
        if self.scratch:
            apart = {"GIT_OBJECT_DIRECTORY": self.scratch, "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quote_path(self._objects)}
        return super().run_git(*arguments, stdin=stdin, variables={**apart, **(variables or {})})

    def is_shallow(self) -> bool:
        """Whether its history was cut."""
        return self.run_git("rev-parse", "--is-shallow-repository").output_text == "true"

    def _mark_damaged(self, reply: GitReply) -> PermanentError:  # type: ignore[override]  # there is nothing that would be made anew
        message = redact_to_one_line(reply.err, RemoteAddress("", GitTransport.LOCAL)) or "an object is missing"
        return PermanentError("git", f"this clone lacks what it should have: {message}", _DEPTH_FIX)


class LocalClone:
    """Implements the reading part of `Repository` for a clone on this machine."""

    def __init__(self, path: Path) -> None:
        """`path`: a folder in it. Raises `PermanentError` where there is no repository."""
        git = GitCommand(path, timeout=_CLONE_TIMEOUT_SECONDS, config=None)
        found = git.run_command("rev-parse", "--path-format=absolute", "--git-dir", "--git-path", "objects")
        folder, _, objects = found.output_text.partition("\n")
        if found.status != 0 or not objects:
            message = redact_to_one_line(found.err, RemoteAddress("", GitTransport.LOCAL))
            raise PermanentError("git", f"here is no repository to read: {message}", "go to a clone of the GitOps repository")
        self._mirror = _CloneMirror(Path(folder), objects)
        self._remote = RemoteAddress(folder, GitTransport.LOCAL)
        self._history = CommitHistory(self._mirror, self._remote, GitAnswerCache())

    def resolve_commit(self, ref: str) -> str:
        """The commit that git takes it for: a branch, a tag, a commit id, `origin/main`. Raises `PermanentError` for none."""
        reply = self._mirror.run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        if reply.status != 0 or not is_revision(reply.output_text):
            fix = (
                _DEPTH_FIX
                if self._mirror.is_shallow()
                else "name a branch, a tag or a commit that is fetched, such as origin/main"
            )
            raise PermanentError("git", f"`{escape_invisible(ref[:_SHOWN_LENGTH])}` is no commit of this clone", fix)
        return reply.output_text

    def read_sources(self, revision: str) -> Sources:
        """The files of that revision that Promoter reads."""
        return self._mirror.read_sources(revision)

    def list_commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[GitCommit]:
        """First-parent commits after `base` up to `head` that touch `path`, oldest first; without base the `last` so many."""
        return self._history.find_commits(base, head, path, last)

    def has_merged(self, branch: str, revision: str) -> bool:
        """Whether the branch of a remote, as it was last fetched, has that commit. Raises `PermanentError` in a shallow clone."""
        if self._mirror.is_shallow():
            raise PermanentError("git", "this clone is too shallow: it does not show who brought what", _DEPTH_FIX)
        refs = ("for-each-ref", "--count=1", "--format=x", f"--contains={revision}", f"refs/remotes/*/{branch}")
        return bool(self._mirror.run_git(*refs).output_text)

    def preview_merge(self, base: str, head: str) -> MergePreview:
        """What merging `head` into `base` would give. Raises `PermanentError` where the clone is too shallow to tell."""
        common = self._mirror.run_git("merge-base", "--end-of-options", base, head)
        if common.status != 0 and self._mirror.is_shallow():
            raise PermanentError("git", "this clone is too shallow: it does not show where base and head part", _DEPTH_FIX)
        with tempfile.TemporaryDirectory(prefix="promoter-") as scratch:
            self._mirror.scratch = scratch
            try:
                return compute_merge(self._mirror, self._remote, base, head)
            finally:
                self._mirror.scratch = None

    def find_unsigned_commits(self, base: str | None, head: str) -> Sequence[UnsignedCommit]:
        """The commits after `base` up to `head` that change the watched files without a signature that holds."""
        return SignatureVerifier(self._mirror, self._remote).find_unsigned_commits(base, head)


def _quote_path(path: str) -> str:
    """As git reads it in a list that colons part."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
