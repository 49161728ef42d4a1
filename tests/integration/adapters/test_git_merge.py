"""What a merge would give, told without making it: for plans of pull requests, and to see whether a proposal still says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from promoter.adapters.git.files import POLICY_LIMIT
from promoter.adapters.git.repository import GitRepository
from promoter.application.ports import MergePreview
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import PermanentError
from tests.support.fixtures.git import FIRST_FILES, Colleague, git

LINES = b"version: 1\nmodels:\n  a: {}\n  b: {}\n  c: {}\n  d: {}\n  e: {}\n"


class Author:
    """Bob, on two branches that begin at the same commit: what he says on each, and what merging them would give."""

    def __init__(self, colleague: Colleague, repository: GitRepository) -> None:
        """Stands on `main`."""
        self.folder = colleague.folder
        self.repository = repository
        self.fork = git(self.folder, "rev-parse", "origin/main")

    def commit(self, branch: str, files: Mapping[str, bytes | None], *merged: str) -> str:
        """Commit on the branch what the files say (None: gone), with further parents; the revision.

        `main` and a new branch begin at the fork.
        """
        goes_on = branch != "main" and git(self.folder, "branch", "--list", branch)
        git(self.folder, "checkout", "--quiet", "--force", "-B", branch, branch if goes_on else self.fork)
        if merged:
            git(self.folder, "merge", "--quiet", "--no-ff", "--no-commit", "--strategy=ours", *merged)
        for path, content in files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)
            if content is not None:
                file.write_bytes(content)
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--allow-empty", "--message", branch)
        return git(self.folder, "rev-parse", "HEAD")

    def merge(self, base: str, head: str) -> MergePreview:
        """Push both, and ask."""
        git(self.folder, "push", "--quiet", "--force", "origin", f"{base}:refs/heads/main", f"{head}:refs/heads/head")
        assert self.repository.fetch_branch() == base
        assert self.repository.list_branches("head") == {"head": head}
        return self.repository.preview_merge(base, head)


@pytest.fixture
def author(colleague: Colleague, git_repository: GitRepository) -> Author:
    """On top of a first commit with a registry of some lines."""
    colleague.push({"registry.yaml": LINES})
    return Author(colleague, git_repository)


def test_head_on_top_of_its_base(author: Author) -> None:
    """A head that is up to date gives itself, and says which watched files it changes; others are of no matter."""
    changes = {"registry.yaml": b"x\n", "policies/tests/t.yaml": b"x", "signers/allowed_signers": b"x", "README": b"x"}
    merged = author.merge(author.fork, author.commit("head", changes))
    assert merged.sources == FIRST_FILES | {"registry.yaml": b"x\n"}
    assert merged.changed == changes.keys() - {"README"}
    assert merged.conflicts == ()


def test_head_and_base_have_gone_on(author: Author) -> None:
    """Changes of both are there, in one file too; the base's are not told as the head's."""
    head = author.commit("head", {"registry.yaml": LINES.replace(b"a: {}", b"a: {prune: true}")})
    base = author.commit("main", {"registry.yaml": LINES.replace(b"e: {}", b"e: {prune: true}"), "approvers.yaml": b"x"})
    merged = author.merge(base, head)
    both = LINES.replace(b"a: {}", b"a: {prune: true}").replace(b"e: {}", b"e: {prune: true}")
    assert merged.sources == FIRST_FILES | {"registry.yaml": both, "approvers.yaml": b"x"}
    assert (merged.changed, merged.conflicts) == ({"registry.yaml"}, ())
    behind = author.merge(base, author.fork)
    assert behind.sources == author.repository.read_sources(base)
    assert behind.changed == frozenset()


def test_conflict_in_a_watched_file(author: Author) -> None:
    """Then the head's files stand, and the file is told."""
    head = author.commit("head", {"registry.yaml": b"head\n", "policies/new.yaml": b"new\n", "README": b"head\n"})
    base = author.commit("main", {"registry.yaml": b"base\n", "approvers.yaml": b"x", "README": b"base\n"})
    merged = author.merge(base, head)
    assert merged.sources == author.repository.read_sources(head)
    assert merged.conflicts == ("registry.yaml",)
    assert merged.changed == {"registry.yaml", "policies/new.yaml"}


def test_conflict_elsewhere(author: Author) -> None:
    """A conflict in a file that Promoter does not read changes nothing of what it reads."""
    head = author.commit("head", {"README": b"head\n", "policies/new.yaml": b"new\n"})
    base = author.commit("main", {"README": b"base\n", "approvers.yaml": b"x"})
    merged = author.merge(base, head)
    assert merged.sources.keys() == {"registry.yaml", "approvers.yaml", "policies/champion.yaml", "policies/new.yaml"}
    assert merged.conflicts == ()


@pytest.mark.parametrize("path", ["registry.yaml", "policies/champion.yaml"])
def test_deleted_here_and_changed_there(path: str, author: Author) -> None:
    """A file that one side deletes and the other changes is a conflict; one that only the head deletes is gone."""
    head = author.commit("head", {path: None})
    assert author.merge(author.fork, head).sources.keys() == FIRST_FILES.keys() - {path}
    assert author.merge(author.commit("main", {path: b"changed\n"}), head).conflicts == (path,)


