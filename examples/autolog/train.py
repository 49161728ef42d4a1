"""Train on handwritten digits with a library of your choice. MLflow's autolog logs everything; nothing is logged by hand.

  export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
  python train.py lightgbm                 # or scikit-learn, xgboost, keras, lightning
  python train.py lightgbm --size 30       # a larger model

The model is registered as the next version of `digits-LIBRARY`. README.md says what autolog logs for each library.
"""

from __future__ import annotations

import argparse
import os
from importlib.metadata import version
from typing import Any, NamedTuple

# Keras 3 runs on several libraries; JAX is the one that installs from PyPI for every processor. It is chosen before the import.
os.environ.setdefault("KERAS_BACKEND", "jax")

import mlflow
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 7


class Digits(NamedTuple):
    """Pictures of digits, as rows of 64 numbers, with the digit that each shows."""

    train: pd.DataFrame
    held_back: pd.DataFrame
    train_answers: pd.Series
    held_back_answers: pd.Series


def train_scikit_learn(digits: Digits, size: int) -> None:
    """Fit a forest of so many trees. `score` afterwards is logged too, and its metric is named by the variables here."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(n_estimators=size, random_state=SEED).fit(digits.train, digits.train_answers)
    held_back, held_back_answers = digits.held_back, digits.held_back_answers
    model.score(held_back, held_back_answers)


def train_xgboost(digits: Digits, size: int) -> None:
    """Boost so many rounds. The names in `evals` are the beginnings of the metrics' names."""
    import xgboost

    train = xgboost.DMatrix(digits.train, label=digits.train_answers)
    held_back = xgboost.DMatrix(digits.held_back, label=digits.held_back_answers)
    parameters = {"objective": "multi:softprob", "num_class": 10, "max_depth": 3, "seed": SEED, "nthread": 1}
    xgboost.train(parameters, train, num_boost_round=size, evals=[(held_back, "val")], verbose_eval=False)


def train_lightgbm(digits: Digits, size: int) -> None:
    """Boost so many rounds. `valid_names` has the beginnings of the metrics' names."""
    import lightgbm

    train = lightgbm.Dataset(digits.train, label=digits.train_answers)
    held_back = lightgbm.Dataset(digits.held_back, label=digits.held_back_answers, reference=train)
    parameters = {"objective": "multiclass", "num_class": 10, "max_depth": 3, "seed": SEED, "num_threads": 1, "verbose": -1}
    lightgbm.train(parameters, train, num_boost_round=size, valid_sets=[held_back], valid_names=["val"])


def train_keras(digits: Digits, size: int) -> None:
    """Train a small net for so many epochs."""
    import keras

    keras.utils.set_random_seed(SEED)
    layers = [keras.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", metrics=["accuracy"])
    parts = [each.to_numpy() for each in digits]
    model.fit(parts[0], parts[2], epochs=size, batch_size=64, validation_data=(parts[1], parts[3]), verbose=0)


def train_lightning(digits: Digits, size: int) -> None:
    """Train a small net of PyTorch for so many epochs.

    The model is logged here: MLflow 3.17 stores one of PyTorch with an example only, and its autolog passes none.
    """
    import lightning
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    lightning.seed_everything(SEED)
    parts = [torch.tensor(each.to_numpy()) for each in digits]
    train, held_back = (TensorDataset(parts[place].float(), parts[place + 2].long()) for place in (0, 1))
    trainer = lightning.Trainer(max_epochs=size, accelerator="cpu", logger=False, enable_progress_bar=False)
    mlflow.pytorch.autolog(log_models=False, checkpoint=False, silent=True)
    trainer.fit(net := build_lightning_net(), DataLoader(train, 64, shuffle=True), DataLoader(held_back, 720))
    packages = [f"{each}=={version(each).partition('+')[0]}" for each in ("torch", "lightning", "numpy")]
    mlflow.pytorch.log_model(net, name="model", input_example=held_back.tensors[0][:5].numpy(), pip_requirements=packages)


def build_lightning_net() -> Any:
    """Make a net with one hidden layer. The names that it passes to `log` are the metrics' names."""
    import lightning
    import torch

    class PictureNet(lightning.LightningModule):
        """What Lightning trains."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            """Return a weight for each digit."""
            return self.layers(pictures)

        def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
            """Measure the loss of a batch, which the trainer lowers."""
            loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.log("loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: list[torch.Tensor]) -> None:
            """Measure rows that the net does not learn from."""
            accuracy = (self(batch[0]).argmax(dim=1) == batch[1]).float().mean()
            self.log("val_accuracy", accuracy, on_step=False, on_epoch=True)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            """Return what changes the weights."""
            return torch.optim.Adam(self.parameters(), 0.005)

    return PictureNet()


LIBRARIES = {
    "scikit-learn": train_scikit_learn,
    "xgboost": train_xgboost,
    "lightgbm": train_lightgbm,
    "keras": train_keras,
    "lightning": train_lightning,
}


def main() -> None:
    """Train once, and register what autolog logged."""
    parser = argparse.ArgumentParser(description="Train with autolog, and register the model.")
    parser.add_argument("library", choices=tuple(LIBRARIES))
    parser.add_argument("--size", type=int, default=10, help="trees, rounds or epochs (%(default)s)")
    parser.add_argument("--experiment", default="digits", help="the experiment of the run (%(default)s)")
    parser.add_argument("--model", help="the registered model (digits-LIBRARY)")
    options = parser.parse_args()
    mlflow.set_experiment(options.experiment)
    mlflow.autolog(silent=True)
    with mlflow.start_run() as run:
        LIBRARIES[options.library](load_pictures(), options.size)
    # Autolog ends what it logs in the background: read the run anew.
    model_id = mlflow.get_run(run.info.run_id).outputs.model_outputs[-1].model_id
    name = options.model or f"digits-{options.library}"
    print(f"registered {name} v{mlflow.register_model(f'models:/{model_id}', name).version}")


def load_pictures() -> Digits:
    """Return the digits that ship with scikit-learn, with the same split every time."""
    pictures, answers = load_digits(return_X_y=True, as_frame=True)
    return Digits(*train_test_split(pictures / 16, answers, test_size=0.4, random_state=SEED))


if __name__ == "__main__":
    main()
