"""Reads the values of metrics over the steps: of a version's run, or of its logged model on a dataset."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import isnan

from promoter.adapters.mlflow.histories import LONGEST, Histories, Point
from promoter.adapters.mlflow.logged_models import Logged, LoggedModelReader, Measured
from promoter.adapters.mlflow.runs import RunReader
from promoter.application.ports import Evidenced, Key
from promoter.domain.metrics import MetricRef, Series


class SeriesReader:
    """Series by version. One that has more than 100,000 points is left out. Raises what MLflow raises."""

    def __init__(self, runs: RunReader, logged_models: LoggedModelReader, histories: Histories) -> None:
        """Reads with these."""
        self._runs = runs
        self._logged_models = logged_models
        self._histories = histories

    def read(self, versions: Collection[Evidenced], metrics: Collection[MetricRef]) -> dict[Key, tuple[Series, ...]]:
        """By version, in order of the metrics; those that it does not have are left out."""
        asked = sorted(set(metrics), key=lambda metric: (metric.source, metric.name, metric.dataset or ""))
        of_runs = self._of_runs(versions, [metric for metric in asked if metric.source == "run"])
        of_models = self._of_models(versions, [metric for metric in asked if metric.source == "logged_model"])
        return {each.key: (*of_models.get(each.key, ()), *of_runs.get(each.key, ())) for each in versions}

    def _of_runs(self, versions: Collection[Evidenced], metrics: list[MetricRef]) -> dict[Key, tuple[Series, ...]]:
        if not metrics:
            return {}
        runs = self._runs.read({each.version.run_id for each in versions if each.version.run_id})
        histories = self._histories.read(
            [(run_id, metric.name) for run_id, run in runs.items() for metric in metrics if metric.name in run.metrics]
        )
        by_run = {
            run_id: tuple(
                Series(metric, _by_step(points)) for metric in metrics if (points := histories.get((run_id, metric.name)))
            )
            for run_id in runs
        }
        return {each.key: by_run.get(each.version.run_id or "", ()) for each in versions}

    def _of_models(self, versions: Collection[Evidenced], metrics: list[MetricRef]) -> dict[Key, tuple[Series, ...]]:
        if not metrics:
            return {}
        found = {key: _logged(each, metrics) for key, each in self._logged_models.measured(versions).items()}
        true = self._logged_models.certain(each for rows in found.values() for row in rows.values() for each in row)
        return {
            key: tuple(
                Series(metric, _by_step(true[each].point for each in rows[metric])) for metric in metrics if metric in rows
            )
            for key, rows in found.items()
        }


def _logged(found: Measured | object, metrics: Iterable[MetricRef]) -> Mapping[MetricRef, list[Logged]]:
    if not isinstance(found, Measured):
        return {}
    wanted = {(metric.name, metric.dataset): metric for metric in metrics}
    rows: dict[MetricRef, list[Logged]] = {}
    for each in found.logged:
        if metric := wanted.get((each.name, each.dataset)):
            rows.setdefault(metric, []).append(each)
    return {metric: row for metric, row in rows.items() if len(row) <= LONGEST}


def _by_step(points: Iterable[Point]) -> tuple[tuple[int, float], ...]:
    """The last point of each step. Of two at the same moment the larger value, as MLflow has it; but NaN before all."""
    found: dict[int, float] = {}
    for point in sorted(points, key=lambda point: (point.timestamp, isnan(point.value), point.value)):
        found[point.step] = point.value
    return tuple(sorted(found.items()))
