"""A version whose registration failed, on a real server: no policy passes it, and no command moves an alias to it."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from promoter.adapters.mlflow.client import create_mlflow_client
from promoter.demo.servers.mlflow import MlflowServer
from tests.support.fixtures.git import Colleague, git
from tests.support.fixtures.ledger import begin_ledger
from tests.support.stage.stage import Stage

GENEROUS = b"version: 1\ncandidates: {from: any, rank: {metric: auc, order: highest}}\nrules: [{metric: auc, at_least: 0.1}]\n"


@pytest.fixture
def stage(make_stage: Any, own_mlflow_server: MlflowServer) -> Stage:
    """v1 is champion; v2 is better, and its registration failed."""
    client = create_mlflow_client(own_mlflow_server.uri, elsewhere=True)
    stage: Stage = make_stage(client=client, uri=own_mlflow_server.uri)
    for auc in (0.5, 0.9):
        stage.version("m", auc)
    stage.by_hand("m", "champion", 1)
    with sqlite3.connect(own_mlflow_server.folder / "mlflow.db") as database:
        database.execute("UPDATE model_versions SET status = 'FAILED_REGISTRATION' WHERE version = 2")
    return stage


@pytest.mark.slow
def test_a_failed_registration_passes_nowhere(stage: Stage) -> None:
    """Asked by its number, by rotation, and by a commit that states it."""
    begin_ledger(stage.database)
    stage.commit("m: {aliases: {champion: {version: 1, policy: p, rotation: commit}, free: {policy: p}}}", p=GENEROUS)
    clone = Colleague(stage.remote, stage.folder / "clone", "any")

    def run(*arguments: str) -> tuple[int, str]:
        done = stage.warm.run("promoter", arguments, clone.folder, stage.environment())
        return done.returncode, " ".join((done.stdout + done.stderr).split())  # a sentence may be on two lines

    code, words = run("explain", "m/2", "--policy", "p")
    assert (code, "FAILED_REGISTRATION" in words) == (3, True)
    code, words = run("explain", "m@champion")
    assert (code, "every newer version is in quarantine or not ready" in words) == (0, True)
    assert run("explain", "m@free")[0] == 3
    stage.commit("m: {aliases: {champion: {version: 2, policy: p}}}", p=GENEROUS)
    git(clone.folder, "pull", "--quiet")
    code, words = run("plan")
    assert (code, "its registration failed" in words) == (3, True)
    assert run("explain", "m@champion")[0] == 3
    assert run("apply")[0] == 3
    assert stage.aliases("m") == {"champion": 1}
