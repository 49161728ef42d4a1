"""Versions from elsewhere: reads which version an alias has there, and copies a version within a server or between two."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any

from cachetools import TTLCache

from promoter.adapters.mlflow.artifacts import ArtifactError, run_with_deadline
from promoter.adapters.mlflow.client import (
    SERVICE_NAME,
    create_mlflow_client,
    describe_registry_address,
    find_client_server,
    find_registry_uri,
    get_error_code,
    is_permission_denied,
    parse_model_version,
    redact_server_address,
    translate_mlflow_errors,
)
from promoter.adapters.mlflow.copy_runs import RunCopyWriter, SourceSnapshot, read_source
from promoter.adapters.mlflow.credentials import HostCredentials, address_server, read_own_workspace
from promoter.adapters.mlflow.loading import describe_size_limit, fetch_artifact, upload_artifact
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.application.ports import DEFAULT_WORKSPACE, Absence
from promoter.domain.copy_source import AliasRef, SourceAlias, SourceVersion, build_unknown_registry_error
from promoter.domain.errors import ExternalError, ModelsWithheld, PermanentError, TransientError
from promoter.domain.observed import ObservedModel

EXPERIMENT_PREFIX = "promoter/"
_ARTIFACT_PATH = "model"
_ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
_ACTIVE = "active"


@dataclass(frozen=True)
class CopyBounds:
    """What one copy may take."""

    seconds: int = 900
    """Seconds to fetch the artifact, and as many to upload it."""
    artifact: int = 10 * 1024**3
    """Bytes of the artifact."""
    points: int = 100_000
    """Values of metrics over their steps, of all metrics together."""


@dataclass(frozen=True)
class TrackingServer:
    """An MLflow server."""

    uri: str
    """The tracking URI, with its secrets."""
    client: Any
    """An `MlflowClient` for it, or an `AddressedClient`."""

    def __repr__(self) -> str:
        return f"TrackingServer({self.address!r})"

    @property
    def address(self) -> str:
        """The tracking URI without secrets."""
        return redact_server_address(self.uri)

    @property
    def registry_address(self) -> str:
        """The address of its registry, where it is the target of copies: Promoter's own."""
        return describe_registry_address(self.uri)


class ArtifactTooLarge(PermanentError):  # noqa: N818  # it says what is wrong
    """The artifact is too large: another try would fetch it all again, to find out the same."""


