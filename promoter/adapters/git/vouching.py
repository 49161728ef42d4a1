"""Commits that vouch for a ledger: their trailers name its head as it was when Promoter made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from promoter.adapters.git.command import GitCommand
from promoter.adapters.git.errors import redact_to_one_line
from promoter.adapters.git.names import is_revision
from promoter.adapters.git.remote import RemoteAddress, GitTransport
from promoter.domain.faults import PermanentError
from promoter.domain.ledger.chain import LEDGER_TRAILER, LedgerHead
from promoter.domain.ledger.witnesses import Witness

COMMIT_KIND = "commit"
_TIMEOUT_SECONDS = 600.0
_TRAILER_FORMAT = f"%H%n%(trailers:key={LEDGER_TRAILER},valueonly,unfold)"
_SHORT_REVISION_LENGTH = 10
_PLAIN = ("-c", "trailer.separators=:")
"""Whatever the clone's configuration says of trailers, Promoter's are written so."""


@dataclass(frozen=True)
class LedgerTrailers:
    """What commits said. `unreadable`: how many have a trailer that names no head; `shallow`: older commits are not there."""

    witnesses: tuple[Witness, ...]
    unreadable: int
    shallow: bool


def read_ledger_trailers(path: Path) -> LedgerTrailers:
    """Of all branches and tags of the clone, or bare repository, at the path. Raises `PermanentError` where there is none."""
    git = GitCommand(path, timeout=_TIMEOUT_SECONDS, config=None)
    grep = ("--extended-regexp", f"--grep=^{LEDGER_TRAILER}: ")  # most commits bear none: git need not print them
    shown = ("-z", "--encoding=UTF-8", "--no-color", "--no-show-signature", "--no-notes", f"--format={_TRAILER_FORMAT}")
    reply = git.run_command(*_PLAIN, "log", "--all", *grep, *shown)
    if reply.status != 0:
        message = redact_to_one_line(reply.err, RemoteAddress("", GitTransport.LOCAL))
        raise PermanentError("git", f"{path}: the commits cannot be read: {message}", "name a clone with --repo PATH")
    found: list[Witness] = []
    unreadable = 0
    for text in reply.out.decode("utf-8", "replace").split("\0"):
        revision, *values = text.lstrip("\n").split("\n")
        heads = [LedgerHead.parse_trailer(value) for value in values if value.strip()]
        if not is_revision(revision) or not heads:
            continue
        unreadable += None in heads
        found += [Witness(head, f"commit {revision[:_SHORT_REVISION_LENGTH]}", COMMIT_KIND) for head in heads if head]
    shallow = git.run_command("rev-parse", "--is-shallow-repository").output_text == "true"
    return LedgerTrailers(tuple(found), unreadable, shallow)
