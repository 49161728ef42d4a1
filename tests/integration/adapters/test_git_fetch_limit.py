"""A remote that sends more than one fetch may bring: stopped by the system, nothing left, and the last good revision stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git.mirror import FetchTooLarge
from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer
from tests.support.fixtures.git import FIRST_FILES, GIT_TOKEN, Colleague, git

LIMIT = 256 * 1024


def bytes_in(folder: Path) -> int:
    """What the files in it take."""
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def limited(remote: GitHttpServer, folder: Path) -> GitRepository:
    """Promoter's side of the remote, with a small limit."""
    return GitRepository(remote.url, "main", folder / "mirror", SecretStr(GIT_TOKEN), timeout=20, fetch_limit=LIMIT)


def test_a_flood_on_the_branch(
    git_remote: GitHttpServer, colleague: Colleague, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault names the way out; the flood leaves no bytes, is not fetched again, and ends where the branch is put back."""
    cache = tmp_path / "cache"
    repository = limited(git_remote, cache)
    good = repository.fetch_branch()
    before = bytes_in(cache)
    colleague.push({"flood.bin": os.urandom(3 * LIMIT)})
    with pytest.raises(FetchTooLarge, match=r"sends more than 256 KiB in one fetch.*PROMOTER_FETCH_LIMIT"):
        repository.fetch_branch()
    assert not list(cache.rglob("tmp_*"))
    assert bytes_in(cache) - before < LIMIT // 4
    assert repository.read_sources(good) == FIRST_FILES, "the last good revision can still be read"
    with monkeypatch.context() as patched:
        patched.setattr("promoter.adapters.git.mirror.BareMirror._run_git_fetch", None)
        with pytest.raises(FetchTooLarge):
            repository.fetch_branch()
    git(colleague.folder, "reset", "--quiet", "--hard", good)
    git(colleague.folder, "push", "--quiet", "--force")
    assert repository.fetch_branch() == good


def test_a_flood_at_first(git_remote: GitHttpServer, colleague: Colleague, tmp_path: Path) -> None:
    """The first fetch is limited as well, and leaves no mirror."""
    colleague.push({"flood.bin": os.urandom(3 * LIMIT)})
    cache = tmp_path / "cache"
    with pytest.raises(FetchTooLarge):
        limited(git_remote, cache).fetch_branch()
    assert bytes_in(cache) < LIMIT // 4


def test_a_flood_of_a_pull_request(git_remote: GitHttpServer, colleague: Colleague, tmp_path: Path) -> None:
    """Another ref is limited too, and the branch goes on."""
    cache = tmp_path / "cache"
    repository = limited(git_remote, cache)
    repository.fetch_branch()
    git(colleague.folder, "checkout", "--quiet", "-b", "theirs")
    (colleague.folder / "flood.bin").write_bytes(os.urandom(3 * LIMIT))
    git(colleague.folder, "add", "--all")
    git(colleague.folder, "commit", "--quiet", "--message", "Flood")
    git(colleague.folder, "push", "--quiet", "origin", "theirs")
    with pytest.raises(FetchTooLarge):
        repository.fetch_ref("refs/heads/theirs")
    git(colleague.folder, "checkout", "--quiet", "main")
    head = colleague.push({"registry.yaml": b"version: 1\nmodels: {m: {}}\n"})
    assert repository.fetch_branch() == head
