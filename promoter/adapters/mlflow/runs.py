"""Runs, the experiments that they belong to, and the histories of their metrics, read in bulk.

MLflow searches runs and logged models only within experiments that are named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from threading import Lock
from typing import Any

from cachetools import LRUCache

from promoter.adapters.mlflow.answers import ImpossibleAnswer
from promoter.adapters.mlflow.client import (
    find_refusal_message,
    is_not_found,
    is_permission_denied,
    iterate_pages,
    parse_run_entity,
    restore_infinity,
    split_into_chunks,
)
from promoter.adapters.mlflow.credentials import BoundServer, address_server
from promoter.domain.observed import TrainingRun

_EXPERIMENTS_PER_PAGE = 10_000
_EXPERIMENTS_PER_SEARCH = 1_000
_EXPERIMENT_THREADS = 8


class ExperimentCatalog:
    """Knows the active experiments, as of the last search. Raises what MLflow raises."""

    def __init__(self, client: Any) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._known: frozenset[str] = frozenset()

    def list_known_ids(self) -> frozenset[str]:
        """List the ids that the last search found."""
        return self._known

    def find_other_ids(self, searched: frozenset[str]) -> frozenset[str]:
        """Search again; return the ids of all but those, whatever another thread has found meanwhile."""
        found = iterate_pages(
            lambda token: self._client.search_experiments(max_results=_EXPERIMENTS_PER_PAGE, page_token=token)
        )
        self._known = now = frozenset(experiment.experiment_id for experiment in found)
        return now - searched

    def fetch_experiment_names(self, experiment_ids: Collection[str]) -> dict[str, str]:
        """Fetch the names by id, now (an experiment can be renamed), one request an id.

        Those that are unknown or withheld are left out.
        """
        with ThreadPoolExecutor(_EXPERIMENT_THREADS) as pool:
            requested: Sequence[str] = list(dict.fromkeys(experiment_ids))
            return {
                each: name
                for each, name in zip(requested, pool.map(self._fetch_experiment_name, requested), strict=True)
                if name is not None
            }

    @staticmethod
    def split_into_searches(experiment_ids: Collection[str]) -> list[list[str]]:
        """Split the ids into lists that one search can take."""
        return split_into_chunks(sorted(experiment_ids), _EXPERIMENTS_PER_SEARCH)

    def _fetch_experiment_name(self, experiment_id: str) -> str | None:
        try:
            return str(self._client.get_experiment(experiment_id).name)
        except Exception as error:
            if is_not_found(error) or is_permission_denied(error):
                return None
            raise


_MAX_SINGLE_READS = 4  # up to here, single reads on as many threads cost less than a search
_RUNS_PER_SEARCH = 500  # MLflow fails above 4,996 ids
_RUN_THREADS = 4
_CACHE_SIZE = 50_000
_RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}", re.ASCII)  # no run can have another one; and it needs no quoting

RunWithExperiment = tuple[TrainingRun, str]
"""A run, and the id of its experiment."""


class RunReader:
    """Reads runs by id. Deleted runs, and runs of deleted experiments, are absent. Raises what MLflow raises.

    So are those that MLflow does not let Promoter read, as in a search: whoever registers a version chooses its run.
    A run that a search does not find is read by its id before it counts as absent, once. What MLflow keeps for ever, the names
    of metrics and parameters, must not get less: raises `ImpossibleAnswer` where it does.
    """

    def __init__(self, client: Any, experiments: ExperimentCatalog) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._experiments = experiments
        self._absent: LRUCache[str, bool] = LRUCache(_CACHE_SIZE)
        self._logged_names: LRUCache[str, tuple[tuple[str, ...], tuple[str, ...]]] = LRUCache(_CACHE_SIZE)
        self._cache_lock = Lock()

    def read_runs(self, run_ids: Collection[str], *, experiments: bool = False) -> dict[str, TrainingRun]:
        """Read those that exist, by id; with `experiments`, each has the name of its experiment."""
        requested = [run_id for run_id in dict.fromkeys(run_ids) if _RUN_ID.fullmatch(run_id)]
        found = (
            self._fetch_individually(requested)
            if len(requested) <= _MAX_SINGLE_READS
            else self._search_all_experiments(requested)
        )
        self._check_logged_names(run for run, _ in found.values())
        names = (
            self._experiments.fetch_experiment_names({experiment for _, experiment in found.values()}) if experiments else {}
        )
        return {run_id: replace(run, experiment=names.get(experiment)) for run_id, (run, experiment) in found.items()}

    def _fetch_individually(self, requested: list[str]) -> dict[str, RunWithExperiment]:
        """Fetch by id. One whose answer is none, while others can be read, is left out: rules then call it unreadable."""
        with ThreadPoolExecutor(_RUN_THREADS) as pool:
            rows = dict(zip(requested, pool.map(self._try_fetching_run, requested), strict=True))
        unread = [row for row in rows.values() if isinstance(row, ImpossibleAnswer)]
        found = {run_id: row for run_id, row in rows.items() if isinstance(row, tuple)}
        if unread and not found:
            raise unread[0]
        if unread:
            self._fetch_run(min(found))  # raises where, by now, no run at all can be read
        return found

    def _try_fetching_run(self, run_id: str) -> RunWithExperiment | ImpossibleAnswer | None:
        try:
            return self._fetch_run(run_id)
        except ImpossibleAnswer as error:
            return error

    def _fetch_run(self, run_id: str) -> RunWithExperiment | None:
        try:
            return _parse_found_run(self._client.get_run(run_id))
        except ImpossibleAnswer:
            # Another way: what a search shows is as good; else nothing is known of it.
            found = self._search_runs_by_id([run_id], self._experiments.find_other_ids(frozenset()))
            if run_id not in found:
                raise
            return found[run_id]
        except Exception as error:
            if is_not_found(error) or is_permission_denied(error):
                return None
            raise

    def _search_all_experiments(self, requested: list[str]) -> dict[str, RunWithExperiment]:
        known = self._experiments.list_known_ids()
        found = self._search_runs_by_id(requested, known)
        missing = [run_id for run_id in requested if run_id not in found]
        if missing:
            # Either they are gone, or they belong to an experiment that is new since the last search.
            found |= self._search_runs_by_id(missing, self._experiments.find_other_ids(known))
            found |= self._fetch_unfound([run_id for run_id in missing if run_id not in found])
        return found

    def _fetch_unfound(self, missing: list[str]) -> dict[str, RunWithExperiment]:
        """Fetch by id what no search finds: an answer that lost its rows looks like one that has none."""
        with self._cache_lock:
            doubtful = [run_id for run_id in missing if run_id not in self._absent]
        found = self._fetch_individually(doubtful)
        with self._cache_lock:
            self._absent.update(dict.fromkeys((run_id for run_id in doubtful if run_id not in found), True))
        return found

    def _check_logged_names(self, runs: Iterable[TrainingRun]) -> None:
        for run in runs:
            with self._cache_lock:
                metrics, params = self._logged_names.get(run.run_id, ((), ()))
            lost_metric = min((name for name in metrics if name not in run.metrics), default=None)
            lost_param = min((name for name in params if name not in run.params), default=None)
            # The history of a metric, another request, shows whether MLflow still has it.
            if lost_metric is not None and self._client.get_metric_history(run.run_id, lost_metric):
                raise ImpossibleAnswer(f"run {run.run_id} without what it had logged, such as {lost_metric}")
            if lost_metric is None and lost_param is not None:
                raise ImpossibleAnswer(f"run {run.run_id} without what it had logged, such as param {lost_param}")
            with self._cache_lock:
                self._logged_names[run.run_id] = tuple(run.metrics), tuple(run.params)

    def _search_runs_by_id(self, run_ids: Iterable[str], experiments: Collection[str]) -> dict[str, RunWithExperiment]:
        searches = list(
            product(self._experiments.split_into_searches(experiments), split_into_chunks(run_ids, _RUNS_PER_SEARCH))
        )
        if not searches:
            return {}
        with ThreadPoolExecutor(_RUN_THREADS) as pool:
            return _index_by_run_id(
                run for runs in pool.map(lambda search: list(self._iterate_search_results(*search)), searches) for run in runs
            )

    def _iterate_search_results(self, experiments: list[str], run_ids: list[str]) -> Iterator[RunWithExperiment | None]:
        listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
        for entity in iterate_pages(
            lambda token: self._client.search_runs(
                experiments, f"attributes.run_id IN ({listed})", max_results=_RUNS_PER_SEARCH, page_token=token
            )
        ):
            yield _parse_found_run(entity)


def _parse_found_run(entity: Any) -> RunWithExperiment | None:
    run = parse_run_entity(entity)
    return None if run is None else (run, entity.info.experiment_id)


def _index_by_run_id(rows: Iterable[RunWithExperiment | None]) -> dict[str, RunWithExperiment]:
    return {row[0].run_id: row for row in rows if row is not None}


MAX_HISTORY_POINTS = 100_000
"""How many points a history may have; a longer one is not read."""

_POINTS_PER_PAGE = 10_000
_HISTORY_THREADS = 8

RunMetric = tuple[str, str]
"""A run, and the name of a metric."""


@dataclass(frozen=True, order=True)
class MetricPoint:
    """One logged value."""

    timestamp: int
    """Milliseconds since 1970."""
    step: int
    value: float


class MetricHistoryReader:
    """Reads histories of metrics in parallel. MLflow has no public call that reads those of several runs at once."""

    def __init__(self, tracking_uri: str, server: BoundServer | None = None) -> None:
        """`server`: the binding of another registry; None: Promoter's own."""
        self._tracking_uri = tracking_uri
        self._server = server

    def read_histories(self, requested: Collection[RunMetric]) -> dict[RunMetric, list[MetricPoint]]:
        """Read by run and metric; empty where there is no such metric, left out where it cannot be read or is too long."""
        unique = list(dict.fromkeys(requested))
        with ThreadPoolExecutor(_HISTORY_THREADS) as pool:
            read = zip(unique, pool.map(lambda each: self._read_history(*each), unique), strict=True)
            return {each: points for each, points in read if points is not None}

    @cached_property
    def _tracking_store(self) -> Any:
        # The client's own method reads all pages, however many. That of the store is bounded, and the same in all versions.
        from mlflow.tracking._tracking_service.client import TrackingServiceClient

        return TrackingServiceClient(self._tracking_uri).store

    def _read_history(self, run_id: str, name: str) -> list[MetricPoint] | None:
        points: list[MetricPoint] = []
        token = None
        while len(points) <= MAX_HISTORY_POINTS:
            try:
                with address_server(self._server):
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
