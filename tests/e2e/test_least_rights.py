"""Least rights on a real MLflow server that knows its users: who may do what, and how Promoter names what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from promoter.adapters.mlflow.copy import MlflowCopies
from promoter.adapters.mlflow.credentials import HostCredentials
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.domain.copy_source import AliasRef
from promoter.domain.errors import RightMissing
from tests.e2e.conftest import MakeStage
from tests.support.fixtures.basic_auth import ADMIN, PASSWORD, GuardedMlflow
from tests.support.fixtures.git import Colleague
from tests.support.fixtures.ledger import begin_ledger
from tests.support.stage.seeding import make_version
from tests.support.stage.stage import Stage, until

pytestmark = pytest.mark.slow

GATE = b"""version: 1
rules:
  - {metric: auc, at_least: 0.8}
  - {tag: approved_by, one_of: [risk]}
"""
COPIED = "fraud: {aliases: {champion: {policy: gate, rotation: commit, promote_from: {model: fraud-dev, alias: candidate}}}}"


@dataclass(frozen=True)
class LockedStage:
    """A stage whose Promoter is the user `promoter`, on a server where it alone may move the aliases of `fraud`."""

    stage: Stage
    mlflow: GuardedMlflow
    experiment: str

    def run(self, *words: str, user: str = "promoter") -> tuple[int, Any]:
        """Run a command in a clone, as a program of its own; its exit code, and its JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "promoter", *words, "--format", "json"],
            cwd=self.stage.folder / "clone",
            env=self.stage.environment(**self.mlflow.credentials(user), MLFLOW_HTTP_REQUEST_TIMEOUT="20"),
            check=False,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def find_check(self, name: str, user: str = "promoter") -> dict[str, Any]:
        """Run the doctor; what it says of that part."""
        return next(dict(each) for each in self.run("doctor", user=user)[1]["checks"] if each["name"] == name)

    def train(self, auc: float) -> int:
        """Register a version of `fraud-dev`, and point `candidate` at it, as the trainer."""
        trainer = self.mlflow.client("trainer")
        number = make_version(trainer, "fraud-dev", {"auc": auc}, experiment=self.experiment)
        trainer.set_registered_model_alias("fraud-dev", "candidate", str(number))
        return number


@pytest.fixture
def locked_stage(make_stage: MakeStage, guarded_mlflow: GuardedMlflow) -> LockedStage:
    """The lock of docs/environments.md."""
    guarded_mlflow.lock_models()
    admin = guarded_mlflow.client(ADMIN)
    stage = make_stage("locked", admin, guarded_mlflow.uri)
    stage.commit(COPIED, gate=GATE)
    Colleague(stage.remote, stage.folder / "clone", "any")
    begin_ledger(stage.database)
    return LockedStage(stage, guarded_mlflow, admin.get_experiment_by_name("fraud").experiment_id)


def refuse(call: Callable[[], Any]) -> None:
    """See that MLflow itself refuses the call for the right that is missing."""
    with pytest.raises(MlflowException) as refused:
        call()
    assert refused.value.error_code == "PERMISSION_DENIED"


def test_only_promoter_moves_the_champion(locked_stage: LockedStage) -> None:
    """It copies and promotes what the approver approved; MLflow lets neither trainer nor approver move the alias."""
    mlflow, stage = locked_stage.mlflow, locked_stage.stage
    trainer, approver = mlflow.client("trainer"), mlflow.client("approver")
    locked_stage.train(0.9)
    daemon = stage.daemon(**mlflow.credentials("promoter"), MLFLOW_HTTP_REQUEST_TIMEOUT="20")
    until(lambda: stage.client.search_model_versions("name = 'fraud'"), "the copy is a version", told=daemon.told)
    refuse(lambda: trainer.set_registered_model_alias("fraud", "champion", "1"))
    refuse(lambda: trainer.set_model_version_tag("fraud", "1", "approved_by", "risk"))
    refuse(lambda: trainer.create_model_version("fraud", "models:/fraud-dev/1"))
    refuse(lambda: approver.set_registered_model_alias("fraud", "champion", "1"))
    approver.set_model_version_tag("fraud", "1", "approved_by", "risk")
    stage.until_at("fraud", {"champion": 1}, daemon.told)
    refuse(lambda: trainer.set_registered_model_alias("fraud", "champion", "1"))
    refuse(lambda: approver.delete_registered_model_alias("fraud", "champion"))
    assert locked_stage.find_check("rights")["said"] == "user promoter may do what git asks for on 2 models"
    code, found = locked_stage.run("doctor")
    others = next(each for each in found["checks"] if each["name"] == "alias writers")
    alone = "nobody beside promoter may move an alias of 1 model; and administrators: admin"
    assert (code, others["good"], others["said"]) == (0, True, alone)


