"""A remote that sends more than one fetch may bring: stopped by the system, nothing left, and the last good revision stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git.mirror import FetchFlooded
from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import Faults
from promoter.settings import load_settings
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
    """It is told with the way out, leaves no bytes, is not fetched again, and ends where the branch is put back."""
    cache = tmp_path / "cache"
    repository = limited(git_remote, cache)
    good = repository.fetch_branch()
    before = bytes_in(cache)
    colleague.push({"flood.bin": os.urandom(3 * LIMIT)})
    with pytest.raises(FetchFlooded, match=r"sends more than 256 KiB in one fetch.*PROMOTER_FETCH_LIMIT"):
        repository.fetch_branch()
    assert not list(cache.rglob("tmp_*"))
    assert bytes_in(cache) - before < LIMIT // 4
    assert repository.read_sources(good) == FIRST_FILES, "the last good revision can still be read"
    with monkeypatch.context() as patched:
        patched.setattr("promoter.adapters.git.mirror.BareMirror._run_git_fetch", None)
        with pytest.raises(FetchFlooded):
            repository.fetch_branch()
    git(colleague.folder, "reset", "--quiet", "--hard", good)
    git(colleague.folder, "push", "--quiet", "--force")
    assert repository.fetch_branch() == good


def test_a_flood_at_first(git_remote: GitHttpServer, colleague: Colleague, tmp_path: Path) -> None:
    """The first fetch is limited as well, and leaves no mirror."""
    colleague.push({"flood.bin": os.urandom(3 * LIMIT)})
    cache = tmp_path / "cache"
    with pytest.raises(FetchFlooded):
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
    with pytest.raises(FetchFlooded):
        repository.fetch_ref("refs/heads/theirs")
    git(colleague.folder, "checkout", "--quiet", "main")
    head = colleague.push({"registry.yaml": b"version: 1\nmodels: {m: {}}\n"})
    assert repository.fetch_branch() == head


@pytest.mark.parametrize(
    ("text", "count"), [("2GiB", 2**31), ("500MiB", 500 * 2**20), ("1048576", 2**20), ("1.5 GB", 1610612736)]
)
def test_setting(text: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A size with its unit."""
    monkeypatch.setenv("PROMOTER_FETCH_LIMIT", text)
    assert load_settings().fetch_limit == count


@pytest.mark.parametrize("text", ["0", "10", "1KiB", "much", "-5GiB", "1e9", "999TB"])
def test_setting_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is a fault that says what is wanted."""
    monkeypatch.setenv("PROMOTER_FETCH_LIMIT", text)
    with pytest.raises(Faults, match="PROMOTER_FETCH_LIMIT must be a size of at least 1MiB"):
        load_settings()
