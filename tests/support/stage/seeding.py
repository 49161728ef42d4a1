"""Registered versions for tests, made straight through MLflow's client: cheap ones that only look loadable, and real ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from promoter.application.ports import EvidenceTarget, Registry

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
    experiment: str = "0",
) -> int:
    """The next version of the model (registered where it is not yet), from a run of its own; its number.

    `mlmodel` is the content of its `MLmodel` file; None leaves the artifact without one.
    """
    run = make_run(client, metrics, status=status, experiment=experiment)
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


def make_logged_version(
    client: Any,
    name: str,
    measured: Iterable[tuple[str, float, int, tuple[str, str] | None]] = (),
    *,
    folder: Path | None = None,
    experiment: str = "0",
) -> tuple[int, str, str]:
    """The next version of the model, from a logged model of its own; its number, its run and the logged model's id.

    `measured` is logged for it in that order: name, value, step, and the dataset's name and digest. `folder` is its artifact.
    """
    run_id = client.create_run(experiment).info.run_id
    model_id = client.create_logged_model(experiment, name=name, source_run_id=run_id).model_id
    for place, (key, value, step, dataset) in enumerate(measured):
        dataset_name, digest = dataset or (None, None)
        client.log_metric(
            run_id, key, value, 1_000 + place, step, model_id=model_id, dataset_name=dataset_name, dataset_digest=digest
        )
    if folder:
        client.log_model_artifacts(model_id, str(folder))
    client.finalize_logged_model(model_id, "READY")
    client.set_terminated(run_id)
    register(client, name)
    source = f"models:/{model_id}"
    version = client.create_model_version(name, source, run_id, await_creation_for=0, model_id=model_id)
    return int(version.version), run_id, model_id


def evidenced(registry: Registry, *names: str) -> list[EvidenceTarget]:
    """All versions of these models, as evidence is asked for."""
    observed = registry.observe_models(names)
    return [EvidenceTarget(name, version) for name in names for version in observed[name].versions.values()]
