"""Reads logged models in bulk, with what was measured on them, on which dataset, and when."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from math import isnan, nan
from threading import Lock
from typing import Any

from cachetools import LRUCache

from promoter.adapters.mlflow.answers import ImpossibleAnswer
from promoter.adapters.mlflow.client import (
    build_name_filter,
    find_refusal_message,
    is_not_found,
    iterate_pages,
    parse_model_version,
    redact_message,
    restore_infinity,
    split_into_chunks,
)
from promoter.adapters.mlflow.runs import MAX_HISTORY_POINTS, ExperimentCatalog, MetricHistoryReader, MetricPoint, RunReader
from promoter.application.ports import EvidenceTarget, VersionKey
from promoter.domain.observed import LoggedModel, MetricRef, MetricSeries, MetricValue, ModelVersion, Unreadable

_MAX_COPY_DEPTH = 20  # copies of copies of copies; MLflow itself knows no bound
_MAX_SINGLE_VERSION_READS = 8  # up to here, single reads on as many threads cost less than a search
_VERSION_THREADS = 8
_VERSIONS_PER_PAGE = 2_000
_MODEL_SCHEME = "models:/"
_MODEL_ID = re.compile(r"m-[A-Za-z0-9_-]{1,64}", re.ASCII)  # needs no quoting in a filter
_VERSION_NUMBER = re.compile(r"[0-9]{1,9}")  # a larger one breaks the server's database, not only the answer
_MAX_CLOCK_SKEW = timedelta(seconds=1)  # between the clocks of two replicas of the server

KnownVersions = dict[VersionKey, ModelVersion | Unreadable]
ModelOrigin = str | Unreadable | None
"""The id of a logged model; why it is not known; None where there is none."""


def find_version_origins(client: Any, versions: Collection[EvidenceTarget]) -> dict[VersionKey, ModelOrigin]:
    """Find the origin of each version, following copies. Each version on the way that is not among them is read once."""
    known: KnownVersions = {each.version_key: each.version for each in versions}
    resolved = {each.version_key: _follow_sources(each.version_key, known) for each in versions}
    for _ in range(_MAX_COPY_DEPTH):
        unknown = {found for found in resolved.values() if isinstance(found, tuple)}
        if not unknown:
            break
        known |= _read_source_versions(client, unknown)
        resolved = {key: _follow_sources(key, known) for key in resolved}
    return {key: _report_long_lineage() if isinstance(found, tuple) else found for key, found in resolved.items()}


def _follow_sources(start: VersionKey, known: KnownVersions) -> ModelOrigin | VersionKey:
    """Follow the sources as far as they are known: to the origin, or to the version to read next."""
    key, passed = start, [start]
    while True:
        version = known.get(key)
        if version is None:
            return key
        if isinstance(version, Unreadable):
            return version
        further = _parse_source(version.source)
        if not isinstance(further, tuple):
            return further
        if further in passed:
            return Unreadable(f"its source leads in a circle, by version {further[1]} of model {further[0]}")
        if len(passed) > _MAX_COPY_DEPTH:
            return _report_long_lineage()
        link = known.get(further)
        if isinstance(link, ModelVersion) and link.created_at > version.created_at + _MAX_CLOCK_SKEW:
            # A model that was deleted and registered anew has the same numbers: what was copied is not there any more.
            return Unreadable(f"version {further[1]} of model {further[0]}, its source, was registered after it was copied")
        key = further
        passed.append(key)


def _parse_source(source: str | None) -> ModelOrigin | VersionKey:
    """Parse a version's source: the logged model or the version that it names."""
    if not source or not source.startswith(_MODEL_SCHEME):
        return None
    name, _, last = source.removeprefix(_MODEL_SCHEME).rpartition("/")
    if name and _VERSION_NUMBER.fullmatch(last):
        return name, int(last)
    if not name and _MODEL_ID.fullmatch(last):
        return last
    return Unreadable(f"its source {redact_message(source)} names neither a logged model nor a version")


def _read_source_versions(client: Any, unknown: Collection[VersionKey]) -> KnownVersions:
    """Read these versions: those of one model together, where they are more than a few."""
    counts = Counter(name for name, _ in unknown)
    searched = [name for name, count in counts.items() if count > _MAX_SINGLE_VERSION_READS]
    single = [key for key in unknown if counts[key[0]] <= _MAX_SINGLE_VERSION_READS]
    with ThreadPoolExecutor(_VERSION_THREADS) as pool:
        found: KnownVersions = dict(zip(single, pool.map(lambda key: _fetch_version(client, key), single), strict=True))
        for versions in pool.map(lambda name: _search_versions(client, name), searched):
            found |= versions
    return {key: found.get(key) or _report_missing_source(key) for key in unknown}


def _search_versions(client: Any, name: str) -> KnownVersions:
    order = ["name ASC", "version_number ASC"]
    rows = iterate_pages(
        lambda token: client.search_model_versions(
            build_name_filter(name), max_results=_VERSIONS_PER_PAGE, order_by=order, page_token=token
        )
    )
    return {(row.name, int(row.version)): parse_model_version(row) for row in rows}


