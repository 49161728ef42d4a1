"""Artifacts in an object store that clients fetch from themselves: what Promoter reads there, and what it says if it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from promoter.adapters.mlflow.client import create_mlflow_client
from promoter.adapters.mlflow.copy import MlflowCopies
from promoter.adapters.mlflow.sandbox import Sandbox
from promoter.demo.servers.mlflow import MlflowServer
from promoter.domain.copy_source import AliasRef
from tests.e2e.conftest import MakeStage
from tests.support.fixtures.postgres import new_database
from tests.support.fixtures.s3 import ObjectStore
from tests.support.stage.seeding import make_logged_version
from tests.support.stage.serving_example import save_line

MLMODEL = """\
flavors: {python_function: {loader_module: none}}
signature: {inputs: '[{"type": "double", "name": "x"}]', outputs: null}
"""
WITHOUT_BOTO = "import sys; sys.modules |= {'boto3': None, 'botocore': None}; from promoter.__main__ import main; main()"
"""Runs the command as where the library of S3 is not installed."""


@pytest.fixture
def server(own_mlflow_server: MlflowServer, object_store: ObjectStore) -> MlflowServer:
    """A registry with one version, whose artifact is in the object store."""
    client = create_mlflow_client(own_mlflow_server.uri)
    client.create_registered_model("fraud")
    client.create_model_version("fraud", object_store.put("models/one/MLmodel", MLMODEL))
    client.set_registered_model_alias("fraud", "champion", "1")
    return own_mlflow_server


def run_program(folder: Path, uri: str, *words: str, program: str | None = None, **environment: str) -> Any:
    """Run a command there, and return what it prints as JSON."""
    start = [sys.executable, "-c", program] if program else [sys.executable, "-m", "promoter"]
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_", "PROMOTER_"))}
    kept |= {"MLFLOW_TRACKING_URI": uri, "AWS_EC2_METADATA_DISABLED": "true"}
    command = [*start, *words, "--format", "json"]
    done = subprocess.run(command, cwd=folder, env=kept | environment, check=False, capture_output=True, text=True)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def find_artifacts_check(folder: Path, uri: str, program: str | None = None, **environment: str) -> dict[str, Any]:
    """Run `promoter doctor`, and return what it says of artifacts."""
    checks = run_program(folder, uri, "doctor", program=program, **environment)["checks"]
    return next(dict(each) for each in checks if each["name"] == "artifacts")


@pytest.mark.slow
def test_the_doctor_fetches_an_artifact(server: MlflowServer, object_store: ObjectStore, tmp_path: Path) -> None:
    """All is well with library and credentials; without one of them, it is named, with what to do."""
    keys = object_store.environment
    there = find_artifacts_check(tmp_path, server.uri, **keys)
    assert (there["good"], there["said"]) == (True, "fraud v1 can be fetched: python_function")
    unknown = find_artifacts_check(tmp_path, server.uri, MLFLOW_S3_ENDPOINT_URL=object_store.url)
    assert unknown["good"] is False
    assert "its storage wants credentials, and there are none: set AWS_ACCESS_KEY_ID" in unknown["said"]
    missing = find_artifacts_check(tmp_path, server.uri, WITHOUT_BOTO, **keys)
    assert missing["good"] is False
    assert missing["said"].endswith("pip install 'promoter[s3]'")
    object_store.client.delete_object(Bucket=object_store.bucket, Key="models/one/MLmodel")
    gone = find_artifacts_check(tmp_path, server.uri, **keys)
    assert (gone["good"], gone["said"]) == (None, "fraud v1: no MLmodel file")


def test_rules_read_an_object_store(server: MlflowServer, object_store: ObjectStore, tmp_path: Path) -> None:
    """The rule `signature` passes on a version whose artifact only S3 has."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/p.yaml").write_text("version: 1\nrules: [{signature: {present: true}}]\n")
    (tmp_path / "registry.yaml").write_text("version: 1\nmodels: {fraud: {aliases: {champion: {version: 1, policy: p}}}}\n")
    decision = run_program(tmp_path, server.uri, "explain", "fraud/1", "--policy", "p", **object_store.environment)
    assert decision["verdict"] == "pass", decision


