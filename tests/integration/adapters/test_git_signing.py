"""Promoter's own commits, signed."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git.repository import GitRepository
from promoter.container import Container
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import PermanentError
from promoter.settings import Settings
from tests.support.fixtures.git import GIT_TOKEN, git
from tests.support.fixtures.signing import ALLOWED, PeopleKeys, ssh_key


@pytest.mark.parametrize("length", ["sha1", "sha256"])
def test_own_commits_are_signed(length: str, git_remote: GitHttpServer, tmp_path: Path, keys: PeopleKeys) -> None:
    """With a key, commits and proposals of Promoter's hold by the repository's keys, and say what they say without one."""
    remote = git_remote
    if length == "sha256":
        git(tmp_path, "init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main", "long/demo/registry.git")
        remote = GitHttpServer(tmp_path / "long")
    base = remote.commit_files({ALLOWED: f"promoter {keys.ssh['ann']}\n".encode(), "registry.yaml": b"1\n"})
    url, token = (remote.url, SecretStr(GIT_TOKEN)) if remote is git_remote else (str(remote.path), None)
    ours = GitRepository(url, "main", tmp_path / "m", token, ("Promoter", "bot@x"), signing_key=keys.folder / "ann")
    assert ours.fetch_branch() == base
    message = "Rotate \u00e4\n\nWhy.\n\nPromoter-Aim: rotate\n"
    tip = ours.push_proposal("promoter/m/champion", None, base, b"2\n", message)
    new = ours.commit_file(base, "registry.yaml", b"2\n", message)
    for head in (tip, new):
        assert ours.find_unsigned_commits(base, head) == []
        assert ours.has_only_own_commits(base, head)
        assert git(remote.path, "log", "-1", "--format=%P|%an <%ae>|%cn <%ce>|%B", head) == (
            f"{base}|Promoter <bot@x>|Promoter <bot@x>|{message.strip()}"
        )
        assert git(remote.path, "diff", "--name-only", base, head) == "registry.yaml"
        assert ours.read_commit(head).trailers == {"Promoter-Aim": "rotate"}
    plain = GitRepository(url, "main", tmp_path / "m2", token)
    bare = plain.commit_file(plain.fetch_branch(), "registry.yaml", b"3\n", "Unsigned")
    assert [each.why for each in plain.find_unsigned_commits(base, bare)] == ["not signed"]


def test_signing_key_that_cannot_be_used(git_remote: GitHttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A passphrase, loose permissions, no file, no key, no program: each told in words, and nothing is pushed unsigned."""
    locked, loose, junk = tmp_path / "locked", tmp_path / "loose", tmp_path / "junk"
    ssh_key(locked, passphrase="secret")
    ssh_key(loose)
    loose.chmod(0o644)
    junk.write_text("junk")
    junk.chmod(stat.S_IRUSR)
    cases = {
        locked: "has a passphrase",
        loose: "may be read by others",
        tmp_path / "none": "there is no such file",
        junk: "cannot sign",
    }
    for key, message in cases.items():
        ours = GitRepository(git_remote.url, "main", tmp_path / "m", SecretStr(GIT_TOKEN), signing_key=key)
        base = ours.fetch_branch()
        with pytest.raises(PermanentError, match=message) as caught:
            ours.commit_file(base, "registry.yaml", b"2\n", "Ours")
        assert str(key) in caught.value.message
        assert caught.value.fix
    assert ours.fetch_branch() == base
    ours = GitRepository(git_remote.url, "main", tmp_path / "m", SecretStr(GIT_TOKEN), signing_key=loose)
    folder = tmp_path / "bin"
    folder.mkdir()
    for other in ("git", "env", "sh"):
        (folder / other).symlink_to(shutil.which(other) or "")
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(PermanentError, match="ssh-keygen") as caught:
        ours.commit_file(base, "registry.yaml", b"2\n", "Ours")
    assert "openssh-client" in (caught.value.fix or "")


def test_signing_key_stays_where_it_is(
    git_remote: GitHttpServer, tmp_path: Path, keys: PeopleKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is neither copied nor shown, and its owner's configuration has no say in the commit."""
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody else")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2001-01-01T00:00:00Z")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    ours = GitRepository(git_remote.url, "main", tmp_path / "c" / "m", SecretStr(GIT_TOKEN), signing_key=keys.folder / "ann")
    new = ours.commit_file(ours.fetch_branch(), "registry.yaml", b"2\n", "Ours")
    assert ours.read_commit(new).author == "Promoter <promoter@localhost>"
    assert ours.read_commit(new).at.year > 2001
    secret = (keys.folder / "ann").read_bytes().splitlines()[1]
    kept = [file for folder in (tmp_path / "c", scratch) for file in folder.rglob("*") if file.is_file()]
    assert kept
    assert not any(secret in file.read_bytes() for file in kept)
    assert not list(scratch.iterdir())


def test_setting_of_the_key(tmp_path: Path, keys: PeopleKeys) -> None:
    """PROMOTER_SIGNING_KEY is what a deployment names the key with."""
    remote = GitHttpServer(tmp_path / "remote")
    remote.commit_files({ALLOWED: f"promoter {keys.ssh['ann']}\n".encode()})
    settings = Settings(repo=str(remote.path), mirror=tmp_path / "m", signing_key=keys.folder / "ann")
    ours = Container(settings).repository
    base = ours.fetch_branch()
    assert ours.find_unsigned_commits(base, ours.commit_file(base, "registry.yaml", b"2\n", "Ours")) == []
