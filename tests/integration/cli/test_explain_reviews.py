"""Reviews as `plan` and `explain` tell them of the clone that one stands in: real git, and what a forge says of its commits."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from promoter.application.explain import DecisionExplainer
from promoter.application.ports import Forge
from promoter.cli.common import load_declaration
from promoter.container import Container
from promoter.domain.decision import Decision
from promoter.domain.errors import TransientError
from promoter.domain.review import ChangeOrigin, PullRequestReview
from promoter.settings import Settings
from tests.support.fakes.registry import FakeRegistry
from tests.support.fixtures.git import git

POLICY = """version: 1
rules: [{review: {from: [alice]}}]
freeze: [{cron: "* * * * *", duration: 1h}]
"""
STATED = "version: 1\nmodels: {{m: {{aliases: {{champion: {{version: {}, policy: p}}}}}}}}\n"


class KnowingForge:
    """A forge that knows of one pull request, which brought everything."""

    def __init__(self) -> None:
        """Up, and not asked yet."""
        self.asked: list[str] = []
        self.down = False

    def find_commit_origin(self, revision: str, teams: frozenset[str]) -> ChangeOrigin:
        """As the port says."""
        del teams
        self.asked.append(revision)
        if self.down:
            raise TransientError("Forge", "does not answer")
        return ChangeOrigin(12, "https://forge.example/12", "bob", reviews=(PullRequestReview("Alice"),), merged=True)


@pytest.fixture
def hub() -> KnowingForge:
    """The forge."""
    return KnowingForge()


@pytest.fixture
def clone_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone in which git says v1."""
    remote, folder = tmp_path / "remote.git", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    git(tmp_path, "clone", "--quiet", str(remote), str(folder))
    git(folder, "checkout", "--quiet", "-B", "main")
    (folder / "policies").mkdir()
    (folder / "policies" / "p.yaml").write_text(POLICY)
    monkeypatch.chdir(folder)
    commit(folder, 1)
    git(folder, "push", "--quiet", "origin", "main")
    return folder


def commit(folder: Path, version: int, trailer: str = "") -> str:
    """State that version."""
    (folder / "registry.yaml").write_text(STATED.format(version))
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", f"Say v{version}\n\n{trailer}")
    return git(folder, "rev-parse", "HEAD")


def decided(tmp_path: Path, hub: KnowingForge) -> Decision:
    """What `explain m@champion` tells, by a process that has just started."""
    registry = FakeRegistry()
    for _ in range(2):
        registry.version("m", auc=0.9)
    registry.place("m", "champion", 1)
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'promoter.db'}")
    world = Container(settings, registry=registry, forge=cast("Forge", hub))
    explain = DecisionExplainer(world.registry, world.reading_ledger, world.reading_planner, world.clock)
    decision = explain.explain_alias(load_declaration(world), "m", "champion").decision
    assert decision is not None
    assert not (tmp_path / "promoter.db").exists()
    return decision


def test_what_is_only_here_waits_for_its_pull_request(clone_folder: Path, tmp_path: Path, hub: KnowingForge) -> None:
    """No forge is asked of a commit that the watched branch does not have."""
    commit(clone_folder, 2, "Promoter-Override-Freeze: now")
    review, freeze = decided(tmp_path, hub).findings
    assert (review.verdict, review.value, freeze.verdict, hub.asked) == ("pending", "no pull request yet", "pending", [])


def test_what_is_on_the_branch_was_brought(clone_folder: Path, tmp_path: Path, hub: KnowingForge) -> None:
    """Who reviewed it is told, and so is a freeze that its commit overrides; a forge that is down is an error."""
    revision = commit(clone_folder, 2, "Promoter-Override-Freeze: now")
    git(clone_folder, "push", "--quiet", "origin", "main")
    review, freeze = decided(tmp_path, hub).findings
    assert (review.verdict, review.value, freeze.verdict) == ("pass", "1 of 1 approve #12", "pass")
    assert [(child.rule, child.value) for child in review.children] == [("Alice", "approves")]
    assert hub.asked == [revision]
    hub.down = True
    assert decided(tmp_path, hub).findings[0].verdict == "error"


def test_a_shallow_clone_cannot_say(
    clone_folder: Path, tmp_path: Path, hub: KnowingForge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its history ends where it was cut, and whoever stands there did not bring everything."""
    commit(clone_folder, 2)
    git(clone_folder, "push", "--quiet", "origin", "main")
    cut = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{tmp_path / 'remote.git'}", str(cut))
    monkeypatch.chdir(cut)
    review, freeze = decided(tmp_path, hub).findings
    assert (review.verdict, freeze.verdict, hub.asked) == ("error", "pending", [])
    assert "too shallow" in review.expected
