"""The folder that a person stands in: what is read of it, and when its files are at a commit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from promoter.adapters.git.checkout import WorkTree
from promoter.adapters.git.files import BLOB_LIMIT, POLICY_LIMIT
from promoter.domain.errors import PermanentError
from tests.support.fixtures.git import FIRST_FILES, git


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with FIRST_FILES committed, and a file that Promoter does not read."""
    folder = tmp_path / "work"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(folder))
    for path, content in {**FIRST_FILES, "policies/tests/t.yaml": b"x", "README.md": b"x"}.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "First")
    return folder


def test_sources_from_below(folder: Path) -> None:
    """From a folder below, the same files are found as from the top."""
    tree = WorkTree(folder / "policies" / "tests")
    assert (tree.root_folder, tree.read_sources()) == (folder, FIRST_FILES)


def test_search_ends_at_the_repository(folder: Path) -> None:
    """A registry.yaml above the repository that one stands in is not this repository's."""
    inner = folder / "inner"
    git(folder, "init", "--quiet", str(inner))
    assert WorkTree(inner).root_folder == inner
    assert WorkTree(inner).read_sources() == {}


def test_revision_only_where_all_is_committed(folder: Path) -> None:
    """The revision is HEAD's as long as the files that Promoter reads are exactly those of HEAD, whatever else changes."""
    tree = WorkTree(folder)
    head = git(folder, "rev-parse", "HEAD")
    (folder / "README.md").write_text("changed")
    (folder / "policies" / "tests" / "t.yaml").write_text("changed")
    assert tree.find_revision() == head
    new = folder / "policies" / "new.yaml"
    new.write_text("x")
    assert tree.find_revision() is None
    (folder / ".git" / "info" / "exclude").write_text("new.yaml\n")
    assert tree.find_revision() is None
    new.unlink()
    (folder / "registry.yaml").write_text("changed")
    assert tree.find_revision() is None
    git(folder, "add", "--all")
    assert tree.find_revision() is None
    git(folder, "commit", "--quiet", "--message", "Second")
    assert tree.find_revision() == git(folder, "rev-parse", "HEAD") != head


def test_approvers_count(folder: Path) -> None:
    """Who may approve is part of a revision: new, ignored, changed or removed, it is not what was committed."""
    tree = WorkTree(folder)
    approvers = folder / "approvers.yaml"
    approvers.write_text("version: 1\n")
    (folder / ".git" / "info" / "exclude").write_text("approvers.yaml\n")
    assert tree.read_sources() == FIRST_FILES | {"approvers.yaml": b"version: 1\n"}
    assert tree.find_revision() is None
    git(folder, "add", "--force", "approvers.yaml")
    git(folder, "commit", "--quiet", "--message", "Second")
    assert tree.find_revision() == git(folder, "rev-parse", "HEAD")
    approvers.write_text("changed")
    assert tree.find_revision() is None
    approvers.unlink()
    assert tree.find_revision() is None


def test_revision_outside_and_before_the_first_commit(tmp_path: Path) -> None:
    """No repository, or none with a commit, is no revision, and no error."""
    (tmp_path / "registry.yaml").write_text("version: 1\n")
    assert WorkTree(tmp_path).find_revision() is None
    git(tmp_path, "init", "--quiet")
    assert WorkTree(tmp_path).find_revision() is None


def test_revision_within_a_hook(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that git sets in a hook of another repository do not lead astray, and no hook or monitor is run."""
    head = git(folder, "rev-parse", "HEAD")
    mark = tmp_path / "mark"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    git(folder, "config", "core.fsmonitor", str(script))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert WorkTree(folder).find_revision() == head
    assert not mark.exists()


def test_files_are_bounded(folder: Path, tmp_path: Path) -> None:
    """Links, folders and pipes are not read, of large files one byte beyond the limit, and too many are refused."""
    policies = folder / "policies"
    (tmp_path / "secret").write_text("secret")
    (policies / "link.yaml").symlink_to(tmp_path / "secret")
    (policies / "folder.yaml").mkdir()
    os.mkfifo(policies / "pipe.yaml")
    (policies / "big.yaml").write_bytes(b"b" * (BLOB_LIMIT + 100))
    sources = WorkTree(folder).read_sources()
    read = {path: content for path, content in sources.items() if isinstance(content, bytes)}
    assert read.keys() == {*FIRST_FILES, "policies/big.yaml"}
    assert len(read["policies/big.yaml"]) == BLOB_LIMIT + 1
    for other in ("link", "folder", "pipe"):
        place = policies / f"{other}.yaml"
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
    (folder / "approvers.yaml").touch()
    for number in range(POLICY_LIMIT - 2):
        (policies / f"p{number}.yaml").touch()
    assert len(WorkTree(folder).read_sources()) == POLICY_LIMIT + 2
    (policies / "more.yaml").touch()
    with pytest.raises(PermanentError, match="1,000 files"):
        WorkTree(folder).read_sources()


def test_sources_need_no_git(folder: Path) -> None:
    """Reading the files loads no git library: `promoter validate` starts fast, also where git is not installed."""
    program = (
        "import sys; from pathlib import Path; from promoter.adapters.git.checkout import WorkTree\n"
        "assert WorkTree(Path('.')).read_sources(); assert 'git' not in sys.modules; assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=folder, env=os.environ | {"PATH": ""}, check=True)
