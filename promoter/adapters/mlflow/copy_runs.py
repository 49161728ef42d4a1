"""Copies what is known of a version between servers: its run, its logged model, and every value that was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from promoter.adapters.mlflow.client import (
    SERVICE_NAME,
    find_client_server,
    is_not_found,
    iterate_pages,
    parse_model_version,
    restore_infinity,
    split_into_chunks,
)
from promoter.adapters.mlflow.logged_models import LoggedModelReader, LoggedValue, MeasuredModel
from promoter.adapters.mlflow.runs import ExperimentCatalog, MetricHistoryReader, MetricPoint
from promoter.application.ports import EvidenceTarget
from promoter.domain.copy_source import SourceVersion
from promoter.domain.errors import TransientError

COPY_TAG = "promoter.copy"
"""The tag of a run or a logged model that says of which version it is, or is to be, the copy."""

_ACTIVE = "active"
_UNFINISHED = ("RUNNING", "SCHEDULED")
_METRICS_PER_READ = 20
_USER_TAG = "mlflow.user"
# Of another server's runs, or of paths there: they would lead nowhere.
_UNPORTABLE_TAGS = ("mlflow.parentRunId", "mlflow.rootRunId", "mlflow.log-model.history", "mlflow.modelVersions", COPY_TAG)


@dataclass(frozen=True)
class SourceSnapshot:
    """A version as it was read at its source."""

    source: SourceVersion
    """Which version it is."""
    description: str | None = None
    """The version's description."""
    run: Any = None
    """MLflow's run; None where there is none, or none any more."""
    experiment: str = ""
    """The name of the run's experiment."""
    logged_model: Any = None
    """MLflow's logged model; None where there is none."""
    points: Mapping[str, tuple[MetricPoint, ...]] = field(default_factory=dict)
    """The values of the run's metrics, by name."""
    logged: tuple[LoggedValue, ...] = ()
    """The values of the logged model's metrics."""
    shortened: tuple[str, ...] = ()
    """The metrics of which only the last value is copied, since there were too many."""

    @property
    def by_logged_model(self) -> bool:
        """Whether the copy is registered from a logged model: as its source was, or since it has no run to belong to."""
        return self.logged_model is not None or self.run is None

    @property
    def identifying_tags(self) -> dict[str, str]:
        """The tags by which an interrupted copy finds again what it has written."""
        return {**self.source.copy_tags, COPY_TAG: self.source.short_digest}

    @property
    def run_tags(self) -> dict[str, str]:
        """The run's own tags, and where it comes from. The user is set when the run is created, and stays with it."""
        user = self.run.info.user_id or self.run.data.tags.get(_USER_TAG, "")
        recorded = {
            **portable_tags(self.run.data.tags),
            **self.identifying_tags,
            "promoter.source.experiment": self.experiment,
            "promoter.source.shortened": ", ".join(self.shortened),
        }
        return {key: value for key, value in {**recorded, _USER_TAG: user}.items() if value}


