"""MLflow's model registry and its runs, as the port `Registry` has them: read in bulk, one alias written at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from promoter.adapters.mlflow.artifact import read_description, read_requirements
from promoter.adapters.mlflow.convert import aliases_of, named, pages, version_of
from promoter.adapters.mlflow.errors import address, is_absent, translated
from promoter.adapters.mlflow.experiments import Experiments
from promoter.adapters.mlflow.histories import Histories
from promoter.adapters.mlflow.loading import SWITCHED_OFF, Bounds, Loader
from promoter.adapters.mlflow.logged_models import LoggedModelReader
from promoter.adapters.mlflow.readiness import Readiness
from promoter.adapters.mlflow.reading import ArtifactReader
from promoter.adapters.mlflow.runs import RunReader
from promoter.adapters.mlflow.series import SeriesReader
from promoter.adapters.mlflow.signatures import signature_of
from promoter.adapters.mlflow.transport import connect
from promoter.application.ports import Evidenced, Key
from promoter.domain.metrics import MetricRef, Series
from promoter.domain.observed import Checked, Loading, LoggedModel, ModelVersion, ObservedModel, Run, Signature, Unread

_FEW = 20  # up to here models are read one by one, above it all of them, in pages
_THREADS = 8
_MODELS_A_PAGE = 1_000  # MLflow's limit
_VERSIONS_A_PAGE = 25_000  # about 8 s of a small server; MLflow's limit of 200,000 would outlast the timeout

Aliases = dict[str, int]
Versions = dict[int, ModelVersion]


class MlflowRegistry:
    """The port `Registry` on an MLflow server. Safe to share between threads. Connects on first use."""

    def __init__(
        self, tracking_uri: str, *, load_models: bool = True, bounds: Bounds | None = None, elsewhere: bool = False
    ) -> None:
        """`tracking_uri` may hold user and password: neither is ever shown. `load_models` False: no model's code ever runs.

        `elsewhere`: another registry than Promoter's own.
        """
        self._tracking_uri = tracking_uri
        self._elsewhere = elsewhere
        self._load_models = load_models
        self._bounds = bounds or Bounds()
        self.address = address(tracking_uri)

    def __repr__(self) -> str:
        """Without secrets."""
        return f"MlflowRegistry({self.address!r})"

    def observe(self, names: Collection[str] | None = None) -> Mapping[str, ObservedModel]:
        """The named models that exist, or all; prompts are left out."""
        if names is None:
            return self._all()
        wanted = dict.fromkeys(names)
        if len(wanted) <= _FEW:
            return self._some(wanted)
        everything = self._all()
        return {name: everything[name] for name in wanted if name in everything}

    def runs(self, run_ids: Collection[str], *, experiments: bool = False) -> Mapping[str, Run]:
        """The runs that exist, by id, with the last value of each metric (which may be NaN)."""
        with self._asking("read runs"):
            return self._runs.read(run_ids, experiments=experiments) if run_ids else {}

    def logged_models(self, versions: Collection[Evidenced]) -> Mapping[Key, LoggedModel | Unread | None]:
        """The logged model behind each version, with the last value of each metric on each dataset."""
        with self._asking("read logged models"):
            return self._logged_models.read(versions)

    def series(self, versions: Collection[Evidenced], metrics: Collection[MetricRef]) -> Mapping[Key, tuple[Series, ...]]:
        """The metrics over the steps; one with more than 100,000 points is left out."""
        with self._asking("read metrics over their steps"):
            return self._series.read(versions, metrics)

    def signatures(self, versions: Collection[Evidenced]) -> Mapping[Key, Signature | Unread | None]:
        """The signature in each version's `MLmodel` file."""
        with self._asking("read signatures"):
            return self._signatures.read(versions)

    def requirements(self, versions: Collection[Evidenced]) -> Mapping[Key, tuple[str, ...] | Unread | None]:
        """The lines of each version's `requirements.txt`."""
        with self._asking("read requirements"):
            return self._requirements.read(versions)

    def loading(self, model: str, version: ModelVersion) -> Loading:
        """What comes of loading the version; see `loading.py` for what is certain."""
        if not self._load_models:
            return SWITCHED_OFF
        with self._asking(f"load version {version.number} of model {model}"):
            return self._loader.load(model, version)

    def set_tag(self, model: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version."""
        with self._asking(f"set tag {key} of version {version} of model {model}"):
            self._client.set_model_version_tag(model, str(version), key, value)

    def aliases(self, model: str) -> Mapping[str, int] | None:
        """Alias to version, read now; None where there is no such model."""
        with self._asking(f"read model {model}"):
            return self._aliases(model)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point the alias at the version."""
        with self._asking(f"set {model}@{alias} to version {version}"):
            self._client.set_registered_model_alias(model, alias, str(version))

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove the alias; an absent one is no error."""
        with self._asking(f"delete {model}@{alias}"):
            self._client.delete_registered_model_alias(model, alias)

    def readiness(self, model: str, version: int) -> Checked:
        """What says whether the version could serve again; see `promoter.domain.readiness` for the verdicts."""
        with self._asking(f"read version {version} of model {model}"):
            loader = self._loader if self._load_models else None
            return Readiness(self._client, self._tracking_uri, self.address, loader).of(model, version)

    def _asking(self, doing: str) -> AbstractContextManager[None]:
        return translated(doing, self.address)

    @cached_property
    def _client(self) -> Any:
        return connect(self._tracking_uri, elsewhere=self._elsewhere)

    @cached_property
    def _experiments(self) -> Experiments:
        return Experiments(self._client)

    @cached_property
    def _histories(self) -> Histories:
        return Histories(self._tracking_uri)

    @cached_property
    def _runs(self) -> RunReader:
        return RunReader(self._client, self._experiments)

    @cached_property
    def _logged_models(self) -> LoggedModelReader:
        return LoggedModelReader(self._client, self._experiments, self._histories)

    @cached_property
    def _series(self) -> SeriesReader:
        return SeriesReader(self._runs, self._logged_models, self._histories)

    @cached_property
    def _signatures(self) -> ArtifactReader[Signature]:
        uri, server = self._tracking_uri, self.address
        return ArtifactReader(
            self._client, lambda location, seconds: signature_of(read_description(location, uri, server, seconds))
        )

    @cached_property
    def _requirements(self) -> ArtifactReader[tuple[str, ...]]:
        uri, server = self._tracking_uri, self.address
        return ArtifactReader(self._client, lambda location, seconds: read_requirements(location, uri, server, seconds))

    @cached_property
    def _loader(self) -> Loader:
        return Loader(self._client, self._tracking_uri, self._bounds)

    def _some(self, names: Iterable[str]) -> dict[str, ObservedModel]:
        with self._asking("read models"), ThreadPoolExecutor(_THREADS) as pool:
            asked = [(name, pool.submit(self._aliases, name), pool.submit(self._versions, name)) for name in names]
            read = [(name, aliases.result(), versions.result()) for name, aliases, versions in asked]
            return {name: self._model(name, aliases, versions) for name, aliases, versions in read if aliases is not None}

    def _all(self) -> dict[str, ObservedModel]:
        with self._asking("read all models"), ThreadPoolExecutor(2) as pool:
            models, versions = pool.submit(self._all_aliases), pool.submit(self._all_versions)
            found = versions.result()
            return {name: self._model(name, held, found.get(name, {})) for name, held in models.result().items()}

    def _model(self, name: str, aliases: Aliases, versions: Versions) -> ObservedModel:
        if not versions.keys() >= set(aliases.values()):
            versions = self._versions(name)  # registered, and given an alias, between the two reads
        return ObservedModel(name, aliases, versions)

    def _aliases(self, name: str) -> Aliases | None:
        try:
            return aliases_of(self._client.get_registered_model(name))
        except Exception as error:
            if is_absent(error):
                return None
            raise

    def _versions(self, name: str) -> Versions:
        return {version.number: version for model, version in self._version_rows(named(name)) if model == name}

    def _all_aliases(self) -> dict[str, Aliases]:
        rows = pages(
            lambda token: self._client.search_registered_models(
                max_results=_MODELS_A_PAGE, order_by=["name ASC"], page_token=token
            )
        )
        return {model.name: aliases_of(model) for model in rows}

    def _all_versions(self) -> dict[str, Versions]:
        found: dict[str, Versions] = {}
        for model, version in self._version_rows(None):
            found.setdefault(model, {})[version.number] = version
        return found

    def _version_rows(self, where: str | None) -> Iterator[tuple[str, ModelVersion]]:
        rows = pages(
            lambda token: self._client.search_model_versions(
                where, max_results=_VERSIONS_A_PAGE, order_by=["name ASC", "version_number ASC"], page_token=token
            )
        )
        return ((row.name, version_of(row)) for row in rows)
