"""The repository port over real smart HTTP: fetch, read, history, and commits that never overwrite anybody's."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git.files import BLOB_LIMIT, POLICY_LIMIT
from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import Conflict, PermanentError, TransientError
from tests.support.fixtures.git import FIRST_FILES, GIT_TOKEN, Colleague, git


def test_fetch_and_read(git_repository: GitRepository, colleague: Colleague) -> None:
    """The files that Promoter reads come as bytes, and nothing else: no tests of policies, no other kinds, no other folders."""
    read = {"policies/b.yaml": b"\xff\x00 not text\r\n", "policies/empty.yaml": b"", "approvers.yaml": b"version: 1\n"}
    others = {"policies/tests/t.yaml": b"x", "policies/README.md": b"x", "other.yaml": b"x", "sub/registry.yaml": b"x"}
    head = colleague.push({**read, **others, "sub/approvers.yaml": b"x", "sub/policies/a.yml": b"x"})
    assert git_repository.fetch_branch() == head
    assert git_repository.read_sources(head) == FIRST_FILES | read


def test_missing_registry_is_absent(git_repository: GitRepository, colleague: Colleague) -> None:
    """A revision without registry.yaml reads as a mapping without it, and a revision that nobody has is refused."""
    (colleague.folder / "registry.yaml").unlink()
    head = colleague.push({"README": b"gone"})
    git_repository.fetch_branch()
    assert list(git_repository.read_sources(head)) == ["policies/champion.yaml"]
    with pytest.raises(PermanentError, match="not known here"):
        git_repository.read_sources("0123456789" * 4)


def test_large_files_are_cut(git_remote: GitHttpServer, git_repository: GitRepository) -> None:
    """Of a file over the limit come the limit and one byte; of one at the limit, all."""
    head = git_remote.commit_files({"policies/big.yaml": b"b" * (BLOB_LIMIT + 2**20), "policies/full.yaml": b"f" * BLOB_LIMIT})
    git_repository.fetch_branch()
    sources = git_repository.read_sources(head)
    assert [len(sources[f"policies/{name}.yaml"]) for name in ("big", "full")] == [BLOB_LIMIT + 1, BLOB_LIMIT]
    assert sources["registry.yaml"] == FIRST_FILES["registry.yaml"]


def test_too_many_policies_are_refused(git_remote: GitHttpServer, git_repository: GitRepository) -> None:
    """More policy files than a registry can mean are refused before they are read."""
    head = git_remote.commit_files({f"policies/p{number}.yaml": b"x" for number in range(POLICY_LIMIT + 1)})
    git_repository.fetch_branch()
    with pytest.raises(PermanentError, match="1,000 files"):
        git_repository.read_sources(head)


def test_commit_changes_one_file(git_repository: GitRepository, colleague: Colleague) -> None:
    """A commit has the base as its parent, changes that file alone, bears the author, and is on the remote."""
    base = git_repository.fetch_branch()
    new = git_repository.commit_file(
        base, "registry.yaml", b"version: 1\r\nmodels: {\xc3\xa4}\n", "Promote \u00e4\n\nWhy: because."
    )
    assert git_repository.fetch_branch() == new
    git(colleague.folder, "pull", "--quiet")
    assert git(colleague.folder, "log", "-1", "--format=%P|%an <%ae>|%cn|%B") == (
        f"{base}|Promoter <promoter@localhost>|Promoter|Promote \u00e4\n\nWhy: because."
    )
    assert git(colleague.folder, "diff", "--name-only", base, new) == "registry.yaml"
    assert (colleague.folder / "registry.yaml").read_bytes() == b"version: 1\r\nmodels: {\xc3\xa4}\n"
    assert git_repository.read_sources(new)["registry.yaml"] == b"version: 1\r\nmodels: {\xc3\xa4}\n"


def test_identical_content_writes_nothing(git_remote: GitHttpServer, git_repository: GitRepository) -> None:
    """Content that the base has already returns the base, even while the remote is away."""
    base = git_repository.fetch_branch()
    git_remote.stop()
    assert git_repository.commit_file(base, "registry.yaml", FIRST_FILES["registry.yaml"], "Again") == base


def test_push_in_between_is_overtaken(git_repository: GitRepository, colleague: Colleague) -> None:
    """Who commits on a head that has moved is told so, and the other's work stands; on the new head it goes through."""
    base = git_repository.fetch_branch()
    theirs = colleague.push({"registry.yaml": b"theirs\n"})
    with pytest.raises(Conflict):
        git_repository.commit_file(base, "registry.yaml", b"ours\n", "Ours")
    assert git_repository.fetch_branch() == theirs
    assert git_repository.read_sources(theirs)["registry.yaml"] == b"theirs\n"
    ours = git_repository.commit_file(theirs, "registry.yaml", b"ours\n", "Ours")
    assert [commit.revision for commit in git_repository.list_commits(base, ours, "registry.yaml")] == [theirs, ours]


def test_branch_set_back_is_overtaken(git_repository: GitRepository, colleague: Colleague) -> None:
    """A commit that somebody took off the branch does not return below ours."""
    before = git_repository.fetch_branch()
    base = colleague.push({"registry.yaml": b"mistake\n"})
    assert git_repository.fetch_branch() == base
    git(colleague.folder, "push", "--quiet", "--force", "origin", f"{before}:refs/heads/main")
    with pytest.raises(Conflict):
        git_repository.commit_file(base, "registry.yaml", b"ours\n", "Ours")
    assert git_repository.fetch_branch() == before


