"""A ledger belongs to one registry: another server behind the same address or setting, and one restored from a backup."""

from __future__ import annotations

import shutil

import pytest

from promoter.adapters.mlflow.client import create_mlflow_client
from promoter.demo.servers.mlflow import MlflowServer
from promoter.domain.audit import RecordKind
from tests.e2e.conftest import MakeStage
from tests.support.shared_server import SharedMlflow
from tests.support.stage.seeding import make_version
from tests.support.stage.stage import Stage, until
from tests.support.stage.versions import STATED, Run, replacements, run, settle

__all__ = ["run"]
pytestmark = pytest.mark.slow


def test_another_tracking_server_is_refused_until_a_person_accepts_it(
    stage: Stage, run: Run, staging_server: SharedMlflow, fresh_name: str
) -> None:
    """`apply` moves nothing there, `plan` warns, `doctor` tells; once it is accepted, its version is a new decision."""
    settle(stage, run, fresh_name)
    there = create_mlflow_client(staging_server.uri, elsewhere=True)
    make_version(there, fresh_name, {"auc": 0.1}, {}, mlmodel=None)
    elsewhere = {"MLFLOW_TRACKING_URI": staging_server.uri}
    code, _, warnings = run(stage, "apply", **elsewhere)
    assert (code, there.get_registered_model(fresh_name).aliases) == (1, {})
    assert "this ledger is about another registry" in warnings
    assert "promoter registry accept" in warnings
    assert "warning: this ledger is about another registry" in run(stage, "plan", **elsewhere)[2]
    assert run(stage, "registry", "show", **elsewhere)[0] == 1
    checks = {each["name"]: each["good"] for each in run(stage, "doctor", **elsewhere)[1]["checks"]}
    assert checks["registry"] is False
    accepted = run(stage, "registry", "accept", "--reason", "moved", "--by", "alice", **elsewhere)
    assert (accepted[0], accepted[1]["accepted_by"], accepted[1]["mismatch"]) == (0, "alice", None)
    code, told, _ = run(stage, "apply", **elsewhere)
    assert (code, there.get_registered_model(fresh_name).aliases) == (3, {})
    assert "v1 is another one" in told["blocked"][0]["reason"]
    assert run(stage, "apply")[0] == 1, "the first one is another registry now"


def test_the_daemon_leaves_another_registry_alone(
    stage: Stage, run: Run, staging_server: SharedMlflow, fresh_name: str
) -> None:
    """It is not ready, says why, and writes nothing, neither there nor into the ledger."""
    settle(stage, run, fresh_name)
    there = create_mlflow_client(staging_server.uri, elsewhere=True)
    make_version(there, fresh_name, {"auc": 0.99}, {"approved_by": "risk"}, mlmodel=None)
    before = len(stage.records(fresh_name))
    daemon = stage.daemon(MLFLOW_TRACKING_URI=staging_server.uri)
    until(lambda: "another registry" in str(daemon.ask("/readyz")[1]), "the daemon says why", told=daemon.log)
    assert daemon.ask("/readyz")[0] == 503
    assert (there.get_registered_model(fresh_name).aliases, len(stage.records(fresh_name))) == ({}, before)


def test_a_restored_registry_is_told_and_opens_no_gate(
    make_stage: MakeStage, run: Run, own_mlflow_server: MlflowServer
) -> None:
    """MLflow's database from before v3 comes back, and the next job registers a bad v3: it is blocked, and told."""
    server = own_mlflow_server
    stage = make_stage("restored", create_mlflow_client(server.uri), server.uri)
    settle(stage, run, "m", 2)
    server.stop()
    shutil.copy(server.folder / "mlflow.db", server.folder / "backup.db")
    server.start()
    assert stage.version("m", 0.97, approved_by="risk") == 3
    stage.commit(STATED.format(model="m", version=3))
    assert (run(stage, "apply")[0], stage.aliases("m")) == (0, {"champion": 3})
    server.stop()
    shutil.copy(server.folder / "backup.db", server.folder / "mlflow.db")
    server.start()
    assert run(stage, "apply")[0] == 3
    assert replacements(stage, "m") == [(3, None)]
    assert stage.version("m", 0.05) == 3
    daemon = stage.daemon()
    until(lambda: len(replacements(stage, "m")) == 2, "the new v3 is told", told=daemon.log)
    assert stage.aliases("m") == {"champion": 2}
    assert replacements(stage, "m") == [(3, None), (3, 3)]
    found = [each.fact for each in stage.records("m") if each.fact.kind is RecordKind.REPLACED]
    assert "the registry may have been restored" in (found[-1].reason or "")
    checks = {each["name"]: each["said"] for each in run(stage, "doctor")[1]["checks"]}
    assert "v3 is another one" in checks["registry"]
