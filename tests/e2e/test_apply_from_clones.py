"""`promoter apply` on real servers, from clones that are not the branch; and what `serve` says where it begins a ledger."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fixtures.git import Colleague
from tests.support.fixtures.ledger import begin_ledger
from tests.support.stage.stage import Stage, registry_yaml

POLICY = b"version: 1\nrules: [{metric: auc, at_least: 0.5}]\n"
CHAMPION = "{model}: {{aliases: {{champion: {{version: {number}, policy: champion{more}}}, shadow: {shadow}}}}}"


def apply(stage: Stage, clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run it there as a program of its own, without PROMOTER_REPO."""
    environment = {name: text for name, text in stage.environment().items() if name != "PROMOTER_REPO"}
    command = [sys.executable, "-m", "promoter", "apply", *words]
    return subprocess.run(command, cwd=clone, env=environment, check=False, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_clones_that_are_not_the_branch(stage: Stage, fresh_name: str) -> None:
    """A clone behind a rollback puts nothing back; edits move no gated alias, and an ungated one only as oneself."""
    begin_ledger(stage.database)
    for auc in (0.8, 0.9):
        stage.version(fresh_name, auc)
    stage.by_hand(fresh_name, "champion", 1)
    stage.by_hand(fresh_name, "shadow", 1)

    def stated(number: int, more: str = "", shadow: int = 1) -> dict[str, bytes]:
        text = CHAMPION.format(model=fresh_name, number=number, more=more, shadow=shadow)
        return {"registry.yaml": registry_yaml(text), "policies/champion.yaml": POLICY}

    stage.remote.commit_files(stated(1))
    clone = Colleague(stage.remote, stage.folder / "clone", "any")
    clone.push(stated(2), "Promote v2")
    assert apply(stage, clone.folder).returncode == 0
    assert stage.aliases(fresh_name) == {"champion": 2, "shadow": 1}
    stage.remote.commit_files(stated(1, ", quarantine: [2]"), "Roll back")
    assert apply(stage, clone.folder).returncode == 0
    assert stage.aliases(fresh_name)["champion"] == 1
    behind = apply(stage, clone.folder)
    assert (behind.returncode, stage.aliases(fresh_name)["champion"]) == (0, 1), behind.stderr
    assert f"{fresh_name}@champion: v2 here, v1 on the branch" in behind.stderr

    for path, content in stated(2, shadow=2).items():
        (clone.folder / path).write_bytes(
            content if path == "registry.yaml" else b"version: 1\nrules: [{metric: auc, at_least: 0}]\n"
        )
    assert apply(stage, clone.folder).returncode == 0
    assert stage.aliases(fresh_name) == {"champion": 1, "shadow": 1}
    own = apply(stage, clone.folder, "--from-working-tree")
    assert own.returncode == 3, own.stderr
    assert stage.aliases(fresh_name) == {"champion": 1, "shadow": 2}


@pytest.mark.slow
def test_serve_says_that_it_begins_a_ledger(stage: Stage, fresh_name: str) -> None:
    """The first start says what the new ledger does not know, and the file is its owner's alone; the second says nothing."""
    stage.version(fresh_name, 0.8)
    stage.commit(f"{fresh_name}: {{aliases: {{champion: 1}}}}")
    first = stage.daemon()
    first.until_ready()
    assert first.stop() == 0
    assert "a new ledger begins" in first.log()
    assert "PROMOTER_DATABASE_URL" in first.log()
    file = Path(stage.database.removeprefix("sqlite:///"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    second = stage.daemon()
    second.until_ready()
    assert second.stop() == 0
    assert "a new ledger begins" not in second.log()
