"""Promoter's commits vouch for the ledger: each has the chain's end as it was when the commit was made."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git.repository import GitRepository
from promoter.bootstrap import World
from promoter.demo.servers.git import GitRemote
from promoter.domain.audit import Kind, NewRecord
from promoter.domain.faults import Unavailable
from promoter.domain.ledger.chain import TRAILER, Head
from promoter.settings import Settings
from tests.fixtures_git import FIRST_FILES, GIT_TOKEN

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_each_commit_has_the_head_of_its_moment(git_remote: GitRemote, tmp_path: Path) -> None:
    """On the watched branch and on branches for proposals; the trailers of the message stay trailers."""
    world = World(
        Settings(
            repo=git_remote.url, git_token=SecretStr(GIT_TOKEN), database_url=f"sqlite:///{tmp_path / 'promoter.db'}",
            mirror=tmp_path / "mirror",
        )
    )  # fmt: skip
    repository, heads = world.repository, []
    base = repository.fetch()
    for number in range(2):
        world.ledger.observe([NewRecord(NOW, Kind.OBSERVED, "m", "champion", number or None, number + 1)])
        heads.append(world.ledger.head())
        content = FIRST_FILES["registry.yaml"] + f"# {number}\n".encode()
        if number == 0:
            base = made = repository.commit(base, "registry.yaml", content, "Rotate\n\nWhy.\n\nPromoter-Aim: rotate\n")
        else:
            made = repository.propose("promoter/m/champion", None, base, content, "Rotate again")
        told = repository.message(made).trailers
        assert Head.of(told[TRAILER]) == heads[-1]
        assert told.get("Promoter-Aim") == (None if number else "rotate")
    assert [head.entry for head in heads] == [2, 3]
    assert heads[0].ledger == heads[1].ledger != ""


def test_without_the_ledger_there_is_no_commit(git_repository: GitRepository) -> None:
    """A commit that vouches for nothing would be one that nobody can hold against the ledger."""

    def gone(_: str) -> str:
        raise Unavailable("ledger", "gone")

    base = git_repository.fetch()
    git_repository.vouch = gone
    with pytest.raises(Unavailable, match="gone"):
        git_repository.commit(base, "registry.yaml", b"x\n", "Rotate")
    with pytest.raises(Unavailable, match="gone"):
        git_repository.propose("promoter/m/champion", None, base, b"x\n", "Rotate")
    assert git_repository.fetch() == base
    assert git_repository.branches("promoter/") == {}
