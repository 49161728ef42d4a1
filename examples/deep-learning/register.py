"""Find the best checkpoint of all runs, and register it. It moves no alias: that is what git and Promoter are for.

  export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
  python register.py                       # registers it as the next version of digits-net

Where the best checkpoint is registered already, nothing is registered.
"""

from __future__ import annotations

import argparse
from typing import Any

import mlflow
from mlflow import MlflowClient

SHOWN = 5
SHOWN_METRICS = (("val_accuracy", "validation"), ("val_loss", "validation"), ("holdout_accuracy", "holdout"))
VALIDATION = {"dataset_name": "validation"}


def main() -> None:
    """Print the best checkpoints, register the best one, and tag its version."""
    options = parse_options()
    checkpoints = find_best_checkpoints(options.experiment)
    if not checkpoints:
        raise SystemExit(f"no checkpoint in the experiment {options.experiment}: train some first")
    print_comparison(checkpoints)
    client, best = MlflowClient(), checkpoints[0]
    source = f"models:/{best.model_id}"
    known = find_registered_version(client, options.model, source)
    if known is not None:
        print(f"the best checkpoint is {options.model} v{known} already")
        return
    made = mlflow.register_model(source, options.model)
    run = client.get_run(best.source_run_id)
    for name, value in {"epoch": find_epoch(run, best), "units": run.data.params["units"]}.items():
        client.set_model_version_tag(options.model, made.version, name, str(value))
    print(f"registered {options.model} v{made.version}, val_accuracy {read_metric(best, *SHOWN_METRICS[0]):.4f}")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Find the best checkpoint of an experiment, and register it.")
    parser.add_argument("--experiment", default="digits-net", help="the experiment of the runs (%(default)s)")
    parser.add_argument("--model", default="digits-net", help="the registered model (%(default)s)")
    return parser.parse_args()


def find_best_checkpoints(experiment: str) -> list[Any]:
    """Find the checkpoints of completed trainings, the best first; of two that are as accurate, the one with the lower loss.

    Not by the loss alone: MLflow keeps the loss of a net that diverged, which is no number, as 0 for a logged model.
    And without `datasets=`: MLflow 3.17 finds nothing by it over HTTP, unless the digest of each data set is given.
    """
    found = mlflow.get_experiment_by_name(experiment)
    if found is None:
        return []
    return mlflow.search_logged_models(
        experiment_ids=[found.experiment_id],
        filter_string="name = 'checkpoint' AND metrics.holdout_accuracy >= 0",
        order_by=[
            {"field_name": "metrics.val_accuracy", "ascending": False, **VALIDATION},
            {"field_name": "metrics.val_loss", "ascending": True, **VALIDATION},
        ],
        max_results=SHOWN,
        output_format="list",
    )


def print_comparison(checkpoints: list[Any]) -> None:
    """Print a line for each checkpoint: what it is, and what it shows."""
    print(f"{'checkpoint':36} {'val_accuracy':>12} {'val_loss':>9} {'holdout_accuracy':>16}")
    for each in checkpoints:
        shown = [read_metric(each, *where) for where in SHOWN_METRICS]
        print(f"{each.model_id:36} {shown[0]:12.4f} {shown[1]:9.4f} {shown[2]:16.4f}")


def read_metric(checkpoint: Any, name: str, data: str) -> float:
    """Return the value of a metric of the checkpoint on that data set."""
    return next(each.value for each in checkpoint.metrics if (each.key, each.dataset_name) == (name, data))


def find_epoch(run: Any, checkpoint: Any) -> int:
    """Return the epoch after which the run logged the checkpoint."""
    return next(each.step for each in run.outputs.model_outputs if each.model_id == checkpoint.model_id)


def find_registered_version(client: MlflowClient, model: str, source: str) -> int | None:
    """Find the version that was registered from the checkpoint."""
    found = client.search_model_versions(f"name = '{model}'")
    return max((int(each.version) for each in found if each.source == source), default=None)


if __name__ == "__main__":
    main()
