"""Reads runs in bulk. MLflow searches runs only within experiments that it is told, so those are known here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

from promoter.adapters.mlflow.convert import chunks, pages, run_of
from promoter.adapters.mlflow.errors import is_absent
from promoter.domain.observed import Run

_FEW = 4  # up to here, single reads on as many threads cost less than a search
_RUNS_A_SEARCH = 500  # MLflow fails above 4,996 ids
_EXPERIMENTS_A_SEARCH = 1_000
_EXPERIMENTS_A_PAGE = 10_000
_THREADS = 4
_RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}", re.ASCII)  # no run can have another one; and it needs no quoting


class RunReader:
    """Runs by id. Deleted runs, and runs of deleted experiments, are absent. Raises what MLflow raises."""

    def __init__(self, client: Any) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._experiments: frozenset[str] = frozenset()

    def read(self, run_ids: Collection[str]) -> dict[str, Run]:
        """Those that exist, by id."""
        wanted = [run_id for run_id in dict.fromkeys(run_ids) if _RUN_ID.fullmatch(run_id)]
        if len(wanted) <= _FEW:
            with ThreadPoolExecutor(_THREADS) as pool:
                return _by_id(pool.map(self._one, wanted))
        found = self._search(wanted, self._experiments)
        missing = [run_id for run_id in wanted if run_id not in found]
        if missing:
            # Either they are gone, or they belong to an experiment that is new since the last look.
            known, self._experiments = self._experiments, self._active_experiments()
            found |= self._search(missing, self._experiments - known)
        return found

    def _one(self, run_id: str) -> Run | None:
        try:
            return run_of(self._client.get_run(run_id))
        except Exception as error:
            if is_absent(error):
                return None
            raise

    def _active_experiments(self) -> frozenset[str]:
        found = pages(lambda token: self._client.search_experiments(max_results=_EXPERIMENTS_A_PAGE, page_token=token))
        return frozenset(experiment.experiment_id for experiment in found)

    def _search(self, run_ids: Iterable[str], experiments: Collection[str]) -> dict[str, Run]:
        searches = list(product(chunks(sorted(experiments), _EXPERIMENTS_A_SEARCH), chunks(run_ids, _RUNS_A_SEARCH)))
        if not searches:
            return {}
        with ThreadPoolExecutor(_THREADS) as pool:
            return _by_id(run for runs in pool.map(lambda search: list(self._found(*search)), searches) for run in runs)

    def _found(self, experiments: list[str], run_ids: list[str]) -> Iterator[Run | None]:
        listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
        for entity in pages(
            lambda token: self._client.search_runs(
                experiments, f"attributes.run_id IN ({listed})", max_results=_RUNS_A_SEARCH, page_token=token
            )
        ):
            yield run_of(entity)


def _by_id(runs: Iterable[Run | None]) -> dict[str, Run]:
    return {run.run_id: run for run in runs if run is not None}
