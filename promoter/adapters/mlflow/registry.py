"""MLflow's model registry and its runs, as the port `Registry` has them: read in bulk, one alias written at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import Any

from promoter.adapters.mlflow.artifacts import (
    ArtifactError,
    ArtifactReader,
    list_flavors,
    parse_signature,
    read_mlmodel_file,
    read_requirements_file,
)
from promoter.adapters.mlflow.client import (
    build_name_filter,
    create_mlflow_client,
    is_not_found,
    iterate_pages,
    parse_model_version,
    parse_registered_model,
    redact_server_address,
    translate_mlflow_errors,
)
from promoter.adapters.mlflow.credentials import HostCredentials
from promoter.adapters.mlflow.loading import SWITCHED_OFF, LoadBounds, ModelLoader
from promoter.adapters.mlflow.logged_models import LoggedModelReader, SeriesReader
from promoter.adapters.mlflow.runs import ExperimentCatalog, MetricHistoryReader, RunReader
from promoter.application.ports import EvidenceTarget, VersionKey
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
from promoter.domain.policy.evaluate import READY_STATUS


class ReadinessChecker:
    """Checks whether versions are ready to serve. Raises what MLflow raises for the registry's own answers."""

    def __init__(self, client: Any, tracking_uri: str, server: str, loader: ModelLoader | None) -> None:
        """`client` is an `MlflowClient`; without a loader nothing is loaded."""
        self._client = client
        self._tracking_uri = tracking_uri
        self._server = server
        self._loader = loader

    def check_version(self, model: str, version: int) -> ReadinessCheck:
        """Check its status, the flavors of its `MLmodel` file, and whether it loads, up to the first that fails."""
        entity = self._fetch_version(model, version)
        if entity is None:
            return ReadinessCheck(None)
        status = str(entity.status)
        if status != READY_STATUS:
            return ReadinessCheck(status)
        location = self._client.get_model_version_download_uri(model, str(version))
        try:
            named = tuple(list_flavors(read_mlmodel_file(location, self._tracking_uri, self._server)))
        except ArtifactError as flawed:
            return ReadinessCheck(status, flaw=flawed.reason, certain=flawed.certain)
        return ReadinessCheck(
            status,
            named,
            loading=self._loader.load_version(model, parse_model_version(entity)) if self._loader else SWITCHED_OFF,
        )

    def _fetch_version(self, model: str, version: int) -> Any:
        try:
            return self._client.get_model_version(model, str(version))
        except Exception as error:
            if is_not_found(error):
                return None
            raise


_MAX_SINGLE_READS = 20  # up to here models are read one by one, above it all of them, in pages
_MAX_THREADS = 8
_MODELS_PER_PAGE = 1_000  # MLflow's limit
_VERSIONS_PER_PAGE = 25_000  # about 8 s of a small server; MLflow's limit of 200,000 would outlast the timeout

VersionsByNumber = dict[int, ModelVersion]


