"""In-memory stand-ins for MLflow's registry, the clock and the locks; `test_contracts.py` holds them to the real ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from promoter.application.ports import Absence, EvidenceTarget, ModelLabels, RegistryServer, VersionKey
from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.observed import (
    LoadingResult,
    LoggedModel,
    MetricRef,
    MetricSeries,
    ModelVersion,
    ObservedModel,
    ReadinessCheck,
    TrainingRun,
    Unreadable,
    VersionSignature,
)
from promoter.domain.registry_rights import AccessControl, RegistryRights
from tests.support.fakes.repository import START, FakeRepository

__all__ = ["START", "FakeClock", "FakeRegistry", "FakeRepository", "FreeLocks"]


class FakeClock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        """Noon."""
        self.at = START

    def now(self) -> datetime:
        """The time."""
        return self.at

    def pass_time(self, **delta: float) -> None:
        """As `timedelta` takes it."""
        self.at += timedelta(**delta)


class FakeRegistry:
    """Models in a mapping. `on` is called with each call's name before it is done, and may raise or meddle."""

    def __init__(self) -> None:
        """Empty."""
        self.models: dict[str, ObservedModel] = {}
        self.all_runs: dict[str, TrainingRun] = {}
        self.unfit: set[VersionKey] = set()
        self.all_logged_models: dict[VersionKey, LoggedModel | Unreadable] = {}
        self.all_series: dict[VersionKey, tuple[MetricSeries, ...]] = {}
        self.all_signatures: dict[VersionKey, VersionSignature | Unreadable] = {}
        self.all_requirements: dict[VersionKey, tuple[str, ...] | Unreadable] = {}
        self.loads: dict[VersionKey, LoadingResult] = {}
        self.model_tags: dict[str, dict[str, str]] = {}
        """Tags of registered models."""
        self.stages: dict[VersionKey, str] = {}
        """MLflow 2's stages of versions."""
        self.rights = RegistryRights(AccessControl.NONE)
        self.server = RegistryServer("http://mlflow", START)
        self.calls: list[tuple[object, ...]] = []
        self.on: Callable[[str], None] = lambda _call: None
        self.loses_aliases = False
        """Whether answers have lost the aliases on their way, but for the answer about one alias by its name."""

    def version(self, model: str, tags: Mapping[str, str] | None = None, status: str = "FINISHED", **metrics: float) -> int:
        """Register the next version, from a run of its own."""
        seen = self.models.setdefault(model, ObservedModel(model, created_at=START))
        number = (seen.newest_version or 0) + 1
        run = TrainingRun(f"{model}-{number}", status, metrics)
        self.all_runs[run.run_id] = run
        made = ModelVersion(number, START, run.run_id, tags=dict(tags or {}))
        self.models[model] = replace(seen, versions={**seen.versions, number: made})
        return number

    def tag(self, model: str, number: int, **tags: str) -> None:
        """Set tags of a version."""
        seen = self.models[model]
        tagged = replace(seen.versions[number], tags={**seen.versions[number].tags, **tags})
        self.models[model] = replace(seen, versions={**seen.versions, number: tagged})

    def fail(self, model: str, number: int) -> None:
        """Let the registration of a version have failed."""
        seen = self.models[model]
        self.models[model] = replace(seen, versions={**seen.versions, number: replace(seen.versions[number], ready=False)})

    def place(self, model: str, alias: str, version: int | None) -> None:
        """Move an alias past Promoter."""
        seen = self.models[model]
        held = {name: number for name, number in seen.aliases.items() if name != alias}
        self.models[model] = replace(seen, aliases=held if version is None else {**held, alias: version})

    @property
    def writes(self) -> list[tuple[object, ...]]:
        """The calls that wrote."""
        return [call for call in self.calls if call[0] in ("set_alias", "delete_alias")]

    def observe_models(self, names: Collection[str] | None = None) -> Mapping[str, ObservedModel]:
        """As the port says."""
        self._called("observe", None if names is None else frozenset(names))
        found = {name: model for name, model in self.models.items() if names is None or name in names}
        return {name: replace(model, aliases={}) for name, model in found.items()} if self.loses_aliases else found

    def read_model_labels(self) -> Mapping[str, ModelLabels]:
        """As the port says."""
        self._called("labels")
        return {
            name: ModelLabels(
                self.model_tags.get(name, {}), {number: text for (model, number), text in self.stages.items() if model == name}
            )
            for name in self.models
        }

    def read_server(self) -> RegistryServer:
        """As the port says; of no interest to who counts calls."""
        return self.server

    def read_rights(self, models: Collection[str], run_ids: Collection[str] = ()) -> RegistryRights:
        """As the port says; of no interest to who counts calls."""
        del models, run_ids
        return self.rights

    def read_runs(self, run_ids: Collection[str], *, experiments: bool = False) -> Mapping[str, TrainingRun]:
        """As the port says."""
        del experiments
        self._called("runs", frozenset(run_ids))
        return {run_id: self.all_runs[run_id] for run_id in run_ids if run_id in self.all_runs}

    def read_logged_models(self, versions: Collection[EvidenceTarget]) -> Mapping[VersionKey, LoggedModel | Unreadable | None]:
        """As the port says."""
        self._called("logged_models", frozenset(each.version_key for each in versions))
        return {each.version_key: self.all_logged_models.get(each.version_key) for each in versions}

    def read_metric_series(
        self, versions: Collection[EvidenceTarget], metrics: Collection[MetricRef]
    ) -> Mapping[VersionKey, tuple[MetricSeries, ...]]:
        """As the port says."""
        self._called("series", frozenset(each.version_key for each in versions))
        rows = {each.version_key: self.all_series.get(each.version_key, ()) for each in versions}
        return {key: tuple(each for each in series if each.metric in metrics) for key, series in rows.items()}

    def read_signatures(
        self, versions: Collection[EvidenceTarget]
    ) -> Mapping[VersionKey, VersionSignature | Unreadable | None]:
        """As the port says."""
        self._called("signatures", frozenset(each.version_key for each in versions))
        return {each.version_key: self.all_signatures.get(each.version_key) for each in versions}

    def read_requirements(
        self, versions: Collection[EvidenceTarget]
    ) -> Mapping[VersionKey, tuple[str, ...] | Unreadable | None]:
        """As the port says."""
        self._called("requirements", frozenset(each.version_key for each in versions))
        return {each.version_key: self.all_requirements.get(each.version_key) for each in versions}

    def check_loading(self, model: str, version: ModelVersion) -> LoadingResult:
        """As the port says."""
        self._called("loading", model, version.number)
        return self.loads.get((model, version.number), LoadingResult("loaded", "sklearn"))

    def set_version_tag(self, model: str, version: int, key: str, value: str) -> None:
        """As the port says."""
        self._called("set_tag", model, version, key)
        self.tag(model, version, **{key: value})

    def read_aliases(self, model: str) -> Mapping[str, int] | None:
        """As the port says."""
        self._called("aliases", model)
        held = {} if self.loses_aliases or model not in self.models else dict(self.models[model].aliases)
        return held if model in self.models else None

    def confirm_absences(self, absences: Collection[Absence]) -> None:
        """As the port says; not remembered among the calls, since most looks confirm nothing."""
        for each in absences:
            model = self.models.get(each.model)
            if model is not None and self._has(model, each):
                raise TransientError("MLflow", f"{each} was missing, and is there")

    @staticmethod
    def _has(model: ObservedModel, each: Absence) -> bool:
        if each.alias:
            return each.alias in model.aliases and each.version in (None, model.aliases[each.alias])
        version = model.versions.get(each.version or 0)
        if each.run_id:
            return version is not None and version.run_id == each.run_id
        return version is not None and (not each.tag or each.tag in version.tags) if each.version else True

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """As the port says."""
        self._called("set_alias", model, alias, version)
        if model not in self.models or version not in self.models[model].versions:
            raise PermanentError("MLflow", "no such model or version")
        self.place(model, alias, version)

    def delete_alias(self, model: str, alias: str) -> None:
        """As the port says."""
        self._called("delete_alias", model, alias)
        if model not in self.models:
            raise PermanentError("MLflow", "no such model")
        self.place(model, alias, None)

    def check_readiness(self, model: str, version: int) -> ReadinessCheck:
        """As the port says."""
        self._called("readiness", model, version)
        registered = self.models[model].versions.get(version)
        if registered is not None and not registered.ready:
            return ReadinessCheck("FAILED_REGISTRATION")
        outcome: Literal["failed", "loaded"] = "failed" if (model, version) in self.unfit else "loaded"
        return ReadinessCheck("READY", ("sklearn",), loading=LoadingResult(outcome, "sklearn"))

    def _called(self, *call: object) -> None:
        self.calls.append(call)
        self.on(str(call[0]))


class FreeLocks:
    """Locks in a world with one thread; remembers the order in which they were taken."""

    def __init__(self) -> None:
        """None taken."""
        self.taken: list[str] = []
        self.lost: set[str] = set()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """As the port says."""
        self.taken.append(key)
        self.lost.discard(key)
        yield

    def require_held(self, key: str) -> None:
        """As the port says; a key in `lost` was taken away meanwhile."""
        if key in self.lost:
            raise TransientError("lock", f"{key!r} was lost")
