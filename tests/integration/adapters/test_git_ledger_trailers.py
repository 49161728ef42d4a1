"""Promoter's commits vouch for the ledger: each has the chain's end as it was when the commit was made."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from promoter.adapters.git.repository import GitRepository
from promoter.container import Container
from promoter.demo.servers.git import GitHttpServer
from promoter.domain.audit import NewAuditRecord, RecordKind
from promoter.domain.errors import TransientError
from promoter.domain.ledger.chain import LEDGER_TRAILER, LedgerHead
from promoter.settings import Settings
from tests.support.fixtures.git import FIRST_FILES, GIT_TOKEN

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_each_commit_has_the_head_of_its_moment(git_remote: GitHttpServer, tmp_path: Path) -> None:
    """On the watched branch and on branches for proposals; the trailers of the message stay trailers."""
    world = Container(
        Settings(
            repo=git_remote.url, git_token=SecretStr(GIT_TOKEN), database_url=f"sqlite:///{tmp_path / 'promoter.db'}",
            mirror=tmp_path / "mirror",
        )
    )  # fmt: skip
    repository, heads = world.repository, []
    base = repository.fetch_branch()
    for number in range(2):
        world.ledger.record_observed_moves(
            [NewAuditRecord(NOW, RecordKind.OBSERVED, "m", "champion", number or None, number + 1)]
        )
        heads.append(world.ledger.read_chain_head())
        content = FIRST_FILES["registry.yaml"] + f"# {number}\n".encode()
        if number == 0:
            base = made = repository.commit_file(base, "registry.yaml", content, "Rotate\n\nWhy.\n\nPromoter-Aim: rotate\n")
        else:
            made = repository.push_proposal("promoter/m/champion", None, base, content, "Rotate again")
        trailers = repository.read_commit(made).trailers
        assert LedgerHead.parse_trailer(trailers[LEDGER_TRAILER]) == heads[-1]
        assert trailers.get("Promoter-Aim") == (None if number else "rotate")
    assert [head.entry for head in heads] == [2, 3]
    assert heads[0].ledger == heads[1].ledger != ""


def test_without_the_ledger_there_is_no_commit(git_repository: GitRepository) -> None:
    """A commit that vouches for nothing would be one that nobody can hold against the ledger."""

    def gone(_: str) -> str:
        raise TransientError("ledger", "gone")

    base = git_repository.fetch_branch()
    git_repository._attest = gone
    with pytest.raises(TransientError, match="gone"):
        git_repository.commit_file(base, "registry.yaml", b"x\n", "Rotate")
    with pytest.raises(TransientError, match="gone"):
        git_repository.push_proposal("promoter/m/champion", None, base, b"x\n", "Rotate")
    assert git_repository.fetch_branch() == base
    assert git_repository.list_branches("promoter/") == {}
