"""Commits of a real repository as witnesses: those of all branches, and none that says nonsense."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from promoter.adapters.git.history import read_ledger_trailers
from promoter.domain.errors import PermanentError
from promoter.domain.folder import RepositoryFolder
from promoter.domain.ledger.chain import LEDGER_TRAILER, LedgerHead, add_ledger_trailer
from promoter.domain.ledger.witnesses import WitnessIndex

HEADS = [LedgerHead("0b1c7a52", number, f"{number:064x}") for number in range(1, 9)]


def git(folder: Path, *words: str, stdin: str | None = None) -> str:
    """What git says."""
    named = ["-c", "user.name=Alice", "-c", "user.email=alice@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *named, *words], cwd=folder, input=stdin, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    """One more; its id."""
    git(folder, "commit", "--allow-empty", "--cleanup=verbatim", "-F", "-", stdin=message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """An empty repository on main."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    return folder


def test_commits_of_all_branches_vouch(clone: Path) -> None:
    """Also of those that were never merged, of tags, and of a bare repository; each is named."""
    revisions = [commit(clone, add_ledger_trailer(f"Rotate {number}", HEADS[number])) for number in range(2)]
    commit(clone, "By hand\n")
    git(clone, "switch", "--quiet", "--create", "proposal")
    revisions.append(commit(clone, add_ledger_trailer("Rotate\n\nPromoter-Model: m", HEADS[2])))
    git(clone, "tag", "kept")
    git(clone, "switch", "--quiet", "main")
    git(clone, "branch", "--delete", "--force", "proposal")
    found = read_ledger_trailers(clone)
    assert {(each.head, each.who, each.kind) for each in found.witnesses} == {
        (HEADS[number], f"commit {revision[:10]}", "commit") for number, revision in enumerate(revisions)
    }
    assert (found.unreadable, found.shallow) == (0, False)
    git(clone.parent, "clone", "--quiet", "--bare", str(clone), "bare.git")
    assert read_ledger_trailers(clone.parent / "bare.git") == found


def test_a_squash_keeps_all_of_its_trailers(clone: Path) -> None:
    """A forge puts the messages of several commits together."""
    commit(clone, f"Squashed\n\n{LEDGER_TRAILER}: {HEADS[0].trailer_value}\n{LEDGER_TRAILER}: {HEADS[1].trailer_value}\n")
    assert {each.head for each in read_ledger_trailers(clone).witnesses} == {HEADS[0], HEADS[1]}


@pytest.mark.parametrize(
    "value",
    [
        "nonsense",
        "ledger 5 short",
        f"ledger {'9' * 5_000} {'0' * 64}",
        f"ledger -5 {'0' * 64}",
        f"ledger \u0665 {'0' * 64}",
        f"ledger 5 {'G' * 64}",
        "\x1b[2J",
        "x" * 1_000_000,
    ],
)
def test_a_trailer_that_names_no_head_is_counted(clone: Path, value: str) -> None:
    """Whatever anybody writes: those beside it are heard."""
    commit(clone, f"Odd\n\n{LEDGER_TRAILER}: {value}\n")
    commit(clone, add_ledger_trailer("Rotate", HEADS[3]))
    found = read_ledger_trailers(clone)
    assert [each.head for each in found.witnesses] == [HEADS[3]]
    assert found.unreadable == 1


def test_words_in_the_midst_of_a_message_are_no_trailer(clone: Path) -> None:
    """Somebody quotes one."""
    commit(clone, f"Quote\n\n{LEDGER_TRAILER}: {HEADS[0].trailer_value}\n\nas it says there, and more.\n")
    assert read_ledger_trailers(clone).witnesses == ()


def test_a_clone_without_its_past_says_so(clone: Path) -> None:
    """As CI fetches it."""
    for number in range(3):
        commit(clone, add_ledger_trailer("Rotate", HEADS[number]))
    git(clone.parent, "clone", "--quiet", "--depth=1", clone.as_uri(), "shallow")
    found = read_ledger_trailers(clone.parent / "shallow")
    assert ([each.head for each in found.witnesses], found.shallow) == ([HEADS[2]], True)


def test_an_empty_repository_and_none(clone: Path, tmp_path: Path) -> None:
    """Nobody vouches in the one; the other is told."""
    assert read_ledger_trailers(clone).witnesses == ()
    (tmp_path / "folder").mkdir()
    with pytest.raises(PermanentError, match="the commits cannot be read"):
        read_ledger_trailers(tmp_path / "folder")


def test_commits_of_another_folder_vouch_for_its_ledger(clone: Path) -> None:
    """One that changes another folder's file is marked; a trailer on a commit of this folder, or of no file, never is."""
    for name, head in (("ml/registry.yaml", HEADS[0]), ("registry.yaml", HEADS[1]), ("README", HEADS[2])):
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).write_text(f"{head}\n")
        git(clone, "add", "--all")
        commit(clone, add_ledger_trailer("Rotate", head))
    commit(clone, add_ledger_trailer("No file", HEADS[3]))
    for folder, there in ((RepositoryFolder(), HEADS[0]), (RepositoryFolder("ml"), HEADS[1])):
        for place in (clone, clone / "ml", clone / ".git"):
            found = read_ledger_trailers(place, folder).witnesses
            assert [each.head for each in found if each.elsewhere] == [there]
            assert len(found) == 4
    assert not WitnessIndex("another", [each for each in found if each.elsewhere]).foreign
    assert len(WitnessIndex("another", found).foreign) == 3