class MlflowRegistry:
    """Implements the port `Registry` on an MLflow server. Safe to share between threads. Connects on first use."""

    def __init__(
        self,
        tracking_uri: str,
        *,
        load_models: bool = True,
        bounds: LoadBounds | None = None,
        elsewhere: bool = False,
        credentials: HostCredentials | None = None,
    ) -> None:
        """`tracking_uri` may hold user and password: neither is ever shown. `load_models` False: no model's code ever runs.

        `elsewhere`: another registry than Promoter's own, which is sent `credentials`.
        """
        self._credentials = credentials
        self._tracking_uri = tracking_uri
        self._elsewhere = elsewhere
        self._load_models = load_models
        self._bounds = bounds or LoadBounds()
        self.address = redact_server_address(tracking_uri)

    def __repr__(self) -> str:
        return f"MlflowRegistry({self.address!r})"

    def observe_models(self, names: Collection[str] | None = None) -> Mapping[str, ObservedModel]:
        """Read the named models that exist, or all; prompts are left out."""
        if names is None:
            return self._observe_all_models()
        requested = dict.fromkeys(names)
        if len(requested) <= _MAX_SINGLE_READS:
            return self._observe_named_models(requested)
        everything = self._observe_all_models()
        return {name: everything[name] for name in requested if name in everything}

    def read_runs(self, run_ids: Collection[str], *, experiments: bool = False) -> Mapping[str, TrainingRun]:
        """Read the runs that exist, by id, with the last value of each metric (which may be NaN)."""
        with self._translate_errors("read runs"):
            return self._run_reader.read_runs(run_ids, experiments=experiments) if run_ids else {}

    def read_logged_models(self, versions: Collection[EvidenceTarget]) -> Mapping[VersionKey, LoggedModel | Unreadable | None]:
        """Read the logged model behind each version, with the last value of each metric on each dataset."""
        with self._translate_errors("read logged models"):
            return self._logged_model_reader.read_logged_models(versions)

    def read_metric_series(
        self, versions: Collection[EvidenceTarget], metrics: Collection[MetricRef]
    ) -> Mapping[VersionKey, tuple[MetricSeries, ...]]:
        """Read the metrics over their steps; one with more than 100,000 points is left out."""
        with self._translate_errors("read metrics over their steps"):
            return self._series_reader.read_series(versions, metrics)

    def read_signatures(
        self, versions: Collection[EvidenceTarget]
    ) -> Mapping[VersionKey, VersionSignature | Unreadable | None]:
        """Read the signature in each version's `MLmodel` file."""
        with self._translate_errors("read signatures"):
            return self._signature_reader.read_artifacts(versions)

    def read_requirements(
        self, versions: Collection[EvidenceTarget]
    ) -> Mapping[VersionKey, tuple[str, ...] | Unreadable | None]:
        """Read the lines of each version's `requirements.txt`."""
        with self._translate_errors("read requirements"):
            return self._requirements_reader.read_artifacts(versions)

    def check_loading(self, model: str, version: ModelVersion) -> LoadingResult:
        """Load the version in a child; see `ModelLoader.load_version` for the results."""
        if not self._load_models:
            return SWITCHED_OFF
        with self._translate_errors(f"load version {version.number} of model {model}"):
            return self._model_loader.load_version(model, version)

    def set_version_tag(self, model: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version."""
        with self._translate_errors(f"set tag {key} of version {version} of model {model}"):
            self._mlflow_client.set_model_version_tag(model, str(version), key, value)

    def read_aliases(self, model: str) -> Mapping[str, int] | None:
        """Read the model's aliases with their versions now; None where there is no such model."""
        with self._translate_errors(f"read model {model}"):
            found = self._fetch_model(model)
            return found.aliases if found else None

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point the alias at the version."""
        with self._translate_errors(f"set {model}@{alias} to version {version}"):
            self._mlflow_client.set_registered_model_alias(model, alias, str(version))

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove the alias; an absent one is no error."""
        with self._translate_errors(f"delete {model}@{alias}"):
            self._mlflow_client.delete_registered_model_alias(model, alias)

    def check_readiness(self, model: str, version: int) -> ReadinessCheck:
        """Check what tells whether the version could serve again; `promoter.domain.policy.evaluate` has the verdicts."""
        with self._translate_errors(f"read version {version} of model {model}"):
            loader = self._model_loader if self._load_models else None
            return ReadinessChecker(self._mlflow_client, self._tracking_uri, self.address, loader).check_version(model, version)

    def _translate_errors(self, doing: str) -> AbstractContextManager[None]:
        return translate_mlflow_errors(doing, self.address)

    @cached_property
    def _mlflow_client(self) -> Any:
        return create_mlflow_client(self._tracking_uri, elsewhere=self._elsewhere, credentials=self._credentials)

    @cached_property
    def _experiment_catalog(self) -> ExperimentCatalog:
        return ExperimentCatalog(self._mlflow_client)

    @cached_property
    def _history_reader(self) -> MetricHistoryReader:
        return MetricHistoryReader(self._tracking_uri)

    @cached_property
    def _run_reader(self) -> RunReader:
        return RunReader(self._mlflow_client, self._experiment_catalog)

    @cached_property
    def _logged_model_reader(self) -> LoggedModelReader:
        return LoggedModelReader(self._mlflow_client, self._experiment_catalog, self._history_reader)

    @cached_property
    def _series_reader(self) -> SeriesReader:
        return SeriesReader(self._run_reader, self._logged_model_reader, self._history_reader)

    @cached_property
    def _signature_reader(self) -> ArtifactReader[VersionSignature]:
        uri, server = self._tracking_uri, self.address
        return ArtifactReader(
            self._mlflow_client, lambda location, seconds: parse_signature(read_mlmodel_file(location, uri, server, seconds))
        )

    @cached_property
    def _requirements_reader(self) -> ArtifactReader[tuple[str, ...]]:
        uri, server = self._tracking_uri, self.address
        return ArtifactReader(
            self._mlflow_client, lambda location, seconds: read_requirements_file(location, uri, server, seconds)
        )

    @cached_property
    def _model_loader(self) -> ModelLoader:
        return ModelLoader(self._mlflow_client, self._tracking_uri, self._bounds)

    def _observe_named_models(self, names: Iterable[str]) -> dict[str, ObservedModel]:
        with self._translate_errors("read models"), ThreadPoolExecutor(_MAX_THREADS) as pool:
            pending = [(pool.submit(self._fetch_model, name), pool.submit(self._fetch_versions, name)) for name in names]
            read = [(model.result(), versions.result()) for model, versions in pending]
            return {model.name: self._add_versions(model, versions) for model, versions in read if model is not None}

    def _observe_all_models(self) -> dict[str, ObservedModel]:
        with self._translate_errors("read all models"), ThreadPoolExecutor(2) as pool:
            models, versions = pool.submit(self._search_all_models), pool.submit(self._search_all_versions)
            found = versions.result()
            return {model.name: self._add_versions(model, found.get(model.name, {})) for model in models.result()}

    def _add_versions(self, model: ObservedModel, versions: VersionsByNumber) -> ObservedModel:
        if not versions.keys() >= set(model.aliases.values()):
            versions = self._fetch_versions(model.name)  # registered, and given an alias, between the two reads
        return replace(model, versions=versions)

    def _fetch_model(self, name: str) -> ObservedModel | None:
        try:
            return parse_registered_model(name, self._mlflow_client.get_registered_model(name))
        except Exception as error:
            if is_not_found(error):
                return None
            raise

    def _fetch_versions(self, name: str) -> VersionsByNumber:
        return {version.number: version for model, version in self._iterate_versions(build_name_filter(name)) if model == name}

    def _search_all_models(self) -> list[ObservedModel]:
        rows = iterate_pages(
            lambda token: self._mlflow_client.search_registered_models(
                max_results=_MODELS_PER_PAGE, order_by=["name ASC"], page_token=token
            )
        )
        return [parse_registered_model(row.name, row) for row in rows]

    def _search_all_versions(self) -> dict[str, VersionsByNumber]:
        found: dict[str, VersionsByNumber] = {}
        for model, version in self._iterate_versions(None):
            found.setdefault(model, {})[version.number] = version
        return found

    def _iterate_versions(self, where: str | None) -> Iterator[tuple[str, ModelVersion]]:
        rows = iterate_pages(
            lambda token: self._mlflow_client.search_model_versions(
                where, max_results=_VERSIONS_PER_PAGE, order_by=["name ASC", "version_number ASC"], page_token=token
            )
        )
        return ((row.name, parse_model_version(row)) for row in rows)
