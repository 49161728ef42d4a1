"""MLflow's model registry and its runs, as the port `Registry` has them: read in bulk, one alias written at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

from promoter.adapters.mlflow.answers import ImpossibleAnswer
from promoter.adapters.mlflow.artifacts import (
    ArtifactError,
    ArtifactReader,
    list_flavors,
    parse_signature,
    read_mlmodel_file,
    read_requirements_file,
)
from promoter.adapters.mlflow.client import (
    NOT_FOUND_CODE,
    PERMISSION_DENIED_CODE,
    SERVICE_NAME,
    build_name_filter,
    build_withheld_error,
    create_mlflow_client,
    describe_registry_address,
    find_registry_uri,
    get_error_code,
    is_not_found,
    is_permission_denied,
    iterate_pages,
    parse_model_version,
    parse_registered_model,
    redact_server_address,
    translate_mlflow_errors,
)
from promoter.adapters.mlflow.credentials import HostCredentials, read_own_workspace
from promoter.adapters.mlflow.loading import SWITCHED_OFF, LoadBounds, ModelLoader
from promoter.adapters.mlflow.logged_models import LoggedModelReader, SeriesReader
from promoter.adapters.mlflow.rights import RightsReader
from promoter.adapters.mlflow.runs import ExperimentCatalog, MetricHistoryReader, RunReader
from promoter.adapters.mlflow.sandbox import SandboxTerms
from promoter.adapters.mlflow.workspaces import read_workspace
from promoter.application.ports import Absence, EvidenceTarget, ModelLabels, RegistryServer, VersionKey
from promoter.domain.errors import ModelsWithheld, RightMissing
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
from promoter.domain.registry_rights import RegistryRights


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
            if not flawed.certain:
                self._fetch_version(model, version)  # raises where it is the server that cannot be read now, and no artifact
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


_FILTER_ESCAPES = frozenset("'`\\")
"""What would end a text of a filter; MLflow's filters know no escapes."""


class AbsenceChecker:
    """Reads by name what an answer does not have.

    Raises what MLflow raises, `ImpossibleAnswer` for what is there, and `ModelsWithheld` where Promoter may not read it.
    """

    def __init__(self, client: Any) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client

    def check_absences(self, absences: Collection[Absence]) -> None:
        """Check one first: where a whole answer is wrong, that is found out by one request."""
        withheld: set[str] = set()
        for first in absences:
            withheld |= self._check_absence(first, len(absences))
            break
        with ThreadPoolExecutor(_MAX_THREADS) as pool:
            others = list(absences)[1:]
            reads = [pool.submit(self._check_absence, each, len(absences)) for each in others]
            try:
                for read in reads:
                    withheld |= read.result()
            finally:
                pool.shutdown(cancel_futures=True)
        if withheld:
            raise build_withheld_error(withheld)

    def _check_absence(self, absence: Absence, count: int) -> frozenset[str]:
        """Return the absence's model where it may not be read: what is missing of it is not gone for that."""
        try:
            present = self._is_present(absence)
        except Exception as error:
            if is_permission_denied(error):
                return frozenset({absence.model})
            raise
        if present:
            among = f" (one of {count} things)" if count > 1 else ""
            raise ImpossibleAnswer(f"{absence} was missing from it{among}, and is there when it is read by its name")
        return frozenset()

    def _is_present(self, absence: Absence) -> bool:
        try:
            if absence.alias:
                holder = int(self._client.get_model_version_by_alias(absence.model, absence.alias).version)
                return absence.version in (None, holder)
            if absence.run_id:
                return self._finds_version(f"{build_name_filter(absence.model)} and run_id = '{absence.run_id}'", absence)
            if absence.tag:
                return self._has_tag(absence)
            if absence.version is not None:
                return bool(self._client.get_model_version(absence.model, str(absence.version)))
            return bool(self._client.get_registered_model(absence.model))
        except Exception as error:
            if is_not_found(error) or (absence.alias and _is_alias_not_found(error)):
                return False
            raise

    def _has_tag(self, absence: Absence) -> bool:
        """Search by the tag, which shows the version even where an answer has lost its tags."""
        where = build_name_filter(absence.model)
        if not set(absence.tag + absence.value) & _FILTER_ESCAPES:
            where += f" and tags.`{absence.tag}` = '{absence.value}'"
            return self._finds_version(where, absence)
        found = self._client.get_model_version(absence.model, str(absence.version))
        return bool(found.tags.get(absence.tag) == absence.value)

    def _finds_version(self, where: str, absence: Absence) -> bool:
        rows = iterate_pages(lambda token: self._client.search_model_versions(where, page_token=token))
        return any(row.name == absence.model and int(row.version) == absence.version for row in rows)