class VersionTransfer:
    """Copies versions from one server to the other. Raises `TransientError` or `PermanentError`."""

    def __init__(self, source: TrackingServer, target: TrackingServer, bounds: CopyBounds) -> None:
        self._source = source
        self._target = target
        self._bounds = bounds

    def __call__(self, source: SourceVersion, model: str, withheld_tags: Collection[str] = ()) -> int:
        """Copy the version; return the copy's number. The source is read as it is now: what is measured later stays there."""
        with tempfile.TemporaryDirectory(prefix="promoter-", ignore_cleanup_errors=True) as folder:
            right = f"READ there on model {source.model}, and on the experiment of its run"
            with translate_mlflow_errors(f"read {source}", self._source.address, right):
                snapshot = read_source(self._source.client, self._source.uri, source, self._bounds.points)
                location = self._source.client.get_model_version_download_uri(source.model, str(source.version.number))
            right = f"EDIT on the experiment {EXPERIMENT_PREFIX}{model}"
            with translate_mlflow_errors(f"copy {source} to model {model}", self._target.address, right):
                tags = source.select_copied_tags(withheld_tags)
                return self._write_copy(
                    snapshot, model, tags, lambda: self._fetch_artifact(location, source, Path(folder, "artifact"))
                )

    def _fetch_artifact(self, location: str, source: SourceVersion, folder: Path) -> Path:
        try:
            with address_server(find_client_server(self._source.client)):
                return fetch_artifact(
                    location, self._source.uri, folder, seconds=self._bounds.seconds, limit=self._bounds.artifact
                )
        except ArtifactError as flawed:
            kind = ArtifactTooLarge if flawed.reason == describe_size_limit(self._bounds.artifact) else TransientError
            raise kind(SERVICE_NAME, f"{source} cannot be copied: {flawed.reason}") from None

    def _write_copy(
        self, snapshot: SourceSnapshot, model: str, tags: Mapping[str, str], fetch_folder: Callable[[], Path]
    ) -> int:
        """Write the copy. The artifact comes late: missing rights show before anything large has travelled."""
        experiment = self._ensure_experiment(model)
        run = RunCopyWriter(self._target.client, experiment)
        run_id = run.write_run(snapshot) if snapshot.run else None
        model_id = None
        if snapshot.by_logged_model:
            model_id = run.ensure_logged_model(snapshot, model, run_id)
        self._upload_artifact(snapshot, fetch_folder(), run_id, model_id)
        if model_id:
            self._target.client.finalize_logged_model(model_id, "READY")
            run.write_measurements(snapshot, model_id, run_id)
        if run_id:
            run.finish_run(snapshot, run_id)
        doing = f"register {snapshot.source} as a version of {model}"
        with translate_mlflow_errors(doing, self._target.registry_address, f"EDIT on model {model}"):
            return self._register_version(snapshot, model, tags, run_id, model_id)

    def _ensure_experiment(self, model: str) -> str:
        name = EXPERIMENT_PREFIX + model
        client = self._target.client
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name))
            except Exception as error:
                if get_error_code(error) != _ALREADY_EXISTS:
                    raise
                found = client.get_experiment_by_name(name)
        if found.lifecycle_stage != _ACTIVE:
            raise PermanentError(
                SERVICE_NAME,
                f"experiment {name} at {self._target.address} is deleted",
                "restore it: copies keep their runs there",
            )
        return str(found.experiment_id)

    def _upload_artifact(self, snapshot: SourceSnapshot, artifact: Path, run_id: str | None, model_id: str | None) -> None:
        try:
            upload_artifact(
                artifact,
                self._target.uri,
                run_id=run_id,
                model_id=model_id,
                path=_ARTIFACT_PATH,
                seconds=self._bounds.seconds,
            )
        except ArtifactError as flawed:
            raise TransientError(
                SERVICE_NAME, f"{snapshot.source} cannot be copied to {self._target.address}: {flawed.reason}"
            ) from None

    def _register_version(
        self, snapshot: SourceSnapshot, model: str, tags: Mapping[str, str], run_id: str | None, model_id: str | None
    ) -> int:
        """Register the version last of all, with all its tags in one request: from then on it is a complete copy."""
        client = self._target.client
        _ensure_model(client, model)
        location = f"models:/{model_id}" if model_id else f"{client.get_run(run_id).info.artifact_uri}/{_ARTIFACT_PATH}"
        version = client.create_model_version(
            model,
            location,
            run_id,
            tags=dict(tags),
            description=snapshot.description,
            await_creation_for=0,
            model_id=model_id,
        )
        return int(version.version)


def _ensure_model(client: Any, model: str) -> None:
    """Register the model, unless it is registered. MLflow says so only to users who may make models."""
    try:
        client.create_registered_model(model)
    except Exception as error:
        if is_permission_denied(error):
            client.get_registered_model(model)
        elif get_error_code(error) != _ALREADY_EXISTS:
            raise


_READ_SECONDS = 30.0  # for one read of another registry: it must not keep this one's aliases waiting
_RETRY_AFTER_SECONDS = 60.0  # until a registry that did not answer is read again
_TURN_SECONDS = 60.0  # to wait for another copy to be done: each takes room on the disk
_TOO_LARGE_SECONDS = 3_600.0  # what is too large is not fetched again and again to find that out
_CACHE_SIZE = 1_000
_MAX_THREADS = 8


