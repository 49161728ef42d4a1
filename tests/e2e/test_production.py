"""The life of the tabular example on the topology of production, with everybody's least rights.

MLflow on PostgreSQL, its artifacts on S3, its users known (basic-auth), with workspaces; the ledger on PostgreSQL; a daemon
that hears by webhooks; trainers, an approver and Promoter, where Promoter alone may move an alias of the model that serves.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.engine import make_url

from tests.e2e.conftest import MakeStage
from tests.support.fixtures.basic_auth import ADMIN, GuardedMlflow, guard_mlflow
from tests.support.fixtures.postgres import new_database
from tests.support.fixtures.s3 import ObjectStore
from tests.support.stage.newcomer import Newcomer
from tests.support.stage.stage import Daemon, Stage, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "tabular"
LOCKED = """fraud:
    owners: [risk-team]
    aliases:
      champion: {policy: champion, rotation: commit}
      challenger: {policy: challenger, rotation: commit, promote_from: {model: fraud-dev, alias: candidate}}
"""
LOAD = """\
import mlflow, sys
model = mlflow.pyfunc.load_model("models:/fraud@champion")
print(len(model.predict(model.input_example)))
"""


class Production:
    """All parts, as docs/operate.md has them."""

    def __init__(self, mlflow: GuardedMlflow, store: ObjectStore, stage: Stage, ledger: str, folder: Path) -> None:
        """Run the recipe of the lock, and state the model."""
        self.mlflow, self.store, self.stage, self.ledger, self._folder = mlflow, store, stage, ledger, folder
        mlflow.lock_models()
        policies = {path.stem: path.read_bytes() for path in (EXAMPLE / "policies").glob("*.yaml")}
        stage.commit(LOCKED, **policies)
        self.team = Newcomer(
            EXAMPLE,
            folder / "team",
            mlflow.uri,
            ("fraud-detector", "fraud-dev"),
            **mlflow.credentials("trainer"),
            **store.environment,
        )

    @property
    def settings(self) -> dict[str, str]:
        """Promoter's own: the least rights in MLflow, S3, and its ledger."""
        keys = {**self.mlflow.credentials("promoter"), **self.store.environment, "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
        return {**keys, "PROMOTER_DATABASE_URL": self.ledger, "PROMOTER_POLL_INTERVAL": "1h"}

    def promoter(self, *words: str, user: str = "promoter") -> str:
        """Run a command as that user of MLflow; what it prints."""
        environment = self.stage.environment(**self.settings | self.mlflow.credentials(user))
        command = [sys.executable, "-m", "promoter", *words]
        done = subprocess.run(command, cwd=self._folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def train(self, *words: str) -> int:
        """Train, compare and register as a trainer, and point `candidate` at the version."""
        self.team.script("train.py", "--experiment", "fraud", *words)
        printed = self.team.script("evaluate.py", "--experiment", "fraud", "--model", "fraud-dev")
        number = int(printed.rpartition("registered fraud-dev v")[2].partition(",")[0])
        self.mlflow.client("trainer").set_registered_model_alias("fraud-dev", "candidate", str(number))
        return number

    def approve(self, version: int) -> None:
        """Tag the version, as the approver."""
        self.mlflow.client("approver").set_model_version_tag("fraud", str(version), "approved_by", "risk-team")

    def await_aliases(self, daemon: Daemon, **aliases: int) -> None:
        """Wait until the model that serves has them."""
        until(lambda: self.stage.aliases("fraud") == aliases, f"fraud has {aliases}", told=daemon.told)


@pytest.fixture
def production(
    request: pytest.FixtureRequest,
    object_store: ObjectStore,
    postgres_home: str,
    postgres_url: str,
    make_stage: MakeStage,
    tmp_path: Path,
) -> Iterator[Production]:
    """Started for one test. The parameter is the workspace in which everybody works; None: nobody names one."""
    workspace: str | None = request.param
    with new_database(postgres_home) as tracking, new_database(postgres_home) as users:
        driver = "postgresql+psycopg2"
        stores = [make_url(url).set(drivername=driver).render_as_string(hide_password=False) for url in (tracking, users)]
        with guard_mlflow(
            tmp_path / "mlflow",
            users_database=stores[1],
            workspace=workspace,
            backend_store_uri=stores[0],
            artifact_root=f"s3://{object_store.bucket}/artifacts",
            options=["--enable-workspaces"],
            variables=object_store.environment,
        ) as mlflow:
            stage = make_stage("production", mlflow.client(ADMIN), mlflow.uri)
            yield Production(mlflow, object_store, stage, postgres_url, tmp_path)


def refuse(call: Any) -> None:
    """See that MLflow itself refuses it."""
    with pytest.raises(MlflowException) as refused:
        call()
    assert refused.value.error_code == "PERMISSION_DENIED"


@pytest.mark.slow
@pytest.mark.parametrize(("object_store", "production"), [("moto", "team-a"), ("seaweedfs", None)], indirect=True)
def test_from_training_to_an_audit_in_production(production: Production) -> None:
    """A trainer's versions become champion by copy, webhook, policy and approval; one is rolled back; all of it is recorded."""
    daemon = production.stage.daemon(**production.settings)
    production.promoter("webhooks", "install", "--url", daemon.url, user=ADMIN)
    for version, words in ((1, ("--trees", "10")), (2, ())):
        assert production.train(*words) == version
        before = {"champion": version - 1} if version > 1 else {}
        production.await_aliases(daemon, challenger=version, **before)
        production.approve(version)
        production.await_aliases(daemon, challenger=version, champion=version)
    trainer = production.mlflow.client("trainer")
    refuse(lambda: trainer.set_registered_model_alias("fraud", "champion", "1"))
    refuse(lambda: trainer.set_model_version_tag("fraud", "1", "approved_by", "risk-team"))
    production.promoter("rollback", "fraud@champion", "--reason", "too many false alarms", "--by", "alice")
    assert daemon.ask("/api/v1/reconcile", "POST")[0] == 202  # in the place of the forge's webhook
    production.await_aliases(daemon, challenger=2, champion=1)
    history = production.promoter("history", "fraud@champion", "--format", "json")
    spans = json.loads(history)["spans"]
    assert [each["version"] for each in spans] == [1, 2, 1]
    assert spans[-1]["actor"] == "alice"
    assert "The ledger is sound" in production.promoter("audit", "verify")
    assert "artifacts" in production.promoter("doctor")
    bound = json.loads(production.promoter("registry", "show", "--format", "json"))
    assert bound["workspace"] == (production.mlflow.workspace or "default")
    assert len(json.loads(production.promoter("audit", "list", "--format", "json"))["records"]) > 4
    assert not list(production.team.folder.parent.rglob("promoter.db")), "a ledger is in SQLite"
    assert production.store.client.list_objects_v2(Bucket=production.store.bucket, Prefix="artifacts/")["KeyCount"] > 8
    owner = Newcomer(
        EXAMPLE,
        production.team.folder.with_name("service"),
        production.mlflow.uri,
        ("fraud-detector", "fraud"),
        **production.mlflow.credentials("promoter"),
        **production.store.environment,
    )
    assert "val_auc 0.9499" in owner.script("audit.py", "fraud/1")
    (owner.folder / "load.py").write_text(LOAD)
    assert owner.script("load.py").strip() == "5"
