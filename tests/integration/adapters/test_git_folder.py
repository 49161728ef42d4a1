"""Promoter's files in a folder of a repository, over real smart HTTP: read there, written there, and nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git.repository import GitRepository
from promoter.application.ports import UnusableFile
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import PermanentError
from promoter.domain.folder import RepositoryFolder
from tests.support.fixtures.git import GIT_TOKEN, Colleague, git

REGISTRY, POLICY = b"version: 1\nmodels: {a: {}}\n", b"version: 1\nrules: [{age: 1h}]\n"
FILES = {"teams/ml/registry.yaml": REGISTRY, "teams/ml/policies/p.yaml": POLICY, "teams/ml/src/registry.yaml": b"x"}


@pytest.fixture
def inside(git_remote: GitHttpServer, tmp_path: Path) -> GitRepository:
    """The same remote, for a Promoter whose files lie in `teams/ml`."""
    place = RepositoryFolder("teams/ml")
    return GitRepository(git_remote.url, "main", tmp_path / "inside" / "mirror", SecretStr(GIT_TOKEN), timeout=20, folder=place)


def link(colleague: Colleague, path: str, target: str) -> None:
    """Put a symbolic link in the place of whatever lies there."""
    git(colleague.folder, "rm", "--quiet", "-r", "--ignore-unmatch", path)
    (colleague.folder / path).parent.mkdir(parents=True, exist_ok=True)
    (colleague.folder / path).symlink_to(target)


def merge(colleague: Colleague, repository: GitRepository, files: Mapping[str, bytes]) -> tuple[str, str]:
    """Put a commit on a branch of its own; base and head."""
    git(colleague.folder, "checkout", "--quiet", "-B", "change", "origin/main")
    git(colleague.folder, "push", "--quiet", "--force", "--set-upstream", "origin", "change")
    head = colleague.push(files)
    git(colleague.folder, "checkout", "--quiet", "main")
    base = repository.fetch_branch()
    assert repository.list_branches("change") == {"change": head}
    return base, head


def test_files_are_those_of_the_folder(inside: GitRepository, git_repository: GitRepository, colleague: Colleague) -> None:
    """By their names in it; the top of the repository has its own, and neither sees what lies deeper."""
    assert inside.read_sources(inside.fetch_branch()) == {}
    colleague.push(FILES)
    head = inside.fetch_branch()
    assert inside.read_sources(head) == {"registry.yaml": REGISTRY, "policies/p.yaml": POLICY}
    assert git_repository.fetch_branch() == head
    assert set(git_repository.read_sources(head)) == {"registry.yaml", "policies/champion.yaml"}


def test_commits_are_those_of_the_folder(inside: GitRepository, colleague: Colleague) -> None:
    """The history of its registry.yaml is not that of another one, and a commit of Promoter's changes that file only."""
    first = colleague.push(FILES)
    colleague.push({"registry.yaml": b"version: 1\nmodels: {top: {}}\n"})
    base = inside.fetch_branch()
    assert [each.revision for each in inside.list_commits(None, base, "registry.yaml", last=9)] == [first]
    new = inside.commit_file(base, "registry.yaml", b"changed\n", "Rotate")
    git(colleague.folder, "pull", "--quiet")
    assert git(colleague.folder, "diff", "--name-only", base, new) == "teams/ml/registry.yaml"
    assert inside.commit_file(new, "registry.yaml", b"changed\n", "Again") == new
    assert [each.revision for each in inside.list_commits(first, new, "registry.yaml")] == [new]


def test_branches_are_those_of_the_folder(inside: GitRepository, git_repository: GitRepository, colleague: Colleague) -> None:
    """A Promoter at the top keeps its names; neither lists, moves nor deletes a branch of the other."""
    colleague.push(FILES)
    base, prefix = inside.fetch_branch(), inside.folder.branch_prefix
    git_repository.fetch_branch()
    theirs = git_repository.push_proposal("promoter/m/champion", None, base, b"top\n", "Rotate")
    ours = inside.push_proposal(f"{prefix}m/champion", None, base, b"ml\n", "Rotate")
    assert inside.list_branches(prefix) == {f"{prefix}m/champion": ours}
    assert git_repository.list_branches("promoter/") == {"promoter/m/champion": theirs}
    git(colleague.folder, "fetch", "--quiet")
    assert git(colleague.folder, "diff", "--name-only", base, ours) == "teams/ml/registry.yaml"
    with pytest.raises(PermanentError, match="is not a branch for proposals"):
        inside.delete_branch("promoter/m/champion", theirs)
    with pytest.raises(PermanentError, match="is not a branch for proposals"):
        git_repository.push_proposal(f"{prefix}m/champion", ours, base, b"x\n", "Rotate")
    inside.delete_branch(f"{prefix}m/champion", ours)


