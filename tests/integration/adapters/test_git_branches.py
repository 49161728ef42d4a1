"""The remote's branches and the heads of its pull requests, over real smart HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from promoter.adapters.git import repository
from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import PermanentError, TransientError
from tests.support.fixtures.git import FIRST_FILES, Colleague, git

BRANCH = "promoter/fraud/champion"


def test_branches_are_those_of_now(git_repository: GitRepository, git_remote: GitHttpServer, colleague: Colleague) -> None:
    """Branches under the prefix come by name with their heads, which can be read, also before the watched one was fetched."""
    names = [BRANCH, "promoter/a", "promoter/b\u2028c", "promoterx", "other/promoter/d"]
    heads = {name: _branch(colleague, name, name.encode()) for name in names}
    found = git_repository.list_branches("promoter/")
    assert found == {name: heads[name] for name in names[:3]}
    assert git_repository.read_sources(found[BRANCH])["registry.yaml"] == BRANCH.encode()
    git(git_remote.path, "update-ref", "refs/heads/promoter/a", heads[BRANCH])
    git(git_remote.path, "update-ref", "-d", f"refs/heads/{BRANCH}")
    assert git_repository.list_branches("promoter/") == {"promoter/a": heads[BRANCH], names[2]: heads[names[2]]}
    assert git_repository.list_branches("promoter/a") == {"promoter/a": heads[BRANCH]}
    assert git_repository.list_branches("promoter/fraud/") == {}
    assert "main" in git_repository.list_branches("")


def test_branch_in_the_place_of_a_folder(git_repository: GitRepository, git_remote: GitHttpServer) -> None:
    """Where a branch went and others took its name as their folder, and back, the mirror follows."""
    head = git_repository.fetch_branch()
    for there, gone in (("promoter/a", "promoter/none"), ("promoter/a/b", "promoter/a"), ("promoter/a", "promoter/a/b")):
        git(git_remote.path, "update-ref", "-d", f"refs/heads/{gone}")
        git(git_remote.path, "update-ref", f"refs/heads/{there}", head)
        assert git_repository.list_branches("promoter/") == {there: head}


def test_damaged_mirror_is_made_anew_for_branches(git_repository: GitRepository, colleague: Colleague, tmp_path: Path) -> None:
    """What a crash left in the way of a branch is gone with the next look."""
    first = _branch(colleague, BRANCH, b"one\n")
    assert git_repository.list_branches("promoter/") == {BRANCH: first}
    second = _branch(colleague, BRANCH, b"two\n")
    mirror = tmp_path / "cache" / "mirror"
    (mirror / f"refs/promoter/branches/{BRANCH}.lock").touch()
    assert git_repository.list_branches("promoter/") == {BRANCH: second}
    assert git_repository.fetch_branch()


def test_refs_of_pull_requests(git_repository: GitRepository, git_remote: GitHttpServer, colleague: Colleague) -> None:
    """Heads of pull requests are fetched as GitHub, Gitea and GitLab name them, and followed; branches too."""
    one, two = (_branch(colleague, name, name.encode()) for name in ("one", "two"))
    for ref in ("refs/pull/7/head", "refs/merge-requests/12/head"):
        git(git_remote.path, "update-ref", ref, one)
        assert git_repository.fetch_ref(ref) == one
        git(git_remote.path, "update-ref", ref, two)
        assert git_repository.fetch_ref(ref) == two
        assert git_repository.read_sources(two)["registry.yaml"] == b"two"
    assert git_repository.fetch_ref("refs/heads/one") == one
    assert git_repository.list_branches("refs") == {}


@pytest.mark.parametrize("ref", ["refs/pull/8/head", "refs/heads/nope"])
def test_ref_that_is_not_there(ref: str, git_repository: GitRepository) -> None:
    """A ref that the remote does not have is refused by its name, and the mirror is not to blame."""
    with pytest.raises(PermanentError, match=f"there is no {ref}"):
        git_repository.fetch_ref(ref)


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "HEAD",
        "main",
        "refs/pull/x/head",
        "refs/pull/7/merge",
        "refs/pull/7/head:refs/heads/main",
        "refs/pull/7/head\n",
        "refs/pull/\u0667/head",
        "refs/tags/v1",
        "refs/heads/*",
        "refs/heads/a:refs/heads/main",
        "+refs/heads/main",
        "--upload-pack=touch",
        "refs/heads/--upload-pack=touch",
    ],
)
def test_other_refs_are_refused(ref: str, git_repository: GitRepository, tmp_path: Path) -> None:
    """Only branches and heads of pull requests are fetched; anything else is refused before git sees it."""
    with pytest.raises(PermanentError):
        git_repository.fetch_ref(ref)
    assert not (tmp_path / "cache").exists()


def test_fetched_refs_do_not_gather(
    git_repository: GitRepository, git_remote: GitHttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mirror forgets heads of pull requests once they are many, and fetches one again when it is asked for."""
    monkeypatch.setattr(repository, "_FETCHED_LIMIT", 2)
    head = git_repository.fetch_branch()
    for number in range(5):
        git(git_remote.path, "update-ref", f"refs/pull/{number}/head", head)
        assert git_repository.fetch_ref(f"refs/pull/{number}/head") == head
    assert len(git(tmp_path / "cache" / "mirror", "for-each-ref", "refs/promoter/fetched").splitlines()) <= 2
    assert git_repository.fetch_ref("refs/pull/0/head") == head


@pytest.mark.parametrize("prefix", ["*", "promoter/*", "a b", "..", "-x", "a:b", "/"])
def test_hostile_prefixes_are_refused(prefix: str, git_repository: GitRepository) -> None:
    """A prefix cannot be a pattern, an option or more than one name."""
    with pytest.raises(PermanentError, match="not a branch name"):
        git_repository.list_branches(prefix)


def test_outage_of_branches(git_repository: GitRepository, git_remote: GitHttpServer) -> None:
    """While the remote is away, each call to it is worth another try, and nothing is half done afterwards."""
    base = git_repository.fetch_branch()
    tip = git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Rotate")
    git_remote.stop()
    for call in (
        lambda: git_repository.list_branches("promoter/"),
        lambda: git_repository.fetch_ref("refs/pull/1/head"),
        lambda: git_repository.push_proposal(BRANCH, tip, base, b"more\n", "Rotate"),
        lambda: git_repository.delete_branch(BRANCH, tip),
    ):
        with pytest.raises(TransientError, match="cannot be reached"):
            call()
    assert git_repository.preview_merge(base, tip).sources == FIRST_FILES | {"registry.yaml": b"ours\n"}
    git_remote.start()
    assert git_repository.list_branches("promoter/") == {BRANCH: tip}


def _branch(colleague: Colleague, name: str, registry: bytes) -> str:
    """A branch of Bob's with one commit on the first one; its head."""
    git(colleague.folder, "checkout", "--quiet", "--detach", "origin/main")
    (colleague.folder / "registry.yaml").write_bytes(registry)
    git(colleague.folder, "commit", "--quiet", "--all", "--message", "By hand")
    git(colleague.folder, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{name}")
    return git(colleague.folder, "rev-parse", "HEAD")
