"""A real daemon with a key: it vouches for its ledger by itself, its commits do, and `audit verify` hears both."""

from __future__ import annotations

import json
import os
from pathlib import Path

from promoter.adapters.ledger import SqlLedger
from promoter.domain.approvals import SigningKey
from promoter.domain.ledger.checkpoints import LifecycleEventType
from tests.e2e.test_rotation_conflicts import HIGHEST
from tests.support.stage.stage import Stage, until


def test_daemon_and_commits_vouch(stage: Stage, fresh_name: str, tmp_path: Path) -> None:
    """Somebody who knows the public key, and has the repository, needs nothing else."""
    key = tmp_path / "checkpoint.pem"
    signer = SigningKey.from_seed(os.urandom(32))
    key.write_bytes(signer.to_pem(None))
    key.chmod(0o600)
    public = signer.public_key
    stage.version(fresh_name, 0.8)
    stage.commit(f"{fresh_name}: {{aliases: {{champion: {{policy: champion, rotation: commit}}}}}}", champion=HIGHEST)
    daemon = stage.daemon(PROMOTER_CHECKPOINT_KEY=str(key))
    stage.until_at(fresh_name, {"champion": 1}, daemon.log)
    ledger = SqlLedger.open(stage.database, read_only=True)
    until(
        lambda: LifecycleEventType.CHECKPOINT in {each.event for each in ledger.find_lifecycle_events()},
        "a checkpoint",
        told=daemon.log,
    )
    ledger.close_connections()
    assert daemon.stop() == 0
    asked = ["audit", "verify", "--key", public, "--format", "json", "--repo", str(stage.remote.path)]
    done = stage.warm.run("promoter", asked, stage.folder, stage.environment())
    told = json.loads(done.stdout)
    assert (done.returncode, told["problems"], told["trusted"]) == (0, [], True), told
    assert told["vouching"]["commit"] == 1
    assert told["keys"] == {public: 1}
    said = daemon.log()
    assert "checkpoint" in said
    assert key.read_text().splitlines()[1] not in said