def test_a_merge_changes_files_of_one_folder(
    inside: GitRepository, git_repository: GitRepository, colleague: Colleague
) -> None:
    """What it changes elsewhere is not there; a name that could be taken for one of its own is."""
    colleague.push(FILES)
    base, head = merge(
        colleague, inside, {"registry.yaml": b"version: 1\nmodels: {b: {}}\n", "teams/ml/src/policies/x.yaml": b""}
    )
    assert inside.preview_merge(base, head).changed == frozenset()
    git_repository.fetch_branch()
    git_repository.list_branches("change")
    assert git_repository.preview_merge(base, head).changed == {"registry.yaml"}
    files = {"teams/ml/registry.yaml": b"version: 1\n", "teams/ml/signers/allowed_signers": b"", "teams/ml/Registry.YML": b""}
    base, head = merge(colleague, inside, files)
    assert inside.preview_merge(base, head).changed == {"registry.yaml", "signers/allowed_signers", "Registry.YML"}


def test_conflicts_are_those_of_the_folder(inside: GitRepository, colleague: Colleague) -> None:
    """They are named by their paths in the repository, since a person has to find them; others' conflicts are no concern."""
    colleague.push(FILES)
    _, head = merge(colleague, inside, {"registry.yaml": b"theirs\n"})
    colleague.push({"registry.yaml": b"ours\n"})
    assert inside.preview_merge(inside.fetch_branch(), head).conflicts == ()
    _, head = merge(colleague, inside, {"teams/ml/registry.yaml": b"theirs\n"})
    colleague.push({"teams/ml/registry.yaml": b"ours\n"})
    assert inside.preview_merge(inside.fetch_branch(), head).conflicts == ("teams/ml/registry.yaml",)


@pytest.mark.parametrize("path", ["teams", "teams/ml"])
def test_a_link_on_the_way_is_not_followed(inside: GitRepository, colleague: Colleague, path: str) -> None:
    """Not for reading, and nothing is written over it: it may lead to whatever its author likes."""
    colleague.push({**FILES, "other/registry.yaml": REGISTRY, "other/ml/registry.yaml": REGISTRY})
    link(colleague, path, "other" if path == "teams" else "../other")
    base = colleague.push({})
    assert inside.fetch_branch() == base
    ((name, found),) = inside.read_sources(base).items()
    assert name == "registry.yaml"
    assert isinstance(found, UnusableFile)
    assert found.reason == f"cannot be read: {path} is a symbolic link, and no folder"
    for write in (
        lambda: inside.commit_file(base, "registry.yaml", b"x\n", "Rotate"),
        lambda: inside.push_proposal(f"{inside.folder.branch_prefix}m/champion", None, base, b"x\n", "Rotate"),
    ):
        with pytest.raises(PermanentError, match="is a symbolic link, and no folder"):
            write()
    assert inside.fetch_branch() == base


def test_a_merge_that_takes_the_folder_away(inside: GitRepository, colleague: Colleague) -> None:
    """A link in its place is a change of its files, and what would be read after it is not what the link leads to."""
    colleague.push({**FILES, "other/registry.yaml": REGISTRY})
    git(colleague.folder, "checkout", "--quiet", "-B", "change", "origin/main")
    git(colleague.folder, "push", "--quiet", "--set-upstream", "origin", "change")
    link(colleague, "teams/ml", "../other")
    head = colleague.push({})
    base = inside.fetch_branch()
    assert inside.list_branches("change") == {"change": head}
    merged = inside.preview_merge(base, head)
    assert {"registry.yaml", "policies/p.yaml"} <= merged.changed
    assert isinstance(merged.sources["registry.yaml"], UnusableFile)


def test_signers_are_those_of_the_folder(inside: GitRepository, git_repository: GitRepository, colleague: Colleague) -> None:
    """An unsigned commit counts for the folder whose files it changes."""
    base = colleague.push(FILES)
    top = colleague.push({"registry.yaml": b"version: 1\n", "signers/allowed_signers": b"# nobody\n"})
    below = colleague.push({"teams/ml/policies/p.yaml": b"version: 1\n"})
    for repository, expected in ((inside, below), (git_repository, top)):
        assert repository.fetch_branch() == below
        assert [each.revision for each in repository.find_unsigned_commits(base, below)] == [expected]
