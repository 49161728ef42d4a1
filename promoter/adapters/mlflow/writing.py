"""Writes the run and the logged model of a copy. Every call can be repeated: what is there already stays as it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from promoter.adapters.mlflow.convert import iterate_pages
from promoter.adapters.mlflow.logged_models import LoggedValue
from promoter.adapters.mlflow.taking import COPY_TAG, SourceSnapshot, portable_tags

# MLflow's limits for one request.
_METRICS_PER_REQUEST = 1_000
_ENTITIES_PER_REQUEST = 100

_EVALUATIONS_SUFFIX = "-evaluations"
_RUN_NAME_TAG = "mlflow.runName"
_FINISHED = "FINISHED"


class RunCopyWriter:
    """The run and the logged model of a copy, in an experiment of the target. Raises what MLflow raises."""

    def __init__(self, client: Any, experiment: str) -> None:
        """`client` is an `MlflowClient`, `experiment` an id."""
        self._client = client
        self._experiment = experiment

    def write_run(self, snapshot: SourceSnapshot) -> str:
        """The run, but for its end; its id."""
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
        """It ends as its source did, and when."""
        self._client.set_terminated(run_id, snapshot.run.info.status, snapshot.run.info.end_time)

    def ensure_logged_model(self, snapshot: SourceSnapshot, name: str, run_id: str | None) -> str:
        """The logged model, without an artifact yet; its id."""
        where = f"tags.`{COPY_TAG}` = '{snapshot.source.short_digest}'"
        rows = iterate_pages(lambda token: self._client.search_logged_models([self._experiment], where, page_token=token))
        found = sorted((each.creation_timestamp, each.model_id) for each in rows if (each.source_run_id or None) == run_id)
        if found:
            return str(found[0][1])
        source = snapshot.logged_model
        tags = portable_tags(source.tags or {}) if source else {}
        made = self._client.create_logged_model(
            self._experiment,
            name=source.name if source else name,
            source_run_id=run_id,
            tags={**tags, **snapshot.identifying_tags},
            params=dict(source.params or {}) if source else {},
            model_type=source.model_type if source else None,
        )
        return str(made.model_id)

    def write_measurements(self, snapshot: SourceSnapshot, model_id: str, run_id: str | None) -> None:
        """What was measured on the logged model. What other runs measured on it comes to a run of its own."""
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
        """The one that an earlier attempt has left, else a new one, which bears its mark as soon as it is there."""
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
    """The tags that a run is created with: by which it is found again, and what MLflow takes from there alone."""
    return key.startswith(("promoter.", "mlflow.user", "mlflow.runName"))
