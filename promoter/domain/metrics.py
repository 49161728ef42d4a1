"""Metrics: where a number comes from, and the number. The same name can stand for different values in different places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SourceName = Literal["run", "logged_model"]


@dataclass(frozen=True, order=True)
class MetricRef:
    """Which metric is meant: its name, whether of the run or of the logged model, and of that one on which dataset."""

    name: str
    source: SourceName = "run"
    dataset: str | None = None

    def __str__(self) -> str:
        """`val_auc`, `val_auc of the logged model`, `val_auc on holdout`."""
        if self.dataset is not None:
            return f"{self.name} on {self.dataset}"
        return self.name if self.source == "run" else f"{self.name} of the logged model"


@dataclass(frozen=True)
class MetricValue:
    """The last value of a metric. `dataset` and `digest` say what it was measured on, as far as MLflow was told."""

    name: str
    value: float
    dataset: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class MetricSeries:
    """All values of one metric, one a step, in order of the steps (folds, batches, days)."""

    metric: MetricRef
    points: tuple[tuple[int, float], ...]
