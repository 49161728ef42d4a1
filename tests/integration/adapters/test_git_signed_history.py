"""Which commits of a history need a signature, and whose keys count at which of them."""

from __future__ import annotations

import pytest

from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer
from tests.support.fixtures.git import Colleague, git
from tests.support.fixtures.signing import ALLOWED, STRANGER, PeopleKeys, SignedHistory


@pytest.mark.parametrize("path", ["registry.yaml", "approvers.yaml", "policies/a.yaml", "policies/tests/t.yaml", ALLOWED])
def test_watched_files(path: str, past: SignedHistory) -> None:
    """Whatever decides what Promoter does needs a signature: also a file's mode, its removal, a link in its place."""
    found = [past.commit("nobody", {path: b"x\n"})]
    git(past.folder, "update-index", "--chmod=+x", path)
    git(past.folder, "commit", "--quiet", "--message", "Mode")
    found.append(past.head)
    git(past.folder, "reset", "--quiet", "--hard")
    (past.folder / path).unlink()
    (past.folder / path).symlink_to("/etc/passwd")
    found += [past.commit("nobody", {}), past.commit("nobody", {path: None})]
    assert past.unsigned() == [(revision, "not signed") for revision in found]


def test_other_files_need_no_signature(past: SignedHistory) -> None:
    """A commit that changes nothing that is watched may be anybody's, between others too; and nothing new is nothing."""
    assert past.unsigned() == []
    past.commit("nobody", {"README": b"x", "sub/registry.yaml": b"x", "policies.yaml": b"x"})
    past.registry("ann")
    past.commit("nobody", {"README": b"y"})
    assert past.unsigned() == []


def test_oldest_first(past: SignedHistory) -> None:
    """All that do not hold are told, from the oldest on."""
    found = [past.registry("nobody"), past.registry("eve", b"3\n")]
    past.registry("ann", b"4\n")
    found.append(past.registry("nobody", b"5\n"))
    assert [revision for revision, _ in past.unsigned()] == found


def test_merged_commits_are_looked_at(past: SignedHistory) -> None:
    """Commits of a merged branch need signatures of their own, whatever merges them."""
    past.stand("side", past.base)
    bad = past.commit("nobody", {"policies/bad.yaml": b"x"})
    past.commit("ann", {"policies/good.yaml": b"x"})
    past.stand("main")
    past.registry("ann")
    past.merge("ann", "side")
    assert past.unsigned() == [(bad, "not signed")]


def test_merge_needs_a_signature(past: SignedHistory) -> None:
    """A merge that brings watched files in changes the branch, and has to be signed; one that brings others has not."""
    past.stand("side", past.base)
    past.commit("ann", {"policies/good.yaml": b"x"})
    past.stand("docs", past.base)
    past.commit("nobody", {"README": b"x"})
    past.stand("main")
    past.merge("nobody", "docs")
    assert past.unsigned() == []
    unsigned = past.merge("nobody", "side")
    assert past.unsigned() == [(unsigned, "not signed")]


def test_evil_merges(past: SignedHistory) -> None:
    """A merge that says what neither side says, or takes one side's old files back, does not pass unsigned."""
    past.stand("side", past.base)
    past.commit("nobody", {"README": b"x"})
    past.stand("main")
    start = past.registry("ann")
    evil = [past.merge("nobody", "side", {"registry.yaml": b"evil\n"})]
    assert past.unsigned() == [(evil[0], "not signed")]
    git(past.folder, "reset", "--quiet", "--hard", start)
    evil = [past.merge("nobody", "side", {"registry.yaml": b"1\n"})]
    assert past.unsigned() == [(evil[0], "not signed")]
    git(past.folder, "checkout", "--quiet", "-B", "main", "side")
    past.merge("nobody", start, strategy="ours")
    assert past.unsigned(start) == [(past.head, "not signed")]