def test_file_in_the_place_of_a_folder(author: Author) -> None:
    """A file where the other side goes on using the folder is a conflict of that folder, told under a name within it."""
    head = author.commit("head", {"policies/champion.yaml": None})
    (author.folder / "policies").rmdir()
    head = author.commit("head", {"policies": FIRST_FILES["policies/champion.yaml"]})
    base = author.commit("main", {"policies/other.yaml": b"x\n"})
    conflicts = author.merge(base, head).conflicts
    assert conflicts
    assert all(path.startswith("policies") for path in conflicts)


def test_unrelated_histories(author: Author) -> None:
    """A head that has no commit in common with the base conflicts in registry.yaml."""
    git(author.folder, "checkout", "--quiet", "--orphan", "other")
    git(author.folder, "commit", "--quiet", "--message", "Another first commit")
    head = git(author.folder, "rev-parse", "HEAD")
    merged = author.merge(author.fork, head)
    assert merged.conflicts == ("registry.yaml",)
    assert merged.sources == author.repository.read_sources(head)


def test_crossed_merges(author: Author) -> None:
    """Where the branches have merged each other, what the head changes is told against each of the forks."""
    one = author.commit("main", {"policies/one.yaml": b"x\n"})
    two = author.commit("head", {"policies/two.yaml": b"x\n"})
    files: Mapping[str, bytes | None] = {"policies/one.yaml": b"x\n", "policies/two.yaml": b"x\n"}
    author.fork = one
    base = author.commit("main", files, two)
    head = author.commit("head", {**files, "policies/three.yaml": b"x\n"}, one)
    assert len(git(author.folder, "merge-base", "--all", base, head).splitlines()) == 2
    merged = author.merge(base, head)
    assert merged.changed == {f"policies/{name}.yaml" for name in ("one", "two", "three")}
    assert merged.sources == author.repository.read_sources(head)


def test_nothing_of_the_repository_runs(author: Author, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes name drivers, and none is run: neither those of a user's configuration, nor hooks; nothing is checked out."""
    mark, script = tmp_path / "mark", tmp_path / "script"
    script.write_text(f"#!/bin/sh\necho ran >> {mark}\n")
    script.chmod(0o755)
    kinds = f'[merge "evil"]\n\tdriver = {script}\n[filter "evil"]\n\tclean = {script}\n\tsmudge = {script}\n'
    kinds += f'[diff "evil"]\n\tcommand = {script}\n\ttextconv = {script}\n'
    home = tmp_path / "home"
    (home / ".config" / "git").mkdir(parents=True)
    (home / ".gitconfig").write_text(kinds)
    (home / ".config" / "git" / "attributes").write_text("* merge=evil filter=evil diff=evil\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    attributes: Mapping[str, bytes | None] = {".gitattributes": b"* merge=evil filter=evil diff=evil\n"}
    author.fork = author.commit("main", attributes)
    head = author.commit("head", {"registry.yaml": LINES.replace(b"a: {}", b"a: {prune: true}")})
    base = author.commit("main", {"registry.yaml": LINES.replace(b"e: {}", b"e: {prune: true}")})
    assert author.merge(base, head).conflicts == ()
    mirror = tmp_path / "cache" / "mirror"
    hooks = mirror / "hooks"
    hooks.mkdir()
    for name in ("pre-merge-commit", "post-merge", "post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).symlink_to(script)
    present = {file.name for file in mirror.iterdir()}
    (mirror / "info").mkdir()
    (mirror / "info" / "attributes").write_text("* merge=evil filter=evil diff=evil\n")
    present.add("info")
    author.repository.preview_merge(base, head)
    assert not mark.exists()
    assert {file.name for file in mirror.iterdir()} == present


def test_merged_sources_are_bounded(author: Author) -> None:
    """More policies than can be meant are refused, though neither side alone has too many."""
    half = POLICY_LIMIT // 2 + 1
    head = author.commit("head", {f"policies/h{number}.yaml": b"x" for number in range(half)})
    base = author.commit("main", {f"policies/b{number}.yaml": b"x" for number in range(half)})
    with pytest.raises(PermanentError, match="1,000 files"):
        author.merge(base, head)


def test_nothing_reaches_the_remote(author: Author, git_remote: GitHttpServer) -> None:
    """Neither a ref nor an object."""
    head = author.commit("head", {"registry.yaml": LINES.replace(b"a: {}", b"a: {prune: true}")})
    base = author.commit("main", {"registry.yaml": LINES.replace(b"e: {}", b"e: {prune: true}")})
    author.merge(base, head)
    before = git(git_remote.path, "for-each-ref"), git(git_remote.path, "count-objects", "-v")
    author.repository.preview_merge(base, head)
    assert (git(git_remote.path, "for-each-ref"), git(git_remote.path, "count-objects", "-v")) == before


def test_revisions_are_checked(author: Author) -> None:
    """Both are full object ids of commits that were fetched."""
    head = author.repository.fetch_branch()
    for bad in ("main", head[:10], "--all"):
        with pytest.raises(PermanentError, match="full commit id"):
            author.repository.preview_merge(head, bad)
        with pytest.raises(PermanentError, match="full commit id"):
            author.repository.preview_merge(bad, head)
    with pytest.raises(PermanentError, match="not known here"):
        author.repository.preview_merge(head, "0123456789" * 4)
