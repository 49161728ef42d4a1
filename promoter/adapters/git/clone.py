"""The clone that one stands in, for reading: any of its commits, and what a merge of two would give. No network, no checkout.

What git writes to compute a merge goes to a folder of its own that is thrown away.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from promoter.adapters.git.command import GitCommand, Reply
from promoter.adapters.git.errors import one_line
from promoter.adapters.git.history import History
from promoter.adapters.git.known import Known
from promoter.adapters.git.merging import merge
from promoter.adapters.git.mirror import Mirror
from promoter.adapters.git.names import is_revision
from promoter.adapters.git.remote import Remote, Transport
from promoter.adapters.git.signatures import Signatures
from promoter.application.ports import Commit, Merge, Sources, Unsigned
from promoter.domain.faults import Refused
from promoter.domain.verdict import visible

_TIMEOUT_SECONDS = 60.0
_SHOWN = 80
_DEPTH = "fetch all of history: `git fetch --unshallow`, `fetch-depth: 0` of actions/checkout, or `GIT_DEPTH: 0` in GitLab CI"


class _Store(Mirror):
    """The clone's own objects, with a place beside them for what is written."""

    def __init__(self, folder: Path, objects: str) -> None:
        super().__init__(folder, Remote(str(folder), Transport.LOCAL), "-", _TIMEOUT_SECONDS)
        self._objects = objects
        self.scratch: str | None = None

    def talk(self, *arguments: str, stdin: bytes | None = None, variables: Mapping[str, str] | None = None) -> Reply:
        apart = {}
        if self.scratch:
            apart = {"GIT_OBJECT_DIRECTORY": self.scratch, "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(self._objects)}
        return super().talk(*arguments, stdin=stdin, variables={**apart, **(variables or {})})

    def shallow(self) -> bool:
        """Whether its history was cut."""
        return self.talk("rev-parse", "--is-shallow-repository").text == "true"

    def _damage(self, reply: Reply) -> Refused:  # type: ignore[override]  # there is nothing that would be made anew
        said = one_line(reply.err, Remote("", Transport.LOCAL)) or "an object is missing"
        return Refused("git", f"this clone lacks what it should have: {said}", _DEPTH)


class Clone:
    """Implements the reading part of `Repository` for a clone on this machine."""

    def __init__(self, path: Path) -> None:
        """`path`: a folder in it. Raises `Refused` where there is no repository."""
        git = GitCommand(path, timeout=_TIMEOUT_SECONDS, config=None)
        found = git.run("rev-parse", "--path-format=absolute", "--git-dir", "--git-path", "objects")
        folder, _, objects = found.text.partition("\n")
        if found.status != 0 or not objects:
            said = one_line(found.err, Remote("", Transport.LOCAL))
            raise Refused("git", f"here is no repository to read: {said}", "go to a clone of the GitOps repository")
        self._store = _Store(Path(folder), objects)
        self._remote = Remote(folder, Transport.LOCAL)
        self._history = History(self._store, self._remote, Known())

    def resolve(self, ref: str) -> str:
        """The commit that git takes it for: a branch, a tag, a commit id, `origin/main`. Raises `Refused` for none."""
        reply = self._store.talk("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        if reply.status != 0 or not is_revision(reply.text):
            fix = _DEPTH if self._store.shallow() else "name a branch, a tag or a commit that is fetched, such as origin/main"
            raise Refused("git", f"`{visible(ref[:_SHOWN])}` is no commit of this clone", fix)
        return reply.text

    def read(self, revision: str) -> Sources:
        """The files of that revision that Promoter reads."""
        return self._store.sources(revision)

    def commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[Commit]:
        """First-parent commits after `base` up to `head` that touch `path`, oldest first; without base the `last` so many."""
        return self._history.commits(base, head, path, last)

    def has_merged(self, branch: str, revision: str) -> bool:
        """Whether the branch of a remote, as it was last fetched, has that commit. Raises `Refused` in a shallow clone."""
        if self._store.shallow():
            raise Refused("git", "this clone is too shallow: it does not show who brought what", _DEPTH)
        refs = ("for-each-ref", "--count=1", "--format=x", f"--contains={revision}", f"refs/remotes/*/{branch}")
        return bool(self._store.talk(*refs).text)

    def merge(self, base: str, head: str) -> Merge:
        """What merging `head` into `base` would give. Raises `Refused` where the clone is too shallow to tell."""
        common = self._store.talk("merge-base", "--end-of-options", base, head)
        if common.status != 0 and self._store.shallow():
            raise Refused("git", "this clone is too shallow: it does not show where base and head part", _DEPTH)
        with tempfile.TemporaryDirectory(prefix="promoter-") as scratch:
            self._store.scratch = scratch
            try:
                return merge(self._store, self._remote, base, head)
            finally:
                self._store.scratch = None

    def unsigned(self, base: str | None, head: str) -> Sequence[Unsigned]:
        """The commits after `base` up to `head` that change the watched files without a signature that holds."""
        return Signatures(self._store, self._remote).unsigned(base, head)


def _quoted(path: str) -> str:
    """As git reads it in a list that colons part."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
