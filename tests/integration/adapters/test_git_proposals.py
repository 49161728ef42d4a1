"""Branches for proposals over real smart HTTP: made, moved and deleted, and never over a person's work."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git import history
from promoter.adapters.git.repository import GitRepository
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.errors import Conflict, PermanentError
from tests.support.fixtures.git import GIT_TOKEN, Colleague, git
from tests.support.fixtures.signing import ssh_key

BRANCH = "promoter/fraud/champion"


def test_proposal_is_one_commit_on_its_base(git_repository: GitRepository, colleague: Colleague) -> None:
    """A branch for a proposal is the base and one commit of Promoter's, on the remote; the watched branch stays."""
    base = git_repository.fetch_branch()
    new = git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Rotate\n\nPromoter-Aim: rotate\n")
    assert git_repository.list_branches("promoter/") == {BRANCH: new}
    assert git_repository.fetch_branch() == base
    git(colleague.folder, "fetch", "--quiet")
    assert git(colleague.folder, "diff", "--name-only", base, f"origin/{BRANCH}") == "registry.yaml"
    commit = git_repository.read_commit(new)
    assert (commit.revision, commit.author, commit.subject) == (new, "Promoter <promoter@localhost>", "Rotate")
    assert commit.trailers == {"Promoter-Aim": "rotate"}
    assert git_repository.has_only_own_commits(base, new)
    with pytest.raises(PermanentError, match="not known here"):
        git_repository.read_commit("0123456789" * 4)


def test_proposal_is_made_anew_on_a_newer_base(git_repository: GitRepository, colleague: Colleague) -> None:
    """With the old tip as the expected one, the branch is put on a newer base, though that is no step forward."""
    first = git_repository.push_proposal(BRANCH, None, git_repository.fetch_branch(), b"ours\n", "Rotate")
    colleague.push({"README": b"x"})
    base = git_repository.fetch_branch()
    second = git_repository.push_proposal(BRANCH, first, base, b"ours again\n", "Rotate")
    assert git_repository.list_branches("promoter/") == {BRANCH: second}
    assert git(colleague.folder, "ls-remote", "origin", BRANCH).split()[0] == second
    assert git_repository.preview_merge(base, second).sources["registry.yaml"] == b"ours again\n"


def test_lost_leases(git_repository: GitRepository, colleague: Colleague) -> None:
    """A branch that a person has moved, made or deleted in between is theirs: overtaken, and left as it is."""
    base = git_repository.fetch_branch()
    tip = git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Rotate")
    git(colleague.folder, "fetch", "--quiet")
    git(colleague.folder, "checkout", "--quiet", BRANCH)
    theirs = colleague.push({"registry.yaml": b"theirs\n"})
    for expected in (tip, None, base):
        with pytest.raises(Conflict):
            git_repository.push_proposal(BRANCH, expected, base, b"more\n", "Rotate")
    for expected in (tip, base):
        with pytest.raises(Conflict):
            git_repository.delete_branch(BRANCH, expected)
    assert git_repository.list_branches("promoter/") == {BRANCH: theirs}
    git(colleague.folder, "push", "--quiet", "origin", f":{BRANCH}")
    with pytest.raises(Conflict):
        git_repository.push_proposal(BRANCH, theirs, base, b"more\n", "Rotate")
    assert git_repository.list_branches("promoter/") == {}


def test_discard(git_repository: GitRepository, git_remote: GitHttpServer) -> None:
    """A branch is deleted where its head is the expected one; one that is gone is no error, whoever deleted it."""
    base = git_repository.fetch_branch()
    tip = git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Rotate")
    git_repository.delete_branch(BRANCH, tip)
    assert git_repository.list_branches("promoter/") == {}
    git_repository.delete_branch(BRANCH, tip)
    tip = git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Rotate")
    git(git_remote.path, "config", "receive.denyDeletes", "true")
    with pytest.raises(PermanentError, match="deletion prohibited"):
        git_repository.delete_branch(BRANCH, tip)


