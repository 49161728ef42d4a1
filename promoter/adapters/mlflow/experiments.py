"""The experiments of the server. MLflow searches runs and logged models only within experiments that it is told."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from promoter.adapters.mlflow.convert import split_into_chunks, iterate_pages
from promoter.adapters.mlflow.errors import is_not_found

_EXPERIMENTS_PER_PAGE = 10_000
_EXPERIMENTS_PER_SEARCH = 1_000
_EXPERIMENT_THREADS = 8


class ExperimentCatalog:
    """The active experiments, as far as they were looked at. Raises what MLflow raises."""

    def __init__(self, client: Any) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._known: frozenset[str] = frozenset()

    def list_known_ids(self) -> frozenset[str]:
        """The ids of those that the last look found."""
        return self._known

    def find_other_ids(self, searched: frozenset[str]) -> frozenset[str]:
        """Look again: the ids of all but those, whatever another thread has found meanwhile."""
        found = iterate_pages(
            lambda token: self._client.search_experiments(max_results=_EXPERIMENTS_PER_PAGE, page_token=token)
        )
        self._known = now = frozenset(experiment.experiment_id for experiment in found)
        return now - searched

    def fetch_experiment_names(self, experiment_ids: Collection[str]) -> dict[str, str]:
        """Id to name, read now (an experiment can be renamed): one request an id. Those that do not exist are left out."""
        with ThreadPoolExecutor(_EXPERIMENT_THREADS) as pool:
            requested: Sequence[str] = list(dict.fromkeys(experiment_ids))
            return {
                each: name
                for each, name in zip(requested, pool.map(self._fetch_experiment_name, requested), strict=True)
                if name is not None
            }

    @staticmethod
    def split_into_searches(experiment_ids: Collection[str]) -> list[list[str]]:
        """The ids in lists that one search can take."""
        return split_into_chunks(sorted(experiment_ids), _EXPERIMENTS_PER_SEARCH)

    def _fetch_experiment_name(self, experiment_id: str) -> str | None:
        try:
            return str(self._client.get_experiment(experiment_id).name)
        except Exception as error:
            if is_not_found(error):
                return None
            raise
