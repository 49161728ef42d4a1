"""Keys that sign commits, made on the spot, and a repository whose history is written with them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from promoter.adapters.git.repository import GitRepository
from tests.support.fixtures_git import git

ALLOWED = "signers/allowed_signers"
STRANGER = "a key that signers/ does not have"


def ssh_key(path: Path, passphrase: str = "") -> str:
    """Make an SSH key; its public half as a line of a file of keys has it."""
    arguments = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(arguments, check=True, timeout=60)
    return path.with_name(f"{path.name}.pub").read_text().strip()


class OpenPGP:
    """A home of GnuPG with an agent of its own."""

    def __init__(self, home: Path) -> None:
        """`home`: an empty folder with a short name, since sockets are made in it."""
        self.home = home

    def program(self, at: str | None = None) -> str:
        """A program that is this gpg, at a time such as 20200101T000000."""
        file = self.home / f"gpg-{at}"
        faked = f"--faked-system-time {at}" if at else ""
        file.write_text(f'#!/bin/sh\nexec gpg --quiet --homedir {self.home} {faked} "$@"\n')
        file.chmod(0o755)
        return str(file)

    def key(self, name: str, at: str | None = None, expires: str = "never") -> bytes:
        """Make a key that signs; its public half, armoured."""
        self.run("--passphrase", "", "--quick-gen-key", name, "ed25519", "sign", expires, at=at)
        return self.exported(name)

    def exported(self, name: str) -> bytes:
        """The public half as it is now."""
        return self.run("--armor", "--export", name)

    def revoke(self, name: str) -> None:
        """Take a key back, with the certificate that was made with it."""
        listing = self.run("--with-colons", "--list-keys", name).decode().splitlines()
        fingerprint = next(line.split(":")[9] for line in listing if line.startswith("fpr"))
        certificate = (self.home / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text().replace("\n:---", "\n---")
        self.run("--import", feed=certificate.encode())

    def run(self, *arguments: str, at: str | None = None, feed: bytes = b"") -> bytes:
        """Run gpg; its output."""
        command = [self.program(at), "--batch", "--pinentry-mode", "loopback", *arguments]
        return subprocess.run(command, input=feed, capture_output=True, check=True, timeout=60).stdout


@contextlib.contextmanager
def openpgp() -> Iterator[OpenPGP]:
    """GnuPG in a folder that goes again, with its agent."""
    home = Path(tempfile.mkdtemp(prefix="pgp-"))
    try:
        yield OpenPGP(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True, timeout=60)
        shutil.rmtree(home, ignore_errors=True)


def signing_with(key: Path | None = None, program: str | None = None, user: str | None = None) -> list[str]:
    """Options of git for a commit: signed with an SSH key, or by that gpg for that user; else unsigned."""
    if key:
        return ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key}", "-c", "commit.gpgSign=true"]
    if program:
        return ["-c", f"gpg.program={program}", "-c", f"user.signingKey={user}", "-c", "commit.gpgSign=true"]
    return []


def processes_with(variable: str) -> list[str]:
    """The command lines of this machine's processes that have that text in their environment or their arguments."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and folder.name != str(os.getpid()):
                command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
                if variable.encode() in command + environment:
                    found.append(command.decode().replace("\0", " "))
    return found


@dataclass(frozen=True)
class Keys:
    """Keys of several people, by name: options that sign with them, and what the repository has of them."""

    signing: dict[str, list[str]] = field(default_factory=dict)
    ssh: dict[str, str] = field(default_factory=dict)
    armoured: dict[str, bytes] = field(default_factory=dict)
    folder: Path = Path()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    """SSH: ann, eve. OpenPGP: gina; olga, whose key expired in 2020; rita, whose key is revoked; gus, whom nobody knows."""
    made = Keys(folder=tmp_path_factory.mktemp("keys"))
    for name in ("ann", "eve"):
        made.ssh[name] = ssh_key(made.folder / name)
        made.signing[name] = signing_with(key=made.folder / name)
    with openpgp() as pgp:
        for name in ("gina", "gus"):
            made.armoured[name] = pgp.key(name)
        made.armoured["rita"] = pgp.key("rita")
        made.armoured["olga"] = pgp.key("olga", at="20200101T000000", expires="1d")
        for name in ("gina", "gus", "rita"):
            made.signing[name] = signing_with(program=pgp.program(), user=name)
        made.signing["olga"] = signing_with(program=pgp.program("20200101T010000"), user="olga")
        made.signing["x509"] = signing_with(program=_program(made.folder / "x509", "SIGNED MESSAGE"), user="x")
        made.signing["nobody"] = []
        yield made