def test_overtaken_within_the_push(git_remote: GitHttpServer, git_repository: GitRepository, colleague: Colleague) -> None:
    """A branch that moves while the remote is taking our push is somebody's earlier push, not a fault."""
    base = git_repository.fetch_branch()
    git(colleague.folder, "commit", "--quiet", "--allow-empty", "--message", "Theirs")
    git(colleague.folder, "push", "--quiet", "origin", "HEAD:refs/heads/side")
    theirs = git(colleague.folder, "rev-parse", "HEAD")
    _hook(git_remote, f"env -u GIT_QUARANTINE_PATH git update-ref refs/heads/main {theirs}")
    with pytest.raises(Conflict):
        git_repository.commit_file(base, "registry.yaml", b"ours\n", "Ours")
    assert git_repository.fetch_branch() == theirs


def test_declined_push_is_refused(git_remote: GitHttpServer, git_repository: GitRepository) -> None:
    """What the remote's own rules decline is refused, in their words, and leaves nothing behind."""
    _hook(git_remote, "echo 'main is protected: open a pull request' >&2; exit 1")
    base = git_repository.fetch_branch()
    with pytest.raises(PermanentError, match="main is protected: open a pull request") as caught:
        git_repository.commit_file(base, "registry.yaml", b"ours\n", "Ours")
    assert caught.value.fix is not None
    assert git_repository.fetch_branch() == base


def test_two_writers_lose_nothing(git_remote: GitHttpServer, tmp_path: Path) -> None:
    """Two repositories, each used by two threads, that append to one file: every line arrives."""
    clones = [GitRepository(git_remote.url, "main", tmp_path / f"m{n}", SecretStr(GIT_TOKEN), timeout=60) for n in (1, 2)]

    def append(repository: GitRepository, line: bytes) -> None:
        while True:
            base = repository.fetch_branch()
            try:
                repository.commit_file(base, "registry.yaml", repository.read_sources(base)["registry.yaml"] + line, "Append")
            except Conflict:
                continue
            return

    lines = [b"# %d\n" % number for number in range(4)]
    threads = [threading.Thread(target=append, args=(clones[n % 2], line)) for n, line in enumerate(lines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = clones[0].read_sources(clones[0].fetch_branch())["registry.yaml"]
    assert sorted(content.removeprefix(FIRST_FILES["registry.yaml"]).splitlines(keepends=True)) == lines


def test_outage_and_recovery(git_remote: GitHttpServer, git_repository: GitRepository) -> None:
    """While the remote is away, fetching and committing are worth another try; reading goes on; afterwards all is well."""
    base = git_repository.fetch_branch()
    git_remote.stop()
    with pytest.raises(TransientError, match="cannot be reached"):
        git_repository.fetch_branch()
    with pytest.raises(TransientError, match="cannot be reached"):
        git_repository.commit_file(base, "registry.yaml", b"ours\n", "Ours")
    assert git_repository.read_sources(base) == FIRST_FILES
    git_remote.start()
    assert git_repository.fetch_branch() == base
    assert git_repository.commit_file(base, "registry.yaml", b"ours\n", "Ours") != base


def test_force_push_is_followed(git_repository: GitRepository, colleague: Colleague) -> None:
    """A rewritten branch is followed and reported once; history from a dropped base is its last commit."""
    base = git_repository.fetch_branch()
    dropped = colleague.push({"registry.yaml": b"one\n"}, "One")
    assert (git_repository.fetch_branch(), git_repository.is_rewritten) == (dropped, False)
    head = colleague.push({"registry.yaml": b"two\n"}, "Two", force=True)
    assert (git_repository.fetch_branch(), git_repository.is_rewritten) == (head, True)
    assert (git_repository.fetch_branch(), git_repository.is_rewritten) == (head, False)
    assert [commit.subject for commit in git_repository.list_commits(base, head, "registry.yaml")] == ["Two"]
    assert [commit.subject for commit in git_repository.list_commits("f" * 40, head, "registry.yaml")] == ["Two"]


def test_commits_follow_first_parents(git_repository: GitRepository, colleague: Colleague) -> None:
    """History is that of the branch: a merged pull request is one commit, what touches other files is none, oldest first."""
    base = git_repository.fetch_branch()
    first = colleague.push({"registry.yaml": b"one\n"}, "One")
    colleague.push({"README": b"x"}, "Elsewhere")
    git(colleague.folder, "checkout", "--quiet", "-b", "feature")
    for number in (2, 3):
        (colleague.folder / "registry.yaml").write_text(f"{number}\n")
        git(colleague.folder, "commit", "--quiet", "--all", "--message", f"Step {number}")
    git(colleague.folder, "checkout", "--quiet", "main")
    git(colleague.folder, "merge", "--quiet", "--no-ff", "--message", "Merge pull request #1", "feature")
    git(colleague.folder, "push", "--quiet", "origin", "main")
    head = git_repository.fetch_branch()
    found = git_repository.list_commits(base, head, "registry.yaml")
    assert [(commit.revision, commit.subject) for commit in found] == [(first, "One"), (head, "Merge pull request #1")]
    assert found[0].author == "Bob <bob@example.org>"
    assert found[0].at.tzinfo is not None
    assert [commit.revision for commit in git_repository.list_commits(None, head, "registry.yaml")] == [head]


def test_nothing_to_fetch_is_refused(git_remote: GitHttpServer, tmp_path: Path) -> None:
    """An empty repository, a branch and a repository that do not exist are refused, each with what to do."""
    with GitHttpServer(tmp_path / "empty") as empty:
        cases = [(empty.url, "main"), (git_remote.url, "nope"), (git_remote.url.replace("registry", "nope"), "main")]
        for number, (url, branch) in enumerate(cases):
            with pytest.raises(PermanentError) as caught:
                GitRepository(url, branch, tmp_path / f"m{number}", SecretStr(GIT_TOKEN)).fetch_branch()
            assert caught.value.fix is not None


def _hook(remote: GitHttpServer, script: str) -> None:
    hook = remote.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)
