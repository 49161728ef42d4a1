"""The user's GitOps repository, and the files in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from promoter.domain.desired import Declaration
from promoter.domain.errors import Fault, Faults
from promoter.domain.folder import RepositoryFolder
from promoter.domain.ledger.checkpoints import BranchRewrite
from promoter.domain.proposal import RegistryEdit


@dataclass(frozen=True)
class UnusableFile:
    """What lies where Promoter would read a file, or looks like such a file, and is not one that it can read."""

    reason: str
    """What it is, in words that follow the file's name: `is a symbolic link`."""
    fix: str
    """What to do about it."""


Sources = Mapping[str, bytes | UnusableFile]
"""The files of a revision that Promoter reads, by path: `registry.yaml`, `approvers.yaml` and `policies/*.yaml`, as bytes.

Something else that lies at such a path, or a file whose name only looks like one of these, is an `UnusableFile`.
"""


@dataclass(frozen=True)
class GitCommit:
    """One commit of the watched branch. `author` is `Name <mail>`."""

    revision: str
    author: str
    at: datetime
    subject: str
    trailers: Mapping[str, str] = field(default_factory=dict)
    """The trailers of its message, by key; the last one of a key."""
    parents: tuple[str, ...] = ()
    """The commits that it follows; a merge has several."""


@dataclass(frozen=True)
class MergePreview:
    """What the watched files say once a head is merged into a base, and which of them the head changes.

    `conflicts` are the files that do not merge by themselves, for people: by their paths in the repository. Then `sources` are
    the head's.
    """

    sources: Sources
    changed: frozenset[str]
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnsignedCommit:
    """A commit that changes the watched files and is not signed by a key of the repository; `why` in words."""

    revision: str
    author: str
    why: str


class Repository(Protocol):
    """The user's GitOps repository: one branch of one remote. Raises `TransientError`, `PermanentError` or `Conflict`."""

    @property
    def folder(self) -> RepositoryFolder:
        """The folder that holds Promoter's files. Paths in all other calls are paths in it, but for those of conflicts."""
        ...

    @property
    def address(self) -> str:
        """The address of the remote, without credentials."""
        ...

    @property
    def signs_commits(self) -> bool:
        """Whether Promoter's own commits bear a signature."""
        ...

    def fetch_branch(self) -> str:
        """Fetch the branch; the revision (full object id) of its head."""
        ...

    def describe_rewrite(self, before: str, after: str) -> BranchRewrite | None:
        """How the head after does not follow the revision before; None where it does."""
        ...

    def is_ancestor(self, earlier: str, later: str) -> bool:
        """Whether the later commit has the earlier one in its history, or is that one. One that is not known is none."""
        ...

    def read_sources(self, revision: str) -> Sources:
        """The files of that revision that Promoter reads, without a checkout."""
        ...

    def list_commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[GitCommit]:
        """First-parent commits after `base` up to `head` that touch `path`, oldest first; without base the `last` so many."""
        ...

    def commit_file(self, base: str, path: str, content: bytes, message: str) -> str:
        """Commit the file on top of `base`, push to the branch if its head is still `base`; the new revision.

        Raises `Conflict` where the remote's head is not `base` any more, `BranchProtected` where only pull requests may move
        it.
        """
        ...

    def list_branches(self, prefix: str) -> Mapping[str, str]:
        """The remote's branches whose names begin so, as they are now, with their heads; what they lead to can then be read."""
        ...

    def fetch_ref(self, ref: str) -> str:
        """Fetch a ref of the remote other than the watched branch, such as `refs/pull/7/head`; its head."""
        ...

    def has_only_own_commits(self, base: str, head: str) -> bool:
        """Whether Promoter's own account made every commit that `head` has and `base` lacks: no person's work is among them."""
        ...

    def read_commit(self, revision: str) -> GitCommit:
        """One commit, of whichever branch that was fetched."""
        ...

    def preview_merge(self, base: str, head: str) -> MergePreview:
        """What merging `head` into `base` would give. Nothing is written to the remote."""
        ...

    def push_proposal(self, branch: str, expected: str | None, base: str, content: bytes, message: str) -> str:
        """Commit `registry.yaml` on top of `base`, and put that branch there; the new revision.

        Only if the branch's head still is `expected` (None: there is no such branch), else raises `Conflict`.
        """
        ...

    def delete_branch(self, branch: str, expected: str) -> None:
        """Delete that branch, if its head still is `expected`, else raises `Conflict`. One that is gone is no error."""
        ...

    def find_unsigned_commits(self, base: str | None, head: str) -> Sequence[UnsignedCommit]:
        """The commits after `base` up to `head` that change the watched files without a signature that holds, oldest first.

        Keys are read from `base`, and from each signed commit on the way that changes them for those after it: no commit
        vouches for itself. Only `head` itself without a base.
        """
        ...


def require_content(sources: Sources, path: str) -> bytes:
    """Return the bytes of a file; none where it is missing. Raises `Faults` for what is no file that can be read."""
    found = sources.get(path, b"")
    if isinstance(found, UnusableFile):
        raise Faults([Fault(found.reason, path, fix=found.fix)])
    return found


class DeclarationDocuments(Protocol):
    """The two files as text: parsed strictly, edited by bytes."""

    def parse_declaration(self, sources: Sources, revision: str | None) -> Declaration:
        """The desired state and the policies. Raises `Faults` with every fault, each with file, line and column."""
        ...

    def edit_registry_file(self, content: bytes, edit: RegistryEdit) -> bytes:
        """`registry.yaml` with what the edit asks for, and every other byte as it was.

        Raises `Faults` where the file cannot be edited safely.
        """
        ...
