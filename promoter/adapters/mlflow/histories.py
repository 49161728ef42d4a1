"""The values that were logged for a metric of a run, in the order in which they were logged; bounded."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from promoter.adapters.mlflow.convert import restore_infinity
from promoter.adapters.mlflow.errors import find_refusal_message

MAX_HISTORY_POINTS = 100_000
"""How many points a history may have; a longer one is not read."""

_POINTS_PER_PAGE = 25_000
_HISTORY_THREADS = 8

RunMetric = tuple[str, str]
"""A run, and the name of a metric."""


@dataclass(frozen=True, order=True)
class MetricPoint:
    """One logged value. Its time is in milliseconds."""

    timestamp: int
    step: int
    value: float


class MetricHistoryReader:
    """Reads them in parallel. MLflow has no public call that reads those of several runs at once."""

    def __init__(self, tracking_uri: str) -> None:
        """Asks nothing yet."""
        self._tracking_uri = tracking_uri

    def read_histories(self, requested: Collection[RunMetric]) -> dict[RunMetric, list[MetricPoint]]:
        """By run and metric; empty where there is no such metric, left out where it cannot be read or is too long."""
        unique = list(dict.fromkeys(requested))
        with ThreadPoolExecutor(_HISTORY_THREADS) as pool:
            read = zip(unique, pool.map(lambda each: self._read_history(*each), unique), strict=True)
            return {each: points for each, points in read if points is not None}

    @cached_property
    def _tracking_store(self) -> Any:
        # The client's own method reads all pages, however many. What it asks has a bound, and is the same in all versions.
        from mlflow.tracking._tracking_service.client import TrackingServiceClient

        return TrackingServiceClient(self._tracking_uri).store

    def _read_history(self, run_id: str, name: str) -> list[MetricPoint] | None:
        points: list[MetricPoint] = []
        token = None
        while len(points) <= MAX_HISTORY_POINTS:
            try:
                page = self._tracking_store.get_metric_history(run_id, name, max_results=_POINTS_PER_PAGE, page_token=token)
            except Exception as error:
                if find_refusal_message(error) is None:
                    raise
                return None
            points += [MetricPoint(each.timestamp, each.step, restore_infinity(each.value)) for each in page]
            token = page.token or None
            if token is None:
                break
        return points if len(points) <= MAX_HISTORY_POINTS else None