@pytest.fixture(scope="session")
def rita_revoked(keys: Keys) -> bytes:
    """Rita's key with the word that it is revoked; she signs no more after this."""
    home = Path(keys.signing["rita"][1].removeprefix("gpg.program=")).parent
    copy = OpenPGP(Path(shutil.copytree(home, home.with_name(f"{home.name}-r"), ignore=shutil.ignore_patterns("S.*", "gpg-*"))))
    try:
        copy.revoke("rita")
        return copy.exported("rita")
    finally:
        shutil.rmtree(copy.home)


class History:
    """A repository whose history is written commit by commit, and looked at by Promoter."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        """With a first commit that has Ann's, Gina's and Olga's keys."""
        self.folder = folder / "work"
        self.keys = keys
        git(folder, "init", "--quiet", "--initial-branch=main", str(self.folder))
        self.repository = GitRepository(str(self.folder), "main", folder / "cache" / "mirror", timeout=60)
        self.base = self.commit("nobody", {ALLOWED: self.allowed("ann"), "registry.yaml": b"1\n", **self.asc("gina", "olga")})

    def allowed(self, *names: str, options: str = 'namespaces="git"') -> bytes:
        """A file that allows these SSH keys."""
        return "".join(f"{name} {options} {self.keys.ssh[name]}\n" for name in names).encode()

    def asc(self, *names: str) -> Mapping[str, bytes]:
        """The files of these OpenPGP keys."""
        return {f"signers/{name}.asc": self.keys.armoured[name] for name in names}

    def write(self, files: Mapping[str, bytes | None]) -> None:
        """Put the files into the index (None: take away)."""
        for path, content in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
            if content is not None:
                file.write_bytes(content)
        git(self.folder, "add", "--all")

    def commit(self, who: str, files: Mapping[str, bytes | None], *further: str) -> str:
        """Commit as somebody signs; the revision."""
        self.write(files)
        options = ("--quiet", "--allow-empty", "--allow-empty-message", "--message", f"By {who}", *further)
        git(self.folder, *self.keys.signing[who], "commit", *options)
        return self.head

    @property
    def head(self) -> str:
        """Where the folder stands."""
        return git(self.folder, "rev-parse", "HEAD")

    def registry(self, who: str, content: bytes = b"2\n") -> str:
        """A commit that changes registry.yaml alone."""
        return self.commit(who, {"registry.yaml": content})

    def merge(self, who: str, other: str, files: Mapping[str, bytes | None] | None = None, strategy: str = "ort") -> str:
        """Merge another revision, with further changes in the merge itself."""
        git(self.folder, "merge", "--quiet", "--no-ff", "--no-commit", f"--strategy={strategy}", other)
        return self.commit(who, files or {})

    def stand(self, branch: str, at: str | None = None) -> None:
        """Go to a branch, made there if at all."""
        git(self.folder, "checkout", "--quiet", *(["-b", branch, at] if at else [branch]))

    def unsigned(self, base: str | None = "") -> Sequence[tuple[str, str]]:
        """What Promoter finds from the base to the head: revisions and reasons."""
        head = self.repository.fetch_branch()
        found = self.repository.find_unsigned_commits(self.base if base == "" else base, head)
        assert {each.author for each in found} <= {"Bob <bob@example.org>"}
        return [(each.revision, each.why) for each in found]

    def why(self, base: str | None = "") -> str:
        """The reason of the one that is found; nothing where none is."""
        found = self.unsigned(base)
        assert [revision for revision, _ in found] == [self.head][: len(found)]
        return found[0][1] if found else ""


@pytest.fixture
def past(tmp_path: Path, keys: Keys) -> History:
    """A history of one commit."""
    return History(tmp_path, keys)


def _program(path: Path, kind: str) -> str:
    """A program that signs as X.509 does, for looks."""
    signature = f"-----BEGIN {kind}-----\\nxx\\n-----END {kind}-----\\n"
    path.write_text(f"#!/bin/sh\ncat > /dev/null\nprintf -- '{signature}'\nprintf '\\n[GNUPG:] SIG_CREATED ' >&2\n")
    path.chmod(0o755)
    return str(path)
