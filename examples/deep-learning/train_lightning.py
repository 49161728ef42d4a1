"""Train the same net with PyTorch and Lightning. MLflow's autolog logs curves and checkpoints; the best one becomes a model.

It needs requirements-lightning.txt instead of requirements.txt. Point it at your server:

  export MLFLOW_TRACKING_URI=http://127.0.0.1:5000
  python train_lightning.py                # 32 units, 8 epochs
  python register.py                       # registers the best checkpoint of all runs, whichever script logged it

Autolog keeps a checkpoint as files of the run (`checkpoints/epoch_N`), which no registry knows. So the best one is loaded again
after the training, and logged as a model with its epoch, its signature, and what it reaches on `validation` and `holdout`.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import lightning
import mlflow
import torch
from digits import Part, load_parts, log_holdout
from mlflow import MlflowClient
from mlflow.models import infer_signature
from torch.utils.data import DataLoader, TensorDataset

SEED = 7
RATE = 0.005


class DigitNet(lightning.LightningModule):
    """A net with one hidden layer."""

    def __init__(self, units: int = 32) -> None:
        super().__init__()
        self.save_hyperparameters()  # a checkpoint is loaded by what it says of itself
        self.layers = torch.nn.Sequential(torch.nn.Linear(64, units), torch.nn.ReLU(), torch.nn.Linear(units, 10))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return a weight for each digit."""
        return self.layers(pictures)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Measure the loss of a batch, which the trainer lowers."""
        return self._measure("", batch)

    def validation_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """Measure the loss on rows that the net does not learn from."""
        return self._measure("val_", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return what changes the weights."""
        return torch.optim.Adam(self.parameters(), RATE)

    def _measure(self, prefix: str, batch: list[torch.Tensor]) -> torch.Tensor:
        pictures, answers = batch
        weights = self(pictures)
        loss = torch.nn.functional.cross_entropy(weights, answers)
        accuracy = (weights.argmax(dim=1) == answers).float().mean()
        self.log_dict({f"{prefix}loss": loss, f"{prefix}accuracy": accuracy}, on_step=False, on_epoch=True)
        return loss


def main() -> None:
    """Train once, as one run, and log the best checkpoint as a model."""
    options = parse_options()
    lightning.seed_everything(SEED)
    mlflow.set_experiment(options.experiment)
    mlflow.enable_system_metrics_logging()
    mlflow.set_system_metrics_sampling_interval(1)  # seconds
    # Of the checkpoints, not only the best: which one that is, is decided below. The model of the last epoch is not needed.
    mlflow.pytorch.autolog(
        checkpoint=True, checkpoint_monitor="val_loss", checkpoint_save_best_only=False, log_models=False, silent=True
    )
    parts = load_parts()
    with mlflow.start_run(run_name=f"lightning {options.units}x{options.epochs}") as run:
        mlflow.log_params({"units": options.units, "seed": SEED})
        for name, part in parts.items():
            mlflow.log_input(part.data, context=name)
        trainer = lightning.Trainer(
            max_epochs=options.epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(DigitNet(options.units), make_batches(parts["train"]), make_batches(parts["validation"]))
        epoch, reached = find_best_checkpoint(run.info.run_id)
        log_checkpoint(mlflow.pytorch.load_checkpoint(DigitNet, run.info.run_id, epoch), epoch, reached, parts)
    print(f"the best of {options.epochs} epochs is {epoch}, val_accuracy {reached['val_accuracy']:.4f}")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a small net on digits with Lightning, and log its best checkpoint.")
    parser.add_argument("--experiment", default="digits-net", help="the experiment of the run (%(default)s)")
    parser.add_argument("--units", type=int, default=32, help="units of the hidden layer (%(default)s)")
    parser.add_argument("--epochs", type=int, default=8, help="how often the net sees all pictures (%(default)s)")
    return parser.parse_args()


def make_batches(part: Part) -> DataLoader:
    """Hand out the pictures and their digits, some at a time."""
    return DataLoader(TensorDataset(torch.from_numpy(part.pictures), torch.from_numpy(part.answers)), batch_size=64)


def find_best_checkpoint(run_id: str) -> tuple[int, dict[str, float]]:
    """Find the epoch whose checkpoint is the most accurate, and what autolog wrote beside it."""
    client, found = MlflowClient(), {}
    with TemporaryDirectory() as folder:
        for each in client.list_artifacts(run_id, "checkpoints"):
            file = client.download_artifacts(run_id, f"{each.path}/checkpoint_metrics.json", folder)
            metrics = json.loads(Path(file).read_text())
            found[int(metrics["epoch"])] = metrics
    if not found:
        raise SystemExit(f"run {run_id} has no checkpoint")
    return max(found.items(), key=lambda each: each[1]["val_accuracy"])


def log_checkpoint(net: DigitNet, epoch: int, reached: dict[str, float], parts: dict[str, Part]) -> None:
    """Log the net as a model, with what it reached on the rows that chose it, and what it reaches on the holdout."""
    holdout, validation = parts["holdout"], parts["validation"]
    with torch.no_grad():
        answers = net(torch.from_numpy(holdout.pictures)).numpy()
    checkpoint = mlflow.pytorch.log_model(
        net,
        name="checkpoint",
        step=epoch,
        # MLflow stores the net as a program that is traced with an example: whoever loads it needs no class of this file.
        input_example=holdout.pictures[:5],
        signature=infer_signature(holdout.pictures[:5], answers[:5]),
        # Named here, without the `+cpu` of a build for one kind of processor, which no index has.
        pip_requirements=[f"{each}=={version(each).partition('+')[0]}" for each in ("torch", "lightning", "numpy")],
    )
    of_validation = {name: reached[name] for name in ("val_loss", "val_accuracy")}
    mlflow.log_metrics(of_validation, step=epoch, model_id=checkpoint.model_id, dataset=validation.data)
    log_holdout(checkpoint.model_id, epoch, answers.argmax(axis=1) == holdout.answers, holdout.data)


if __name__ == "__main__":
    main()
