"""Reads runs in bulk, across experiments."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from typing import Any

from promoter.adapters.mlflow.convert import split_into_chunks, iterate_pages, parse_run_entity
from promoter.adapters.mlflow.errors import is_not_found
from promoter.adapters.mlflow.experiments import ExperimentCatalog
from promoter.domain.observed import TrainingRun

_MAX_SINGLE_READS = 4  # up to here, single reads on as many threads cost less than a search
_RUNS_PER_SEARCH = 500  # MLflow fails above 4,996 ids
_RUN_THREADS = 4
_RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}", re.ASCII)  # no run can have another one; and it needs no quoting

RunWithExperiment = tuple[TrainingRun, str]
"""A run, and the id of its experiment."""


class RunReader:
    """Runs by id. Deleted runs, and runs of deleted experiments, are absent. Raises what MLflow raises."""

    def __init__(self, client: Any, experiments: ExperimentCatalog) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._experiments = experiments

    def read_runs(self, run_ids: Collection[str], *, experiments: bool = False) -> dict[str, TrainingRun]:
        """Those that exist, by id; where asked for, with the name of their experiment."""
        requested = [run_id for run_id in dict.fromkeys(run_ids) if _RUN_ID.fullmatch(run_id)]
        found = (
            self._fetch_individually(requested)
            if len(requested) <= _MAX_SINGLE_READS
            else self._search_all_experiments(requested)
        )
        names = (
            self._experiments.fetch_experiment_names({experiment for _, experiment in found.values()}) if experiments else {}
        )
        return {run_id: replace(run, experiment=names.get(experiment)) for run_id, (run, experiment) in found.items()}

    def _fetch_individually(self, requested: list[str]) -> dict[str, RunWithExperiment]:
        with ThreadPoolExecutor(_RUN_THREADS) as pool:
            return _index_by_run_id(pool.map(self._fetch_run, requested))

    def _search_all_experiments(self, requested: list[str]) -> dict[str, RunWithExperiment]:
        known = self._experiments.list_known_ids()
        found = self._search_runs_by_id(requested, known)
        missing = [run_id for run_id in requested if run_id not in found]
        if missing:
            # Either they are gone, or they belong to an experiment that is new since the last look.
            found |= self._search_runs_by_id(missing, self._experiments.find_other_ids(known))
        return found

    def _fetch_run(self, run_id: str) -> RunWithExperiment | None:
        try:
            return _parse_found_run(self._client.get_run(run_id))
        except Exception as error:
            if is_not_found(error):
                return None
            raise

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
