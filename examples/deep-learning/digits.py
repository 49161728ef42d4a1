"""Handwritten digits in three parts, and what a net reaches on the last one. Both training scripts use this."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlflow
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED = 7
BATCHES = 10


class Part(NamedTuple):
    """Some of the pictures, each a row of 64 numbers, with the digits that they show, and the data set that MLflow knows."""

    pictures: np.ndarray
    answers: np.ndarray
    data: Any


def load_parts() -> dict[str, Part]:
    """Split the pictures that ship with scikit-learn, the same way every time.

    The net learns from `train`; `validation` chooses among its checkpoints; `holdout` judges the one that was chosen.
    """
    pictures, answers = load_digits(return_X_y=True)
    pictures = (pictures / 16).astype(np.float32)
    train, others, train_answers, other_answers = train_test_split(
        pictures, answers, test_size=0.5, stratify=answers, random_state=SPLIT_SEED
    )
    validation, holdout, validation_answers, holdout_answers = train_test_split(
        others, other_answers, test_size=0.5, stratify=other_answers, random_state=SPLIT_SEED
    )
    found = {
        "train": (train, train_answers),
        "validation": (validation, validation_answers),
        "holdout": (holdout, holdout_answers),
    }
    return {name: Part(*rows, mlflow.data.from_numpy(rows[0], targets=rows[1], name=name)) for name, rows in found.items()}


def log_holdout(model_id: str, epoch: int, right: np.ndarray, data: Any) -> None:
    """Log the accuracy on the holdout, and on each batch of it: the policy compares two models batch by batch.

    `right` has a true or false for each picture. The steps of batches are no epochs. So call it once no further model is logged
    in the run: MLflow adds to a new model what its run has at the step of the model's epoch.
    """
    mlflow.log_metric("holdout_accuracy", float(right.mean()), step=epoch, model_id=model_id, dataset=data)
    for step, batch in enumerate(np.array_split(right, BATCHES)):
        mlflow.log_metric("batch_accuracy", float(batch.mean()), step=step, model_id=model_id, dataset=data)
