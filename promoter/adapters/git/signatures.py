"""Finds commits that change the watched files without a signature by a key that the repository had before them.

Git verifies (OpenSSH and GnuPG do it for git), commits and keys are found here. A long history is cheap: one walk, one
listing of what the commits change, and programs are started only for signed commits that change the watched files.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import structlog

from promoter.adapters.git.command import convert_command_failure, redact_to_one_line
from promoter.adapters.git.files import (
    SIGNERS_FOLDER,
    WATCHED_PATHS,
    TreeEntry,
    parse_batch_output,
    select_regular_files,
)
from promoter.adapters.git.mirror import BareMirror
from promoter.adapters.git.remote import RemoteAddress, is_revision, require_full_revision
from promoter.application.ports import UnsignedCommit
from promoter.domain.errors import PermanentError, TransientError

log = structlog.get_logger(__name__)


ALLOWED_SIGNERS = f"{SIGNERS_FOLDER}/allowed_signers"
_ARMOURED_KEY_PATH = re.compile(rf"{SIGNERS_FOLDER}/[^/]+\.asc", re.DOTALL)
_KEY_FILE_COUNT_LIMIT = 200
_KEY_FILE_SIZE_LIMIT = 256 * 2**10
_IMPORT_SECONDS = 60.0
_ALLOWED_SIGNER_LINE = re.compile(
    r'(?:"[^"]*"|[^\s"#]\S*)[ \t]+'
    r'(?:(?P<options>(?:[^\s"]|"[^"]*")+)[ \t]+)??'
    r"(?:sk-)?(?:ssh|ecdsa)-[A-Za-z0-9@.-]+[ \t]+(?P<key>[A-Za-z0-9+/]+=*)(?:[ \t].*)?"
)
_VALIDITY_LIMIT = re.compile(r'(?i)valid-(after|before)="?(?:(\d{8})|(\d{12})|(\d{14}))(Z?)(?=["\s,]|$)')
_VALIDITY_OPTION = re.compile(r"(?i)valid-(?:after|before)")
_GPG_SETTINGS = "batch\nno-tty\nno-autostart\ndisable-dirmngr\nno-auto-key-retrieve\ntrust-model always\n"
"""Neither an agent nor the network; a key counts because the repository has it, not by a web of trust."""


@dataclass(frozen=True)
class SignerKeys:
    """The keys in the files of a revision."""

    allowed: Sequence[str]
    """The lines that allow SSH keys."""
    armoured: Mapping[str, bytes]
    """Armoured OpenPGP keys, by path."""


@dataclass(frozen=True)
class SignerKeyring:
    """The keys where git finds them."""

    settings: tuple[str, ...]
    """Options of the git command."""
    variables: Mapping[str, str]
    """Variables of the git command."""
    known: frozenset[str]
    """The fingerprints of all SSH keys."""
    outdated: frozenset[str]
    """The fingerprints of the SSH keys that have expired, or are not valid yet."""
    ssh: bool
    """Whether there are SSH keys."""
    openpgp: bool
    """Whether there are OpenPGP keys."""


def read_signer_keys(mirror: BareMirror, revision: str) -> SignerKeys:
    """Read the keys of a revision. Raises `PermanentError` for an absurd number or size of them."""
    entries = [
        each
        for each in select_regular_files(mirror.list_tree_entries(revision, f"{SIGNERS_FOLDER}/"))
        if each.path == ALLOWED_SIGNERS or _ARMOURED_KEY_PATH.fullmatch(each.path)
    ]
    if len(entries) > _KEY_FILE_COUNT_LIMIT:
        raise PermanentError(
            "git", f"more than {_KEY_FILE_COUNT_LIMIT} files with keys in {SIGNERS_FOLDER}/", "remove keys that nobody uses"
        )
    large = [each.path for each in entries if each.size > _KEY_FILE_SIZE_LIMIT]
    if large:
        fix = "export keys with --export-options export-minimal, and remove those that nobody uses"
        raise PermanentError("git", f"{large[0][:80]!r} is larger than {_KEY_FILE_SIZE_LIMIT >> 10} KiB", fix)
    contents = mirror.read_contents(entries)
    lines = contents.pop(ALLOWED_SIGNERS, b"").decode("utf-8", "replace").splitlines()
    return SignerKeys([line.strip() for line in lines if line.strip() and not line.strip().startswith("#")], contents)


@contextlib.contextmanager
def open_keyring(keys: SignerKeys, now: float) -> Iterator[SignerKeyring]:
    """Write the keys to a temporary folder. Raises `PermanentError` where a program for them is missing.

    An SSH key that is not valid `now` is left out. Git itself compares with the time that the commit claims, which whoever
    has an expired key can choose.
    """
    _require_program("ssh-keygen", "openssh-client", needed=bool(keys.allowed))
    _require_program("gpg", "gnupg", needed=bool(keys.armoured))
    parsed = [(line, match) for line in keys.allowed if (match := _ALLOWED_SIGNER_LINE.fullmatch(line))]
    in_force = [(line, match) for line, match in parsed if _is_within_validity(match["options"] or "", now)]
    current = {_compute_fingerprint(match["key"]) for _, match in in_force}
    known = {_compute_fingerprint(match["key"]) for _, match in parsed}
    with tempfile.TemporaryDirectory(prefix="promoter-signers-") as name:
        folder = Path(name)
        (folder / "allowed_signers").write_text("".join(f"{line}\n" for line, _ in in_force))
        (folder / "gpg.conf").write_text(_GPG_SETTINGS)
        if keys.armoured:
            _import_openpgp_keys(folder, keys.armoured)
        settings = {
            "gpg.ssh.program": "ssh-keygen",
            "gpg.ssh.allowedSignersFile": str(folder / "allowed_signers"),
            "gpg.program": "gpg" if keys.armoured else "false",
            "gpg.x509.program": "false",
        }
        options = tuple(part for key, value in settings.items() for part in ("-c", f"{key}={value}"))
        outdated = frozenset(known - current)
        yield SignerKeyring(options, {"GNUPGHOME": name}, frozenset(known), outdated, bool(parsed), bool(keys.armoured))


def _require_program(program: str, package: str, *, needed: bool) -> None:
    if needed and shutil.which(program) is None:
        raise PermanentError("git", f"{program}, which verifies signatures, was not found", f"install the package {package}")


def _import_openpgp_keys(home: Path, armoured: Mapping[str, bytes]) -> None:
    """Import the keys into a keyring, without others' signatures on them. One that cannot be read does not count."""
    files = []
    for number, content in enumerate(armoured.values()):
        files.append(home / f"{number}.asc")
        files[-1].write_bytes(content)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "GNUPGHOME": str(home)}
    try:
        done = subprocess.run(  # noqa: S603  # a fixed argument list, no shell
            ["gpg", "--import-options", "import-minimal", "--import", *map(str, files)],  # noqa: S607  # the one of the PATH
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_IMPORT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise TransientError("git", f"gpg did not read the keys in {SIGNERS_FOLDER}/ within {_IMPORT_SECONDS:g} s") from None
    if done.returncode != 0:
        log.warning("some of the keys cannot be read", folder=SIGNERS_FOLDER, files=len(files))


def _is_within_validity(options: str, now: float) -> bool:
    """Whether now is within the times that the options name; a time that cannot be read has passed."""
    limits = list(_VALIDITY_LIMIT.finditer(options))
    if len(limits) != len(_VALIDITY_OPTION.findall(options)):
        return False
    return all(
        (now >= _parse_validity_time(limit)) if limit[1].lower() == "after" else (now < _parse_validity_time(limit))
        for limit in limits
    )


def _parse_validity_time(limit: re.Match[str]) -> float:
    """Parse `YYYYMMDD[HHMM[SS]]` to seconds since 1970: as OpenSSH reads it, in local time unless a Z follows."""
    digits = (limit[2] or limit[3] or limit[4]).ljust(14, "0")
    try:
        parsed = time.strptime(digits, "%Y%m%d%H%M%S")
        return float(calendar.timegm(parsed)) if limit[5] else time.mktime(parsed)
    except (ValueError, OverflowError, OSError):
        return float("nan")  # compares as false both ways


def _compute_fingerprint(key: str) -> str:
    """Compute a key's fingerprint as ssh-keygen prints it."""
    try:
        blob = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


_COMMIT_BATCH_SIZE = 100
_COMMIT_SIZE_LIMIT = 2**20
_SIGNATURE = re.compile(rb"^gpgsig(?:-sha256)? -----BEGIN (SSH|PGP) (?:SIGNATURE|MESSAGE)-----", re.MULTILINE)
_ANY_SIGNATURE = re.compile(rb"^gpgsig", re.MULTILINE)
_AUTHOR = re.compile(rb"^author (.*) \S+ \S+$", re.MULTILINE)
_SHOWABLE_KEY = re.compile(r"[A-Za-z0-9+/:]{1,100}")
_UNKNOWN_KEY = f"a key that {SIGNERS_FOLDER}/ does not have"
_STATUS_MESSAGES = {
    "N": "not signed",
    "B": "its signature does not fit the commit, or its key is not for git",
    "X": "its signature has expired",
    "Y": "its key has expired",
    "R": "its key is revoked",
}
"""Messages by git's status of a signature; `G` is good, `U` and `E` are for a key that was not given."""


class _SignatureKind(Enum):
    """What a commit claims to be signed with: enough for a message, never for trust."""

    NONE = auto()
    SSH = auto()
    OPENPGP = auto()
    OTHER = auto()
    TOO_LARGE = auto()


_NOT_VERIFIED = {
    _SignatureKind.NONE: "not signed",
    _SignatureKind.OTHER: "signed in a way that is not verified: neither SSH nor OpenPGP",
    _SignatureKind.TOO_LARGE: f"not verified: the commit alone is larger than {_COMMIT_SIZE_LIMIT >> 20} MiB",
}


@dataclass(frozen=True)
class _CommitCandidate:
    revision: str
    author: str
    kind: _SignatureKind


class SignatureVerifier:
    """Verifies the signatures of commits in a mirror."""

    def __init__(self, mirror: BareMirror, remote: RemoteAddress) -> None:
        self._mirror = mirror
        self._remote = remote

    def find_unsigned_commits(self, base: str | None, head: str) -> Sequence[UnsignedCommit]:
        """Find the commits after `base` up to `head` that change the watched files without a valid signature, oldest first.

        A merge changes what differs from any of its parents. Keys are those at `base`; where the branch itself has moved on
        from there by commits that are all signed so, keys that it gained or lost on the way count from the next commit on,
        as if each had been verified when it was pushed. Without a base, `head` alone, whatever it changes, by its own keys.
        """
        self._mirror.require_commit(require_full_revision(head))
        if base is None:
            return self._find_failing_commits([head], head)
        self._mirror.require_commit(require_full_revision(base))
        found: list[UnsignedCommit] = []
        trusted = start = base
        for end in (*self._find_key_changes(base, head), head):
            found += self._find_failing_commits(self._find_watched_changes(start, end), trusted)
            trusted = trusted if found else end
            start = end
        return found

    def _find_key_changes(self, base: str, head: str) -> list[str]:
        """Find the commits at which the branch's keys changed, oldest first; none where it does not come straight from `base`.

        A branch that took `base` in sideways may come from where a key was not yet removed.
        """
        changes = self._run_rev_list(
            "--first-parent", "--reverse", f"{base}..{head}", "--", self._mirror.within.locate(SIGNERS_FOLDER)
        )
        if not changes:
            return []
        oldest = self._run_rev_list("--first-parent", "--parents", f"{base}..{head}", "--")[-1]
        return changes if oldest.split()[1:2] == [base] else []

    def _find_watched_changes(self, start: str, end: str) -> list[str]:
        """Find the commits after `start` up to `end` whose watched files differ from those of a parent, oldest first."""
        span = self._run_rev_list("--reverse", "--topo-order", f"{start}..{end}", "--")
        if not span:
            return []
        options = ("--stdin", "-m", "--root", "-r", "--no-renames", "--name-only")
        reply = self._mirror.run_git(
            "diff-tree",
            *options,
            "--",
            *map(self._mirror.within.locate, WATCHED_PATHS),
            stdin="".join(f"{each}\n" for each in span).encode(),
        )
        if reply.status != 0:
            raise convert_command_failure("diff-tree", reply, self._remote)
        return list(dict.fromkeys(line for line in reply.output_lines if is_revision(line)))

    def _run_rev_list(self, *arguments: str) -> list[str]:
        reply = self._mirror.run_git("rev-list", *arguments)
        if reply.status != 0:
            raise convert_command_failure("rev-list", reply, self._remote)
        return reply.output_lines

    def _find_failing_commits(self, revisions: Sequence[str], trusted: str) -> list[UnsignedCommit]:
        """Find those of the commits that no key at `trusted` has signed."""
        if not revisions:
            return []
        found = []
        with open_keyring(read_signer_keys(self._mirror, trusted), time.time()) as ring:
            for at in range(0, len(revisions), _COMMIT_BATCH_SIZE):
                candidates = self._read_candidates(revisions[at : at + _COMMIT_BATCH_SIZE])
                results = self._verify_signatures(
                    [each.revision for each in candidates if _is_verifiable(each.kind, ring)], ring
                )
                reasons = ((each, _explain_failure(each, results, ring)) for each in candidates)
                found += [UnsignedCommit(each.revision, each.author, why) for each, why in reasons if why]
        return found

    def _read_candidates(self, revisions: Sequence[str]) -> list[_CommitCandidate]:
        """Read who made the commits, and what they claim to be signed with."""
        stdin = "".join(f"{each}\n" for each in revisions).encode()
        form = "--batch-check=%(objectname) %(objectsize)"
        sizes = [line.split() for line in self._mirror.run_git("cat-file", form, stdin=stdin).output_lines]
        entries = [
            TreeEntry(name, name, int(size)) for name, size in sizes if size.isdigit() and int(size) <= _COMMIT_SIZE_LIMIT
        ]
        stdin = "".join(f"{each.blob}\n" for each in entries).encode()
        contents = parse_batch_output(self._mirror.run_git("cat-file", "--batch", stdin=stdin).out, entries, "commit")
        if contents is None or len(sizes) != len(revisions):
            raise TransientError("git", "the mirror lacks commits that it should have")
        return [self._parse_candidate(each, contents.get(each)) for each in revisions]

    def _parse_candidate(self, revision: str, content: bytes | None) -> _CommitCandidate:
        if content is None:
            return _CommitCandidate(revision, "", _SignatureKind.TOO_LARGE)
        header = content.partition(b"\n\n")[0]
        author, signature = _AUTHOR.search(header), _SIGNATURE.search(header)
        if signature:
            kind = _SignatureKind.SSH if signature[1] == b"SSH" else _SignatureKind.OPENPGP
        else:
            kind = _SignatureKind.OTHER if _ANY_SIGNATURE.search(header) else _SignatureKind.NONE
        return _CommitCandidate(
            revision, redact_to_one_line(author[1].decode("utf-8", "replace"), self._remote) if author else "", kind
        )

    def _verify_signatures(self, revisions: Sequence[str], ring: SignerKeyring) -> dict[str, tuple[str, str]]:
        """Return git's status of each commit's signature, and the key that it names.

        ssh-keygen may end at a broken signature before it has read the commit, and git then dies of the pipe. Such a commit is
        searched for by halves, so that it cannot keep others from being verified.
        """
        if not revisions:
            return {}
        options = ("--no-walk=unsorted", "-z", "--no-color", "--no-show-signature", "--format=%H %G? %GK", "--stdin")
        stdin = "".join(f"{each}\n" for each in revisions).encode()
        reply = self._mirror.run_git(*ring.settings, "log", *options, stdin=stdin, variables=ring.variables)
        if reply.status == -signal.SIGPIPE:
            half = len(revisions) // 2
            parts = (revisions[:half], revisions[half:])
            return (
                {revisions[0]: ("B", "")}
                if not half
                else self._verify_signatures(parts[0], ring) | self._verify_signatures(parts[1], ring)
            )
        if reply.status != 0:
            raise convert_command_failure("log", reply, self._remote)
        fields = (text.split(" ", 2) for text in reply.out.decode("utf-8", "replace").split("\0") if text)
        return {revision: (status, key) for revision, status, key in fields}


def _is_verifiable(kind: _SignatureKind, ring: SignerKeyring) -> bool:
    """Whether there are keys of that kind at all: else no program is needed."""
    return (kind is _SignatureKind.SSH and ring.ssh) or (kind is _SignatureKind.OPENPGP and ring.openpgp)


def _explain_failure(candidate: _CommitCandidate, results: Mapping[str, tuple[str, str]], ring: SignerKeyring) -> str | None:
    """Say why the signature is not valid; None where it is."""
    if candidate.kind in _NOT_VERIFIED:
        return _NOT_VERIFIED[candidate.kind]
    status, key = results.get(candidate.revision, ("U", ""))
    if status == "G":
        return None
    if key in ring.outdated:
        return "its key has expired, or is not valid yet"
    if key in ring.known:
        return "its key was not valid at the time that the commit says it was made"
    named = f"signed by {key}, {_UNKNOWN_KEY}" if _SHOWABLE_KEY.fullmatch(key) else f"signed by {_UNKNOWN_KEY}"
    return _STATUS_MESSAGES.get(status, named)
