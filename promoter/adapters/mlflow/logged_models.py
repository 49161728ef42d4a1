"""Reads logged models in bulk, with what was measured on them, on which dataset, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from math import nan
from typing import Any

from promoter.adapters.mlflow.convert import split_into_chunks, restore_infinity, iterate_pages
from promoter.adapters.mlflow.errors import is_not_found, find_refusal_message
from promoter.adapters.mlflow.experiments import ExperimentCatalog
from promoter.adapters.mlflow.histories import MetricHistoryReader, MetricPoint
from promoter.adapters.mlflow.lineage import select_model_ids, find_version_origins
from promoter.adapters.mlflow.memory import ExpiringCache
from promoter.application.ports import EvidenceTarget, VersionKey
from promoter.domain.metrics import MetricValue
from promoter.domain.observed import LoggedModel, Unreadable

_MAX_SINGLE_MODEL_READS = 4  # up to here, single reads on as many threads cost less than a search
_MODELS_PER_SEARCH = 100
_MODEL_THREADS = 8
_CACHE_SIZE = 50_000


@dataclass(frozen=True)
class LoggedValue:
    """One value that was logged for a logged model, by that run."""

    name: str
    dataset: str | None
    digest: str | None
    run_id: str | None
    point: MetricPoint

    @property
    def recency_key(self) -> tuple[int, int, str]:
        """The last one counts: by time, then by step."""
        return self.point.timestamp, self.point.step, self.run_id or ""


@dataclass(frozen=True)
class MeasuredModel:
    """A logged model with everything that was logged for it."""

    model_id: str
    logged: tuple[LoggedValue, ...]


class LoggedModelReader:
    """The logged models behind versions. Raises what MLflow raises, but for what concerns a single one of them."""

    def __init__(self, client: Any, experiments: ExperimentCatalog, histories: MetricHistoryReader) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._experiments = experiments
        self._histories = histories
        self._true_values: ExpiringCache[LoggedValue, float] = ExpiringCache(_CACHE_SIZE)

    def read_logged_models(self, versions: Collection[EvidenceTarget]) -> dict[VersionKey, LoggedModel | Unreadable | None]:
        """By version, with the last value of each metric on each dataset, whichever digest that has."""
        found = self.read_measured_models(versions)
        last = {each.model_id: _select_last_values(each.logged) for each in found.values() if isinstance(each, MeasuredModel)}
        true = self.confirm_values(logged for each in last.values() for logged in each)
        return {
            key: LoggedModel(each.model_id, tuple(_build_measurement(true[logged]) for logged in last[each.model_id]))
            if isinstance(each, MeasuredModel)
            else each
            for key, each in found.items()
        }

    def read_measured_models(self, versions: Collection[EvidenceTarget]) -> dict[VersionKey, MeasuredModel | Unreadable | None]:
        """By version, with everything that was logged: see `certain` for what a zero may stand for."""
        behind = find_version_origins(self._client, versions)
        requested = select_model_ids(behind.values())
        found: dict[str, MeasuredModel | Unreadable] = {}
        if len(requested) > _MAX_SINGLE_MODEL_READS:
            known = self._experiments.list_known_ids()
            found |= self._search_models(requested, known)
            if len(found) < len(requested):
                found |= self._search_models(
                    [each for each in requested if each not in found], self._experiments.find_other_ids(known)
                )
        missing = [each for each in requested if each not in found]
        with ThreadPoolExecutor(_MODEL_THREADS) as pool:
            found |= zip(missing, pool.map(self._fetch_logged_model, missing), strict=True)
        return {key: found[origin] if isinstance(origin, str) else origin for key, origin in behind.items()}

    def confirm_values(self, logged: Iterable[LoggedValue]) -> dict[LoggedValue, LoggedValue]:
        """Each with its true value: MLflow's SQL store keeps a NaN of a logged model as 0, but that of its run as NaN.

        A zero that the run's history does not confirm is NaN here.
        """
        unique = list(dict.fromkeys(logged))
        true = {each: each for each in unique if each.point.value != 0}
        remembered = {each: self._true_values.get(each) for each in unique if each not in true}
        known = {each: value for each, value in remembered.items() if value is not None}
        doubtful = [each for each in remembered if each not in known]
        histories = self._histories.read_histories({(each.run_id, each.name) for each in doubtful if each.run_id})
        for each in doubtful:
            history = histories.get((each.run_id or "", each.name))
            known[each] = value = _confirm_zero(each, history or [])
            if history is not None:
                self._true_values.put(each, value)
        return true | {each: replace(each, point=replace(each.point, value=value)) for each, value in known.items()}

    def _search_models(self, requested: list[str], experiments: Collection[str]) -> dict[str, MeasuredModel]:
        searches = product(self._experiments.split_into_searches(experiments), split_into_chunks(requested, _MODELS_PER_SEARCH))
        try:
            with ThreadPoolExecutor(_MODEL_THREADS) as pool:
                rows = pool.map(lambda search: list(self._iterate_models(*search)), searches)
                return {each.model_id: each for found in rows for each in found}
        except Exception as error:
            if find_refusal_message(error) is None:
                raise
            return {}  # not every store knows this filter; single reads say more

    def _iterate_models(self, experiments: list[str], requested: list[str]) -> Iterator[MeasuredModel]:
        listed = ", ".join(f"'{model_id}'" for model_id in requested)
        for entity in iterate_pages(
            lambda token: self._client.search_logged_models(
                experiments, f"model_id IN ({listed})", max_results=_MODELS_PER_SEARCH, page_token=token
            )
        ):
            yield _parse_measured_model(entity)

    def _fetch_logged_model(self, model_id: str) -> MeasuredModel | Unreadable:
        try:
            return _parse_measured_model(self._client.get_logged_model(model_id))
        except Exception as error:
            if is_not_found(error):
                return Unreadable(f"its logged model {model_id} does not exist: it may have been deleted")
            refused = find_refusal_message(error)
            if refused is None:
                raise
            return Unreadable(f"its logged model {model_id} cannot be read: {refused}")


def _parse_measured_model(entity: Any) -> MeasuredModel:
    return MeasuredModel(
        entity.model_id,
        tuple(
            LoggedValue(
                name=metric.key,
                dataset=metric.dataset_name or None,
                digest=metric.dataset_digest or None,
                run_id=metric.run_id or None,
                point=MetricPoint(metric.timestamp, metric.step, restore_infinity(metric.value)),
            )
            for metric in entity.metrics or ()
        ),
    )


def _select_last_values(logged: Iterable[LoggedValue]) -> list[LoggedValue]:
    found: dict[tuple[str, str], LoggedValue] = {}
    for each in sorted(logged, key=lambda each: each.recency_key):
        found[each.name, each.dataset or ""] = each
    return [found[where] for where in sorted(found)]


def _confirm_zero(zero: LoggedValue, history: Iterable[MetricPoint]) -> float:
    """Zero where the run logged exactly that at that moment."""
    there = [point.value for point in history if (point.timestamp, point.step) == (zero.point.timestamp, zero.point.step)]
    return 0.0 if there and all(value == 0 for value in there) else nan


def _build_measurement(logged: LoggedValue) -> MetricValue:
    return MetricValue(logged.name, logged.point.value, logged.dataset, logged.digest)
