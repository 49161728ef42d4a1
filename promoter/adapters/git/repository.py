"""The user's GitOps repository: a mirror to read from, and commits pushed by compare-and-swap.

Calls run one at a time, each with the mirror locked while it changes. `history`, `mirror` and `signatures` do the reading.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import structlog
from pydantic import SecretStr

from promoter.adapters.git.command import (
    GitConfiguration,
    GitReply,
    build_push_conflict,
    convert_command_failure,
    convert_push_failure,
    redact_to_one_line,
)
from promoter.adapters.git.files import EntryKind
from promoter.adapters.git.history import CommitHistory
from promoter.adapters.git.mirror import BareMirror, GitAnswerCache, compute_merge
from promoter.adapters.git.remote import (
    HEADS,
    RemoteAddress,
    build_branch_ref,
    is_revision,
    normalize_identity,
    parse_remote_address,
    require_fetchable_ref,
    require_full_revision,
    require_tracked_path,
)
from promoter.adapters.git.signatures import SignatureVerifier
from promoter.application.ports import GitCommit, MergePreview, Sources, UnsignedCommit
from promoter.domain.errors import BranchProtected, Conflict, ExternalError, PermanentError, TransientError
from promoter.domain.folder import REGISTRY_FILE, TOP_FOLDER, RepositoryFolder
from promoter.domain.ledger.checkpoints import BranchRewrite

log = structlog.get_logger(__name__)


_PLAIN, _EXECUTABLE = "100644", "100755"
_DRAFT_REF = "refs/promoter/draft"
"""The mirror's ref of a commit until the remote has it. One name is enough: whoever writes it holds the mirror."""


