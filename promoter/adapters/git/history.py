"""Reads commits: who made them, when, with which subject and trailers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from promoter.adapters._text import replace_unprintable
from promoter.adapters.git.command import GitCommand, convert_command_failure, redact_to_one_line
from promoter.adapters.git.mirror import BareMirror, GitAnswerCache
from promoter.adapters.git.remote import GitTransport, RemoteAddress, is_revision, require_full_revision, require_tracked_path
from promoter.application.ports import GitCommit
from promoter.domain.errors import PermanentError
from promoter.domain.folder import REGISTRY_FILE, TOP_FOLDER, RepositoryFolder
from promoter.domain.ledger.chain import LEDGER_TRAILER, LedgerHead
from promoter.domain.ledger.witnesses import Witness

_COMMIT_LIMIT = 1_000
_COMMIT_FORMAT = "%H%n%P%n%an <%ae>%n%ct%n%s%n%(trailers:only,unfold)"
"""A line each, and one for each trailer: unfolding leaves no line break in a value, and commits end with NUL, which no message
has. So no part of a message can pass for another field, another trailer or another commit."""
_MAKERS_FORMAT = "%an%n%ae%n%cn%n%ce"
_AS_WRITTEN = ("--no-color", "--no-show-signature", "--no-mailmap", "--no-notes")
_TRAILER_LIMIT = 100
_KEY_LENGTH = 100
_VALUE_LENGTH = 1_000


class CommitHistory:
    """Reads commits of a mirror."""

    def __init__(self, mirror: BareMirror, remote: RemoteAddress, cache: GitAnswerCache) -> None:
        """Reads nothing yet. `cache` keeps answers."""
        self._mirror = mirror
        self._remote = remote
        self._cache = cache

    def find_commits(self, base: str | None, head: str, path: str, last: int) -> Sequence[GitCommit]:
        """Find first-parent commits after `base` up to `head` that touch `path`, oldest first, the newest 1,000 at most.

        The `last` so many without a base, or with one that a rewritten history has dropped. Trailers are those of the commit's
        own message, as git sees them (in its last paragraph): the last 100, values cut at 1,000 characters.
        """
        if base is not None:
            since = self._cache.get_or_compute(("since", base, head, path), lambda: self._find_commits_since(base, head, path))
            if since is not None:
                return since
        return self._cache.get_or_compute(("last", head, path, str(last)), lambda: self._find_last_commits(head, path, last))

    def _find_commits_since(self, base: str, head: str, path: str) -> Sequence[GitCommit] | None:
        """Find them; None where `base` is not in the mirror."""
        self._mirror.require_commit(require_full_revision(head))
        return (
            self._find_touching_commits(f"{base}..{head}", path, _COMMIT_LIMIT)
            if self._mirror.has_commit(require_full_revision(base))
            else None
        )

    def _find_last_commits(self, head: str, path: str, count: int) -> Sequence[GitCommit]:
        self._mirror.require_commit(require_full_revision(head))
        return self._find_touching_commits(head, path, min(count, _COMMIT_LIMIT))

    def _find_touching_commits(self, span: str, path: str, count: int) -> Sequence[GitCommit]:
        found = self._run_git_log(
            _COMMIT_FORMAT,
            "--first-parent",
            f"--max-count={count}",
            "--end-of-options",
            span,
            "--",
            require_tracked_path(self._mirror.within.locate(path)),
        )
        return [_parse_commit(text) for text in found[::-1]]

    def read_commit(self, revision: str) -> GitCommit:
        """Read one commit. Raises `PermanentError` where it is not in the mirror."""
        self._mirror.require_commit(require_full_revision(revision))
        (found,) = self._run_git_log(_COMMIT_FORMAT, "--no-walk", "--end-of-options", revision, "--")
        return _parse_commit(found)

    def is_all_made_by(self, maker: tuple[str, str], base: str, head: str) -> bool:
        """Whether author and committer of each commit that `head` has and `base` lacks are that name and mail.

        More than 1,000 commits are more than one account makes there, and are not read.
        """
        for revision in (base, head):
            self._mirror.require_commit(require_full_revision(revision))
        found = self._run_git_log(
            _MAKERS_FORMAT, f"--max-count={_COMMIT_LIMIT + 1}", "--end-of-options", f"{base}..{head}", "--"
        )
        return len(found) <= _COMMIT_LIMIT and all(tuple(text.lstrip("\n").split("\n")) == maker * 2 for text in found)

    def _run_git_log(self, form: str, *arguments: str) -> list[str]:
        """Return the output of `git log` for each commit, newest first."""
        reply = self._mirror.run_git("log", "-z", *_AS_WRITTEN, f"--format={form}", *arguments)
        if reply.status != 0:
            raise convert_command_failure("log", reply, self._remote)
        return [text for text in reply.out.decode("utf-8", "replace").split("\0") if text]


def _parse_commit(text: str) -> GitCommit:
    revision, parents, author, seconds, subject, *trailers = text.lstrip("\n").split("\n")
    at = _parse_commit_time(seconds)
    return GitCommit(revision, author, at, subject, _parse_trailers(trailers), tuple(parents.split()))


def _parse_commit_time(seconds: str) -> datetime:
    """Parse the time of a commit; the start of 1970 for an impossible one: anybody can write such a commit."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _parse_trailers(lines: Sequence[str]) -> dict[str, str]:
    """Parse trailers by key, as written; the last one of a key counts. Keys longer than any of ours are left out."""
    parts = (line.partition(":") for line in [line for line in lines if line][-_TRAILER_LIMIT:])
    return {
        key: replace_unprintable(value.strip()[:_VALUE_LENGTH])
        for key, colon, value in parts
        if colon and len(key) <= _KEY_LENGTH
    }


