"""The values that were logged for a metric of a run, in the order in which they were logged; bounded."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from promoter.adapters.mlflow.convert import number
from promoter.adapters.mlflow.errors import refusal

LONGEST = 100_000
"""How many points a history may have; a longer one is not read."""

_A_PAGE = 25_000
_THREADS = 8

Wanted = tuple[str, str]
"""A run, and the name of a metric."""


@dataclass(frozen=True, order=True)
class Point:
    """One logged value. Its time is in milliseconds."""

    timestamp: int
    step: int
    value: float


class Histories:
    """Reads them in parallel. MLflow has no public call that reads those of several runs at once."""

    def __init__(self, tracking_uri: str) -> None:
        """Asks nothing yet."""
        self._tracking_uri = tracking_uri

    def read(self, wanted: Collection[Wanted]) -> dict[Wanted, list[Point]]:
        """By run and metric; empty where there is no such metric, left out where it cannot be read or is too long."""
        asked = list(dict.fromkeys(wanted))
        with ThreadPoolExecutor(_THREADS) as pool:
            read = zip(asked, pool.map(lambda each: self._one(*each), asked), strict=True)
            return {each: points for each, points in read if points is not None}

    @cached_property
    def _store(self) -> Any:
        # The client's own method reads all pages, however many. What it asks has a bound, and is the same in all versions.
        from mlflow.tracking._tracking_service.client import TrackingServiceClient

        return TrackingServiceClient(self._tracking_uri).store

    def _one(self, run_id: str, name: str) -> list[Point] | None:
        points: list[Point] = []
        token = None
        while len(points) <= LONGEST:
            try:
                page = self._store.get_metric_history(run_id, name, max_results=_A_PAGE, page_token=token)
            except Exception as error:
                if refusal(error) is None:
                    raise
                return None
            points += [Point(each.timestamp, each.step, number(each.value)) for each in page]
            token = page.token or None
            if token is None:
                break
        return points if len(points) <= LONGEST else None
