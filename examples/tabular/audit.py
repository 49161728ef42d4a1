"""Load a version by its number, as an auditor does: the number never points at another model, an alias does.

  export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
  python audit.py fraud-detector/1

It prints where the version comes from and what its run measured, and lets the model answer the example that it was logged with.
"""

from __future__ import annotations

import argparse

import mlflow
from mlflow import MlflowClient


def main() -> None:
    """Print what is known of the version, and what it predicts."""
    parser = argparse.ArgumentParser(description="Load a version by its number, and let it answer its own example.")
    parser.add_argument("version", metavar="NAME/VERSION", help="such as fraud-detector/7")
    name, _, number = parser.parse_args().version.rpartition("/")
    client = MlflowClient()
    registered = client.get_model_version(name, number)
    run = client.get_run(registered.run_id)
    uri = f"models:/{name}/{number}"
    model = mlflow.pyfunc.load_model(uri)
    example = model.input_example
    print(f"{uri}, registered from run {run.info.run_id} of {run.info.user_id}")
    print(f"val_auc {run.data.metrics['val_auc']:.4f}, parameters {run.data.params}, tags {registered.tags}")
    print(f"it predicts {[float(each) for each in model.predict(example)]} for the {len(example)} rows that it was logged with")


if __name__ == "__main__":
    main()