COMMIT_KIND = "commit"
_TIMEOUT_SECONDS = 600.0
_TRAILER_FORMAT = f"%H%n%(trailers:key={LEDGER_TRAILER},valueonly,unfold)"
_SHORT_REVISION_LENGTH = 10
_PLAIN = ("-c", "trailer.separators=:")
"""How Promoter's trailers are written, whatever the clone's configuration has."""


@dataclass(frozen=True)
class LedgerTrailers:
    """The heads of the ledger that commits name."""

    witnesses: tuple[Witness, ...]
    """One for each head."""
    unreadable: int
    """How many commits have a trailer that names no head."""
    shallow: bool
    """Whether the clone lacks older commits."""


def read_ledger_trailers(path: Path, folder: RepositoryFolder = TOP_FOLDER) -> LedgerTrailers:
    """Read them from all branches and tags of the clone, or bare repository. Raises `PermanentError` where there is none.

    A commit is elsewhere that changes `registry.yaml`, but of other folders only than this one.
    """
    git = GitCommand(path, timeout=_TIMEOUT_SECONDS, config=None)
    grep = ("--extended-regexp", f"--grep=^{LEDGER_TRAILER}: ")  # most commits have none: git need not print them
    shown = ("-z", "--encoding=UTF-8", "--no-color", "--no-show-signature", "--no-notes", f"--format={_TRAILER_FORMAT}")
    reply = git.run_command(*_PLAIN, "log", "--all", *grep, *shown)
    if reply.status != 0:
        message = redact_to_one_line(reply.err, RemoteAddress("", GitTransport.LOCAL))
        raise PermanentError("git", f"{path}: the commits cannot be read: {message}", "name a clone with --repo PATH")
    found: list[Witness] = []
    unreadable = 0
    elsewhere = _find_elsewhere(git, folder, grep)
    for text in reply.out.decode("utf-8", "replace").split("\0"):
        revision, *values = text.lstrip("\n").split("\n")
        heads = [LedgerHead.parse_trailer(value) for value in values if value.strip()]
        if not is_revision(revision) or not heads:
            continue
        unreadable += None in heads
        found += [
            Witness(head, f"commit {revision[:_SHORT_REVISION_LENGTH]}", COMMIT_KIND, revision in elsewhere)
            for head in heads
            if head
        ]
    shallow = git.run_command("rev-parse", "--is-shallow-repository").output_text == "true"
    return LedgerTrailers(tuple(found), unreadable, shallow)


def _find_elsewhere(git: GitCommand, folder: RepositoryFolder, grep: Sequence[str]) -> frozenset[str]:
    """Find the commits with a trailer that change a `registry.yaml` of other folders, and not the one of this folder."""
    options = ("log", "--all", "--full-history", "--no-color", "--no-show-signature", "--no-notes", "--format=%H")
    own, any_folder = f":(top,literal){folder.locate(REGISTRY_FILE)}", f":(top,glob)**/{REGISTRY_FILE}"
    lines = [set(git.run_command(*_PLAIN, *options, *grep, "--", place).output_lines) for place in (any_folder, own)]
    return frozenset(lines[0] - lines[1])
