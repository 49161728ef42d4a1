"""The keys that may sign commits, as the repository's folder `signers/` has them, laid out for git's own verification.

`allowed_signers` is OpenSSH's file of that name, each `*.asc` an OpenPGP public key. Whom a key belongs to is free: the
repository says only which keys count.
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
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from promoter.adapters.git.mirror import BareMirror
from promoter.adapters.git.sources import SIGNERS_FOLDER
from promoter.domain.faults import PermanentError, TransientError

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

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SignerKeys:
    """The files of a revision: the lines that allow SSH keys, and armoured OpenPGP keys by path."""

    allowed: Sequence[str]
    armoured: Mapping[str, bytes]


@dataclass(frozen=True)
class SignerKeyring:
    """The keys where git finds them. `settings` and `variables` go to the git command; `outdated` are fingerprints."""

    settings: tuple[str, ...]
    variables: Mapping[str, str]
    known: frozenset[str]
    outdated: frozenset[str]
    ssh: bool
    openpgp: bool


def read_signer_keys(mirror: BareMirror, revision: str) -> SignerKeys:
    """The keys of a revision. Raises `PermanentError` where there are more than can be meant."""
    entries = [
        each
        for each in mirror.list_tree_entries(revision, f"{SIGNERS_FOLDER}/")
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
    """The keys in a folder of its own, which is removed afterwards. Raises `PermanentError` where a program for them is missing.

    An SSH key whose time is over `now` is left out. Git itself looks at the time that the commit says it was made, which
    whoever has an expired key can choose.
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
    """Put the keys into a keyring, without what others have signed of them. One that cannot be read does not count."""
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
    """Whether now is within the times that the options name; a time that cannot be read is over."""
    limits = list(_VALIDITY_LIMIT.finditer(options))
    if len(limits) != len(_VALIDITY_OPTION.findall(options)):
        return False
    return all(
        (now >= _parse_validity_time(limit)) if limit[1].lower() == "after" else (now < _parse_validity_time(limit))
        for limit in limits
    )


def _parse_validity_time(limit: re.Match[str]) -> float:
    """Seconds since 1970 of `YYYYMMDD[HHMM[SS]]`: as OpenSSH reads it, in local time unless a Z follows."""
    digits = (limit[2] or limit[3] or limit[4]).ljust(14, "0")
    try:
        parsed = time.strptime(digits, "%Y%m%d%H%M%S")
        return float(calendar.timegm(parsed)) if limit[5] else time.mktime(parsed)
    except (ValueError, OverflowError, OSError):
        return float("nan")  # compares as false both ways


def _compute_fingerprint(key: str) -> str:
    """As ssh-keygen prints it."""
    try:
        blob = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
