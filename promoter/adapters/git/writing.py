"""Commits of Promoter's own: made in the mirror without a checkout, signed where there is a key, pushed by compare-and-swap."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from promoter.adapters.git.command import GitReply
from promoter.adapters.git.errors import convert_command_failure, redact_to_one_line, build_push_conflict, convert_push_failure
from promoter.adapters.git.mirror import BareMirror
from promoter.adapters.git.names import HEADS, require_full_revision, require_tracked_path
from promoter.adapters.git.remote import RemoteAddress
from promoter.domain.faults import ExternalError, Conflict, PermanentError, TransientError

_DRAFT_REF = "refs/promoter/draft"
"""Where a commit stands until the remote has it. One name is enough: whoever writes it holds the mirror."""


class CommitWriter:
    """Makes commits in a mirror that its user holds, and pushes them."""

    def __init__(self, mirror: BareMirror, remote: RemoteAddress, author: tuple[str, str], signing_key: Path | None) -> None:
        """`parse_signing_key`: the file of an SSH private key without a passphrase. It is read by `ssh-keygen` alone."""
        self._mirror = mirror
        self._remote = remote
        self._author = author
        self._key = signing_key.expanduser().absolute() if signing_key else None
        self.signs = self._key is not None

    @contextlib.contextmanager
    def draft_commit(self, base: str, path: str, content: bytes, message: str) -> Iterator[str]:
        """A commit of that file on top of `base`, kept while it is pushed."""
        text = (message.replace("\0", "").strip() or f"Change {path}").encode() + b"\n"
        now = int(time.time())
        try:
            draft = self._write_draft(base, require_tracked_path(path), content, text, now)
            yield self._sign_draft(draft, base, text, now) if self._key else draft
        finally:
            self._mirror.run_git("update-ref", "-d", _DRAFT_REF)

    def _write_draft(self, base: str, path: str, content: bytes, text: bytes, now: int) -> str:
        name, mail = self._author
        made = f"{name} <{mail}> {now} +0000"
        head = f"commit {_DRAFT_REF}\nmark :1\nauthor {made}\ncommitter {made}\ndata {len(text)}\n".encode()
        change = f"from {base}\nM 100644 inline {path}\ndata {len(content)}\n".encode()
        stream = b"".join((head, text, change, content, b"\n\nget-mark :1\ndone\n"))
        reply = self._mirror.run_git("fast-import", "--quiet", "--done", "--force", "--date-format=raw", stdin=stream)
        if reply.status != 0:
            raise convert_command_failure("fast-import", reply, self._remote)
        return require_full_revision(reply.output_text)

    def _sign_draft(self, draft: str, base: str, text: bytes, now: int) -> str:
        """The same commit with a signature: fast-import makes none."""
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
        """Why the commit could not be signed; a person has to mend all of it."""
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
        """Why the remote did not move the branch, told by what it has there now."""
        folders = [str(each) for each in PurePosixPath(ref.removeprefix(HEADS)).parents][:-1]
        above = [HEADS + folder for folder in folders]
        there = self._mirror.list_remote_refs(ref, *above, f"{ref}/*")
        now = there.get(ref)
        if now != expected:
            return None if now == new else build_push_conflict()
        if new is None or expected is not None:
            return TransientError("git", "the remote could not move the branch just now")
        for other in there:
            if other in above or other.startswith(f"{ref}/"):
                one, two = (redact_to_one_line(name.removeprefix(HEADS), self._remote) for name in (other, ref))
                fix = f"rename or delete {one}, if nobody needs it"
                return PermanentError("git", f"{self._remote.url}: git cannot have both branches {one} and {two}", fix)
        return TransientError("git", "the remote could not move the branch just now")