def _fetch_version(client: Any, key: VersionKey) -> ModelVersion | Unreadable:
    name, number = key
    try:
        return parse_model_version(client.get_model_version(name, str(number)))
    except Exception as error:
        if is_not_found(error):
            return _report_missing_source(key)
        refused = find_refusal_message(error)
        if refused is None:
            raise
        return Unreadable(f"version {number} of model {name}, its source, cannot be read: {refused}")


def select_model_ids(found: Iterable[ModelOrigin]) -> list[str]:
    """Select the logged models among the origins, each once."""
    return list(dict.fromkeys(origin for origin in found if isinstance(origin, str)))


def _report_missing_source(key: VersionKey) -> Unreadable:
    return Unreadable(f"version {key[1]} of model {key[0]}, its source, does not exist")


def _report_long_lineage() -> Unreadable:
    return Unreadable(f"its source is a copy of a copy, more than {_MAX_COPY_DEPTH} deep")


_MAX_SINGLE_MODEL_READS = 4  # up to here, single reads on as many threads cost less than a search
_MODELS_PER_SEARCH = 100
_MODEL_THREADS = 8
_CACHE_SIZE = 50_000


@dataclass(frozen=True)
class LoggedValue:
    """One value that was logged for a logged model, by that run."""

    name: str
    """The metric's name."""
    dataset: str | None
    """The name of the dataset that it was measured on."""
    digest: str | None
    """The dataset's digest."""
    run_id: str | None
    """The run that measured it."""
    point: MetricPoint

    @property
    def recency_key(self) -> tuple[int, int, str]:
        """The order of values, of which the last one counts: by time, then by step."""
        return self.point.timestamp, self.point.step, self.run_id or ""


@dataclass(frozen=True)
class MeasuredModel:
    """A logged model with everything that was logged for it."""

    model_id: str
    logged: tuple[LoggedValue, ...]


class LoggedModelReader:
    """Reads the logged models behind versions. Raises what MLflow raises, but for what concerns a single version."""

    def __init__(self, client: Any, experiments: ExperimentCatalog, histories: MetricHistoryReader) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._experiments = experiments
        self._histories = histories
        self._cache: LRUCache[LoggedValue, float] = LRUCache(_CACHE_SIZE)
        self._cache_lock = Lock()

    def read_logged_models(self, versions: Collection[EvidenceTarget]) -> dict[VersionKey, LoggedModel | Unreadable | None]:
        """Read by version, with the last value of each metric on each dataset, whichever digest that has."""
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
        """Read by version, with everything that was logged: see `confirm_values` for what a zero may stand for."""
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
        """Find the true value of each: MLflow's SQL store keeps a NaN of a logged model as 0, but that of its run as NaN.

        A zero that the run's history does not confirm is NaN here.
        """
        unique = list(dict.fromkeys(logged))
        true = {each: each for each in unique if each.point.value != 0}
        with self._cache_lock:
            cached = {each: self._cache.get(each) for each in unique if each not in true}
        known = {each: value for each, value in cached.items() if value is not None}
        doubtful = [each for each in cached if each not in known]
        histories = self._histories.read_histories({(each.run_id, each.name) for each in doubtful if each.run_id})
        for each in doubtful:
            history = histories.get((each.run_id or "", each.name))
            known[each] = value = _confirm_zero(each, history or [])
            if history:  # an empty one may be an answer that lost its rows
                with self._cache_lock:
                    self._cache[each] = value
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
    """Return zero where the run logged exactly that at that moment, else NaN."""
    values = [point.value for point in history if (point.timestamp, point.step) == (zero.point.timestamp, zero.point.step)]
    return 0.0 if values and all(value == 0 for value in values) else nan


def _build_measurement(logged: LoggedValue) -> MetricValue:
    return MetricValue(logged.name, logged.point.value, logged.dataset, logged.digest)


class SeriesReader:
    """Reads metrics over their steps. One that has more than 100,000 points is left out. Raises what MLflow raises."""

    def __init__(self, runs: RunReader, logged_models: LoggedModelReader, histories: MetricHistoryReader) -> None:
        self._runs = runs
        self._logged_models = logged_models
        self._histories = histories

    def read_series(
        self, versions: Collection[EvidenceTarget], metrics: Collection[MetricRef]
    ) -> dict[VersionKey, tuple[MetricSeries, ...]]:
        """Read by version, in order of the metrics; those that it does not have are left out."""
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
        lost = next((each for each, points in histories.items() if not points), None)
        if lost is not None:
            raise ImpossibleAnswer(f"no history of metric {lost[1]} of run {lost[0]}, which the run itself has")
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
    """Take the last point of each step. Of two at the same moment the larger value, as MLflow has it; but NaN before all."""
    found: dict[int, float] = {}
    for point in sorted(points, key=lambda point: (point.timestamp, isnan(point.value), point.value)):
        found[point.step] = point.value
    return tuple(sorted(found.items()))
