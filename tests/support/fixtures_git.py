"""A git remote over smart HTTP, Promoter's repository on it, and another person who pushes there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer

GIT_TOKEN = "tok-7f3a91c2e5"
FIRST_FILES = {"registry.yaml": b"version: 1\nmodels: {}\n", "policies/champion.yaml": b"version: 1\nrules: []\n"}


def git(folder: Path, *arguments: str) -> str:
    """Run git as a person would, but without that person's configuration; its output."""
    environment = os.environ | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Bob",
        "GIT_AUTHOR_EMAIL": "bob@example.org",
        "GIT_COMMITTER_NAME": "Bob",
        "GIT_COMMITTER_EMAIL": "bob@example.org",
    }
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


class Colleague:
    """Another person with a clone of the remote."""

    def __init__(self, remote: GitHttpServer, folder: Path, token: str) -> None:
        """Clones."""
        self.folder = folder
        url = remote.url.replace("http://", f"http://bob:{token}@")
        git(folder.parent, "clone", "--quiet", "--branch", remote.branch, url, str(folder))

    def push(self, files: Mapping[str, bytes], message: str = "By hand", *, force: bool = False) -> str:
        """Commit the files on top of the clone's head (force: in its place) and push; the new revision."""
        if not force:
            git(self.folder, "pull", "--quiet", "--ff-only")
        for path, content in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", *(["--amend"] if force else []), "--message", message)
        git(self.folder, "push", "--quiet", *(["--force"] if force else []))
        return git(self.folder, "rev-parse", "HEAD")


@pytest.fixture
def git_remote(tmp_path: Path) -> Iterator[GitHttpServer]:
    """A started remote that wants GIT_TOKEN, with one commit of FIRST_FILES on `main`."""
    with GitHttpServer(tmp_path / "remote", token=GIT_TOKEN) as remote:
        remote.commit_files(FIRST_FILES)
        yield remote


@pytest.fixture
def git_repository(git_remote: GitHttpServer, tmp_path: Path) -> GitRepository:
    """Promoter's side of `git_remote`, with a mirror that does not exist yet."""
    return GitRepository(git_remote.url, "main", tmp_path / "cache" / "mirror", SecretStr(GIT_TOKEN), timeout=20)


@pytest.fixture
def colleague(git_remote: GitHttpServer, tmp_path: Path) -> Colleague:
    """Bob, with a clone of `git_remote`."""
    return Colleague(git_remote, tmp_path / "bob", GIT_TOKEN)
