"""Takes what is known of a version at its source: its run, its logged model, and every value that was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from promoter.adapters.mlflow.convert import chunks, number, version_of
from promoter.adapters.mlflow.errors import WHAT, is_absent
from promoter.adapters.mlflow.experiments import Experiments
from promoter.adapters.mlflow.histories import Histories, Point
from promoter.adapters.mlflow.logged_models import Logged, LoggedModelReader, Measured
from promoter.application.ports import Evidenced
from promoter.domain.faults import Unavailable
from promoter.domain.sources import SourceVersion

MARK = "promoter.copy"
"""The tag of a run or a logged model that says of which version it is, or is to be, the copy."""

_ACTIVE = "active"
_UNENDED = ("RUNNING", "SCHEDULED")
_AT_ONCE = 20
_USER = "mlflow.user"
# Of another server's runs, or of paths there: they would lead nowhere.
_LEFT_OUT = ("mlflow.parentRunId", "mlflow.rootRunId", "mlflow.log-model.history", "mlflow.modelVersions", MARK)


@dataclass(frozen=True)
class Taken:
    """A version as it was read at its source. `run` is None where there is none, or none any more.

    `points` are the values of the run's metrics by name, `logged` those of the logged model. `shortened` names the metrics of
    which only the last value is taken, since there were too many.
    """

    source: SourceVersion
    description: str | None = None
    run: Any = None
    experiment: str = ""
    logged_model: Any = None
    points: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    logged: tuple[Logged, ...] = ()
    shortened: tuple[str, ...] = ()

    @property
    def by_logged_model(self) -> bool:
        """Whether the copy is registered from a logged model: as its source was, or since it has no run to belong to."""
        return self.logged_model is not None or self.run is None

    @property
    def marks(self) -> dict[str, str]:
        """The tags by which what belongs to this copy is found again."""
        return {**self.source.tags, MARK: self.source.digest}

    @property
    def run_tags(self) -> dict[str, str]:
        """The run's own, and where it comes from. The user is given when the run is created, and stays with it."""
        user = self.run.info.user_id or self.run.data.tags.get(_USER, "")
        told = {
            **kept(self.run.data.tags),
            **self.marks,
            "promoter.source.experiment": self.experiment,
            "promoter.source.shortened": ", ".join(self.shortened),
        }
        return {key: value for key, value in {**told, _USER: user}.items() if value}


def kept(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that still say something on another server."""
    return {key: value for key, value in tags.items() if key not in _LEFT_OUT}


def take(client: Any, tracking_uri: str, source: SourceVersion, budget: int) -> Taken:
    """Everything but the artifact. `budget`: how many values of metrics at most.

    Raises what MLflow raises, or `Unavailable`.
    """
    entity = client.get_model_version(source.model, str(source.version.number))
    if version_of(entity).created_at != source.version.created_at:
        raise Unavailable(WHAT, f"{source} was registered anew; the next look goes on from there")
    run = _run(client, source.version.run_id)
    if run is not None and run.info.status in _UNENDED:
        raise Unavailable(WHAT, f"{source} is not copied yet: its run is {run.info.status}, and may still measure something")
    histories = Histories(tracking_uri)
    logged_model, logged = _logged(client, histories, source)
    if len(logged) > budget:
        logged = _last(logged)
    points: dict[str, tuple[Point, ...]] = {}
    shortened: list[str] = []
    if run is not None:
        for name, found in _points(histories, run, budget - len(logged)):
            points[name] = found or (Point(run.info.end_time or 0, 0, number(run.data.metrics[name])),)
            shortened += [] if found else [name]
    return Taken(
        source,
        description=entity.description or None,
        run=run,
        experiment=client.get_experiment(run.info.experiment_id).name if run else "",
        logged_model=logged_model,
        points=points,
        logged=logged,
        shortened=tuple(shortened),
    )


def _run(client: Any, run_id: str | None) -> Any:
    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
    except Exception as error:
        if is_absent(error):
            return None
        raise
    return run if run.info.lifecycle_stage == _ACTIVE else None


def _points(histories: Histories, run: Any, budget: int) -> Iterator[tuple[str, tuple[Point, ...]]]:
    """By name; empty where there are too many, or they cannot be read."""
    left = budget
    for names in chunks(sorted(run.data.metrics), _AT_ONCE):
        found = histories.read([(run.info.run_id, name) for name in names])
        for name in names:
            history = found.get((run.info.run_id, name)) or []
            fits = len(history) <= left
            left -= len(history) if fits else 0
            yield name, tuple(history) if fits else ()


def _logged(client: Any, histories: Histories, source: SourceVersion) -> tuple[Any, tuple[Logged, ...]]:
    """The logged model behind the version, and what was measured on it; where it is gone, neither."""
    reader = LoggedModelReader(client, Experiments(client), histories)
    asked = Evidenced(source.model, source.version)
    behind = reader.measured([asked])[asked.key]
    if not isinstance(behind, Measured):
        return None, ()
    true = reader.certain(behind.logged)
    return client.get_logged_model(behind.model_id), tuple(true[each] for each in behind.logged)


def _last(logged: tuple[Logged, ...]) -> tuple[Logged, ...]:
    found = {(each.name, each.dataset): each for each in sorted(logged, key=lambda each: each.order)}
    return tuple(found.values())
