"""Load a version by its number, as an auditor does: the number never points at another model, an alias does.

  export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
  python audit.py fraud-detector/1

It prints where the version comes from and what its run measured, and lets the model answer the example that it was logged with.
"""

from __future__ import annotations

import argparse

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


def main() -> None:
    """Print what is known of the version, and what it predicts."""
    name, number = read_version()
    client = MlflowClient()
    try:
        registered = client.get_model_version(name, number)
        uri = f"models:/{name}/{number}"
        model = mlflow.pyfunc.load_model(uri)
        run = client.get_run(registered.run_id) if registered.run_id else None
    except MlflowException as error:
        raise SystemExit(f"{name}/{number}: {error.message}") from None
    print(f"{uri}, registered from {f'run {run.info.run_id} of {run.info.user_id}' if run else 'no run'}")
    measured = ", ".join(f"{metric} {value:.4f}" for metric, value in sorted(run.data.metrics.items())) if run else ""
    print(f"{measured or 'nothing measured'}, parameters {run.data.params if run else {}}, tags {registered.tags}")
    example = model.input_example
    if example is None:
        print("it was logged without an example: nothing to predict")
    else:
        answers = [float(each) for each in model.predict(example)]
        print(f"it predicts {answers} for the {len(example)} rows that it was logged with")


def read_version() -> tuple[str, str]:
    """Read NAME/VERSION from the command line. An alias is refused: it may point at another version tomorrow."""
    parser = argparse.ArgumentParser(description="Load a version by its number, and let it answer its own example.")
    parser.add_argument("version", metavar="NAME/VERSION", help="such as fraud-detector/7")
    name, _, number = parser.parse_args().version.rpartition("/")
    if not name or not (number.isascii() and number.isdigit()):
        parser.error("write NAME/VERSION with a number, such as fraud-detector/7")
    return name, number


if __name__ == "__main__":
    main()
