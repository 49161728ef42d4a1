"""A bare mirror of one branch in a cache folder: made whole or not at all, and made anew when it is damaged.

Beside the branch it holds other refs of the remote that were fetched, under `refs/promoter/`.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import itertools
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from cachetools import LRUCache

from promoter.adapters.git.command import (
    NO_CONFIGURATION,
    GitCommand,
    GitConfiguration,
    GitReply,
    convert_command_failure,
    convert_known_failure,
    convert_missing_ref,
    redact_to_one_line,
)
from promoter.adapters.git.files import (
    BLOB_LIMIT,
    WATCHED_PATHS,
    EntryKind,
    TreeEntry,
    describe_unusable,
    is_lookalike,
    is_source_file,
    parse_batch_output,
    parse_tree_listing,
    require_within_bounds,
    select_regular_files,
)
from promoter.adapters.git.remote import RemoteAddress, is_revision, require_full_revision
from promoter.application.ports import GitCommit, MergePreview, Sources, UnusableFile
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from promoter.domain.folder import POLICIES_FOLDER, REGISTRY_FILE, TOP_FOLDER, RepositoryFolder

_SHA256_LENGTH = 64
_LOOSE_OBJECTS = 2_000
_GARBAGE_COLLECTION_INTERVAL = 20
_NO_REPOSITORY = f"--git-dir={os.devnull}"
"""Where no repository is meant, git is kept from finding one around the cache folder."""
_LOCK_POLL_SECONDS = 0.02
_FIRST_FETCH_FACTOR = 10
"""The first fetch brings the whole branch, and gets that many times the usual time."""


_SIZE_EXCEEDED = re.compile(rf"died of signal {int(signal.SIGXFSZ)}\b|File too large|File size limit exceeded", re.IGNORECASE)
"""What git says where the system let it write no further; mostly it says nothing, and the file is as large as it may be."""
_WRITE_SIZE = 8_192


class FetchTooLarge(PermanentError):  # noqa: N818  # it says what is wrong
    """The remote sends more than one fetch may bring."""


def _remove_unfinished_packs(folder: Path) -> int:
    """Remove what a fetch that was stopped has left (git does so only days later); return the bytes of the largest file."""
    left = list((folder / "objects" / "pack").glob("tmp_*"))
    largest = max((each.stat().st_size for each in left), default=0)
    for each in left:
        each.unlink(missing_ok=True)
    return largest


def quote_path(path: str) -> str:
    """Quote a path for git: in a file of its configuration, and in a list that colons separate."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def format_size(count: int) -> str:
    """Write a number of bytes in the largest binary unit that it fills."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


class BareMirror:
    """The mirror's folder. Callers hold it (`hold_lock`) while it changes; a lock file keeps other processes out meanwhile."""

    def __init__(
        self,
        folder: Path,
        remote: RemoteAddress,
        branch: str,
        timeout: float,
        credentials: GitConfiguration = (),
        fetch_limit: int | None = None,
        within: RepositoryFolder = TOP_FOLDER,
    ) -> None:
        """`folder`: where the mirror lies; `within`: the folder of the repository whose files are read."""
        self.within = within
        self._fetch_limit = fetch_limit
        self._oversized_head: str | None = None
        self._folder = Path(os.path.abspath(folder))  # noqa: PTH100  # Path.resolve would follow symlinks
        self._remote = remote
        self._ref = f"refs/heads/{branch}"
        self._branch = branch
        self._timeout = timeout
        self._is_damaged = False
        self._changes = itertools.count()
        config = self._sibling_path("gitconfig") if remote.local_path else NO_CONFIGURATION
        self._command = GitCommand(self._folder.parent, remote, timeout, config, credentials)

    def _sibling_path(self, ending: str) -> Path:
        return self._folder.parent / f".{self._folder.name}.{ending}"

    @contextlib.contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Keep other processes from changing the mirror. Raises `TransientError` where that takes longer than a command may."""
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._sibling_path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PermanentError(
                "git", f"{self._folder.parent}: the cache folder cannot be written: {error.strerror}", "see to its permissions"
            ) from None
        try:
            self._wait_for_lock(descriptor)
            self._trust_local_remote()
            yield
        except OSError as error:
            raise TransientError(
                "git", f"{self._folder.parent}: {error.strerror or 'cannot be used'}", "see to the disk"
            ) from None
        finally:
            os.close(descriptor)

    def _wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TransientError("git", f"another process keeps using {self._folder}") from None
                time.sleep(_LOCK_POLL_SECONDS)
            else:
                return

    def _trust_local_remote(self) -> None:
        """Trust a path that the user named: the git that serves the path reads that from a file only."""
        path = self._remote.local_path
        if path is None:
            return
        places = sorted({str(place) for each in (path, path.resolve()) for place in (each, each / ".git")})
        text = "[safe]\n" + "".join(f"\tdirectory = {quote_path(place)}\n" for place in places)
        file = self._sibling_path("gitconfig")
        if not file.exists() or file.read_text() != text:
            file.write_text(text)

    def run_git(self, *arguments: str, stdin: bytes | None = None, variables: Mapping[str, str] | None = None) -> GitReply:
        """Run git on the mirror, with further environment variables."""
        start = (f"--git-dir={self._folder}", "--literal-pathspecs")
        return self._command.run_command(*start, *arguments, stdin=stdin, variables=variables)

    def read_remote_head(self) -> str:
        """Read the branch's head on the remote, now. Raises `PermanentError` where the branch does not exist."""
        head = self.list_remote_refs(self._ref).get(self._ref)
        if head is None:
            raise PermanentError(
                "git",
                f"{self._remote.url}: there is no branch {self._branch}",
                "push a first commit with registry.yaml to it, or name another branch",
            )
        return head

    def list_remote_refs(self, *patterns: str) -> dict[str, str]:
        """List the remote's refs that match a pattern (and some that end with it), with their object ids, now."""
        reply = self._command.run_command(
            _NO_REPOSITORY, "ls-remote", "--quiet", "--end-of-options", self._remote.url, *patterns
        )
        if reply.status != 0:
            raise convert_command_failure("ls-remote", reply, self._remote)
        lines = (line.partition("\t") for line in reply.output_lines)
        return {name: require_full_revision(revision) for revision, _, name in lines}

    def read_local_head(self) -> str | None:
        """Read the branch's head as of the last fetch; None where nothing was fetched yet, or the mirror is damaged."""
        if self._is_damaged or not (self._folder / "HEAD").is_file():
            return None
        reply = self.run_git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{self._ref}^{{commit}}")
        return reply.output_text if reply.status == 0 and is_revision(reply.output_text) else None

    def fetch_branch(self, expected: str) -> str:
        """Fetch the branch, whose head on the remote was just `expected`; return its head. Force-pushes are followed."""
        if expected == self._oversized_head:
            raise self._build_size_error()  # the same again: it need not be fetched to know
        try:
            return self._fetch_branch_head(expected)
        except FetchTooLarge:
            self._oversized_head = expected
            raise

    def _fetch_branch_head(self, expected: str) -> str:
        if self.read_local_head() is None:
            return self._rebuild_mirror(expected)
        reply = self._run_git_fetch(self._folder, self._timeout, self._branch_refspec)
        if reply.status != 0:
            known = convert_known_failure(reply, self._remote)
            if isinstance(known, TransientError):
                raise known
            return self._rebuild_mirror(expected)  # the remote just answered, so the mirror is to blame; else this fails alike
        self.collect_garbage()
        return self.read_local_head() or self._rebuild_mirror(expected)

    def fetch_refspec(self, refspec: str) -> None:
        """Fetch other refs of the remote, and drop what is gone there. Raises `PermanentError` for a name that is not there."""
        if self.read_local_head() is None:
            self._rebuild_mirror(self.read_remote_head())
        reply = self._run_git_fetch(self._folder, self._timeout, refspec, "--prune")
        if reply.status != 0:
            known = convert_known_failure(reply, self._remote)
            if isinstance(known, TransientError):
                raise known
            absent = convert_missing_ref(reply, self._remote)
            if absent is not None:
                raise absent
            self._rebuild_mirror(self.read_remote_head())  # which fails alike where the mirror is not to blame
            reply = self._run_git_fetch(self._folder, self._timeout, refspec, "--prune")
            if reply.status != 0:
                raise convert_command_failure("fetch", reply, self._remote)
        self.collect_garbage()

    def list_own_refs(self, under: str) -> dict[str, str]:
        """List the commits of the mirror's own refs under that name, by the rest of their names."""
        reply = self.run_git("for-each-ref", "--format=%(objectname) %(objecttype) %(refname)", under)
        fields = (line.split(" ", 2) for line in reply.output_lines)
        return {name.removeprefix(f"{under}/"): revision for revision, kind, name in fields if kind == "commit"}

    def collect_garbage(self) -> None:
        """Pack loose objects, once there are many; never in the background, and a failure does not matter.

        Git runs for it the first time and then now and then: each run starts a program, mostly for nothing.
        """
        if next(self._changes) % _GARBAGE_COLLECTION_INTERVAL:
            return
        with contextlib.suppress(TransientError):
            self.run_git("-c", f"gc.auto={_LOOSE_OBJECTS}", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")

    def delete_own_refs(self, under: str) -> None:
        """Drop the mirror's own refs under that name. Their commits stay readable for some days."""
        self.run_git(
            "update-ref", "--stdin", stdin="".join(f"delete {under}/{name}\n" for name in self.list_own_refs(under)).encode()
        )

    @property
    def _branch_refspec(self) -> str:
        return f"+{self._ref}:{self._ref}"

    def _run_git_fetch(self, folder: Path, timeout: float, refspec: str, *further: str) -> GitReply:
        options = (
            *further,
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
        )
        one_pack = ("-c", "fetch.unpackLimit=1") if self._fetch_limit else ()  # one file, which the system limits
        reply = self._command.run_command(
            f"--git-dir={folder}", *one_pack, "fetch", *options, "--end-of-options", self._remote.url, refspec,
            timeout=timeout, file_limit=self._fetch_limit,
        )  # fmt: skip
        if reply.status != 0:
            largest = _remove_unfinished_packs(folder)
            if self._fetch_limit and (largest + _WRITE_SIZE >= self._fetch_limit or _SIZE_EXCEEDED.search(reply.err)):
                raise self._build_size_error()
        return reply

    def _build_size_error(self) -> FetchTooLarge:
        limit = format_size(self._fetch_limit or 0)
        fix = "see who pushed that, and take it back; or raise PROMOTER_FETCH_LIMIT if all of it is meant"
        return FetchTooLarge("git", f"{self._remote.url} sends more than {limit} in one fetch, which was stopped", fix)

    def _rebuild_mirror(self, expected: str) -> str:
        """Make the mirror under another name, then put it in place: a crash at any point leaves the old one or none."""
        self._remove_leftovers()
        fresh = self._sibling_path(f"new-{secrets.token_hex(6)}")
        kind = "sha256" if len(expected) == _SHA256_LENGTH else "sha1"
        options = ("--quiet", "--bare", "--template=", f"--object-format={kind}", f"--initial-branch={self._branch}")
        reply = self._command.run_command("init", *options, "--end-of-options", str(fresh))
        if reply.status == 0:
            try:
                reply = self._run_git_fetch(fresh, self._timeout * _FIRST_FETCH_FACTOR, self._branch_refspec)
            except ExternalError:
                shutil.rmtree(fresh, ignore_errors=True)
                raise
        if reply.status != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise convert_command_failure("fetch", reply, self._remote)
        if self._folder.exists():
            self._folder.rename(self._sibling_path(f"new-old-{secrets.token_hex(6)}"))
        fresh.rename(self._folder)
        self._remove_leftovers()
        self._is_damaged = False
        head = self.read_local_head()
        if head is None:
            raise TransientError("git", f"{self._folder}: the mirror cannot be read right after it was made", "see to the disk")
        return head

    def _remove_leftovers(self) -> None:
        """Remove what `_rebuild_mirror` left behind, now or when it was killed."""
        for left in self._folder.parent.glob(f".{glob.escape(self._folder.name)}.new-*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()

    def has_commit(self, revision: str) -> bool:
        """Whether that commit is in the mirror."""
        return self.run_git("cat-file", "-e", f"{revision}^{{commit}}").status == 0

    def require_commit(self, revision: str) -> None:
        """Raises `PermanentError` where that commit is not in the mirror."""
        if not self.has_commit(revision):
            raise PermanentError("git", f"commit {revision} is not known here", "fetch first; it may be on another branch")

    def is_rewritten(self, before: str, after: str) -> bool:
        """Whether the head after lacks commits of the head before: somebody forced a push."""
        return before != after and not self.is_ancestor(before, after)

    def is_ancestor(self, earlier: str, later: str) -> bool:
        """Whether the later commit has the earlier one in its history, or is that one. One that is not known is none."""
        return self.run_git("merge-base", "--is-ancestor", "--end-of-options", earlier, later).status == 0

    def list_tree_entries(self, revision: str, *paths: str) -> list[TreeEntry]:
        """List what lies under those paths of Promoter's folder. Raises `PermanentError` where the revision is unknown."""
        listed = self._list_tree(revision, *map(self.within.locate, paths))
        inside = ((entry, self.within.relative_path(entry.path)) for entry in listed)
        return [replace(entry, path=path) for entry, path in inside if path]

    def _list_tree(self, revision: str, *paths: str) -> list[TreeEntry]:
        reply = self.run_git("ls-tree", "-z", "-l", "--full-tree", "--end-of-options", revision, *paths)
        if reply.status != 0:
            self.require_commit(revision)
            raise self._mark_damaged(reply)
        return parse_tree_listing(reply.out)

    def find_folder_obstacle(self, revision: str) -> UnusableFile | None:
        """Find out whether something else than a folder lies on the way to Promoter's folder, such as a symbolic link."""
        for path in self.within.chain:
            found = next((each for each in self._list_tree(revision, path) if each.path == path), None)
            if found is None:
                return None
            if found.kind is not EntryKind.FOLDER:
                fix = f"make {path} a folder, or let PROMOTER_PATH name another one"
                return UnusableFile(f"cannot be read: {path} is {found.kind.value}, and no folder", fix)
        return None

    def read_sources(self, revision: str) -> Sources:
        """Read the files that Promoter reads, bounded, with one listing and one batch; and describe what looks like one."""
        listed = self.list_tree_entries(revision, "" if self.within.path else ".", f"{POLICIES_FOLDER}/")
        obstacle = self.find_folder_obstacle(revision) if self.within.path and not listed else None
        if obstacle:
            return {REGISTRY_FILE: obstacle}
        unusable = {entry.path: found for entry in listed if (found := describe_unusable(entry.path, entry.kind))}
        entries = [entry for entry in select_regular_files(listed) if is_source_file(entry.path)]
        require_within_bounds({**dict.fromkeys(unusable, 0), **{entry.path: entry.size for entry in entries}})
        return {**self.read_contents(entries), **unusable}

    def read_contents(self, entries: Collection[TreeEntry]) -> dict[str, bytes]:
        """Read the files by path, each cut after the limit and one byte."""
        small = [entry for entry in entries if entry.size <= BLOB_LIMIT]
        reply = self.run_git("cat-file", "--batch", stdin="".join(f"{entry.blob}\n" for entry in small).encode())
        contents = parse_batch_output(reply.out, small)
        if contents is None:
            raise self._mark_damaged(reply)
        for entry in entries:
            if entry.size > BLOB_LIMIT:
                contents[entry.path] = self._command.read_first_bytes(
                    BLOB_LIMIT + 1, f"--git-dir={self._folder}", "cat-file", "blob", entry.blob
                )
                if len(contents[entry.path]) <= BLOB_LIMIT:
                    raise self._mark_damaged(reply)
        return contents

    def _mark_damaged(self, reply: GitReply) -> TransientError:
        """Distrust the mirror, which lacks what it should have, so that the next fetch makes it anew."""
        self._is_damaged = True
        message = redact_to_one_line(reply.err, self._remote) or "an object is missing"
        return TransientError("git", f"the mirror is damaged, and is made anew with the next fetch: {message}")


Answer = TypeVar("Answer")

CACHE_BYTES = 64 * 2**20
_ANSWER_OVERHEAD_BYTES = 1_000
"""Bytes that any answer takes beside what is counted, roughly."""


class GitAnswerCache:
    """Caches answers by question. A question names whole object ids, never a ref; errors and None are not cached.

    Whether a commit is in the mirror is no such question: it may come, and be dropped once nothing leads to it.

    Not safe to use from several threads at once: its callers hold a lock anyway.
    """

    def __init__(self, bound: int = CACHE_BYTES) -> None:
        """`bound` in bytes; an answer that alone is larger is not cached."""
        self._answers: LRUCache[tuple[str, ...], Any] = LRUCache(bound, getsizeof=_estimate_memory)

    def get_or_compute(self, question: tuple[str, ...], compute: Callable[[], Answer]) -> Answer:
        """Return the cached answer, or compute it."""
        if question in self._answers:
            return cast("Answer", self._answers[question])
        answer = compute()
        if answer is not None and _estimate_memory(answer) <= self._answers.maxsize:
            self._answers[question] = answer
        return answer


def _estimate_memory(answer: object) -> int:
    """Estimate the bytes that an answer takes in memory."""
    if isinstance(answer, list):
        return _ANSWER_OVERHEAD_BYTES + sum(map(_estimate_memory, answer))
    if isinstance(answer, MergePreview):
        answer = answer.sources
    elif isinstance(answer, GitCommit):
        answer = {answer.subject: answer.author, **answer.trailers}
    sizes = (len(key) + _measure_value(value) for key, value in answer.items()) if isinstance(answer, Mapping) else ()
    return _ANSWER_OVERHEAD_BYTES + sum(sizes)


def _measure_value(value: bytes | str | UnusableFile) -> int:
    return len(value.reason + value.fix) if isinstance(value, UnusableFile) else len(value)


_CONFLICT_STATUS = 1
_MERGE_BASE_LIMIT = 100
_MERGE_SETTINGS = (
    *("-c", f"core.attributesFile={os.devnull}"),
    *("-c", "merge.directoryRenames=false"),  # else git names a conflict by a path that exists nowhere
    *("-c", "merge.renameLimit=1000"),
)
_AMONG_WATCHED = re.compile(rf"(?:{'|'.join(map(re.escape, WATCHED_PATHS))})(?:~[^/]*)?(?:/|$)")
"""A file that is in the way of a folder appears with `~` and a revision behind its name."""


def compute_merge(mirror: BareMirror, remote: RemoteAddress, base: str, head: str) -> MergePreview:
    """Compute the watched files as merging `head` into `base` gives them. Objects of the merge stay in the mirror for a while.

    Two histories that have nothing in common conflict in `registry.yaml`.
    """
    for revision in (base, head):
        mirror.require_commit(require_full_revision(revision))
    forks = mirror.run_git("merge-base", "--all", base, head).output_text.split()[:_MERGE_BASE_LIMIT]
    if not forks:
        changed = _list_differing_files(mirror, remote, base, head)
        return MergePreview(mirror.read_sources(head), changed, (mirror.within.locate(REGISTRY_FILE),))
    changed = frozenset[str]().union(*(_list_differing_files(mirror, remote, fork, head) for fork in forks))
    options = ("--write-tree", "-z", "--name-only", "--no-messages")
    reply = mirror.run_git(*_MERGE_SETTINGS, "merge-tree", *options, base, head)
    tree, *paths = reply.out.decode("utf-8", "replace").split("\0")
    if reply.status not in (0, _CONFLICT_STATUS):
        raise convert_command_failure("merge-tree", reply, remote)
    conflicts = tuple(sorted({path for path in paths if _is_watched_conflict(mirror.within, path)}))
    return MergePreview(mirror.read_sources(head if conflicts else require_full_revision(tree)), changed, conflicts)


def _is_watched_conflict(within: RepositoryFolder, path: str) -> bool:
    """Whether the path is a watched file's, or that of something which is in the way of Promoter's folder."""
    inside = within.relative_path(path)
    return path.partition("~")[0] in within.chain or (inside is not None and _AMONG_WATCHED.match(inside) is not None)


def _list_differing_files(mirror: BareMirror, remote: RemoteAddress, one: str, two: str) -> frozenset[str]:
    """List the watched files that are not the same in both revisions, and names that could be taken for theirs."""
    within, options = mirror.within, ("-z", "--name-only", "--no-renames")
    watched = mirror.run_git("diff-tree", "-r", *options, one, two, "--", *map(within.locate, WATCHED_PATHS))
    there = ("-r", *options, one, two, "--", within.path) if within.path else (*options, one, two)
    beside = mirror.run_git("diff-tree", *there)
    for reply in (watched, beside):
        if reply.status != 0:
            raise convert_command_failure("diff-tree", reply, remote)
    files, names = (
        [inside for path in each.out.decode("utf-8", "replace").split("\0") if (inside := within.relative_path(path))]
        for each in (watched, beside)
    )
    return frozenset([*files, *(name for name in names if is_lookalike(name.partition("/")[0]))])