def _is_alias_not_found(error: Exception) -> bool:
    """Whether MLflow itself says that there is no such alias; it has no code of its own for that."""
    return get_error_code(error) == "INVALID_PARAMETER_VALUE" and "not found" in str(getattr(error, "message", ""))


_DEFAULT_EXPERIMENT = "0"
_HIDDEN_CODES = (
    NOT_FOUND_CODE,
    PERMISSION_DENIED_CODE,
    "ENDPOINT_NOT_FOUND",
    "FEATURE_DISABLED",
    "INVALID_PARAMETER_VALUE",
    "NOT_IMPLEMENTED",
)
"""What servers answer that have no experiment of that number, or that show none to this user."""
_MAX_SINGLE_READS = 20  # up to here models are read one by one, above it all of them, in pages
_NO_SUCH_MODEL = "promoter-asks-for-no-such-model"
_MAX_THREADS = 8
_MODELS_PER_PAGE = 500  # about 0.5 s of a small server that has nothing else to do; MLflow's limit is 1,000
_VERSIONS_PER_PAGE = 2_000  # about 0.6 s; a busy server takes ten times as long, and must stay within the time limit

VersionsByNumber = dict[int, ModelVersion]


@dataclass(frozen=True)
class _ModelRow:
    """A registered model as one answer has it, without its versions."""

    model: ObservedModel
    named_versions: frozenset[int]
    """The versions that the answer names: the holders of its aliases, and its latest ones."""


def _parse_model_row(name: str, entity: Any) -> _ModelRow:
    model = parse_registered_model(name, entity)
    latest = (int(version.version) for version in entity.latest_versions or ())
    return _ModelRow(model, frozenset({*model.aliases.values(), *latest}))


def _can_be_recorded(name: str) -> bool:
    """Whether a ledger can keep the name: MLflow takes a NUL in names where its database does."""
    return "\0" not in name


