"""Metrics over their steps, on a real MLflow server."""

from __future__ import annotations

import math
from typing import Any

import pytest

from promoter.adapters.mlflow import logged_models, runs
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.domain.observed import MetricRef, MetricSeries
from tests.support.stage.seeding import evidenced, make_logged_version, make_version

FOLDS = MetricRef("fold_auc")
HOLDOUT = MetricRef("fold_auc", "logged_model", "holdout")
LIVE = MetricRef("fold_auc", "logged_model", "live")


def test_folds_of_the_run_and_of_its_logged_model_on_a_dataset(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str
) -> None:
    """The last value of a step counts, by the time at which it was logged; each place has its own values."""
    _, run_id, _ = make_logged_version(
        mlflow_client,
        fresh_name,
        [
            ("fold_auc", 0.50, 1, ("holdout", "d")),
            ("fold_auc", 0.40, 0, ("holdout", "d")),
            ("fold_auc", 0.45, 0, ("holdout", "d")),
            ("fold_auc", 0.0, 2, ("holdout", "d")),
            ("fold_auc", math.nan, 3, ("holdout", "d")),
        ],
    )
    for step, value, timestamp in ((0, 0.8, 3_000), (1, 0.9, 2_000), (0, 0.7, 2_500), (2, 0.1, 2_000), (3, 0.2, 2_000)):
        mlflow_client.log_metric(run_id, "fold_auc", value, timestamp, step)
    make_version(mlflow_client, fresh_name)

    found = registry.read_metric_series(evidenced(registry, fresh_name), {FOLDS, HOLDOUT, LIVE, MetricRef("absent")})

    assert found[fresh_name, 2] == ()
    on_holdout, of_run = found[fresh_name, 1]
    assert of_run == MetricSeries(FOLDS, ((0, 0.8), (1, 0.9), (2, 0.1), (3, 0.2)))
    assert on_holdout.metric == HOLDOUT
    assert on_holdout.points[:3] == ((0, 0.45), (1, 0.50), (2, 0.0))
    assert on_holdout.points[3][0] == 3
    assert math.isnan(on_holdout.points[3][1])


def test_of_two_values_at_one_moment_the_larger_counts_and_nan_before_all(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str
) -> None:
    """As MLflow itself picks the last value; but what may be NaN is no number."""
    make_version(mlflow_client, fresh_name)
    (asked,) = evidenced(registry, fresh_name)
    run_id = str(asked.version.run_id)
    for step, value in ((0, 0.2), (0, 0.3), (0, 0.1), (1, math.nan), (1, 0.9)):
        mlflow_client.log_metric(run_id, "fold_auc", value, 2_000, step)

    ((series,),) = registry.read_metric_series([asked], [FOLDS]).values()

    assert series.points[0] == (0, 0.3)
    assert math.isnan(series.points[1][1])


@pytest.mark.parametrize(("longest", "is_read"), [(4, True), (3, False)])
def test_a_series_that_is_too_long_is_left_out(
    registry: MlflowRegistry, mlflow_client: Any, fresh_name: str, monkeypatch: pytest.MonkeyPatch, longest: int, is_read: bool
) -> None:
    """Its pages are read up to the bound, and no further; a part of a series would be no evidence."""
    monkeypatch.setattr(runs, "_POINTS_PER_PAGE", 2)
    monkeypatch.setattr(runs, "MAX_HISTORY_POINTS", longest)
    monkeypatch.setattr(logged_models, "MAX_HISTORY_POINTS", longest)
    rows = [("fold_auc", 0.5, step, ("holdout", "d")) for step in range(4)]
    make_logged_version(mlflow_client, fresh_name, rows)

    found = registry.read_metric_series(evidenced(registry, fresh_name), [FOLDS, HOLDOUT])

    assert [each.metric for each in found[fresh_name, 1]] == ([HOLDOUT, FOLDS] if is_read else [])


def test_a_deleted_run_has_no_series(registry: MlflowRegistry, mlflow_client: Any, fresh_name: str) -> None:
    """What is no evidence as a last value is none as a series either."""
    make_version(mlflow_client, fresh_name, {"fold_auc": 0.5})
    asked = evidenced(registry, fresh_name)
    assert registry.read_metric_series(asked, [FOLDS])[fresh_name, 1] == (MetricSeries(FOLDS, ((0, 0.5),)),)

    mlflow_client.delete_run(asked[0].version.run_id)

    assert registry.read_metric_series(asked, [FOLDS]) == {(fresh_name, 1): ()}
    assert registry.read_metric_series([], [FOLDS, HOLDOUT]) == {}
