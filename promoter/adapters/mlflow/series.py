"""Reads the values of metrics over the steps: of a version's run, or of its logged model on a dataset."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import isnan

from promoter.adapters.mlflow.histories import MAX_HISTORY_POINTS, MetricHistoryReader, MetricPoint
from promoter.adapters.mlflow.logged_models import LoggedValue, LoggedModelReader, MeasuredModel
from promoter.adapters.mlflow.runs import RunReader
from promoter.application.ports import EvidenceTarget, VersionKey
from promoter.domain.metrics import MetricRef, MetricSeries


class SeriesReader:
    """Series by version. One that has more than 100,000 points is left out. Raises what MLflow raises."""

    def __init__(self, runs: RunReader, logged_models: LoggedModelReader, histories: MetricHistoryReader) -> None:
        """Reads with these."""
        self._runs = runs
        self._logged_models = logged_models
        self._histories = histories

    def read_series(
        self, versions: Collection[EvidenceTarget], metrics: Collection[MetricRef]
    ) -> dict[VersionKey, tuple[MetricSeries, ...]]:
        """By version, in order of the metrics; those that it does not have are left out."""
        requested = sorted(set(metrics), key=lambda metric: (metric.source, metric.name, metric.dataset or ""))
        of_runs = self._read_run_series(versions, [metric for metric in requested if metric.source == "run"])
        of_models = self._read_model_series(versions, [metric for metric in requested if metric.source == "logged_model"])
        return {
            each.version_key: (*of_models.get(each.version_key, ()), *of_runs.get(each.version_key, ())) for each in versions
        }

    def _read_run_series(
        self, versions: Collection[EvidenceTarget], metrics: list[MetricRef]
    ) -> dict[VersionKey, tuple[MetricSeries, ...]]:
        if not metrics:
            return {}
        runs = self._runs.read_runs({each.version.run_id for each in versions if each.version.run_id})
        histories = self._histories.read_histories(
            [(run_id, metric.name) for run_id, run in runs.items() for metric in metrics if metric.name in run.metrics]
        )
        by_run = {
            run_id: tuple(
                MetricSeries(metric, _reduce_to_steps(points))
                for metric in metrics
                if (points := histories.get((run_id, metric.name)))
            )
            for run_id in runs
        }
        return {each.version_key: by_run.get(each.version.run_id or "", ()) for each in versions}

    def _read_model_series(
        self, versions: Collection[EvidenceTarget], metrics: list[MetricRef]
    ) -> dict[VersionKey, tuple[MetricSeries, ...]]:
        if not metrics:
            return {}
        found = {
            key: _group_by_metric(each, metrics) for key, each in self._logged_models.read_measured_models(versions).items()
        }
        true = self._logged_models.confirm_values(each for rows in found.values() for row in rows.values() for each in row)
        return {
            key: tuple(
                MetricSeries(metric, _reduce_to_steps(true[each].point for each in rows[metric]))
                for metric in metrics
                if metric in rows
            )
            for key, rows in found.items()
        }


def _group_by_metric(found: MeasuredModel | object, metrics: Iterable[MetricRef]) -> Mapping[MetricRef, list[LoggedValue]]:
    if not isinstance(found, MeasuredModel):
        return {}
    requested = {(metric.name, metric.dataset): metric for metric in metrics}
    rows: dict[MetricRef, list[LoggedValue]] = {}
    for each in found.logged:
        if metric := requested.get((each.name, each.dataset)):
            rows.setdefault(metric, []).append(each)
    return {metric: row for metric, row in rows.items() if len(row) <= MAX_HISTORY_POINTS}


def _reduce_to_steps(points: Iterable[MetricPoint]) -> tuple[tuple[int, float], ...]:
    """The last point of each step. Of two at the same moment the larger value, as MLflow has it; but NaN before all."""
    found: dict[int, float] = {}
    for point in sorted(points, key=lambda point: (point.timestamp, isnan(point.value), point.value)):
        found[point.step] = point.value
    return tuple(sorted(found.items()))
