"""An in-memory stand-in for the git repository: a graph of commits, and branches as named heads.

`test_contracts.py` holds it to the real one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from promoter.application.ports import GitCommit, MergePreview, Sources, UnsignedCommit
from promoter.domain.errors import BranchProtected, Conflict, PermanentError
from promoter.domain.folder import REGISTRY_FILE, TOP_FOLDER, RepositoryFolder
from promoter.domain.ledger.checkpoints import BranchRewrite
from tests.support.fakes.three_way_merge import merge_text

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA, PROMOTER, WATCHED = "Ada <ada@example.org>", "Promoter <promoter@localhost>", "main"
WRITES = ("commit", "propose", "discard")
_WATCHED = (REGISTRY_FILE, "approvers.yaml", "policies/", "signers/")
_TRAILER = re.compile(r"([A-Za-z0-9-]+): (.*)")


@dataclass(frozen=True)
class Node:
    """A commit, all its files, and what it follows."""

    commit: GitCommit
    files: Mapping[str, bytes]
    parents: tuple[str, ...] = ()


@dataclass
class FakeRepository:
    """`before_commit` is called once, before the next commit of Promoter's to the watched branch.

    `on` is called with each call's name before it is done, `after` once its effect is there; both may raise or meddle.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    """Refs beside the branches: `refs/pull/7/head`."""
    unsigned_commits: list[UnsignedCommit] = field(default_factory=list)
    signing: bool = False
    protected: bool = False
    before_commit: Callable[[], object] | None = None
    trouble: Exception | None = None
    calls: list[tuple[object, ...]] = field(default_factory=list)
    on: Callable[[str], None] = lambda _call: None
    after: Callable[[str], None] = lambda _call: None
    folder: RepositoryFolder = TOP_FOLDER
    address: str = "https://git.example/models"
    record_own: Callable[[str, str], None] = lambda _revision, _message: None
    """Called with each of Promoter's own commits and its message before anybody can see it."""

    def push(
        self,
        files: Mapping[str, bytes],
        subject: str = "By hand",
        author: str = ADA,
        trailers: Mapping[str, str] | None = None,
        branch: str = WATCHED,
    ) -> str:
        """Somebody's commit on top of a branch (of the watched one, where there is no such branch yet); its revision."""
        parent = self.heads.get(branch) or self.heads.get(WATCHED)
        content = {**(self.nodes[parent].files if parent else {}), **files}
        parents = (parent,) if parent else ()
        self.heads[branch] = self._add(content, parents, subject, author, trailers or {})
        return self.heads[branch]

    def join(self, head: str, subject: str, author: str, *, squash: bool = False) -> str:
        """What a forge does that merges: a commit on the watched branch. Raises ValueError where it conflicts."""
        merged = self._merge(self.head, head)
        if merged.conflicts:
            raise ValueError(f"conflicts in {merged.conflicts}")
        parents = (self.head,) if squash else (self.head, head)
        self.heads[WATCHED] = self._add(merged.sources, parents, subject, author, {})
        return self.head

    @property
    def head(self) -> str:
        """The newest revision of the watched branch."""
        return self.heads[WATCHED]

    @property
    def history(self) -> list[tuple[GitCommit, Mapping[str, bytes]]]:
        """First-parent commits of the watched branch, oldest first, each with its files."""
        return self._first_parents(self.head) if self.heads else []

    @property
    def subjects(self) -> list[str]:
        """Of every commit of the watched branch, oldest first."""
        return [commit.subject for commit, _ in self.history]

    @property
    def writes(self) -> list[tuple[object, ...]]:
        """The calls that wrote."""
        return [call for call in self.calls if call[0] in WRITES]

    def fetch_branch(self) -> str:
        """As the port says."""
        with_trouble = self.trouble
        self._called("fetch")
        if with_trouble:
            raise with_trouble
        return self.head

    def read_sources(self, revision: str) -> Sources:
        """As the port says."""
        return self._node(revision).files

    def read_commit(self, revision: str) -> GitCommit:
        """As the port says."""
        return self._node(revision).commit

    def list_commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[GitCommit]:
        """As the port says."""
        line = self._first_parents(self._node(head).commit.revision)
        known = [commit.revision for commit, _ in line]
        first = known.index(base) + 1 if base in known and base else 0
        touching = [
            commit
            for index, (commit, files) in enumerate(line)
            if index >= first and _within(files, path) != (_within(line[index - 1][1], path) if index else {})
        ]
        return touching if base in known else touching[-last:]

    def commit_file(self, base: str, path: str, content: bytes, message: str) -> str:
        """As the port says."""
        self._called("commit", WATCHED)
        meddle, self.before_commit = self.before_commit, None
        if meddle:
            meddle()
        if self.read_sources(base).get(path) == content:
            return base
        if self.protected:
            raise BranchProtected("git", "the branch takes no pushes", "use `rotation: pull-request`")
        if base != self.head:
            raise Conflict("git", "somebody else pushed first")
        self.heads[WATCHED] = self._own(base, path, content, message)
        self.after("commit")
        return self.head

    def list_branches(self, prefix: str) -> Mapping[str, str]:
        """As the port says."""
        self._called("branches", prefix)
        if self.trouble:
            raise self.trouble
        return {name: head for name, head in self.heads.items() if name.startswith(prefix)}

    def fetch_ref(self, ref: str) -> str:
        """As the port says."""
        self._called("fetch_ref", ref)
        found = self.refs.get(ref) or self.heads.get(ref.removeprefix("refs/heads/"))
        if found is None:
            raise PermanentError("git", f"the remote has no {ref}")
        return found

    def has_only_own_commits(self, base: str, head: str) -> bool:
        """As the port says."""
        return all(self.nodes[each].commit.author == PROMOTER for each in self.reach(head) - self.reach(base))

    def preview_merge(self, base: str, head: str) -> MergePreview:
        """As the port says."""
        self._node(base)
        self._node(head)
        return self._merge(base, head)

    def push_proposal(self, branch: str, expected: str | None, base: str, content: bytes, message: str) -> str:
        """As the port says."""
        self._called("propose", branch)
        if self.heads.get(branch) != expected:
            raise Conflict("git", "somebody else pushed first")
        self.heads[branch] = self._own(base, REGISTRY_FILE, content, message)
        new = self.heads[branch]
        self.after("propose")
        return new

    def delete_branch(self, branch: str, expected: str) -> None:
        """As the port says."""
        self._called("discard", branch)
        if self.heads.get(branch, expected) != expected:
            raise Conflict("git", "somebody else pushed first")
        self.heads.pop(branch, None)
        self.after("discard")

    @property
    def signs_commits(self) -> bool:
        """As the port says."""
        return self.signing

    def find_unsigned_commits(self, base: str | None, head: str) -> Sequence[UnsignedCommit]:
        """As the port says: of `unsigned_commits`, those that `head` has and `base` lacks; without a base, `head` alone."""
        asked = self.reach(head) - self.reach(base) if base else {head}
        return [each for each in self.unsigned_commits if each.revision in asked]

    def describe_rewrite(self, before: str, after: str) -> BranchRewrite | None:
        """As the port says."""
        if before not in self.nodes:
            return BranchRewrite(before, after, is_unrelated=True, dropped=None)
        if before in self.reach(after):
            return None
        lost = self.reach(before) - self.reach(after)
        return BranchRewrite(before, after, is_unrelated=not self.reach(before) & self.reach(after), dropped=len(lost))

    def is_ancestor(self, earlier: str, later: str) -> bool:
        """As the port says."""
        return earlier in self.nodes and earlier in self.reach(later)

    def reach(self, revision: str) -> frozenset[str]:
        """A commit and everything before it."""
        found: set[str] = set()
        waiting = [revision]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += self.nodes[each].parents
        return frozenset(found)

    def _merge(self, base: str, head: str) -> MergePreview:
        common = self.reach(base) & self.reach(head)
        shared = max(common, key=list(self.nodes).index, default=None)  # nodes are in order of their making
        was = self.nodes[shared].files if shared else {}
        ours, theirs = self.nodes[base].files, self.nodes[head].files
        merged: dict[str, bytes | None] = {}
        conflicts = []
        for path in sorted(was.keys() | ours.keys() | theirs.keys()):
            sides = was.get(path), ours.get(path), theirs.get(path)
            merged[path], clean = merge_text(*sides)
            conflicts += [] if clean else [path]
        watched = {path for path in was.keys() | theirs.keys() if path.startswith(_WATCHED)}
        changed = frozenset(path for path in watched if was.get(path) != theirs.get(path))
        sources = theirs if conflicts else {path: content for path, content in merged.items() if content is not None}
        return MergePreview(sources, changed, tuple(conflicts))

    def _own(self, base: str, path: str, content: bytes, message: str) -> str:
        last = message.strip().split("\n\n")[-1].splitlines()
        trailers = dict(match.groups() for line in last if (match := _TRAILER.fullmatch(line)))
        files = {**self._node(base).files, path: content}
        revision = self._add(files, (base,), message.splitlines()[0], PROMOTER, trailers)
        self.record_own(revision, message)
        return revision

    def _add(
        self, files: Mapping[str, bytes], parents: tuple[str, ...], subject: str, author: str, trailers: Mapping[str, str]
    ) -> str:
        revision = hashlib.sha1(repr((len(self.nodes), subject, sorted(files.items()), parents)).encode()).hexdigest()
        self.nodes[revision] = Node(GitCommit(revision, author, START, subject, dict(trailers), parents), files, parents)
        return revision

    def _first_parents(self, revision: str) -> list[tuple[GitCommit, Mapping[str, bytes]]]:
        return [(node.commit, node.files) for node in self._back(revision)][::-1]

    def _back(self, revision: str) -> Iterator[Node]:
        node = self.nodes[revision]
        yield node
        while node.parents:
            node = self.nodes[node.parents[0]]
            yield node

    def _node(self, revision: str) -> Node:
        if revision not in self.nodes:
            raise PermanentError("git", f"commit {revision} is not known here")
        return self.nodes[revision]

    def _called(self, *call: object) -> None:
        self.calls.append(call)
        self.on(str(call[0]))


def _within(files: Mapping[str, bytes], path: str) -> dict[str, bytes]:
    """The file at that path, or the files of that folder."""
    return {name: text for name, text in files.items() if name == path or name.startswith(f"{path}/")}