class MlflowRegistry:
    """Implements the port `Registry` on an MLflow server. Safe to share between threads. Connects on first use."""

    def __init__(
        self,
        tracking_uri: str,
        *,
        load_models: bool = False,
        bounds: LoadBounds | None = None,
        sandbox: SandboxTerms | None = None,
        elsewhere: bool = False,
        credentials: HostCredentials | None = None,
        workspace: str | None = None,
    ) -> None:
        """`tracking_uri` may hold user and password: neither is ever shown. `load_models` False: no model's code ever runs.

        `sandbox`: what the deployment decides about the place where it runs. `elsewhere`: another registry than Promoter's own,
        which is sent `credentials`, and read in that `workspace`.
        """
        self._credentials = credentials
        self._workspace = workspace
        self._tracking_uri = tracking_uri
        self._elsewhere = elsewhere
        self._load_models = load_models
        self._bounds = bounds or LoadBounds()
        self._sandbox_terms = sandbox
        self.address = redact_server_address(tracking_uri)
        self.registry_address = describe_registry_address(tracking_uri, elsewhere=elsewhere)

    def __repr__(self) -> str:
        return f"MlflowRegistry({self.address!r})"

    def observe_models(self, names: Collection[str] | None = None) -> Mapping[str, ObservedModel]:
        """Read the named models that exist, or all; prompts are left out, and names that no ledger can keep."""
        if names is None:
            return self._observe_all_models()
        requested = dict.fromkeys(name for name in names if _can_be_recorded(name))
        if len(requested) <= _MAX_SINGLE_READS:
            return self._observe_named_models(requested)
        everything = self._observe_all_models()
        return {name: everything[name] for name in requested if name in everything}

    def read_model_labels(self) -> Mapping[str, ModelLabels]:
        """Read the tags of all registered models, and the stages of their versions, which MLflow 3 still keeps."""
        with self._translate_registry_errors("read the tags and stages of all models"):
            found = {row.name: ModelLabels(dict(row.tags or {}), {}) for row in self._iterate_model_entities()}
            stages: dict[str, dict[int, str]] = {}
            for row in self._iterate_version_entities(None):
                if (stage := getattr(row, "current_stage", None)) not in (None, "", "None"):
                    stages.setdefault(row.name, {})[int(row.version)] = stage
            return {name: replace(labels, stages=stages.get(name, {})) for name, labels in found.items()}

    def read_server(self) -> RegistryServer:
        """Read when the server's database was set up: MLflow makes the Default experiment then, and keeps it.

        That experiment lies in the default workspace, whichever one Promoter works in.
        """
        uri = find_registry_uri(self._tracking_uri, elsewhere=self._elsewhere)
        address = redact_server_address(uri)
        with self._translate_registry_errors("read the workspace"):
            client = self._server_client  # comes first: it binds Promoter's credentials to the server
            workspace = None if self._elsewhere else read_workspace(uri, address, read_own_workspace())
        with self._translate_registry_errors("read the Default experiment"):
            try:
                experiment = client.get_experiment(_DEFAULT_EXPERIMENT)
            except Exception as error:
                if get_error_code(error) in _HIDDEN_CODES:
                    return RegistryServer(address, None, workspace)
                raise
            created = experiment.creation_time
            return RegistryServer(address, datetime.fromtimestamp(created / 1_000, UTC) if created else None, workspace)

    def read_rights(self, models: Collection[str], run_ids: Collection[str] = ()) -> RegistryRights:
        """Read what Promoter's user may do with these models, which of these runs it may not read, and who else may what."""
        with self._translate_registry_errors("read rights"):
            client = self._mlflow_client  # comes first: it binds Promoter's credentials to the server
            uri = find_registry_uri(self._tracking_uri, elsewhere=self._elsewhere)
            return RightsReader(client, uri).read_rights(models, run_ids)

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
        right = f"READ on model {model}, and EDIT on its versions or on it"
        with self._translate_registry_errors(f"set tag {key} of version {version} of model {model}", right):
            self._mlflow_client.set_model_version_tag(model, str(version), key, value)

    def read_aliases(self, model: str) -> Mapping[str, int] | None:
        """Read the model's aliases with their versions now; None where there is no such model."""
        with self._translate_registry_errors(f"read model {model}"):
            found = self._fetch_model(model)
            return found.model.aliases if found else None

    def confirm_absences(self, absences: Collection[Absence]) -> None:
        """Read each of these things by its name: whether it is gone indeed."""
        if absences:
            with self._translate_registry_errors("read again what is missing"):
                AbsenceChecker(self._mlflow_client).check_absences(absences)

    def confirm_untagged(self, model: str, tags: Mapping[str, str]) -> None:
        """See that no version has all these tags, by a search for them. Raises `TransientError` where one has."""
        with self._translate_registry_errors(f"read versions of model {model}"):
            searched = (f"tags.`{key}` = '{text}'" for key, text in tags.items() if text and not set(text) & _FILTER_ESCAPES)
            where = " and ".join((build_name_filter(model), *searched))
            found = [version.number for name, version in self._iterate_versions(where) if name == model]
            if found:
                raise ImpossibleAnswer(f"version {found[0]} of model {model} was without tags that it has")

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point the alias at the version."""
        with self._translate_registry_errors(f"set {model}@{alias} to version {version}", f"EDIT on model {model}"):
            self._mlflow_client.set_registered_model_alias(model, alias, str(version))

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove the alias; an absent one is no error."""
        with self._translate_registry_errors(f"delete {model}@{alias}", f"MANAGE on model {model}"):
            self._mlflow_client.delete_registered_model_alias(model, alias)

    def check_readiness(self, model: str, version: int) -> ReadinessCheck:
        """Check what tells whether the version could serve again; `promoter.domain.policy.evaluate` has the verdicts."""
        with self._translate_registry_errors(f"read version {version} of model {model}"):
            loader = self._model_loader if self._load_models else None
            return ReadinessChecker(self._mlflow_client, self._tracking_uri, self.address, loader).check_version(model, version)

    def _translate_errors(self, doing: str) -> AbstractContextManager[None]:
        return translate_mlflow_errors(doing, self.address)

    def _translate_registry_errors(self, doing: str, right: str = "") -> AbstractContextManager[None]:
        return translate_mlflow_errors(doing, self.registry_address, right)

    @cached_property
    def _mlflow_client(self) -> Any:
        return create_mlflow_client(
            self._tracking_uri, elsewhere=self._elsewhere, credentials=self._credentials, workspace=self._workspace
        )

    @cached_property
    def _server_client(self) -> Any:
        """The client for the server that has the models, which MLflow lets be another one than that of the runs.

        It names no workspace.
        """
        _ = self._mlflow_client  # comes first: it binds Promoter's credentials to both servers
        uri = find_registry_uri(self._tracking_uri, elsewhere=self._elsewhere)
        return create_mlflow_client(uri, elsewhere=True, credentials=self._credentials)

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
        return ModelLoader(self._mlflow_client, self._tracking_uri, self._bounds, self._sandbox_terms)

    def _observe_named_models(self, names: Collection[str]) -> dict[str, ObservedModel]:
        with self._translate_registry_errors("read models"), ThreadPoolExecutor(_MAX_THREADS) as pool:
            fetch = partial(self._fetch_model, may_refuse=len(names) > 1)
            pending = [(pool.submit(fetch, name), pool.submit(self._fetch_versions, name)) for name in names]
            read = [(model.result(), versions.result()) for model, versions in pending]
            return {row.model.name: self._add_versions(row, versions) for row, versions in read if row is not None}

    def _observe_all_models(self) -> dict[str, ObservedModel]:
        with self._translate_registry_errors("read all models"), ThreadPoolExecutor(2) as pool:
            models, versions = pool.submit(self._search_all_models), pool.submit(self._search_all_versions)
            found, rows = versions.result(), models.result()
            rows += self._fetch_unlisted_models(found.keys() - {row.model.name for row in rows})
            if not rows:
                # `{}` is what an empty registry answers, and whatever answers in its place: only MLflow refuses this name.
                self._confirm_emptiness()
            return {row.model.name: self._add_versions(row, found.get(row.model.name, {})) for row in rows}

    def _confirm_emptiness(self) -> None:
        try:
            AbsenceChecker(self._mlflow_client).check_absences([Absence(_NO_SUCH_MODEL)])
        except ModelsWithheld:  # MLflow refuses a name that is not there like one that is withheld
            message = f"Promoter's user may read no model at {self.registry_address}, or there is none"
            raise RightMissing(
                SERVICE_NAME, message, "give it READ on each model that git lists, once it is registered"
            ) from None

    def _fetch_unlisted_models(self, names: Collection[str]) -> list[_ModelRow]:
        """Read the models that have versions and are in no list: they came, or went, between the two reads."""
        if len(names) > _MAX_SINGLE_READS:
            raise ImpossibleAnswer(f"versions of {len(names)} models that no list of models has, such as {min(names)}")
        return [row for name in sorted(names) if (row := self._fetch_model(name, may_refuse=True))]

    def _add_versions(self, row: _ModelRow, versions: VersionsByNumber) -> ObservedModel:
        """Return the model with its versions. Those that it names itself must be among them, or be gone indeed."""
        if row.named_versions - versions.keys():
            versions = self._fetch_versions(row.model.name)  # registered, and given an alias, between the two reads
            missing = sorted(row.named_versions - versions.keys())
            AbsenceChecker(self._mlflow_client).check_absences([Absence(row.model.name, version=each) for each in missing])
        return replace(row.model, versions=versions)

    def _fetch_model(self, name: str, *, may_refuse: bool = False) -> _ModelRow | None:
        """Return None where there is none; with `may_refuse`, also where Promoter may not read it, as in a list of all."""
        try:
            return _parse_model_row(name, self._mlflow_client.get_registered_model(name))
        except Exception as error:
            if is_not_found(error) or (may_refuse and is_permission_denied(error)):
                return None
            if is_permission_denied(error):
                raise build_withheld_error([name]) from None
            raise

    def _fetch_versions(self, name: str) -> VersionsByNumber:
        return {version.number: version for model, version in self._iterate_versions(build_name_filter(name)) if model == name}

    def _search_all_models(self) -> list[_ModelRow]:
        return [_parse_model_row(row.name, row) for row in self._iterate_model_entities()]

    def _iterate_model_entities(self) -> Iterator[Any]:
        rows = iterate_pages(
            lambda token: self._mlflow_client.search_registered_models(
                max_results=_MODELS_PER_PAGE, order_by=["name ASC"], page_token=token
            )
        )
        return (row for row in rows if _can_be_recorded(row.name))

    def _search_all_versions(self) -> dict[str, VersionsByNumber]:
        found: dict[str, VersionsByNumber] = {}
        for model, version in self._iterate_versions(None):
            found.setdefault(model, {})[version.number] = version
        return found

    def _iterate_versions(self, where: str | None) -> Iterator[tuple[str, ModelVersion]]:
        return ((row.name, parse_model_version(row)) for row in self._iterate_version_entities(where))

    def _iterate_version_entities(self, where: str | None) -> Iterator[Any]:
        rows = iterate_pages(
            lambda token: self._mlflow_client.search_model_versions(
                where, max_results=_VERSIONS_PER_PAGE, order_by=["name ASC", "version_number ASC"], page_token=token
            )
        )
        return (row for row in rows if _can_be_recorded(row.name))
