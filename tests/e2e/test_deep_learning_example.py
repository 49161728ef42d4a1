"""The deep-learning example: its scripts as users run them, and Promoter with its files, from epochs to a champion."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from promoter.adapters.mlflow.sandbox import Sandbox
from promoter.cli.files import check_working_tree
from tests.support.shared_server import SharedMlflow
from tests.support.stage.newcomer import Newcomer

EXAMPLE = Path(__file__).parents[2] / "examples" / "deep-learning"
LIGHTNING = find_spec("torch") and find_spec("lightning")
LOADS = (
    "version: 1\nrules: [{metric: holdout_accuracy, at_least: 0.8, source: logged_model, dataset: holdout}, {loads: true}]\n"
)


@pytest.fixture
def newcomer(tmp_path: Path, mlflow_server: SharedMlflow, mlflow_client: Any, fresh_name: str) -> Iterator[Newcomer]:
    """Their experiment is gone afterwards."""
    loading = {"PROMOTER_LOAD_MODELS": "true", "PROMOTER_LOAD_USER": "nobody"}
    someone = Newcomer(EXAMPLE, tmp_path / "copy", mlflow_server.uri, ("digits-net", fresh_name), **loading)
    yield someone
    experiment = mlflow_client.get_experiment_by_name(someone.experiment)
    if experiment:
        mlflow_client.delete_experiment(experiment.experiment_id)


def log_unlucky_checkpoints(client: Any, experiment: str) -> None:
    """Log two that are not to be chosen.

    The loss of the first is no number, which MLflow keeps as 0, the lowest of all. The second was left by a training that was
    killed: it looks like the best, and nobody measured it on the holdout.
    """
    run = client.create_run(experiment).info.run_id
    for measured in ({"val_loss": float("nan"), "val_accuracy": 0.1, "holdout_accuracy": 0.1}, {"val_accuracy": 0.999}):
        model = client.create_logged_model(experiment, name="checkpoint", source_run_id=run)
        client.finalize_logged_model(model.model_id, "READY")
        for name, value in measured.items():
            data = "holdout" if name == "holdout_accuracy" else "validation"
            client.log_metric(run, name, value, model_id=model.model_id, dataset_name=data, dataset_digest="d")


def read_values(checkpoint: Any, name: str) -> list[tuple[int, float, str | None]]:
    """Step, value and data set of each value of the metric."""
    return sorted((each.step, each.value, each.dataset_name) for each in checkpoint.metrics if each.key == name)


@pytest.mark.slow
def test_the_best_checkpoint_becomes_champion(newcomer: Newcomer, mlflow_client: Any, sandbox: Sandbox) -> None:
    """It is found among all runs, beats the champion beyond noise, and loads on JAX; a worse one is blocked."""
    del sandbox  # where there is none, nothing is loaded
    client, model = mlflow_client, newcomer.model
    select = ("--experiment", newcomer.experiment, "--model", model)
    newcomer.script("train.py", "--experiment", newcomer.experiment, "--epochs", "3")
    assert f"registered {model} v1, val_accuracy" in newcomer.script("register.py", *select)
    newcomer.promoter("init", "--ledger")
    newcomer.state("champion", 1)
    newcomer.promoter("apply")
    experiment = client.get_experiment_by_name(newcomer.experiment).experiment_id
    log_unlucky_checkpoints(client, experiment)
    newcomer.script("train.py", "--experiment", newcomer.experiment, "--epochs", "7")
    assert f"registered {model} v2, val_accuracy" in newcomer.script("register.py", *select)
    assert newcomer.script("register.py", *select).endswith(f"the best checkpoint is {model} v2 already\n")

    found = client.search_logged_models([experiment])
    measured = [each for each in found if read_values(each, "batch_accuracy")]
    assert len(measured) == 10
    best = max(measured, key=lambda each: read_values(each, "val_accuracy")[0][1])
    version = client.get_model_version(model, "2")
    (epoch,) = [step for step, _, _ in read_values(best, "val_accuracy")]
    assert (version.source, version.tags) == (f"models:/{best.model_id}", {"epoch": str(epoch), "units": "32"})
    check_measurements(client, best, epoch)

    newcomer.state("champion", 2)
    newcomer.promoter("apply")
    assert client.get_registered_model(model).aliases == {"champion": "2"}
    first = client.get_model_version(model, "1")
    client.create_model_version(model, first.source, first.run_id, model_id=first.source.removeprefix("models:/"))
    newcomer.state("champion", 3)
    assert "metric batch_accuracy beats champion with confidence 0.95" in newcomer.promoter("apply", code=3)
    assert client.get_registered_model(model).aliases == {"champion": "2"}
    (newcomer.folder / "policies" / "loads.yaml").write_text(LOADS)
    assert "python_function" in newcomer.promoter("explain", f"{model}/2", "--policy", "loads")


def check_measurements(client: Any, checkpoint: Any, epoch: int) -> None:
    """A checkpoint has its curves, ten batches of the holdout and no batches of others; its run has all data sets."""
    assert [where for _, _, where in read_values(checkpoint, "loss")] == ["train"]
    batches = read_values(checkpoint, "batch_accuracy")
    assert [(step, where) for step, _, where in batches] == [(step, "holdout") for step in range(10)]
    ((step, _, where),) = read_values(checkpoint, "holdout_accuracy")
    assert (step, where) == (epoch, "holdout")
    run = client.get_run(checkpoint.source_run_id)
    assert any(name.startswith("system/") for name in run.data.metrics)
    assert {each.dataset.name for each in run.inputs.dataset_inputs} == {"train", "validation", "holdout"}
    assert sorted(each.step for each in run.outputs.model_outputs) == list(range(7))


@pytest.mark.slow
@pytest.mark.skipif(
    not LIGHTNING, reason="PyTorch and Lightning are not installed: examples/deep-learning/requirements-lightning.txt"
)
def test_the_best_checkpoint_of_lightning_becomes_champion(newcomer: Newcomer, mlflow_client: Any) -> None:
    """It is found among the files of the run, logged as a model, and found and gated like the checkpoints of Keras."""
    client, model = mlflow_client, newcomer.model
    trained = newcomer.script("train_lightning.py", "--experiment", newcomer.experiment, "--epochs", "4")
    registered = newcomer.script("register.py", "--experiment", newcomer.experiment, "--model", model)
    assert f"registered {model} v1, val_accuracy" in registered
    version = client.get_model_version(model, "1")
    kept = [each.path for each in client.list_artifacts(version.run_id, "checkpoints")]
    assert sorted(kept) == [f"checkpoints/epoch_{epoch}" for epoch in range(4)]
    assert f"the best of 4 epochs is {version.tags['epoch']}, val_accuracy" in trained
    checkpoint = client.get_logged_model(version.source.removeprefix("models:/"))
    assert [(step, where) for step, _, where in read_values(checkpoint, "batch_accuracy")] == [
        (step, "holdout") for step in range(10)
    ]
    newcomer.promoter("init", "--ledger")
    newcomer.state("champion", 1)
    newcomer.promoter("apply")
    assert client.get_registered_model(model).aliases == {"champion": "1"}


def test_the_files_are_right() -> None:
    """They are valid, and the policy does what its cases expect."""
    declaration, cases = check_working_tree(EXAMPLE)
    assert set(declaration.policies) == {"champion"}
    assert sum(len(file.cases) for file in cases) == 5