class CommitWriter:
    """Makes commits in a mirror that the caller holds, and pushes them."""

    def __init__(self, mirror: BareMirror, remote: RemoteAddress, author: tuple[str, str], signing_key: Path | None) -> None:
        """`signing_key`: the file of an SSH private key without a passphrase. It is read by `ssh-keygen` alone."""
        self._mirror = mirror
        self._remote = remote
        self._author = author
        self._key = signing_key.expanduser().absolute() if signing_key else None
        self.signs = self._key is not None

    @contextlib.contextmanager
    def draft_commit(self, base: str, path: str, content: bytes, message: str) -> Iterator[str]:
        """Make a commit of that file on top of `base`, which the mirror keeps while it is pushed."""
        text = (message.replace("\0", "").strip() or f"Change {path}").encode() + b"\n"
        now = int(time.time())
        try:
            draft = self._write_draft(base, require_tracked_path(path), content, text, now)
            yield self._sign_draft(draft, base, text, now) if self._key else draft
        finally:
            self._mirror.run_git("update-ref", "-d", _DRAFT_REF)

    def _write_draft(self, base: str, path: str, content: bytes, text: bytes, now: int) -> str:
        name, mail = self._author
        identity = f"{name} <{mail}> {now} +0000"
        head = f"commit {_DRAFT_REF}\nmark :1\nauthor {identity}\ncommitter {identity}\ndata {len(text)}\n".encode()
        place = self._mirror.within.locate(path)
        change = f"from {base}\nM {self._find_mode(base, path)} inline {place}\ndata {len(content)}\n".encode()
        stream = b"".join((head, text, change, content, b"\n\nget-mark :1\ndone\n"))
        reply = self._mirror.run_git("fast-import", "--quiet", "--done", "--force", "--date-format=raw", stdin=stream)
        if reply.status != 0:
            raise convert_command_failure("fast-import", reply, self._remote)
        return require_full_revision(reply.output_text)

    def _find_mode(self, base: str, path: str) -> str:
        """Return the mode that the file has in `base`, and keeps. Raises `PermanentError` where something else lies there."""
        if obstacle := self._mirror.find_folder_obstacle(base):
            raise PermanentError("git", f"{path} {obstacle.reason}", obstacle.fix)
        found = next((each for each in self._mirror.list_tree_entries(base, path) if each.path == path), None)
        if found is not None and found.kind is not EntryKind.FILE:
            raise PermanentError("git", f"{path} is {found.kind.value}, and is not written over", "put a file in its place")
        return _EXECUTABLE if found is not None and found.mode == _EXECUTABLE else _PLAIN

    def _sign_draft(self, draft: str, base: str, text: bytes, now: int) -> str:
        """Make the commit again with a signature: fast-import makes none."""
        reply = self._mirror.run_git(
            *("-c", "gpg.format=ssh", "-c", "gpg.ssh.program=ssh-keygen", "-c", f"user.signingKey={self._key}"),
            *("commit-tree", "-S", "-p", base, "-F", "-", f"{draft}^{{tree}}"),
            stdin=text,
            variables=self._build_author_variables(now),
        )
        if reply.status != 0:
            raise self._convert_signing_error(reply)
        return require_full_revision(reply.output_text)

    def _build_author_variables(self, now: int) -> Mapping[str, str]:
        parts = dict(zip(("NAME", "EMAIL", "DATE"), (*self._author, f"@{now} +0000"), strict=True))
        return {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in parts.items()}

    def _convert_signing_error(self, reply: GitReply) -> ExternalError:
        """Say why the commit could not be signed; each cause needs a person."""
        message, place = reply.err, f"PROMOTER_SIGNING_KEY ({self._key})"
        if "cannot run" in message:
            return PermanentError("git", "ssh-keygen, which signs commits, was not found", "install the package openssh-client")
        if "passphrase" in message:
            return PermanentError("git", f"{place} has a passphrase, and nobody can be asked for it", "give a key without one")
        if "too open" in message:
            return PermanentError("git", f"{place} may be read by others, and is not used", "see to its permissions: chmod 600")
        if self._key is None or not self._key.is_file():
            return PermanentError("git", f"{place}: there is no such file", "name the file of an SSH private key")
        fix = "name the file of an SSH private key that this account may read"
        return PermanentError("git", f"{place} cannot sign: {redact_to_one_line(message, self._remote)}", fix)

    def push_branch(self, ref: str, expected: str | None, new: str | None) -> None:
        """Move a branch of the remote from `expected` (None: it does not exist) to `new` (None: delete it, or find it gone).

        Raises `Conflict` where it is somewhere else, `BranchProtected` or `PermanentError` where the remote does not want it.
        """
        lease = f"--force-with-lease={ref}:{expected or ''}"
        options = ("--porcelain", "--no-verify", "--no-signed", "--no-follow-tags", "--recurse-submodules=no", lease)
        reply = self._mirror.run_git("push", *options, "--end-of-options", self._remote.url, f"{new or ''}:{ref}")
        if reply.status == 0:
            return
        fault = convert_push_failure(reply, self._remote)
        if fault is None or isinstance(fault, Conflict):
            fault = self._explain_contested_push(ref, expected, new)
        if fault is not None:
            raise fault

    def _explain_contested_push(self, ref: str, expected: str | None, new: str | None) -> ExternalError | None:
        """Find out from the remote's refs why it did not move the branch; None where it did after all."""
        folders = [str(each) for each in PurePosixPath(ref.removeprefix(HEADS)).parents][:-1]
        above = [HEADS + folder for folder in folders]
        refs = self._mirror.list_remote_refs(ref, *above, f"{ref}/*")
        now = refs.get(ref)
        if now != expected:
            return None if now == new else build_push_conflict()
        if new is None or expected is not None:
            return TransientError("git", "the remote could not move the branch just now")
        for other in refs:
            if other in above or other.startswith(f"{ref}/"):
                one, two = (redact_to_one_line(name.removeprefix(HEADS), self._remote) for name in (other, ref))
                fix = f"rename or delete {one}, if nobody needs it"
                return PermanentError("git", f"{self._remote.url}: git cannot have both branches {one} and {two}", fix)
        return TransientError("git", "the remote could not move the branch just now")


_PROPOSAL_REFS = "refs/promoter/branches"
_FETCHED_REFS = "refs/promoter/fetched"
_FETCHED_LIMIT = 1_000