def test_unrelated_history_is_looked_at(past: SignedHistory) -> None:
    """A merged history that begins anew is no way around: its first commit adds all that it has."""
    git(past.folder, "checkout", "--quiet", "--orphan", "other")
    root = past.registry("nobody", b"other\n")
    past.stand("main")
    git(past.folder, "merge", "--quiet", "--allow-unrelated-histories", "--strategy=ours", "--no-commit", "other")
    past.commit("ann", {})
    assert past.unsigned() == [(root, "not signed")]


def test_no_commit_vouches_for_itself(past: SignedHistory) -> None:
    """A commit that brings its own key does not hold, nor does what comes after it."""
    own = past.commit("eve", {ALLOWED: past.allowed("ann", "eve"), "registry.yaml": b"2\n"})
    after = past.registry("eve", b"3\n")
    past.commit("ann", {"policies/a.yaml": b"x"})
    found = past.unsigned()
    assert [revision for revision, _ in found] == [own, after]
    assert all(STRANGER in why for _, why in found)


def test_key_added_by_one_that_counts(past: SignedHistory) -> None:
    """A key that a signed commit adds counts from the next commit on, in the same push too: when one looks is of no matter."""
    added = past.commit("ann", {ALLOWED: past.allowed("ann", "eve")})
    past.registry("eve")
    assert past.unsigned() == []
    assert past.unsigned(added) == []


def test_key_removed_in_the_same_push(past: SignedHistory) -> None:
    """A key that was taken away does not count for what comes after, not from a branch that still has it either."""
    past.base = past.commit("nobody", {ALLOWED: past.allowed("ann", "eve")})
    past.stand("old", past.base)
    stolen = past.commit("eve", {"policies/evil.yaml": b"x"})
    past.stand("main")
    past.commit("ann", {ALLOWED: past.allowed("ann")})
    merged = past.merge("ann", "old")
    late = past.registry("eve")
    found = past.unsigned()
    assert [revision for revision, _ in found] == [stolen, late]
    assert merged not in dict(found)


def test_keys_of_a_branch_that_took_the_base_in_sideways(past: SignedHistory) -> None:
    """A branch from before a key was taken away brings that key back to nobody, though its own commits were signed once."""
    git(past.folder, "checkout", "--quiet", "main")
    fork = past.commit("nobody", {ALLOWED: past.allowed("ann", "eve")})
    past.stand("old", fork)
    past.commit("ann", past.asc("gus"))
    past.stand("main")
    past.base = past.commit("ann", {ALLOWED: past.allowed("ann")})
    past.stand("old")
    evil = past.registry("eve")
    merge = past.merge("eve", "main", {ALLOWED: past.allowed("ann", "eve")})
    git(past.folder, "checkout", "--quiet", "-B", "main", "old")
    assert [revision for revision, _ in past.unsigned()] == [evil, merge]


def test_without_a_base(past: SignedHistory) -> None:
    """The first revision is the head alone, by the keys that it has itself, whatever it changes."""
    past.registry("nobody")
    past.commit("ann", {"README": b"x"})
    assert past.why(None) == ""
    past.commit("nobody", {"README": b"y"})
    assert past.why(None) == "not signed"


def test_pull_requests_of_people(
    git_repository: GitRepository, git_remote: GitHttpServer, colleague: Colleague, keys: PeopleKeys
) -> None:
    """Over HTTP, on the head of a pull request: what Bob signed and what he did not."""
    base = git_remote.commit_files({ALLOWED: f"bob {keys.ssh['ann']}\n".encode()})
    git_repository.fetch_branch()
    git(colleague.folder, "pull", "--quiet")
    for option in range(0, len(keys.signing["ann"]), 2):
        name, _, value = keys.signing["ann"][option + 1].partition("=")
        git(colleague.folder, "config", name, value)
    colleague.push({"registry.yaml": b"2\n"})
    git(colleague.folder, "config", "commit.gpgSign", "false")
    bare = colleague.push({"policies/x.yaml": b"x\n"})
    git(git_remote.path, "update-ref", "refs/pull/1/head", bare)
    found = git_repository.find_unsigned_commits(base, git_repository.fetch_ref("refs/pull/1/head"))
    assert [(each.revision, each.author, each.why) for each in found] == [(bare, "Bob <bob@example.org>", "not signed")]