def portable_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Select the tags that mean something on another server."""
    return {key: value for key, value in tags.items() if key not in _UNPORTABLE_TAGS}


def read_source(client: Any, tracking_uri: str, source: SourceVersion, budget: int) -> SourceSnapshot:
    """Read everything but the artifact. `budget`: how many values of metrics at most.

    Raises what MLflow raises, or `TransientError`.
    """
    entity = client.get_model_version(source.model, str(source.version.number))
    if parse_model_version(entity).created_at != source.version.created_at:
        raise TransientError(SERVICE_NAME, f"{source} was registered anew; the next look goes on from there")
    run = _fetch_active_run(client, source.version.run_id)
    if run is not None and run.info.status in _UNFINISHED:
        raise TransientError(
            SERVICE_NAME, f"{source} is not copied yet: its run is {run.info.status}, and may still measure something"
        )
    histories = MetricHistoryReader(tracking_uri, find_client_server(client))
    logged_model, logged = _read_logged_model(client, histories, source)
    if len(logged) > budget:
        logged = _select_last_values(logged)
    points: dict[str, tuple[MetricPoint, ...]] = {}
    shortened: list[str] = []
    if run is not None:
        for name, found in _read_metric_points(histories, run, budget - len(logged)):
            points[name] = found or (MetricPoint(run.info.end_time or 0, 0, restore_infinity(run.data.metrics[name])),)
            shortened += [] if found else [name]
    return SourceSnapshot(
        source,
        description=entity.description or None,
        run=run,
        experiment=client.get_experiment(run.info.experiment_id).name if run else "",
        logged_model=logged_model,
        points=points,
        logged=logged,
        shortened=tuple(shortened),
    )


def _fetch_active_run(client: Any, run_id: str | None) -> Any:
    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
    except Exception as error:
        if is_not_found(error):
            return None
        raise
    return run if run.info.lifecycle_stage == _ACTIVE else None


def _read_metric_points(histories: MetricHistoryReader, run: Any, budget: int) -> Iterator[tuple[str, tuple[MetricPoint, ...]]]:
    """Yield the values by metric; none where there are too many, or they cannot be read."""
    left = budget
    for names in split_into_chunks(sorted(run.data.metrics), _METRICS_PER_READ):
        found = histories.read_histories([(run.info.run_id, name) for name in names])
        for name in names:
            history = found.get((run.info.run_id, name)) or []
            fits = len(history) <= left
            left -= len(history) if fits else 0
            yield name, tuple(history) if fits else ()


def _read_logged_model(
    client: Any, histories: MetricHistoryReader, source: SourceVersion
) -> tuple[Any, tuple[LoggedValue, ...]]:
    """Read the logged model behind the version, and what was measured on it; where it is gone, neither."""
    reader = LoggedModelReader(client, ExperimentCatalog(client), histories)
    requested = EvidenceTarget(source.model, source.version)
    behind = reader.read_measured_models([requested])[requested.version_key]
    if not isinstance(behind, MeasuredModel):
        return None, ()
    true = reader.confirm_values(behind.logged)
    return client.get_logged_model(behind.model_id), tuple(true[each] for each in behind.logged)


def _select_last_values(logged: tuple[LoggedValue, ...]) -> tuple[LoggedValue, ...]:
    found = {(each.name, each.dataset): each for each in sorted(logged, key=lambda each: each.recency_key)}
    return tuple(found.values())


# MLflow's limits for one request.
_METRICS_PER_REQUEST = 1_000
_ENTITIES_PER_REQUEST = 100

_EVALUATIONS_SUFFIX = "-evaluations"
_RUN_NAME_TAG = "mlflow.runName"
_FINISHED = "FINISHED"


class RunCopyWriter:
    """Writes the run and the logged model of a copy to an experiment of the target. Raises what MLflow raises."""

    def __init__(self, client: Any, experiment: str) -> None:
        """`client` is an `MlflowClient`, `experiment` an id."""
        self._client = client
        self._experiment = experiment

    def write_run(self, snapshot: SourceSnapshot) -> str:
        """Write the run, but not its end; return its id."""
        run_id = self._ensure_run(snapshot.source.short_digest, snapshot.run_tags, snapshot.run.info.start_time)
        params = sorted(snapshot.run.data.params.items())
        self._log_params_and_tags(run_id, params, sorted(snapshot.run_tags.items()))
        metrics = ((name, point) for name, points in snapshot.points.items() for point in points)
        self._log_metrics(
            run_id, (self._build_metric(name, point.value, point.timestamp, point.step) for name, point in metrics)
        )
        if snapshot.run.inputs and snapshot.run.inputs.dataset_inputs:
            self._client.log_inputs(run_id, list(snapshot.run.inputs.dataset_inputs))
        return run_id

    def finish_run(self, snapshot: SourceSnapshot, run_id: str) -> None:
        """End the run as its source ended, and at that time."""
        self._client.set_terminated(run_id, snapshot.run.info.status, snapshot.run.info.end_time)

    def ensure_logged_model(self, snapshot: SourceSnapshot, name: str, run_id: str | None) -> str:
        """Make the logged model, without an artifact yet; return its id."""
        where = f"tags.`{COPY_TAG}` = '{snapshot.source.short_digest}'"
        rows = iterate_pages(lambda token: self._client.search_logged_models([self._experiment], where, page_token=token))
        found = sorted((each.creation_timestamp, each.model_id) for each in rows if (each.source_run_id or None) == run_id)
        if found:
            return str(found[0][1])
        source = snapshot.logged_model
        tags = portable_tags(source.tags or {}) if source else {}
        created = self._client.create_logged_model(
            self._experiment,
            name=source.name if source else name,
            source_run_id=run_id,
            tags={**tags, **snapshot.identifying_tags},
            params=dict(source.params or {}) if source else {},
            model_type=source.model_type if source else None,
        )
        return str(created.model_id)

    def write_measurements(self, snapshot: SourceSnapshot, model_id: str, run_id: str | None) -> None:
        """Write what was measured on the logged model. What other runs measured on it goes to a run of its own."""
        own_id = snapshot.source.version.run_id
        own = [each for each in snapshot.logged if run_id and each.run_id == own_id]
        others = [each for each in snapshot.logged if each not in own]
        if own and run_id:
            self._log_metrics(run_id, (self._build_model_metric(each, model_id) for each in own))
        if others:
            digest = snapshot.source.short_digest + _EVALUATIONS_SUFFIX
            tags = {**snapshot.source.copy_tags, COPY_TAG: digest, _RUN_NAME_TAG: f"evaluations of {snapshot.source}"}
            evaluations = self._ensure_run(digest, tags, None)
            self._log_metrics(evaluations, (self._build_model_metric(each, model_id) for each in others))
            self._client.set_terminated(evaluations, _FINISHED)

    def _ensure_run(self, digest: str, tags: dict[str, str], start: int | None) -> str:
        """Find the run that an earlier attempt has left, else create one, which bears its mark from the start."""
        where = f"tags.`{COPY_TAG}` = '{digest}'"
        rows = iterate_pages(lambda token: self._client.search_runs([self._experiment], where, page_token=token))
        found = sorted((each.info.start_time, each.info.run_id) for each in rows)
        if found:
            return str(found[0][1])
        first = {key: value for key, value in tags.items() if _is_creation_tag(key)}
        return str(self._client.create_run(self._experiment, start, first, tags.get(_RUN_NAME_TAG)).info.run_id)

    def _log_params_and_tags(self, run_id: str, params: list[tuple[str, str]], tags: list[tuple[str, str]]) -> None:
        from mlflow.entities import Param, RunTag

        for start in range(0, max(len(params), len(tags)), _ENTITIES_PER_REQUEST // 2):
            part = slice(start, start + _ENTITIES_PER_REQUEST // 2)
            self._client.log_batch(
                run_id,
                params=[Param(key, value) for key, value in params[part]],
                tags=[RunTag(key, value) for key, value in tags[part]],
            )

    def _log_metrics(self, run_id: str, metrics: Iterable[Any]) -> None:
        waiting: list[Any] = []
        for metric in metrics:
            waiting.append(metric)
            if len(waiting) == _METRICS_PER_REQUEST:
                self._client.log_batch(run_id, metrics=waiting)
                waiting = []
        if waiting:
            self._client.log_batch(run_id, metrics=waiting)

    @staticmethod
    def _build_metric(name: str, value: float, timestamp: int, step: int, **more: str | None) -> Any:
        from mlflow.entities import Metric

        return Metric(name, value, timestamp, step, **more)

    def _build_model_metric(self, each: LoggedValue, model_id: str) -> Any:
        known = each.dataset is not None and each.digest is not None
        return self._build_metric(
            each.name,
            each.point.value,
            each.point.timestamp,
            each.point.step,
            model_id=model_id,
            dataset_name=each.dataset if known else None,
            dataset_digest=each.digest if known else None,
        )


def _is_creation_tag(key: str) -> bool:
    """Whether a run is created with that tag: by some it is found again, others MLflow takes at creation only."""
    return key.startswith(("promoter.", "mlflow.user", "mlflow.runName"))
