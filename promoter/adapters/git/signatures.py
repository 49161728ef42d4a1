"""Which commits change the watched files without a signature of a key that the repository had before them.

Git verifies (OpenSSH and GnuPG do it for git), commits and keys are found here. A long history is cheap: one walk, one
listing of what the commits change, and programs are started only for signed commits that change the watched files.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from promoter.adapters.git.errors import failure, one_line
from promoter.adapters.git.keys import Keyring, keyring, keys_at
from promoter.adapters.git.mirror import Mirror
from promoter.adapters.git.names import full_revision, is_revision
from promoter.adapters.git.remote import Remote
from promoter.adapters.git.sources import SIGNERS, WATCHED, Entry, batched
from promoter.application.ports import Unsigned
from promoter.domain.faults import Unavailable

_BATCH = 100
_COMMIT_LIMIT = 2**20
_SIGNATURE = re.compile(rb"^gpgsig(?:-sha256)? -----BEGIN (SSH|PGP) (?:SIGNATURE|MESSAGE)-----", re.MULTILINE)
_ANY_SIGNATURE = re.compile(rb"^gpgsig", re.MULTILINE)
_AUTHOR = re.compile(rb"^author (.*) \S+ \S+$", re.MULTILINE)
_KEY = re.compile(r"[A-Za-z0-9+/:]{1,100}")
_STRANGER = f"a key that {SIGNERS}/ does not have"
_WHY = {
    "N": "not signed",
    "B": "its signature does not fit the commit, or its key is not for git",
    "X": "its signature has expired",
    "Y": "its key has expired",
    "R": "its key is revoked",
}
"""By what git says of a signature; `G` is good, `U` and `E` are of a key that was not given."""


class _Kind(Enum):
    """What a commit is signed with, as it says itself: enough for words, never for trust."""

    NONE = auto()
    SSH = auto()
    OPENPGP = auto()
    OTHER = auto()
    TOO_LARGE = auto()


_NOT_VERIFIED = {
    _Kind.NONE: "not signed",
    _Kind.OTHER: "signed in a way that is not verified: neither SSH nor OpenPGP",
    _Kind.TOO_LARGE: f"not verified: the commit alone is larger than {_COMMIT_LIMIT >> 20} MiB",
}


@dataclass(frozen=True)
class _Candidate:
    revision: str
    author: str
    kind: _Kind


class Signatures:
    """Verifies commits of a mirror."""

    def __init__(self, mirror: Mirror, remote: Remote) -> None:
        """Touches nothing yet."""
        self._mirror = mirror
        self._remote = remote

    def unsigned(self, base: str | None, head: str) -> Sequence[Unsigned]:
        """The commits after `base` up to `head` that change the watched files without a signature that holds, oldest first.

        A merge changes what differs from any of its parents. Keys are those at `base`; where the branch itself has moved on
        from there by commits that are all vouched for, keys that it gained or lost on the way count from the next commit on,
        as if each had been looked at when it was pushed. Without a base, `head` alone, whatever it changes, by its own keys.
        """
        self._mirror.require(full_revision(head))
        if base is None:
            return self._failing([head], head)
        self._mirror.require(full_revision(base))
        found: list[Unsigned] = []
        trusted = start = base
        for end in (*self._key_changes(base, head), head):
            found += self._failing(self._changing(start, end), trusted)
            trusted = trusted if found else end
            start = end
        return found

    def _key_changes(self, base: str, head: str) -> list[str]:
        """The commits at which the branch's keys changed, oldest first; none where it does not come straight from `base`.

        A branch that took `base` in sideways may come from where a key was not yet removed.
        """
        changes = self._listed("--first-parent", "--reverse", f"{base}..{head}", "--", SIGNERS)
        if not changes:
            return []
        oldest = self._listed("--first-parent", "--parents", f"{base}..{head}", "--")[-1]
        return changes if oldest.split()[1:2] == [base] else []

    def _changing(self, start: str, end: str) -> list[str]:
        """The commits after `start` up to `end` whose watched files differ from those of a parent, oldest first."""
        span = self._listed("--reverse", "--topo-order", f"{start}..{end}", "--")
        if not span:
            return []
        options = ("--stdin", "-m", "--root", "-r", "--no-renames", "--name-only")
        reply = self._mirror.talk("diff-tree", *options, "--", *WATCHED, stdin="".join(f"{each}\n" for each in span).encode())
        if reply.status != 0:
            raise failure("diff-tree", reply, self._remote)
        return list(dict.fromkeys(line for line in reply.lines if is_revision(line)))

    def _listed(self, *arguments: str) -> list[str]:
        reply = self._mirror.talk("rev-list", *arguments)
        if reply.status != 0:
            raise failure("rev-list", reply, self._remote)
        return reply.lines

    def _failing(self, revisions: Sequence[str], trusted: str) -> list[Unsigned]:
        """Those of the commits that no key at `trusted` has signed."""
        if not revisions:
            return []
        found = []
        with keyring(keys_at(self._mirror, trusted), time.time()) as ring:
            for at in range(0, len(revisions), _BATCH):
                candidates = self._candidates(revisions[at : at + _BATCH])
                told = self._verified([each.revision for each in candidates if _verifiable(each.kind, ring)], ring)
                reasons = ((each, _why(each, told, ring)) for each in candidates)
                found += [Unsigned(each.revision, each.author, why) for each, why in reasons if why]
        return found

    def _candidates(self, revisions: Sequence[str]) -> list[_Candidate]:
        """Who made the commits, and what they are signed with."""
        asked = "".join(f"{each}\n" for each in revisions).encode()
        form = "--batch-check=%(objectname) %(objectsize)"
        sizes = [line.split() for line in self._mirror.talk("cat-file", form, stdin=asked).lines]
        entries = [Entry(name, name, int(size)) for name, size in sizes if size.isdigit() and int(size) <= _COMMIT_LIMIT]
        asked = "".join(f"{each.blob}\n" for each in entries).encode()
        contents = batched(self._mirror.talk("cat-file", "--batch", stdin=asked).out, entries, "commit")
        if contents is None or len(sizes) != len(revisions):
            raise Unavailable("git", "the mirror lacks commits that it should have")
        return [self._candidate(each, contents.get(each)) for each in revisions]

    def _candidate(self, revision: str, content: bytes | None) -> _Candidate:
        if content is None:
            return _Candidate(revision, "", _Kind.TOO_LARGE)
        header = content.partition(b"\n\n")[0]
        author, signature = _AUTHOR.search(header), _SIGNATURE.search(header)
        if signature:
            kind = _Kind.SSH if signature[1] == b"SSH" else _Kind.OPENPGP
        else:
            kind = _Kind.OTHER if _ANY_SIGNATURE.search(header) else _Kind.NONE
        return _Candidate(revision, one_line(author[1].decode("utf-8", "replace"), self._remote) if author else "", kind)

    def _verified(self, revisions: Sequence[str], ring: Keyring) -> dict[str, tuple[str, str]]:
        """What git says of each commit's signature, and the key that it names.

        ssh-keygen may end at a broken signature before it has heard the commit, and git then dies of the pipe: nobody can stop
        others from being verified by such a commit, which is searched for.
        """
        if not revisions:
            return {}
        options = ("--no-walk=unsorted", "-z", "--no-color", "--no-show-signature", "--format=%H %G? %GK", "--stdin")
        asked = "".join(f"{each}\n" for each in revisions).encode()
        reply = self._mirror.talk(*ring.settings, "log", *options, stdin=asked, variables=ring.variables)
        if reply.status == -signal.SIGPIPE:
            half = len(revisions) // 2
            parts = (revisions[:half], revisions[half:])
            return {revisions[0]: ("B", "")} if not half else self._verified(parts[0], ring) | self._verified(parts[1], ring)
        if reply.status != 0:
            raise failure("log", reply, self._remote)
        fields = (text.split(" ", 2) for text in reply.out.decode("utf-8", "replace").split("\0") if text)
        return {revision: (status, key) for revision, status, key in fields}


def _verifiable(kind: _Kind, ring: Keyring) -> bool:
    """Whether there are keys of that kind at all: else no program is needed."""
    return (kind is _Kind.SSH and ring.ssh) or (kind is _Kind.OPENPGP and ring.openpgp)


def _why(candidate: _Candidate, told: Mapping[str, tuple[str, str]], ring: Keyring) -> str | None:
    """Why the signature does not hold, in words; None: it holds."""
    if candidate.kind in _NOT_VERIFIED:
        return _NOT_VERIFIED[candidate.kind]
    status, key = told.get(candidate.revision, ("U", ""))
    if status == "G":
        return None
    if key in ring.outdated:
        return "its key has expired, or is not valid yet"
    if key in ring.known:
        return "its key was not valid at the time that the commit says it was made"
    named = f"signed by {key}, {_STRANGER}" if _KEY.fullmatch(key) else f"signed by {_STRANGER}"
    return _WHY.get(status, named)
