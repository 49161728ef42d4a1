"""The experiments of the server. MLflow searches runs and logged models only within experiments that it is told."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from promoter.adapters.mlflow.convert import chunks, pages
from promoter.adapters.mlflow.errors import is_absent

_A_PAGE = 10_000
_A_SEARCH = 1_000
_THREADS = 8


class Experiments:
    """The active experiments, as far as they were looked at. Raises what MLflow raises."""

    def __init__(self, client: Any) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._known: frozenset[str] = frozenset()

    def known(self) -> frozenset[str]:
        """The ids of those that the last look found."""
        return self._known

    def besides(self, searched: frozenset[str]) -> frozenset[str]:
        """Look again: the ids of all but those, whatever another thread has found meanwhile."""
        found = pages(lambda token: self._client.search_experiments(max_results=_A_PAGE, page_token=token))
        self._known = now = frozenset(experiment.experiment_id for experiment in found)
        return now - searched

    def names(self, experiment_ids: Collection[str]) -> dict[str, str]:
        """Id to name, read now (an experiment can be renamed): one request an id. Those that do not exist are left out."""
        with ThreadPoolExecutor(_THREADS) as pool:
            asked: Sequence[str] = list(dict.fromkeys(experiment_ids))
            return {each: name for each, name in zip(asked, pool.map(self._name, asked), strict=True) if name is not None}

    @staticmethod
    def searches(experiment_ids: Collection[str]) -> list[list[str]]:
        """The ids in lists that one search can take."""
        return chunks(sorted(experiment_ids), _A_SEARCH)

    def _name(self, experiment_id: str) -> str | None:
        try:
            return str(self._client.get_experiment(experiment_id).name)
        except Exception as error:
            if is_absent(error):
                return None
            raise