def change_right(mlflow: GuardedMlflow, kind: str, name: str, permission: str | None) -> None:
    """Give Promoter another right in the place of the one that it has there; None: give it none."""
    mlflow.grants.revoke_user_permission("promoter", kind, name)
    if permission:
        mlflow.grants.grant_user_permission("promoter", kind, name, permission)


def test_a_right_that_promoter_lacks_is_named(locked_stage: LockedStage) -> None:
    """The doctor, `apply` and the daemon's status say which right is missing on which model, until it is given."""
    mlflow, stage = locked_stage.mlflow, locked_stage.stage
    make_version(stage.client, "fraud", {"auc": 0.9}, mlmodel=None, experiment=locked_stage.experiment)
    stage.client.set_registered_model_alias("fraud", "legacy", "1")
    stage.commit("fraud: {aliases: {champion: 1, legacy: absent}}")
    for held, missing in (("READ", "EDIT"), ("EDIT", "MANAGE")):
        change_right(mlflow, "registered_model", "fraud", held)
        code, applied = locked_stage.run("apply")
        assert (code, f"Permission denied, it takes {missing} on model fraud" in applied["failed"]["fraud"]) == (1, True)
    found = locked_stage.find_check("rights")
    assert (found["good"], found["said"]) == (False, "user promoter lacks MANAGE on fraud to delete legacy (`absent`)")
    daemon = stage.daemon(**mlflow.credentials("promoter"), MLFLOW_HTTP_REQUEST_TIMEOUT="20")
    failing = until(lambda: daemon.ask("/readyz")[1]["failing"], "the model is shown as failing", told=daemon.told)
    assert "it takes MANAGE on model fraud" in failing["fraud"]["reason"]
    change_right(mlflow, "registered_model", "fraud", "MANAGE")
    change_right(mlflow, "experiment", locked_stage.experiment, None)
    stage.until_at("fraud", {"champion": 1}, daemon.told)
    found = locked_stage.find_check("rights")
    assert (found["good"], "lacks READ on the experiment of run" in found["said"]) == (False, True), found
    assert found["said"].endswith("(fraud v1)")
    change_right(mlflow, "registered_model", "fraud", None)
    assert "user promoter lacks MANAGE on fraud" in locked_stage.find_check("rights")["said"]


def test_whoever_else_may_move_an_alias_is_named(locked_stage: LockedStage) -> None:
    """By Promoter's user as roles and users with rights of their own; by an administrator as persons."""
    mlflow = locked_stage.mlflow
    mlflow.grants.grant_user_permission("trainer", "registered_model", "fraud", "EDIT")
    mlflow.grant_role("strangers", "approver", ("registered_model", "*", "MANAGE"))
    seen, known = locked_stage.find_check("alias writers"), locked_stage.find_check("alias writers", user=ADMIN)
    assert (seen["good"], known["good"]) == (None, None)
    others = "role strangers (MANAGE), trainer (EDIT); and administrators: admin"
    assert seen["said"] == f"beside promoter, these may move aliases of fraud: {others}"
    persons = "approver (MANAGE), promoter (EDIT), trainer (EDIT)"
    assert known["said"] == f"beside admin, these may move aliases of fraud: {persons}"


def test_models_that_promoter_may_not_read_are_named(locked_stage: LockedStage) -> None:
    """A source of copies alone and among several; MLflow does not tell one that is not there from one that is withheld."""
    mlflow = locked_stage.mlflow
    change_right(mlflow, "registered_model", "fraud-dev", None)
    credentials = HostCredentials("promoter", PASSWORD)
    copies = MlflowCopies("http://127.0.0.1:9", {"lab": mlflow.uri}, credentials={"lab": credentials})
    readable, withheld, gone = (AliasRef("lab", name, "candidate") for name in ("fraud", "fraud-dev", "nobody"))
    for places in ([withheld], [gone], [readable, withheld, gone]):
        found = copies.read_source_aliases(places)
        words = "the user that Promoter has in lab may not read {}, or it is not there: it takes READ on it"
        assert {place.model: each.trouble and each.trouble.message for place, each in found.items()} == {
            place.model: None if place == readable else words.format(place.model) for place in places
        }
    change_right(mlflow, "registered_model", "fraud", None)
    registry = MlflowRegistry(mlflow.uri, elsewhere=True, credentials=credentials)
    with pytest.raises(RightMissing, match=r"Promoter's user may read no model at .*, or there is none"):
        registry.observe_models()
