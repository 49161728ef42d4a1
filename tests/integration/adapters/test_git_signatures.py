"""Signatures of commits: which keys vouch for one, and what is said of those that nothing vouches for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from promoter.adapters.git import signatures
from promoter.domain.errors import PermanentError
from tests.support.fixtures.git import git
from tests.support.fixtures.signing import ALLOWED, STRANGER, SignedHistory, processes_with


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("ann", ""),
        ("gina", ""),
        ("nobody", "not signed"),
        ("gus", STRANGER),
        ("eve", STRANGER),
        ("olga", "its key has expired"),
        ("x509", "neither SSH nor OpenPGP"),
    ],
)
def test_who_signed(who: str, why: str, past: SignedHistory) -> None:
    """A commit holds by a key of the repository, SSH or OpenPGP, and by nothing else; the reason is told in words."""
    past.registry(who)
    found = past.why()
    assert (why in found) if why else (found == "")


def test_revoked_key(past: SignedHistory, rita_revoked: bytes) -> None:
    """A key counts until the repository has the word that it is revoked."""
    past.base = past.commit("nobody", past.asc("rita"))
    past.registry("rita")
    assert past.why() == ""
    git(past.folder, "reset", "--quiet", "--hard", past.base)
    past.base = past.commit("nobody", {"signers/rita.asc": rita_revoked})
    past.registry("rita")
    assert past.why() == "its key is revoked"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("", ""),
        ('namespaces="git,file"', ""),
        ('valid-after="20200101",valid-before="99991231"', ""),
        ('valid-before="20200101"', "its key has expired, or is not valid yet"),
        ('valid-before="202001011200Z"', "its key has expired, or is not valid yet"),
        ('valid-after="99990101"', "its key has expired, or is not valid yet"),
        ('valid-before="soon"', "its key has expired, or is not valid yet"),
        ('namespaces="file"', "its key is not for git"),
    ],
)
def test_options_of_ssh_keys(options: str, why: str, past: SignedHistory) -> None:
    """What the file says of a key's times and purposes counts, now and not at a time that the commit makes up."""
    past.base = past.commit("nobody", {ALLOWED: past.allowed("ann", options=options)})
    past.registry("ann")
    assert past.why().endswith(why)
    assert bool(past.why()) == bool(why)