def test_reply_that_was_lost(git_repository: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push that went through though its reply was lost is found done: the same commit once more is no fault."""
    monkeypatch.setattr("promoter.adapters.git.repository.time.time", lambda: 1_700_000_000)
    base = git_repository.fetch_branch()
    tip = git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Rotate")
    assert git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Rotate") == tip
    assert git_repository.commit_file(base, "registry.yaml", b"ours\n", "Rotate") == tip
    assert git_repository.commit_file(base, "registry.yaml", b"ours\n", "Rotate") == tip


def test_two_pushers_one_branch(git_remote: GitHttpServer, tmp_path: Path) -> None:
    """Of two that move one branch at the same time, from the same tip, one wins and the other one is told; round for round."""
    both = [GitRepository(git_remote.url, "main", tmp_path / f"m{n}", SecretStr(GIT_TOKEN), timeout=60) for n in (1, 2)]
    base = both[0].fetch_branch()
    assert both[1].fetch_branch() == base
    tip: str | None = None
    for number in range(6):
        results: dict[int, str | None] = {}
        start = threading.Barrier(2)

        def push(
            who: int, expected: str | None, content: bytes, results: dict[int, str | None], start: threading.Barrier
        ) -> None:
            start.wait()
            try:
                results[who] = both[who].push_proposal(BRANCH, expected, base, content, "Rotate")
            except Conflict:
                results[who] = None

        threads = [threading.Thread(target=push, args=(who, tip, b"%d %d\n" % (number, who), results, start)) for who in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (won,) = [each for each in results.values() if each]
        assert both[0].list_branches("promoter/") == both[1].list_branches("promoter/") == {BRANCH: won}
        tip = won


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("promoter/m", "promoter/m/champion"), ("promoter/m/a/b", "promoter/m/a"), ("promoter/m/a/b\u2028c", "promoter/m/a")],
)
def test_branch_in_the_way(theirs: str, ours: str, git_repository: GitRepository, git_remote: GitHttpServer) -> None:
    """Git cannot have a branch whose name is a folder of another's: told with both names, and what to do."""
    base = git_repository.fetch_branch()
    git(git_remote.path, "update-ref", f"refs/heads/{theirs}", base)
    shown = theirs.replace("\u2028", " ")
    with pytest.raises(PermanentError, match=f"cannot have both branches {shown} and {ours} ") as caught:
        git_repository.push_proposal(ours, None, base, b"ours\n", "Rotate")
    assert shown in (caught.value.fix or "")
    assert git_repository.list_branches("promoter/") == {theirs: base}


@pytest.mark.parametrize(
    "branch", ["main", "", "promoter", "promoter/", "promoter/../main", "promoter/a:main", "promoter/*", "promoter/a b", "-d"]
)
def test_only_own_branches_are_written(branch: str, git_repository: GitRepository) -> None:
    """What is not a name under `promoter/` is neither made nor deleted."""
    base = git_repository.fetch_branch()
    with pytest.raises(PermanentError):
        git_repository.push_proposal(branch, None, base, b"x", "x")
    with pytest.raises(PermanentError):
        git_repository.delete_branch(branch, base)


def test_watched_branch_is_no_branch_for_proposals(git_remote: GitHttpServer, tmp_path: Path) -> None:
    """Also where it bears such a name."""
    git(git_remote.path, "branch", "promoter/live", "main")
    watching = GitRepository(git_remote.url, "promoter/live", tmp_path / "m", SecretStr(GIT_TOKEN))
    with pytest.raises(PermanentError, match="not a branch for proposals"):
        watching.delete_branch("promoter/live", watching.fetch_branch())


def test_revisions_of_proposals_are_checked(git_repository: GitRepository) -> None:
    """Revisions are full object ids that are known here."""
    base = git_repository.fetch_branch()
    for bad in ("HEAD", base[:10], "--all"):
        with pytest.raises(PermanentError, match="full commit id"):
            git_repository.push_proposal(BRANCH, None, bad, b"x", "x")
        with pytest.raises(PermanentError, match="full commit id"):
            git_repository.push_proposal(BRANCH, bad, base, b"x", "x")
        with pytest.raises(PermanentError, match="full commit id"):
            git_repository.has_only_own_commits(base, bad)
    with pytest.raises(PermanentError, match="not known here"):
        git_repository.push_proposal(BRANCH, None, "0123456789" * 4, b"x", "x")


def test_a_persons_work_is_seen(git_repository: GitRepository, colleague: Colleague) -> None:
    """A commit on top, an amended one (another committer alone), and a merge by a person are touched; Promoter's are not."""
    base = git_repository.fetch_branch()
    tip = git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Rotate")
    assert git_repository.has_only_own_commits(base, base)
    assert git_repository.has_only_own_commits(base, tip)
    main = colleague.push({"README": b"x"})
    git(colleague.folder, "fetch", "--quiet")
    git(colleague.folder, "checkout", "--quiet", BRANCH)
    heads = [colleague.push({"other": b"x"}, "On top")]
    git(colleague.folder, "reset", "--quiet", "--hard", tip)
    heads.append(colleague.push({"registry.yaml": b"amended\n"}, "Rotate", force=True))
    assert git(colleague.folder, "log", "-1", "--format=%an, %cn") == "Promoter, Bob"
    git(colleague.folder, "reset", "--quiet", "--hard", tip)
    git(colleague.folder, "merge", "--quiet", "--message", "Update branch", main)
    git(colleague.folder, "push", "--quiet", "--force")
    heads.append(git(colleague.folder, "rev-parse", "HEAD"))
    git_repository.fetch_branch()
    for number, head in enumerate(heads):
        git(colleague.folder, "push", "--quiet", "origin", f"{head}:refs/heads/side-{number}")
    assert sorted(git_repository.list_branches("side-").values()) == sorted(heads)
    for head in heads:
        assert not git_repository.has_only_own_commits(base, head)


def test_more_commits_than_one_account_makes(git_repository: GitRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch with more commits than are looked through counts as touched."""
    monkeypatch.setattr(history, "_COMMIT_LIMIT", 1)
    base = git_repository.fetch_branch()
    one = git_repository.push_proposal(BRANCH, None, base, b"one\n", "Rotate")
    two = git_repository.push_proposal(BRANCH, one, one, b"two\n", "Rotate")
    assert git_repository.has_only_own_commits(base, one)
    assert not git_repository.has_only_own_commits(base, two)


@pytest.mark.parametrize("author", [("Promoter Inc.", "bot@example.org"), (" 'P' <x> ", "<bot@x>"), ("", "")])
def test_own_commits_are_known_by_any_name(author: tuple[str, str], git_remote: GitHttpServer, tmp_path: Path) -> None:
    """Names with marks that git takes off are compared as git writes them, signed or not."""
    key = tmp_path / "key"
    ssh_key(key)
    for number, signing_key in enumerate((None, key)):
        ours = GitRepository(
            git_remote.url, "main", tmp_path / f"m{number}", SecretStr(GIT_TOKEN), author, signing_key=signing_key
        )
        base = ours.fetch_branch()
        assert ours.has_only_own_commits(base, ours.push_proposal(f"promoter/m/{number}", None, base, b"ours\n", "Rotate"))


def test_branch_that_may_not_be_made_anew(
    git_repository: GitRepository, git_remote: GitHttpServer, colleague: Colleague
) -> None:
    """A remote that takes no forced push says so once and for all: another try would not help."""
    git(git_remote.path, "config", "receive.denyNonFastForwards", "true")
    first = git_repository.push_proposal(BRANCH, None, git_repository.fetch_branch(), b"ours\n", "Rotate")
    colleague.push({"README": b"x"})
    with pytest.raises(PermanentError, match="does not let a branch be made anew"):
        git_repository.push_proposal(BRANCH, first, git_repository.fetch_branch(), b"ours\n", "Rotate")
