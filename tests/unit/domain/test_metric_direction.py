"""What names of metrics tell: which values are better, and which metric could decide about a version."""

from __future__ import annotations

import pytest

from promoter.domain.metric_direction import find_latency_metrics, find_metric_order, rank_deciding_metrics


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("val_auc", "highest"),
        ("valAUC", "highest"),
        ("test/f1_score", "highest"),
        ("r2", "highest"),
        ("precision@10", "highest"),
        ("explained_variance", "highest"),
        ("val-mlogloss", "lowest"),
        ("mean_absolute_percentage_error", "lowest"),
        ("RMSE", "lowest"),
        ("p99_ms", "lowest"),
        ("brier_score", "lowest"),
        ("neg_mean_squared_error", "highest"),
        ("score", None),
        ("uplift", None),
        ("accuracy_std", None),
        ("auc_drop", None),
        ("precision_loss", None),
        ("", None),
        ("ü", None),
    ],
)
def test_the_direction_of_a_name(name: str, order: str | None) -> None:
    """Words of the name tell it; words that contradict each other, or that stand for a spread, tell nothing."""
    assert find_metric_order(name) == order


@pytest.mark.parametrize(
    ("names", "deciding"),
    [
        (["val_auc", "p99_ms", "fold_auc", "live_auc", "training_accuracy_score"], ["val_auc"]),
        (["loss", "accuracy", "val_loss", "val_accuracy", "validation_accuracy"], ["val_accuracy"]),
        (["train-mlogloss", "val-mlogloss"], ["val-mlogloss"]),
        (["val_auc", "val_f1", "val_loss"], ["val_auc", "val_f1"]),
        (["training_accuracy_score", "system/cpu_utilization_percentage", "p99_ms", "live_auc"], []),
        (["uplift", "training_loss"], ["uplift"]),
        (["auc", "auc_std", "n_rows"], ["auc"]),
        ([], []),
    ],
)
def test_which_metrics_could_decide(names: list[str], deciding: list[str]) -> None:
    """Held-out measures come first, losses later; what is no evidence for a promotion is never among them."""
    assert rank_deciding_metrics(names) == deciding


def test_measured_times() -> None:
    """A time is one by its words."""
    assert find_latency_metrics(["p99_ms", "latency", "val_auc", "forms"]) == ["latency", "p99_ms"]