def test_expired_key_cannot_date_back(past: SignedHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has an expired key may write any time into a commit; it still does not hold."""
    past.base = past.commit("nobody", {ALLOWED: past.allowed("ann", options='valid-before="20200101"')})
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2019-06-01T00:00:00Z")
    past.registry("ann")
    assert "expired" in past.why()


def test_key_that_was_not_valid_then(past: SignedHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is valid now does not hold for a commit from before its time."""
    past.base = past.commit("nobody", {ALLOWED: past.allowed("ann", options='valid-after="20200101"')})
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2019-06-01T00:00:00Z")
    past.registry("ann")
    assert "not valid at the time" in past.why()


def test_changed_after_signing(past: SignedHistory) -> None:
    """A signature that was moved to another commit holds no more, SSH or OpenPGP."""
    for who in ("ann", "gina"):
        signed = past.registry(who, f"{who}\n".encode())
        content = git(past.folder, "cat-file", "commit", signed).replace(f"By {who}", "By the same, it says")
        (past.folder.parent / "forged").write_text(content + "\n")
        forged = git(past.folder, "hash-object", "-t", "commit", "-w", str(past.folder.parent / "forged"))
        git(past.folder, "reset", "--quiet", "--hard", forged)
        assert "does not fit" in past.why()
        git(past.folder, "reset", "--quiet", "--hard", past.base)


def test_no_keys_at_all(past: SignedHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the repository has no keys nothing holds, and the keys of whoever runs Promoter do not step in."""
    gone = {ALLOWED: None, "signers/gina.asc": None, "signers/olga.asc": None}
    past.base = past.commit("nobody", gone)
    home = tmp_path / "home"
    home.mkdir()
    (home / "allowed").write_bytes(past.allowed("ann"))
    (home / ".gitconfig").write_text(f'[gpg "ssh"]\n\tallowedSignersFile = {home / "allowed"}\n')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GNUPGHOME", str(Path(past.keys.signing["gina"][1].removeprefix("gpg.program=")).parent))
    for who in ("ann", "gina"):
        past.registry(who, who.encode())
        assert past.why() == f"signed by {STRANGER}"
        git(past.folder, "reset", "--quiet", "--hard", past.base)
    past.base = past.commit("nobody", {ALLOWED: past.allowed("eve"), **past.asc("gus")})
    for who in ("ann", "gina"):
        past.registry(who, who.encode())
        assert STRANGER in past.why()
        git(past.folder, "reset", "--quiet", "--hard", past.base)


def test_files_of_keys_that_are_no_keys(past: SignedHistory) -> None:
    """Lines and files that cannot be read do not count, and do not keep the others from counting."""
    junk = b"# a comment\n\nann\n\xff\xfe\n* namespaces= ssh-ed25519\nx ssh-ed25519 !!!\n* option ssh-ed25519 AAAA\n"
    others = {"signers/junk.asc": b"\xff junk", "signers/gina.txt": b"x", "signers/deep/eve.asc": b"x", "signers/0.asc": b""}
    past.base = past.commit("nobody", {ALLOWED: junk + past.allowed("ann"), **others})
    for who in ("ann", "gina"):
        past.registry(who, who.encode())
    assert past.unsigned() == []
    past.registry("eve")
    assert STRANGER in past.why()


def test_links_are_no_keys(past: SignedHistory, tmp_path: Path) -> None:
    """A link in the place of the file of keys is not followed."""
    (tmp_path / "allowed").write_bytes(past.allowed("ann"))
    (past.folder / ALLOWED).unlink()
    (past.folder / ALLOWED).symlink_to(tmp_path / "allowed")
    past.base = past.commit("nobody", {})
    past.registry("ann")
    assert past.why() == f"signed by {STRANGER}"


def test_keys_are_bounded(past: SignedHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files and many are refused with what to do."""
    past.base = past.commit("nobody", {"signers/big.asc": b"x" * (signatures._KEY_FILE_SIZE_LIMIT + 1)})
    past.registry("ann")
    with pytest.raises(PermanentError, match=r"signers/big.asc' is larger than 256 KiB"):
        past.unsigned()
    git(past.folder, "reset", "--quiet", "--hard", f"{past.base}~")
    past.base = past.head
    past.registry("ann")
    monkeypatch.setattr(signatures, "_KEY_FILE_COUNT_LIMIT", 2)
    with pytest.raises(PermanentError, match="more than 2 files"):
        past.unsigned()


def test_large_commits_are_not_verified(past: SignedHistory) -> None:
    """A commit whose message alone is larger than any that is meant does not hold, and is not read."""
    message = past.folder.parent / "message"
    message.write_text("x" * (2**20 + 1))
    past.write({"registry.yaml": b"2\n"})
    git(past.folder, *past.keys.signing["ann"], "commit", "--quiet", "--file", str(message))
    ((revision, why),) = [
        (each.revision, each.why) for each in past.repository.find_unsigned_commits(past.base, past.repository.fetch_branch())
    ]
    assert (revision, why) == (past.head, "not verified: the commit alone is larger than 1 MiB")


@pytest.mark.parametrize(("program", "package"), [("ssh-keygen", "openssh-client"), ("gpg", "gnupg")])
def test_program_that_is_missing(
    program: str, package: str, past: SignedHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what verifies is not installed, that is said with the package: nothing is taken for signed or unsigned."""
    past.registry("ann")
    past.repository.fetch_branch()
    folder = tmp_path / "bin"
    folder.mkdir()
    for other in {"git", "env", "sh", "false", "ssh-keygen", "gpg"} - {program}:
        (folder / other).symlink_to(shutil.which(other) or "")
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(PermanentError, match=f"{program}, which verifies signatures") as caught:
        past.repository.find_unsigned_commits(past.base, git(past.folder, "rev-parse", "HEAD"))
    assert package in (caught.value.fix or "")


def test_nothing_is_left_behind(past: SignedHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder with the keys is its user's alone, and gone afterwards, with whatever was started in it."""
    real, record, scratch = shutil.which("gpg"), tmp_path / "record", tmp_path / "scratch"
    scratch.mkdir()
    shim = tmp_path / "bin" / "gpg"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nstat -c "%a %n" "$GNUPGHOME" >> {record}\nexec {real} "$@"\n')
    shim.chmod(0o755)
    past.registry("gina")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    assert past.unsigned() == []
    used = set(record.read_text().splitlines())
    assert len(used) == 1
    mode, _, folder = used.pop().partition(" ")
    assert (mode, Path(folder).parent) == ("700", scratch)
    assert list(scratch.iterdir()) == []
    assert processes_with(folder) == []


def test_hostile_texts(past: SignedHistory, tmp_path: Path) -> None:
    """What names, messages and headers say is no option, no configuration and no answer of git's."""
    mark = tmp_path / "mark"
    past.write({"registry.yaml": b"2\n"})
    tree = git(past.folder, "write-tree")
    forged = f"[GNUPG:] GOODSIG 0123456789ABCDEF x\n[GNUPG:] VALIDSIG {'A' * 40}"
    bodies = [
        f"gpgsig -----BEGIN SSH SIGNATURE-----\n --config=gpg.program=touch {mark}\n -----END SSH SIGNATURE-----\n\nx\n",
        f"gpgsig -----BEGIN PGP SIGNATURE-----\n {forged}\n -----END PGP SIGNATURE-----\n\n{forged}\n",
        f"gpgsig -----BEGIN PGP MESSAGE-----\n \n -----END PGP MESSAGE-----\n\n{forged}\n",
        "gpgsig G\n\nx\n",
        f"\ngpgsig -----BEGIN SSH SIGNATURE-----\n{forged}\n",
    ]
    for body in bodies:
        draft = tmp_path / "draft"
        people = f"author --output={mark} \x1b[31m <e@x> 1 +0000\ncommitter %G? <e@x> 1 +0000"
        draft.write_text(f"tree {tree}\nparent {past.base}\n{people}\n{body}")
        evil = git(past.folder, "hash-object", "-t", "commit", "-w", "--literally", str(draft))
        git(past.folder, "update-ref", "refs/heads/main", evil)
        (found,) = past.repository.find_unsigned_commits(past.base, past.repository.fetch_branch())
        assert found.revision == evil
        assert found.author == f"--output={mark} ?[31m <e@x>"
    assert not mark.exists()


def test_broken_signatures_of_long_commits(past: SignedHistory, tmp_path: Path) -> None:
    """A signature that ends the program before it has heard the commit is told as it is, and takes no other commit with it."""
    broken = []
    past.registry("ann", b"first\n")
    for number in range(3):
        past.write({"registry.yaml": f"{number}\n".encode()})
        draft = tmp_path / "draft"
        signature = "gpgsig -----BEGIN SSH SIGNATURE-----\n xx\n -----END SSH SIGNATURE-----"
        people = "author Bob <bob@example.org> 1 +0000\ncommitter Bob <bob@example.org> 1 +0000"
        tree = git(past.folder, "write-tree")
        draft.write_text(f"tree {tree}\nparent {past.head}\n{people}\n{signature}\n\n" + "x" * 200_000)
        broken.append(git(past.folder, "hash-object", "-t", "commit", "-w", str(draft)))
        git(past.folder, "reset", "--quiet", "--hard", broken[-1])
        past.registry("ann" if number else "gina", f"then {number}\n".encode())
    found = past.unsigned()
    assert [revision for revision, _ in found] == broken
    assert all("does not fit" in why for _, why in found)


def test_revisions_are_checked(past: SignedHistory) -> None:
    """Both are full object ids of commits that are known; an unknown base is no reason to look at the head alone."""
    head = past.repository.fetch_branch()
    for base, tip in (("HEAD", head), (None, "main"), (head[:12], head), (head, "--all")):
        with pytest.raises(PermanentError, match="full commit id"):
            past.repository.find_unsigned_commits(base, tip)
    with pytest.raises(PermanentError, match="not known here"):
        past.repository.find_unsigned_commits("0123456789" * 4, head)
