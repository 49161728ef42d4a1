"""Compare the runs of an experiment, and register the best model. It moves no alias: that is what git and Promoter are for.

  export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
  python evaluate.py                       # registers the best run's model as the next version of fraud-detector

Where the best model is registered already, nothing is registered.
"""

from __future__ import annotations

import argparse
from typing import Any

import mlflow
from mlflow import MlflowClient

FLOOR = 0.80
OWNER = "risk-team"
READ, SHOWN = 100, 5


def main() -> None:
    """Print the best runs, register the best model, and tag its version."""
    options = parse_options()
    runs = find_best_runs(options.experiment, options.floor)
    if not runs:
        raise SystemExit(
            f"no finished run of {options.experiment} has a model and a val_auc above {options.floor}: run train.py first"
        )
    print_comparison(runs[:SHOWN])
    client, best = MlflowClient(), runs[0]
    known = find_registered_version(client, options.model, best.info.run_id)
    if known is not None:
        print(f"the best run is {options.model} v{known} already")
        return
    # The run's own model, by its id. `runs:/RUN/model` would do as well, and names the run only.
    model_id = best.outputs.model_outputs[0].model_id
    # `mlflow.register_model` would do both steps. It asks for the right to make models even where the model is there already.
    if not client.search_registered_models(f"name = '{options.model}'"):
        client.create_registered_model(options.model)
    made = client.create_model_version(options.model, f"models:/{model_id}", best.info.run_id, model_id=model_id)
    tags = {"owner": OWNER, "library": best.data.tags["library"]}
    if best.inputs.dataset_inputs:
        tags["data"] = best.inputs.dataset_inputs[0].dataset.digest
    for name, value in tags.items():
        client.set_model_version_tag(options.model, made.version, name, value)
    print(f"registered {options.model} v{made.version}, val_auc {best.data.metrics['val_auc']:.4f}")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Compare the runs of an experiment, and register the best model.")
    parser.add_argument("--experiment", default="fraud-detection", help="the experiment of the runs (%(default)s)")
    parser.add_argument("--model", default="fraud-detector", help="the registered model (%(default)s)")
    parser.add_argument("--floor", type=float, default=FLOOR, help="the val_auc that a run must exceed (%(default)s)")
    return parser.parse_args()


def find_best_runs(experiment: str, floor: float) -> list[Any]:
    """Find the finished runs above the floor, the best first. Runs that are not of train.py, or have no model, are left out."""
    runs = mlflow.search_runs(
        experiment_names=[experiment],
        filter_string=f"metrics.val_auc > {floor} AND attributes.status = 'FINISHED' AND tags.library LIKE '%'",
        order_by=["metrics.val_auc DESC"],
        max_results=READ,
        output_format="list",
    )
    return [run for run in runs if run.outputs and run.outputs.model_outputs]


def print_comparison(runs: list[Any]) -> None:
    """Print a line for each run: what it is, and what it shows."""
    print(f"{'run':24} {'val_auc':>8}  {'trees':>5}  {'depth':>5}")
    for run in runs:
        trees, depth = (run.data.params.get(name, "-") for name in ("n_estimators", "max_depth"))
        print(f"{run.info.run_name:24} {run.data.metrics['val_auc']:8.4f}  {trees:>5}  {depth:>5}")


def find_registered_version(client: MlflowClient, model: str, run_id: str) -> int | None:
    """Find the version that was registered from the run."""
    found = client.search_model_versions(f"name = '{model}' AND run_id = '{run_id}'")
    return max((int(each.version) for each in found), default=None)


if __name__ == "__main__":
    main()