@pytest.mark.slow
def test_a_model_is_loaded_and_copied(
    object_store: ObjectStore, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule `loads` passes on a model that only S3 has, and the copy in another server's bucket loads as well."""
    del sandbox  # where there is none, nothing is loaded
    for name, value in {**object_store.environment, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    keys = {"PROMOTER_LOAD_MODELS": "true", "PROMOTER_LOAD_USER": "nobody", **object_store.environment}
    with ExitStack() as stack:
        staging, production = (
            stack.enter_context(
                MlflowServer(
                    tmp_path / name, artifact_root=f"s3://{object_store.bucket}/{name}", variables=object_store.environment
                )
            )
            for name in ("staging", "production")
        )
        client = create_mlflow_client(staging.uri, elsewhere=True)
        make_logged_version(client, "fraud", folder=save_line(tmp_path / "line", 2.0))
        client.set_registered_model_alias("fraud", "champion", "1")
        copies = MlflowCopies(production.uri, {"staging": staging.uri})
        place = AliasRef("staging", "fraud", "champion")
        found = copies.read_source_aliases([place])[place].holder
        assert found
        create_mlflow_client(production.uri, elsewhere=True).create_registered_model("fraud")
        assert copies.copy_version(found, "fraud") == 1
        (tmp_path / "policies").mkdir()
        (tmp_path / "policies/p.yaml").write_text("version: 1\nrules: [{signature: {present: true}}, {loads: true}]\n")
        (tmp_path / "registry.yaml").write_text("version: 1\nmodels: {fraud: {aliases: {champion: {version: 1, policy: p}}}}\n")
        for server in (staging, production):
            decision = run_program(tmp_path, server.uri, "explain", "fraud/1", "--policy", "p", **keys)
            assert decision["verdict"] == "pass", decision
        stored = object_store.client.list_objects_v2(Bucket=object_store.bucket, Prefix="production/")
        assert any(each["Key"].endswith("MLmodel") for each in stored["Contents"])


def test_a_version_becomes_champion_on_postgresql_and_s3(  # the short form of test_production.py
    object_store: ObjectStore,
    postgres_home: str,
    migrated_postgres_url: str,
    make_stage: MakeStage,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`apply` fetches from S3, loads, and moves the alias of a server on PostgreSQL; the ledger on PostgreSQL has it."""
    del sandbox  # where there is none, nothing is loaded
    for name, value in {**object_store.environment, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    with new_database(postgres_home) as tracking:
        store = make_url(tracking).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
        root = f"s3://{object_store.bucket}/artifacts"
        with MlflowServer(
            tmp_path / "mlflow", backend_store_uri=store, artifact_root=root, variables=object_store.environment
        ) as server:
            client = create_mlflow_client(server.uri, elsewhere=True)
            make_logged_version(client, "fraud", folder=save_line(tmp_path / "line", 2.0))
            stage = make_stage(client=client, uri=server.uri)
            stage.commit(
                "fraud: {aliases: {champion: {version: 1, policy: p}}}",
                p=b"version: 1\nrules: [{signature: {present: true}}, {loads: true}]\n",
            )
            stage.git("clone", "--quiet", str(stage.remote.path), str(stage.folder / "clone"))
            keys = {
                "PROMOTER_DATABASE_URL": migrated_postgres_url,
                "PROMOTER_LOAD_MODELS": "true",
                "PROMOTER_LOAD_USER": "nobody",
            }
            environment = {"MLFLOW_TRACKING_URI": server.uri, **keys, **object_store.environment}
            run_program(stage.folder / "clone", server.uri, "apply", **environment)
            assert stage.aliases("fraud") == {"champion": 1}
            records = run_program(stage.folder / "clone", server.uri, "audit", "list", **environment)["records"]
            assert "applied" in [each.get("outcome") for each in records], records
