"""Trailers of commits, as messages of all kinds have them: they carry what a person wants of one change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from promoter.adapters.git.repository import GitRepository
from promoter.application.ports import GitCommit
from tests.support.fixtures.git import git

CASES: list[tuple[str, dict[str, str]]] = [
    ("Only a subject", {}),
    ("Looks-Like: a trailer", {}),
    ("Subject\n\nIn-The-Body: no\n\nThe last paragraph is prose.\n", {}),
    ("Subject\n\nWhy.\n\nA-Key: one\nB: two: three\n\n\n", {"A-Key": "one", "B": "two: three"}),
    ("Subject\n\nKey: one\nOther: x\nKey: two\nkey: three\n", {"Key": "two", "Other": "x", "key": "three"}),
    ("Subject\n\nKey: one\n  two\n\tthree\nSpaced : x\n", {"Key": "one two three", "Spaced": "x"}),
    ("Subject\n\nKey:\nNext: x\n", {"Key": "", "Next": "x"}),
    ("Subject\r\n\r\nKey: Gr\u00fcn\r\n", {"Key": "Gr\u00fcn"}),
    ("Subject\n\n---\n\nAfter-A-Line: x\n", {"After-A-Line": "x"}),
    ("Subject\n\nSigned-off-by: Bob <b@x>\nsome prose: x\n(cherry picked from commit abc)\n", {"Signed-off-by": "Bob <b@x>"}),
    (
        "Subject\n\nKey: a%x00Forged: b\\0Forged: c\x1eForged: d\x01\x0bForged: e\n",
        {"Key": "a%x00Forged: b\\0Forged: c?Forged: d??Forged: e"},
    ),
    (
        "Subject\n\nKey: a\n " + "0" * 40 + "\n Bob <b@x>\n 1\n Forged\n Forged: x\n",
        {"Key": "a " + "0" * 40 + " Bob <b@x> 1 Forged Forged: x"},
    ),
    ("Subject\n\nLong: " + "x" * 2_000 + "\n" + "K" * 101 + ": x\n", {"Long": "x" * 1_000}),
    ("Subject\n\n" + "".join(f"K{n}: x\n" for n in range(102)), {f"K{n}": "x" for n in range(2, 102)}),
]


@pytest.fixture(scope="module")
def commits(tmp_path_factory: pytest.TempPathFactory) -> list[GitCommit]:
    """What the repository tells of a history with one commit a case, after a first one."""
    folder = tmp_path_factory.mktemp("trailers")
    work = folder / "work"
    git(folder, "init", "--quiet", "--initial-branch=main", str(work))
    for number, message in enumerate(["First", *(message for message, _ in CASES)]):
        (work / "registry.yaml").write_text(str(number))
        (folder / "message").write_bytes(message.encode())
        git(work, "add", "registry.yaml")
        git(work, "commit", "--quiet", "--cleanup=verbatim", "--file", str(folder / "message"))
    base = git(work, "rev-list", "--max-parents=0", "HEAD")
    repository = GitRepository(str(work), "main", folder / "mirror")
    return list(repository.list_commits(base, repository.fetch_branch(), "registry.yaml"))


def test_no_message_passes_for_two_commits(commits: list[GitCommit]) -> None:
    """Nor for a part of another one."""
    assert [commit.subject for commit in commits] == [message.splitlines()[0] for message, _ in CASES]
    assert {commit.author for commit in commits} == {"Bob <bob@example.org>"}


@pytest.mark.parametrize("number", range(len(CASES)))
def test_trailers(commits: list[GitCommit], number: int) -> None:
    """Those that git finds, unfolded and bounded, the last one of a key; nothing that a value says passes for another one."""
    expected: Mapping[str, str] = CASES[number][1]
    assert commits[number].trailers == expected


@pytest.mark.parametrize("time", ["99999999999999 +0000", "soon", ""])
def test_a_commit_without_a_time_that_can_be_is_read(time: str, tmp_path: Path) -> None:
    """Whoever may push can write one; it must not end the daemon."""
    work, draft = tmp_path / "work", tmp_path / "draft"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(work))
    (work / "registry.yaml").touch()
    git(work, "add", "registry.yaml")
    tree = git(work, "write-tree")
    draft.write_text(f"tree {tree}\nauthor Eve <e@x> {time}\ncommitter Eve <e@x> {time}\n\nOdd\n\nKey: x\n")
    odd = git(work, "hash-object", "-t", "commit", "-w", "--literally", str(draft))
    git(work, "update-ref", "refs/heads/main", odd)
    repository = GitRepository(str(work), "main", tmp_path / "mirror")
    (commit,) = repository.list_commits(None, repository.fetch_branch(), "registry.yaml")
    assert (commit.revision, commit.subject, commit.trailers, commit.at.year) == (odd, "Odd", {"Key": "x"}, 1970)
