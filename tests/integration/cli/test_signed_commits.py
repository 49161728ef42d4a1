"""`require_signed_commits` on the command line: what `apply` refuses in a clone, and what `doctor` says of a missing key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from promoter.cli.apply import load_branch_declaration
from promoter.cli.doctor import _check_git_repository
from promoter.container import Container
from promoter.domain.audit import RevisionState
from promoter.domain.errors import PermanentError
from promoter.settings import Settings
from tests.support.fakes.registry import FakeRepository
from tests.support.fixtures.git import git

SIGNED = "version: 1\nsafety: {require_signed_commits: true}\nmodels: {}\n"
PLAIN = "version: 1\nmodels: {}\n"


def commit(folder: Path, text: str) -> str:
    """Push an unsigned commit of that `registry.yaml`."""
    (folder / "registry.yaml").write_text(text)
    git(folder, "add", "registry.yaml")
    git(folder, "commit", "--quiet", "--message", "By hand")
    git(folder, "push", "--quiet", "origin", "main")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def clone_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone that one stands in, with a remote; PROMOTER_REPO is not set."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "remote.git"))
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(tmp_path / "remote.git"), str(folder))
    git(folder, "symbolic-ref", "HEAD", "refs/heads/main")
    monkeypatch.chdir(folder)
    return folder


def test_apply_asks_what_was_in_force_before(clone_folder: Path, tmp_path: Path) -> None:
    """Whoever switches signatures off on the branch, and applies that, has to sign it; nothing else asks for one."""
    world = Container(Settings(mlflow_tracking_uri="http://127.0.0.1:9", database_url=f"sqlite:///{tmp_path / 'promoter.db'}"))
    before = commit(clone_folder, SIGNED)
    with pytest.raises(PermanentError, match="not signed"):
        load_branch_declaration(world, None)
    world.ledger.record_revision_state(before, RevisionState.APPLIED, datetime.now(UTC))
    commit(clone_folder, PLAIN)
    with pytest.raises(PermanentError, match=r"1 commits are not signed by a key in signers/.*take them back"):
        load_branch_declaration(Container(world.settings), None)


@pytest.mark.parametrize(
    ("safety", "rotation", "signs", "good"),
    [
        ("true", "commit", False, False),
        ("true", "commit", True, True),
        ("true", "pull-request", False, True),
        ("false", "commit", False, True),
    ],
)
def test_doctor_misses_a_key_that_is_needed(safety: str, rotation: str, signs: bool, good: bool) -> None:
    """It names what cannot rotate, and what to set."""
    repository = FakeRepository()
    repository.signing = signs
    aliases = f"aliases: {{champion: {{policy: p, rotation: {rotation}}}}}"
    told = f"version: 1\nsafety: {{require_signed_commits: {safety}}}\nfamilies: [{{match: 'x-*', {aliases}}}]\n"
    told += f"models: {{m: {{{aliases}}}}}\n"
    repository.push({"registry.yaml": told.encode(), "policies/p.yaml": b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"})
    found = _check_git_repository(Container(Settings(repo="r"), repository=repository))
    assert found.good is good
    assert ("there is no key for those of m@champion, x-*@champion" in found.message) is not good
    assert ("PROMOTER_SIGNING_KEY" in (found.fix or "")) is not good
