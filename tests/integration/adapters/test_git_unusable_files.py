"""What lies where a file of Promoter's should be, or looks like one: a fault of the file, in mirror, merge and working tree."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from promoter.adapters.git.checkout import LocalClone, WorkTree
from promoter.adapters.git.repository import GitRepository
from promoter.adapters.yaml import YamlDocuments
from promoter.application.ports import Sources
from promoter.domain.errors import Faults, PermanentError
from tests.support.fixtures.git import FIRST_FILES, Colleague, git

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"
RULES = b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"
REGISTRY = b"version: 1\nmodels: {m: {aliases: {champion: {version: 1, policy: champion}}}}\n"
Change = Callable[[Path], None]


def linked(path: str, to: str) -> Change:
    """A symbolic link in the place of the file or folder."""

    def change(folder: Path) -> None:
        place = folder / path
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        place.symlink_to(to)

    return change


def written(path: str, content: bytes) -> Change:
    """Another file, or other bytes."""

    def change(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)

    return change


def folder_instead(path: str) -> Change:
    """A folder with a file in it, in the place of the file."""

    def change(folder: Path) -> None:
        (folder / path).unlink()
        written(f"{path}/x", b"x")(folder)

    return change


def submodule(path: str) -> Change:
    """Another repository in the place of the file or folder."""

    def change(folder: Path) -> None:
        place = folder / path
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        git(folder, "rm", "-r", "--quiet", "--cached", path)
        git(folder, "init", "--quiet", str(place))
        (place / "x").write_text("x")
        git(place, "add", "x")
        git(place, "commit", "--quiet", "--message", "Theirs")

    return change


CASES = {
    "registry a link": (linked("registry.yaml", "policies/champion.yaml"), "registry.yaml: is a symbolic link"),
    "registry a link to nowhere": (linked("registry.yaml", "no/such/file"), "registry.yaml: is a symbolic link"),
    "registry a pointer": (written("registry.yaml", POINTER), "registry.yaml: is a pointer of git LFS"),
    "registry a folder": (folder_instead("registry.yaml"), "registry.yaml: is a folder"),
    "registry a submodule": (submodule("registry.yaml"), "registry.yaml: is a submodule"),
    "policy a link": (linked("policies/champion.yaml", "../registry.yaml"), "policies/champion.yaml: is a symbolic link"),
    "policy a pointer": (written("policies/champion.yaml", POINTER), "policies/champion.yaml: is a pointer of git LFS"),
    "policy a folder": (folder_instead("policies/champion.yaml"), "policies/champion.yaml: is a folder"),
    "policies a link": (linked("policies", "elsewhere"), "policies: is a symbolic link"),
    "policies a submodule": (submodule("policies"), "policies: is a submodule"),
    "approvers a link": (linked("approvers.yaml", "registry.yaml"), "approvers.yaml: is a symbolic link"),
    "approvers a pointer": (written("approvers.yaml", POINTER), "approvers.yaml: is a pointer of git LFS"),
    "another case": (written("Registry.yaml", REGISTRY), "Registry.yaml: is not read: the name is `registry.yaml`"),
    "another ending": (written("registry.yml", REGISTRY), "registry.yml: is not read: the name is `registry.yaml`"),
    "policies in another case": (written("Policies/champion.yaml", RULES), "Policies: is not read: the name is `policies`"),
    "a policy of another ending": (
        written("policies/strict.yml", RULES),
        "policies/strict.yml: is not read because of its ending",
    ),
}


def faults_of(sources: Sources) -> list[str]:
    """The faults of the files."""
    with pytest.raises(Faults) as raised:
        YamlDocuments().parse_declaration(sources, None)
    return [str(fault) for fault in raised.value.faults]


@pytest.mark.parametrize("name", CASES)
def test_told_with_the_file_everywhere(name: str, git_repository: GitRepository, colleague: Colleague) -> None:
    """What lies there is one fault with the file, and nothing is called missing: in mirror, working tree and merge."""
    change, fault = CASES[name]
    base = colleague.push({"registry.yaml": REGISTRY, "policies/champion.yaml": RULES})
    change(colleague.folder)
    in_tree = faults_of(WorkTree(colleague.folder).read_sources())
    head = colleague.push({})
    git_repository.fetch_branch()
    in_mirror = faults_of(git_repository.read_sources(head))
    merge = LocalClone(colleague.folder).preview_merge(base, head)
    for found in (in_tree, in_mirror, faults_of(merge.sources)):
        assert len(found) == 1
        assert found[0].startswith(fault)
        assert "(" in found[0], "what to do"
    assert merge.changed, "a pull request that brings it has a plan"


def test_a_pipe_in_the_working_tree_is_a_fault(colleague: Colleague) -> None:
    """A pipe in the place of a policy does not hang: it is a fault."""
    (colleague.folder / "policies/champion.yaml").unlink()
    os.mkfifo(colleague.folder / "policies/champion.yaml")
    found = faults_of(WorkTree(colleague.folder).read_sources())
    assert [each for each in found if each.startswith("policies/champion.yaml: is a device, a pipe or a socket")]


def test_nothing_missing_without_a_likeness(tmp_path: Path) -> None:
    """Where nothing lies there, the file is missing, as before."""
    assert faults_of(WorkTree(tmp_path).read_sources()) == [
        "registry.yaml: the file is missing (this never means that everything is to be deleted; `promoter init` writes one)"
    ]


@pytest.mark.parametrize("mode", ["100755", "100644"])
def test_a_commit_keeps_the_mode(mode: str, git_repository: GitRepository, colleague: Colleague) -> None:
    """Promoter's commits, to the branch and for a pull request, leave an executable registry.yaml executable."""
    (colleague.folder / "registry.yaml").chmod(0o755 if mode == "100755" else 0o644)
    colleague.push({"README.md": b"x"})
    base = git_repository.fetch_branch()
    new = git_repository.commit_file(base, "registry.yaml", REGISTRY, "Promote")
    proposed = git_repository.push_proposal("promoter/m/champion", None, new, FIRST_FILES["registry.yaml"], "Propose")
    git(colleague.folder, "fetch", "--quiet", "origin")
    for revision in (new, proposed):
        assert git(colleague.folder, "ls-tree", revision, "registry.yaml").split()[0] == mode


def test_a_commit_writes_over_no_link(git_repository: GitRepository, colleague: Colleague) -> None:
    """A link in the place of the file is refused, and not replaced by a file."""
    linked("registry.yaml", "README.md")(colleague.folder)
    colleague.push({"README.md": b"x"})
    base = git_repository.fetch_branch()
    with pytest.raises(PermanentError, match="is a symbolic link, and is not written over"):
        git_repository.commit_file(base, "registry.yaml", REGISTRY, "Promote")
