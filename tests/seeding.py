"""Registered versions for tests, made straight through MLflow's client: cheap ones that only look loadable, and real ones."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MLMODEL = "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n"


def make_run(
    client: Any,
    metrics: Mapping[str, float] | None = None,
    *,
    experiment: str = "0",
    status: str | None = "FINISHED",
) -> Any:
    """A run with those metrics; `status` None leaves it running."""
    run = client.create_run(experiment)
    for key, value in (metrics or {}).items():
        client.log_metric(run.info.run_id, key, value)
    if status:
        client.set_terminated(run.info.run_id, status)
    return run


def make_version(
    client: Any,
    name: str,
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    *,
    status: str | None = "FINISHED",
    mlmodel: str | None = MLMODEL,
) -> int:
    """The next version of the model (registered where it is not yet), from a run of its own; its number.

    `mlmodel` is the content of its `MLmodel` file; None leaves the artifact without one.
    """
    run = make_run(client, metrics, status=status)
    if mlmodel is not None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "MLmodel")
            file.write_text(mlmodel)
            client.log_artifact(run.info.run_id, str(file), "model")
    register(client, name)
    version = client.create_model_version(
        name, f"{run.info.artifact_uri}/model", run.info.run_id, tags=dict(tags or {}), await_creation_for=0
    )
    return int(version.version)


def register(client: Any, name: str) -> None:
    """Register the model where it is not yet."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
