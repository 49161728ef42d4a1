"""Commits that vouch for a ledger: their trailers name its head as it was when Promoter made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from promoter.adapters.git.command import GitCommand
from promoter.adapters.git.errors import one_line
from promoter.adapters.git.names import is_revision
from promoter.adapters.git.remote import Remote, Transport
from promoter.domain.faults import Refused
from promoter.domain.ledger.chain import TRAILER, Head
from promoter.domain.ledger.witnesses import Witness

KIND = "commit"
_TIMEOUT_SECONDS = 600.0
_FORM = f"%H%n%(trailers:key={TRAILER},valueonly,unfold)"
_SHORT = 10
_PLAIN = ("-c", "trailer.separators=:")
"""Whatever the clone's configuration says of trailers, Promoter's are written so."""


@dataclass(frozen=True)
class Vouching:
    """What commits said. `unreadable`: how many have a trailer that names no head; `shallow`: older commits are not there."""

    witnesses: tuple[Witness, ...]
    unreadable: int
    shallow: bool


def vouching(path: Path) -> Vouching:
    """Of all branches and tags of the clone, or bare repository, at the path. Raises `Refused` where there is none."""
    git = GitCommand(path, timeout=_TIMEOUT_SECONDS, config=None)
    grep = ("--extended-regexp", f"--grep=^{TRAILER}: ")  # most commits bear none: git need not print them
    shown = ("-z", "--encoding=UTF-8", "--no-color", "--no-show-signature", "--no-notes", f"--format={_FORM}")
    reply = git.run(*_PLAIN, "log", "--all", *grep, *shown)
    if reply.status != 0:
        said = one_line(reply.err, Remote("", Transport.LOCAL))
        raise Refused("git", f"{path}: the commits cannot be read: {said}", "name a clone with --repo PATH")
    found: list[Witness] = []
    unreadable = 0
    for text in reply.out.decode("utf-8", "replace").split("\0"):
        revision, *values = text.lstrip("\n").split("\n")
        heads = [Head.of(value) for value in values if value.strip()]
        if not is_revision(revision) or not heads:
            continue
        unreadable += None in heads
        found += [Witness(head, f"commit {revision[:_SHORT]}", KIND) for head in heads if head]
    shallow = git.run("rev-parse", "--is-shallow-repository").text == "true"
    return Vouching(tuple(found), unreadable, shallow)