class GitRepository:
    """One branch of one remote. Calls from several threads run one after the other."""

    def __init__(  # noqa: PLR0913  # what the settings say of the repository, most of it with a default
        self,
        url: str,
        branch: str,
        mirror: Path,
        token: SecretStr | None = None,
        author: tuple[str, str] = ("Promoter", "promoter@localhost"),
        timeout: float = 60.0,
        *,
        signing_key: Path | None = None,
        attest: Callable[[str], str] = str,
        record_own: Callable[[str, str], None] = lambda _revision, _message: None,
        credentials: GitConfiguration = (),
        fetch_limit: int | None = None,
        folder: RepositoryFolder = TOP_FOLDER,
    ) -> None:
        """`mirror`: a folder in a cache, made when needed; `timeout`: seconds for a git command. Raises `PermanentError`.

        `signing_key`: the file of an SSH private key that signs Promoter's own commits; `attest`: what completes the message of
        such a commit right before it is made, with a trailer; `record_own`: called with each such commit and its message before
        it is pushed, so that nobody sees one that is not recorded; `credentials`: how a person's git signs in; `folder`: where
        in the repository Promoter's files lie. `fetch_limit`: the bytes that one fetch may bring; None: any number.
        """
        self._ref = build_branch_ref(branch)
        self._remote = parse_remote_address(url, token)
        self._author = normalize_identity(author)
        self._mirror = BareMirror(mirror, self._remote, branch, timeout, credentials, fetch_limit, folder)
        self._cache = GitAnswerCache()
        self._history = CommitHistory(self._mirror, self._remote, self._cache)
        self._writer = CommitWriter(self._mirror, self._remote, self._author, signing_key)
        self._signatures = SignatureVerifier(self._mirror, self._remote)
        self._attest = attest
        self._record_own = record_own
        self._lock = threading.RLock()
        self._is_rewritten = False

    @property
    def folder(self) -> RepositoryFolder:
        """The folder that holds Promoter's files."""
        return self._mirror.within

    @property
    def address(self) -> str:
        """The address of the remote, without credentials."""
        return self._remote.url

    @property
    def signs_commits(self) -> bool:
        """Whether it has a key to sign its commits with."""
        return self._writer.signs

    def __repr__(self) -> str:
        return f"GitRepository({self._remote.url!r}, {self._ref!r})"

    @property
    def is_rewritten(self) -> bool:
        """Whether the last fetch found that somebody rewrote the branch's history."""
        return self._is_rewritten

    def fetch_branch(self) -> str:
        """Fetch the branch; return the full object id of its head. `is_rewritten` says whether its history was rewritten."""
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

    def describe_rewrite(self, before: str, after: str) -> BranchRewrite | None:
        """Describe how the head after does not follow the revision before; None where it does."""
        if not is_revision(before):
            return None
        with self._lock:
            if self._mirror.is_ancestor(before, require_full_revision(after)):
                return None
            if not self._mirror.has_commit(before):
                return BranchRewrite(before, after, is_unrelated=True, dropped=None)
            fork = self._mirror.run_git("merge-base", "--end-of-options", before, after)
            lost = self._mirror.run_git("rev-list", "--count", "--end-of-options", f"{after}..{before}")
            dropped = int(lost.output_text) if lost.output_text.isdigit() else None
            return BranchRewrite(before, after, is_unrelated=fork.status != 0, dropped=dropped)

    def is_ancestor(self, earlier: str, later: str) -> bool:
        """Whether the later commit has the earlier one in its history, or is that one. One that is not known is none."""
        with self._lock:
            return self._mirror.is_ancestor(require_full_revision(earlier), require_full_revision(later))

    def read_sources(self, revision: str) -> Sources:
        """Read the files of that revision that Promoter reads, as bytes; what is not there is not in the mapping."""
        with self._lock:
            return self._cache.get_or_compute(
                ("read", revision), lambda: self._mirror.read_sources(require_full_revision(revision))
            )

    def list_commits(self, base: str | None, head: str, path: str, *, last: int = 1) -> Sequence[GitCommit]:
        """List first-parent commits after `base` up to `head` that touch `path`, oldest first, the newest 1,000 at most."""
        with self._lock:
            return self._history.find_commits(base, head, path, last)

    def read_commit(self, revision: str) -> GitCommit:
        """Read one commit of any branch that was fetched. Raises `PermanentError` for one that was not."""
        with self._lock:
            return self._cache.get_or_compute(("message", revision), lambda: self._history.read_commit(revision))

    def has_only_own_commits(self, base: str, head: str) -> bool:
        """Whether Promoter, by name and mail, is author and committer of all commits that `head` has and `base` lacks."""
        with self._lock:
            return self._cache.get_or_compute(
                ("untouched", base, head), lambda: self._history.is_all_made_by(self._author, base, head)
            )

    def list_branches(self, prefix: str) -> Mapping[str, str]:
        """Fetch the remote's branches whose names begin so; return their heads by name."""
        ref = build_branch_ref(f"{prefix}x")[:-1]  # the prefix itself may end with a slash, as no branch does
        with self._lock, self._mirror.hold_lock():
            self._mirror.fetch_refspec(f"+{ref}*:{_PROPOSAL_REFS}/{prefix}*")
            found = self._mirror.list_own_refs(_PROPOSAL_REFS)
        return {name: head for name, head in found.items() if name.startswith(prefix)}

    def fetch_ref(self, ref: str) -> str:
        """Fetch a branch by its ref, or `refs/pull/7/head`, `refs/merge-requests/7/head`; return its head.

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
        """Compute what merging `head` into `base` would give. Nothing is written to the remote."""
        with self._lock:
            return self._cache.get_or_compute(("merge", base, head), lambda: self._compute_merge(base, head))

    def find_unsigned_commits(self, base: str | None, head: str) -> Sequence[UnsignedCommit]:
        """Find the commits after `base` up to `head` that change the watched files without a valid signature, oldest first.

        `SignatureVerifier` says which and by which keys. Raises `PermanentError` where ssh-keygen or gpg is missing.
        """
        with self._lock:
            return self._signatures.find_unsigned_commits(base, head)

    def commit_file(self, base: str, path: str, content: bytes, message: str) -> str:
        """Commit the file on top of `base` and push it, if the branch's head is still `base`; return the new revision.

        Content that `base` has already writes nothing, and returns `base`. Raises `Conflict` where somebody pushed first,
        `BranchProtected` where the remote's rules keep pushes from the branch.
        """
        require_full_revision(base)
        attested = self._attest(message)
        with self._lock, self._mirror.hold_lock():
            present = self._mirror.list_tree_entries(base, require_tracked_path(path))
            if any(entry.path == path and entry.blob == _compute_blob_id(content, len(base)) for entry in present):
                return base
            with self._writer.draft_commit(base, path, content, attested) as new:
                self._record_own(new, message)
                self._writer.push_branch(self._ref, base, new)
                self._mirror.run_git("update-ref", self._ref, new)
            self._mirror.collect_garbage()
            return new

    def push_proposal(self, branch: str, expected: str | None, base: str, content: bytes, message: str) -> str:
        """Commit `registry.yaml` on top of `base`, and move that branch there; return the new revision.

        Only if the branch's head still is `expected` (None: there is no such branch), else raises `Conflict`. Raises
        `PermanentError` for a branch that is not one of Promoter's own, and where another branch's name is in the way.
        """
        ref = self._require_proposal_ref(branch)
        for revision in (base, *([expected] if expected else [])):
            require_full_revision(revision)
        attested = self._attest(message)
        with self._lock, self._mirror.hold_lock():
            self._mirror.require_commit(base)
            with self._writer.draft_commit(base, REGISTRY_FILE, content, attested) as new:
                self._record_own(new, message)
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
        """Return the ref of a branch for proposals. Raises `PermanentError` for any other."""
        ref = build_branch_ref(branch)
        prefix = self.folder.branch_prefix
        if not branch.startswith(prefix) or ref == self._ref:
            raise PermanentError("git", f"{branch!r} is not a branch for proposals", f"name one that begins with {prefix}")
        return ref

    def _push_proposal_branch(self, ref: str, expected: str | None, new: str | None) -> None:
        """Push a branch for proposals. Where that is protected as well, a pull request is no way out."""
        try:
            self._writer.push_branch(ref, expected, new)
        except BranchProtected as fault:
            fix = f"let this account make, change and delete branches that begin with {self.folder.branch_prefix}"
            raise PermanentError("git", f"{ref.removeprefix(HEADS)}: {fault.message}", fix) from None


def _compute_blob_id(content: bytes, length: int) -> str:
    """Compute the object id that git gives to the content, in a repository whose ids are that long."""
    kind = hashlib.sha256 if length == 64 else hashlib.sha1  # noqa: PLR2004  # the length of a SHA-256 in hex
    return kind(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
