"""A hostile model under a policy that loads it, with the daemon as users start it: nothing is won, nothing is left."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from promoter.adapters.mlflow.sandbox import Sandbox
from tests.support.hostile_model import build_attack, is_left
from tests.support.stage.seeding import make_logged_version
from tests.support.stage.stage import SECRET, Stage, until

POLICY = b"version: 1\nrules: [{metric: auc, at_least: 0.5}, {loads: true}]\n"
PATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}

pytestmark = pytest.mark.slow


def test_a_hostile_model_wins_nothing_of_the_daemon(sandbox: Sandbox, stage: Stage, fresh_name: str, tmp_path: Path) -> None:
    """Not its environment, memory, ledger or ports. The decision says what the model left behind, and none of it is there."""
    del sandbox
    mark = f"9{uuid.uuid4().int % 10**12:012}"
    stage.commit("{}")
    database = Path(stage.database.removeprefix("sqlite:///"))
    daemon = stage.daemon(cold=True, PROMOTER_LOAD_MODELS="true", PROMOTER_LOAD_USER="nobody", **PATIENT)
    addresses = [(str(parts.hostname), int(parts.port or 0)) for parts in map(urlsplit, (daemon.url, stage.tracking_uri))]
    artifact = build_attack(tmp_path, mark, addresses, [str(database)], secret=SECRET)
    make_logged_version(stage.client, fresh_name, [("auc", 0.9, 0, None)], folder=artifact)

    stage.commit(f"{fresh_name}: {{aliases: {{champion: {{version: 1, policy: strict}}}}}}", strict=POLICY)

    def read_decisions() -> str:
        return json.dumps(daemon.ask(f"/api/v1/decisions?model={fresh_name}"))

    until(lambda: stage.aliases(fresh_name), "the alias is there", seconds=300, told=lambda: daemon.log() + read_decisions())
    decided = read_decisions()
    assert "processes that it left behind and that were ended: 1" in decided
    assert "won " not in decided
    assert not is_left(mark)


def test_no_model_is_loaded_without_a_word(stage: Stage, fresh_name: str, tmp_path: Path) -> None:
    """The rule is an error that names the setting, and the alias stays."""
    artifact = build_attack(tmp_path, "1", [], [])
    make_logged_version(stage.client, fresh_name, [("auc", 0.9, 0, None)], folder=artifact)
    stage.commit(f"{fresh_name}: {{aliases: {{champion: {{version: 1, policy: strict}}}}}}", strict=POLICY)
    daemon = stage.daemon()

    def is_decided() -> bool:
        return "PROMOTER_LOAD_MODELS" in json.dumps(daemon.ask(f"/api/v1/decisions?model={fresh_name}"))

    until(is_decided, "the decision names the setting", told=daemon.log)
    assert stage.aliases(fresh_name) == {}
