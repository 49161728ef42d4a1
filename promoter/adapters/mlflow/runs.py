"""Reads runs in bulk, across experiments."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from typing import Any

from promoter.adapters.mlflow.convert import chunks, pages, run_of
from promoter.adapters.mlflow.errors import is_absent
from promoter.adapters.mlflow.experiments import Experiments
from promoter.domain.observed import Run

_FEW = 4  # up to here, single reads on as many threads cost less than a search
_RUNS_A_SEARCH = 500  # MLflow fails above 4,996 ids
_THREADS = 4
_RUN_ID = re.compile(r"[A-Za-z0-9][\w-]{0,255}", re.ASCII)  # no run can have another one; and it needs no quoting

Found = tuple[Run, str]
"""A run, and the id of its experiment."""


class RunReader:
    """Runs by id. Deleted runs, and runs of deleted experiments, are absent. Raises what MLflow raises."""

    def __init__(self, client: Any, experiments: Experiments) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._experiments = experiments

    def read(self, run_ids: Collection[str], *, experiments: bool = False) -> dict[str, Run]:
        """Those that exist, by id; where asked for, with the name of their experiment."""
        wanted = [run_id for run_id in dict.fromkeys(run_ids) if _RUN_ID.fullmatch(run_id)]
        found = self._few(wanted) if len(wanted) <= _FEW else self._many(wanted)
        names = self._experiments.names({experiment for _, experiment in found.values()}) if experiments else {}
        return {run_id: replace(run, experiment=names.get(experiment)) for run_id, (run, experiment) in found.items()}

    def _few(self, wanted: list[str]) -> dict[str, Found]:
        with ThreadPoolExecutor(_THREADS) as pool:
            return _by_id(pool.map(self._one, wanted))

    def _many(self, wanted: list[str]) -> dict[str, Found]:
        known = self._experiments.known()
        found = self._search(wanted, known)
        missing = [run_id for run_id in wanted if run_id not in found]
        if missing:
            # Either they are gone, or they belong to an experiment that is new since the last look.
            found |= self._search(missing, self._experiments.besides(known))
        return found

    def _one(self, run_id: str) -> Found | None:
        try:
            return _found(self._client.get_run(run_id))
        except Exception as error:
            if is_absent(error):
                return None
            raise

    def _search(self, run_ids: Iterable[str], experiments: Collection[str]) -> dict[str, Found]:
        searches = list(product(self._experiments.searches(experiments), chunks(run_ids, _RUNS_A_SEARCH)))
        if not searches:
            return {}
        with ThreadPoolExecutor(_THREADS) as pool:
            return _by_id(run for runs in pool.map(lambda search: list(self._rows(*search)), searches) for run in runs)

    def _rows(self, experiments: list[str], run_ids: list[str]) -> Iterator[Found | None]:
        listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
        for entity in pages(
            lambda token: self._client.search_runs(
                experiments, f"attributes.run_id IN ({listed})", max_results=_RUNS_A_SEARCH, page_token=token
            )
        ):
            yield _found(entity)


def _found(entity: Any) -> Found | None:
    run = run_of(entity)
    return None if run is None else (run, entity.info.experiment_id)


def _by_id(rows: Iterable[Found | None]) -> dict[str, Found]:
    return {row[0].run_id: row for row in rows if row is not None}
