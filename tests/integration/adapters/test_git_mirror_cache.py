"""What commits say is asked of git once: they never change. What branches are at is asked every time."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from promoter.adapters.git.command import GitCommand
from promoter.adapters.git.mirror import GitAnswerCache
from promoter.adapters.git.repository import GitRepository
from promoter.application.ports import MergePreview
from promoter.domain.errors import PermanentError
from tests.support.fixtures.git import FIRST_FILES, Colleague, git

BRANCH = "promoter/fraud/champion"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The arguments of each git program."""
    found: list[Sequence[str]] = []
    run = GitCommand.run_command

    def noted(command: GitCommand, *arguments: str, **named: Any) -> Any:
        found.append(arguments)
        return run(command, *arguments, **named)

    monkeypatch.setattr(GitCommand, "run_command", noted)
    return found


def test_commits_are_asked_once(git_repository: GitRepository, started: list[Sequence[str]]) -> None:
    """Files, message, makers, merge and way of the same commits start no program the second time, and are the same."""
    base = git_repository.fetch_branch()
    head = git_repository.push_proposal(BRANCH, None, base, b"ours\n", "Rotate")

    def answers() -> list[Any]:
        return [
            git_repository.read_sources(base),
            git_repository.read_commit(head),
            git_repository.has_only_own_commits(base, head),
            git_repository.preview_merge(base, head),
            git_repository.list_commits(base, head, "registry.yaml"),
            git_repository.list_commits(None, head, "registry.yaml", last=5),
        ]

    first = answers()
    assert first[0] == FIRST_FILES
    assert first[3].sources["registry.yaml"] == b"ours\n"
    started.clear()
    assert answers() == first
    assert started == []


def test_branches_are_asked_every_time(
    git_repository: GitRepository, colleague: Colleague, started: list[Sequence[str]]
) -> None:
    """A head that moved is another commit, whose files are read."""
    before = git_repository.fetch_branch()
    assert git_repository.read_sources(before) == FIRST_FILES
    after = colleague.push({"registry.yaml": b"theirs\n"})
    started.clear()
    assert git_repository.fetch_branch() == after
    assert any("ls-remote" in arguments for arguments in started)
    assert git_repository.read_sources(after)["registry.yaml"] == b"theirs\n"
    assert git_repository.read_sources(before) == FIRST_FILES


def test_a_fault_is_no_answer(git_repository: GitRepository, colleague: Colleague) -> None:
    """A commit that was not known is asked for again, and known once it is fetched."""
    git_repository.fetch_branch()
    new = colleague.push({"registry.yaml": b"theirs\n"})
    with pytest.raises(PermanentError, match="not known here"):
        git_repository.read_commit(new)
    git_repository.fetch_branch()
    assert git_repository.read_commit(new).revision == new


def test_a_base_that_comes_later_counts(git_repository: GitRepository, colleague: Colleague) -> None:
    """Commits since one that is not there are the last ones; once it was fetched, those that came after it."""
    first = git_repository.fetch_branch()
    second = colleague.push({"registry.yaml": b"second\n"})
    assert [each.revision for each in git_repository.list_commits(second, first, "registry.yaml")] == [first]
    third = colleague.push({"registry.yaml": b"third\n"})
    git_repository.fetch_branch()
    assert git_repository.list_commits(second, first, "registry.yaml") == []
    assert [each.revision for each in git_repository.list_commits(second, third, "registry.yaml")] == [third]


def test_a_base_that_was_dropped_stands_in_no_way(git_repository: GitRepository, colleague: Colleague, tmp_path: Path) -> None:
    """Known until the branch was rewritten and the mirror made anew: what is asked since then is the last ones."""
    first = git_repository.fetch_branch()
    dropped = colleague.push({"registry.yaml": b"second\n"})
    git_repository.fetch_branch()
    assert git_repository.list_commits(dropped, dropped, "registry.yaml") == []
    git(colleague.folder, "reset", "--quiet", "--hard", first)
    after = colleague.push({"registry.yaml": b"third\n"}, force=True)
    git_repository.fetch_branch()
    assert [each.revision for each in git_repository.list_commits(dropped, after, "registry.yaml")] == [after]
    shutil.rmtree(tmp_path / "cache" / "mirror")
    git_repository.fetch_branch()
    later = colleague.push({"registry.yaml": b"fourth\n"})
    git_repository.fetch_branch()
    assert [each.revision for each in git_repository.list_commits(dropped, later, "registry.yaml")] == [later]


def test_memory_is_bounded() -> None:
    """The answer that was not used for longest goes first; one that is too large alone is not kept."""
    known = GitAnswerCache(bound=30_000)
    asked: list[str] = []

    def ask(name: str, size: int = 10_000) -> MergePreview:
        asked.append(name)
        return MergePreview({"registry.yaml": bytes(size)}, frozenset())

    for name in ("a", "b", "a", "c", "a", "b"):
        known.get_or_compute((name,), lambda name=name: ask(name))  # type: ignore[misc]  # bound at once
    assert asked == ["a", "b", "c", "b"]
    for _ in range(2):
        known.get_or_compute(("large",), lambda: ask("large", 40_000))
    known.get_or_compute(("b",), lambda: ask("b"))
    assert asked[4:] == ["large", "large"]
