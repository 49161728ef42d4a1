"""Train a small neural net on handwritten digits with Keras on JAX, and log a checkpoint after each epoch.

It needs MLflow, Keras, JAX and scikit-learn (requirements.txt), and nothing of Promoter. Point it at your server:

  export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
  python train.py                          # 32 units, 8 epochs
  python train.py --units 64 --epochs 12   # a larger net, for longer

A run has the curves of loss and accuracy, and the metrics of the machine (`system/...`). Each checkpoint is a logged model with
the number of its epoch, its signature, and what it reaches on each data set.
"""

from __future__ import annotations

import argparse
import os
from importlib.metadata import version

# Keras 3 runs on several libraries; JAX is the one that installs from PyPI for every processor. It is chosen before the import.
os.environ["KERAS_BACKEND"] = "jax"

import keras
import mlflow
import numpy as np
from digits import Part, load_parts, log_holdout
from mlflow.models import infer_signature

SEED = 7


class CheckpointLogger(keras.callbacks.Callback):
    """Logs the net after each epoch, with what it reaches on each part of the data."""

    def __init__(self, parts: dict[str, Part]) -> None:
        super().__init__()
        self._parts = parts
        self._right: dict[str, np.ndarray] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Log the checkpoint first, since its metrics name it; then the curves, each with the rows that it is about."""
        train, validation, holdout = (self._parts[name] for name in ("train", "validation", "holdout"))
        checkpoint = mlflow.keras.log_model(
            self.model,
            name="checkpoint",
            step=epoch,
            # A signature, and no `input_example`: MLflow 3.17 fails to write an example of a Keras model.
            signature=infer_signature(train.pictures[:5], self.model.predict(train.pictures[:5], verbose=0)),
            # Named here: otherwise MLflow loads each checkpoint in another process to find out what it imports.
            pip_requirements=[f"{each}=={version(each)}" for each in ("keras", "jax", "numpy")],
        )
        curves = {name: value for name, value in (logs or {}).items() if not name.startswith("val_")}
        of_validation = {name: value for name, value in (logs or {}).items() if name.startswith("val_")}
        # Without a `model_id`, MLflow adds a metric to every model that the run has so far.
        mlflow.log_metrics(curves, step=epoch, model_id=checkpoint.model_id, dataset=train.data)
        mlflow.log_metrics(of_validation, step=epoch, model_id=checkpoint.model_id, dataset=validation.data)
        self._right[checkpoint.model_id] = self.model.predict(holdout.pictures, verbose=0).argmax(axis=1) == holdout.answers

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Log what each checkpoint reaches on the holdout."""
        del logs
        for epoch, (model_id, right) in enumerate(self._right.items()):
            log_holdout(model_id, epoch, right, self._parts["holdout"].data)


def main() -> None:
    """Train once, as one run."""
    options = parse_options()
    keras.utils.set_random_seed(options.seed)
    mlflow.set_experiment(options.experiment)
    mlflow.enable_system_metrics_logging()
    mlflow.set_system_metrics_sampling_interval(1)  # seconds
    parts = load_parts()
    with mlflow.start_run(run_name=f"net {options.units}x{options.epochs}"):
        mlflow.log_params(
            {"units": options.units, "epochs": options.epochs, "learning_rate": options.rate, "seed": options.seed}
        )
        for name, part in parts.items():
            mlflow.log_input(part.data, context=name)
        history = train_net(build_net(options.units, options.rate), options.epochs, parts)
    for epoch, score in enumerate(history["val_accuracy"]):
        print(f"epoch {epoch:3}  loss {history['loss'][epoch]:.4f}  val_accuracy {score:.4f}")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a small net on digits, and log a checkpoint after each epoch.")
    parser.add_argument("--experiment", default="digits-net", help="the experiment of the run (%(default)s)")
    parser.add_argument("--units", type=int, default=32, help="units of the hidden layer (%(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="how often the net sees all pictures (%(default)s)")
    parser.add_argument("--rate", type=float, default=0.005, help="the learning rate (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="what the first weights are drawn from (%(default)s)")
    return parser.parse_args()


def build_net(units: int, rate: float) -> keras.Model:
    """Make a net with one hidden layer that has learned nothing yet."""
    layers = [keras.Input((64,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(10, "softmax")]
    net = keras.Sequential(layers)
    net.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return net


def train_net(net: keras.Model, epochs: int, parts: dict[str, Part]) -> dict[str, list[float]]:
    """Train it, and return its curves. A net whose loss is no number any more stops: it never recovers."""
    train, validation = parts["train"], parts["validation"]
    return net.fit(
        train.pictures,
        train.answers,
        epochs=epochs,
        batch_size=64,
        validation_data=(validation.pictures, validation.answers),
        callbacks=[CheckpointLogger(parts), keras.callbacks.TerminateOnNaN()],
        verbose=0,
    ).history


if __name__ == "__main__":
    main()