class MlflowCopies:
    """Implements the port `VersionCopies`. Safe to share between threads. Connects on first use; makes one copy at a time."""

    def __init__(
        self,
        tracking_uri: str,
        registries: Mapping[str, str],
        bounds: CopyBounds | None = None,
        credentials: Mapping[str, HostCredentials] | None = None,
        workspaces: Mapping[str, str] | None = None,
    ) -> None:
        """`registries`: name to tracking URI of the others. Any URI may hold user and password: neither is ever shown.

        By the same names: `credentials`, what each of them is sent, and `workspaces`, those in which they are read.
        """
        self._uri = tracking_uri
        self._uris = dict(registries)
        self._bounds = bounds or CopyBounds()
        self._own = MlflowRegistry(tracking_uri)
        self._credentials = dict(credentials or {})
        self._workspaces = dict(workspaces or {})
        self._others = {
            name: MlflowRegistry(
                uri, elsewhere=True, credentials=self._credentials.get(name), workspace=self._workspaces.get(name)
            )
            for name, uri in registries.items()
        }
        self._silent: TTLCache[str, ExternalError] = TTLCache(_CACHE_SIZE, _RETRY_AFTER_SECONDS)
        self._too_large: TTLCache[str, ArtifactTooLarge] = TTLCache(_CACHE_SIZE, _TOO_LARGE_SECONDS)
        self._cache_lock = Lock()
        self._turn = BoundedSemaphore(1)

    def __repr__(self) -> str:
        return f"MlflowCopies({self._own.address!r}, {sorted(self._others)!r})"

    def read_source_aliases(self, places: Collection[AliasRef]) -> Mapping[AliasRef, SourceAlias]:
        """Read which version each alias points at; the registries are read at the same time, each in bulk."""
        by_registry: dict[str, list[AliasRef]] = {}
        for place in places:
            by_registry.setdefault(place.registry, []).append(place)
        with ThreadPoolExecutor(_MAX_THREADS) as pool:
            found = pool.map(lambda each: self._find_in_registry(*each), by_registry.items())
            return {each.place: each for aliases in found for each in aliases}

    def copy_version(self, source: SourceVersion, model: str, withheld_tags: Collection[str] = ()) -> int:
        """Copy the version; return the copy's number. Between two servers everything travels through this machine."""
        found = self._find_ready_copy(source, model)
        if found is not None:
            return found
        if not source.registry:
            return self._copy_within_server(source, model, withheld_tags)
        with self._cache_lock:
            known = self._too_large.get(source.short_digest)
        if known is not None:
            raise known.with_traceback(None)
        if not self._turn.acquire(timeout=_TURN_SECONDS):
            raise TransientError("MLflow", f"{source} waits to be copied: another copy is still under way")
        try:
            return self._build_transfer(source)(source, model, withheld_tags)
        except ArtifactTooLarge as fault:
            with self._cache_lock:
                self._too_large[source.short_digest] = fault
            raise
        finally:
            self._turn.release()

    def _find_in_registry(self, name: str, places: Iterable[AliasRef]) -> list[SourceAlias]:
        try:
            models = self._observe_registry(name, {place.model for place in places})
        except ExternalError as error:
            return [SourceAlias(place, trouble=error) for place in places]
        withheld = self._find_withheld_models(name, {place.model for place in places} - models.keys())
        return [
            SourceAlias(place, trouble=withheld[place.model])
            if place.model in withheld
            else SourceAlias(place, _find_alias_holder(place, models.get(place.model)))
            for place in places
        ]

    def _find_withheld_models(self, name: str, missing: Collection[str]) -> Mapping[str, ExternalError]:
        """Find those that are not gone: a read of several models leaves out what Promoter may not read."""
        if not missing:
            return {}
        registry = self._own if not name else self._require_other_registry(name)
        try:
            run_with_deadline(_READ_SECONDS, lambda: registry.confirm_absences([Absence(each) for each in sorted(missing)]))
        except ModelsWithheld as error:
            return {model: _build_withheld_error(name, model) for model in error.models}
        except ArtifactError:
            return dict.fromkeys(missing, _build_silence_error(name, registry))
        except ExternalError as error:
            return dict.fromkeys(missing, error)
        return {}

    def _observe_registry(self, name: str, models: Collection[str]) -> Mapping[str, ObservedModel]:
        registry = self._own if not name else self._require_other_registry(name)
        with self._cache_lock:
            silent = self._silent.get(name)
        if silent is not None:
            raise silent.with_traceback(None)
        try:
            return run_with_deadline(_READ_SECONDS, lambda: registry.observe_models(models))
        except ArtifactError:
            error: ExternalError = _build_silence_error(name, registry)
        except ModelsWithheld as fault:
            raise _build_withheld_error(name, *fault.models) from None
        except ExternalError as fault:
            error = type(fault)(name or fault.what, fault.message, fault.fix)
        if isinstance(error, TransientError):
            with self._cache_lock:
                self._silent[name] = error
        raise error

    def _require_other_registry(self, name: str) -> MlflowRegistry:
        if name not in self._others:
            raise build_unknown_registry_error(name)
        if self._is_own_registry(name):
            raise PermanentError(
                name, "it is this registry itself", "leave `registry` out of `promote_from`, and name the `model`"
            )
        return self._others[name]

    def _is_own_registry(self, name: str) -> bool:
        """Whether it is this registry by another name; another workspace of its server is none."""
        address, own = redact_server_address(self._uris[name]), redact_server_address(find_registry_uri(self._uri))
        workspace = self._workspaces.get(name) or DEFAULT_WORKSPACE
        return address == own and workspace == (read_own_workspace() or DEFAULT_WORKSPACE)

    def _find_ready_copy(self, source: SourceVersion, model: str) -> int | None:
        observed = self._own.observe_models({model}).get(model)
        copies = source.find_copies(observed) if observed else ()
        if observed is None or not copies:
            if source.registry and observed and observed.versions:
                self._own.confirm_untagged(model, source.copy_tags)
            return None
        ready = [number for number in copies if observed.versions[number].ready]
        if not ready:
            raise TransientError(
                "MLflow", f"v{copies[-1]} of {model}, the copy of {source}, is still being registered, or failed"
            )
        return ready[-1]

    def _copy_within_server(self, source: SourceVersion, model: str, withheld_tags: Collection[str]) -> int:
        """Copy as `copy_model_version` of MLflow does. That leaves no tag out, and asks for the right to make models."""
        right = f"EDIT on model {model}, and READ on model {source.model}"
        with translate_mlflow_errors(f"copy {source} to model {model}", self._own.registry_address, right):
            client, number = create_mlflow_client(self._uri), str(source.version.number)
            present = client.get_model_version(source.model, number)
            read, location = parse_model_version(present), f"models:/{source.model}/{number}"
            if read.created_at != source.version.created_at:
                raise TransientError("MLflow", f"{source} was registered anew; the next look goes on from there")
            tags = replace(source, version=read).select_copied_tags(withheld_tags)
            _ensure_model(client, model)
            copied = client.create_model_version(
                model,
                location,
                present.run_id,
                tags=dict(tags),
                run_link=present.run_link,
                description=present.description,
                await_creation_for=0,
                model_id=present.model_id,
            )
            return int(copied.version)

    def _build_transfer(self, source: SourceVersion) -> VersionTransfer:
        self._require_other_registry(source.registry)
        uri = self._uris[source.registry]
        client = create_mlflow_client(
            uri,
            elsewhere=True,
            credentials=self._credentials.get(source.registry),
            workspace=self._workspaces.get(source.registry),
        )
        own = TrackingServer(self._uri, create_mlflow_client(self._uri))
        return VersionTransfer(TrackingServer(uri, client), own, self._bounds)


def _build_silence_error(name: str, registry: MlflowRegistry) -> TransientError:
    message = f"{registry.registry_address} does not answer within {_READ_SECONDS:.0f} s"
    return TransientError(name or SERVICE_NAME, message)


def _build_withheld_error(name: str, *models: str) -> PermanentError:
    """Build the error for models that Promoter is to copy from, and may not read. MLflow refuses absent ones alike."""
    names, user = ", ".join(sorted(models)), f"the user that Promoter has in {name}" if name else "Promoter's MLflow user"
    message = f"{user} may not read {names}, or it is not there: it takes READ on it"
    return PermanentError(name or SERVICE_NAME, message, f"give {user} READ on {names}", about_one_model=True)


def _find_alias_holder(place: AliasRef, model: ObservedModel | None) -> SourceVersion | None:
    number = model.aliases.get(place.alias) if model else None
    version = model.versions.get(number) if model and number is not None else None
    return SourceVersion(place.registry, place.model, version) if version else None
