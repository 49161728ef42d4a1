"""Readiness on a real MLflow server with real artifacts."""

from __future__ import annotations

from typing import Any

import pytest

from promoter.adapters.mlflow import artifacts
from promoter.adapters.mlflow.loading import LoadBounds
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.adapters.mlflow.sandbox import Sandbox
from promoter.domain.decision import Verdict
from promoter.domain.policy.evaluate import check_readiness
from tests.support.stage.seeding import make_version


@pytest.mark.slow
@pytest.mark.usefixtures("ambient_mlflow")
def test_a_logged_model_is_ready_and_so_is_its_copy(
    sandbox: Sandbox, mlflow_client: Any, mlflow_server: Any, fresh_name: str
) -> None:
    """A model as MLflow logs it today (its source names a logged model), and a copy (whose source names a version).

    Where it cannot be loaded here the file is enough, and the value says so.
    """
    del sandbox
    import mlflow

    class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, model_input: list[str]) -> list[str]:
            return model_input

    with mlflow.start_run():
        mlflow.pyfunc.log_model(name="model", python_model=Echo(), registered_model_name=fresh_name, pip_requirements=[])
    mlflow_client.copy_model_version(f"models:/{fresh_name}/1", f"{fresh_name}-copy")

    for name, at, value in (
        (
            fresh_name,
            MlflowRegistry(mlflow_server.uri, load_models=True, bounds=LoadBounds(fetch_seconds=240, load_seconds=240)),
            "loads",
        ),
        (
            f"{fresh_name}-copy",
            MlflowRegistry(mlflow_server.uri, load_models=True, bounds=LoadBounds(fetch_seconds=0)),
            "not loaded here: its artifact did not arrive within 0 s",
        ),
        (
            f"{fresh_name}-copy",
            MlflowRegistry(mlflow_server.uri),
            "not loaded here: PROMOTER_LOAD_MODELS is not set to true",
        ),
    ):
        finding = check_readiness(at.check_readiness(name, 1))
        assert (finding.verdict, finding.value) == (Verdict.PASS, f"python_function; {value}")


@pytest.mark.parametrize(
    ("content", "verdict", "value"),
    [
        (None, Verdict.FAIL, "no MLmodel file"),
        ("flavors: {}", Verdict.FAIL, "MLmodel names no flavor"),
        ("- a list", Verdict.FAIL, "MLmodel names no flavor"),
        ("[unclosed", Verdict.ERROR, "MLmodel is not YAML"),
        ("[" * 1_000_000, Verdict.ERROR, "MLmodel is nested more than 100 deep"),
        ("#" * (1024 * 1024 + 1), Verdict.ERROR, "MLmodel has 1048577 bytes, more than 1048576"),
    ],
)
def test_an_artifact_that_is_no_model_is_not_ready(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, content: str | None, verdict: Verdict, value: str
) -> None:
    """What is certain fails, what cannot be read is an error; neither passes."""
    version = make_version(mlflow_client, fresh_name, mlmodel=content)

    finding = check_readiness(registry.check_readiness(fresh_name, version))

    assert (finding.verdict, finding.value) == (verdict, value)


def test_a_version_that_is_not_there_fails_and_foreign_storage_is_an_error(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str
) -> None:
    """An artifact store that cannot be read here says so, and does not pass."""
    assert check_readiness(registry.check_readiness(fresh_name, 1)).value == "no such version"
    mlflow_client.create_registered_model(fresh_name)
    mlflow_client.create_model_version(fresh_name, "unknown-store://bucket/model", await_creation_for=0)

    finding = check_readiness(registry.check_readiness(fresh_name, 1))

    assert finding.verdict is Verdict.ERROR
    assert "unknown-store" in str(finding.value)


def test_a_download_that_takes_too_long_is_an_error(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait ends at the bound, whatever the storage does."""
    monkeypatch.setattr(artifacts, "READ_SECONDS", 0.0)

    finding = check_readiness(registry.check_readiness(fresh_name, make_version(mlflow_client, fresh_name)))

    assert (finding.verdict, finding.value) == (Verdict.ERROR, "MLmodel did not arrive within 0 s")
