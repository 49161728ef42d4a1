"""Takes what is known of a version at its source: its run, its logged model, and every value that was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from promoter.adapters.mlflow.convert import split_into_chunks, restore_infinity, parse_model_version
from promoter.adapters.mlflow.errors import SERVICE_NAME, is_not_found
from promoter.adapters.mlflow.experiments import ExperimentCatalog
from promoter.adapters.mlflow.histories import MetricHistoryReader, MetricPoint
from promoter.adapters.mlflow.logged_models import LoggedValue, LoggedModelReader, MeasuredModel
from promoter.application.ports import EvidenceTarget
from promoter.domain.faults import TransientError
from promoter.domain.sources import SourceVersion

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
    """A version as it was read at its source. `run` is None where there is none, or none any more.

    `points` are the values of the run's metrics by name, `logged` those of the logged model. `shortened` names the metrics of
    which only the last value is taken, since there were too many.
    """

    source: SourceVersion
    description: str | None = None
    run: Any = None
    experiment: str = ""
    logged_model: Any = None
    points: Mapping[str, tuple[MetricPoint, ...]] = field(default_factory=dict)
    logged: tuple[LoggedValue, ...] = ()
    shortened: tuple[str, ...] = ()

    @property
    def by_logged_model(self) -> bool:
        """Whether the copy is registered from a logged model: as its source was, or since it has no run to belong to."""
        return self.logged_model is not None or self.run is None

    @property
    def identifying_tags(self) -> dict[str, str]:
        """The tags by which what belongs to this copy is found again."""
        return {**self.source.copy_tags, COPY_TAG: self.source.short_digest}

    @property
    def run_tags(self) -> dict[str, str]:
        """The run's own, and where it comes from. The user is given when the run is created, and stays with it."""
        user = self.run.info.user_id or self.run.data.tags.get(_USER_TAG, "")
        recorded = {
            **portable_tags(self.run.data.tags),
            **self.identifying_tags,
            "promoter.source.experiment": self.experiment,
            "promoter.source.shortened": ", ".join(self.shortened),
        }
        return {key: value for key, value in {**recorded, _USER_TAG: user}.items() if value}


def portable_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that still say something on another server."""
    return {key: value for key, value in tags.items() if key not in _UNPORTABLE_TAGS}


def read_source(client: Any, tracking_uri: str, source: SourceVersion, budget: int) -> SourceSnapshot:
    """Everything but the artifact. `budget`: how many values of metrics at most.

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
    histories = MetricHistoryReader(tracking_uri)
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
    """By name; empty where there are too many, or they cannot be read."""
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
    """The logged model behind the version, and what was measured on it; where it is gone, neither."""
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
