"""Copies one version from a server to another: its run, its logged model, its artifact, and only then the version itself.

Every step looks first for what an earlier attempt has left, which it knows by a tag, and goes on with that. What is not done
yet is no version: a run and a logged model that nobody points at. So nobody can take half a copy for a copy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promoter.adapters.mlflow.artifact import ArtifactError
from promoter.adapters.mlflow.errors import SERVICE_NAME, redact_server_address, get_error_code, translate_mlflow_errors
from promoter.adapters.mlflow.fetching import fetch_artifact, upload_artifact, describe_size_limit
from promoter.adapters.mlflow.taking import SourceSnapshot, read_source
from promoter.adapters.mlflow.writing import RunCopyWriter
from promoter.domain.faults import PermanentError, TransientError
from promoter.domain.observed import SOURCE_TAG_PREFIX
from promoter.domain.sources import SourceVersion

EXPERIMENT_PREFIX = "promoter/"
_ARTIFACT_PATH = "model"
_ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
_ACTIVE = "active"


@dataclass(frozen=True)
class CopyBounds:
    """What a copy may take: seconds for each way, bytes of the artifact, and values of metrics over the steps in all."""

    seconds: int = 900
    artifact: int = 10 * 1024**3
    points: int = 100_000


@dataclass(frozen=True)
class TrackingServer:
    """A tracking URI, with its secrets, and an `MlflowClient` for it."""

    uri: str
    client: Any

    def __repr__(self) -> str:
        """Without secrets."""
        return f"Server({self.address!r})"

    @property
    def address(self) -> str:
        """For people."""
        return redact_server_address(self.uri)


class ArtifactTooLarge(PermanentError):
    """Another try would fetch it all again, to find out the same."""


class VersionTransfer:
    """Copies versions from one server to the other. Raises `TransientError` or `PermanentError`."""

    def __init__(self, source: TrackingServer, target: TrackingServer, bounds: CopyBounds) -> None:
        """Asks nothing yet."""
        self._source = source
        self._target = target
        self._bounds = bounds

    def __call__(self, source: SourceVersion, model: str) -> int:
        """The number of the copy. Its source is read as it is now: what is measured there later stays there."""
        with tempfile.TemporaryDirectory(prefix="promoter-", ignore_cleanup_errors=True) as folder:
            with translate_mlflow_errors(f"read {source}", self._source.address):
                snapshot = read_source(self._source.client, self._source.uri, source, self._bounds.points)
                location = self._source.client.get_model_version_download_uri(source.model, str(source.version.number))
            with translate_mlflow_errors(f"copy {source} to model {model}", self._target.address):
                return self._write_copy(
                    snapshot, model, lambda: self._fetch_artifact(location, source, Path(folder, "artifact"))
                )

    def _fetch_artifact(self, location: str, source: SourceVersion, folder: Path) -> Path:
        try:
            return fetch_artifact(location, self._source.uri, folder, seconds=self._bounds.seconds, limit=self._bounds.artifact)
        except ArtifactError as flawed:
            kind = ArtifactTooLarge if flawed.reason == describe_size_limit(self._bounds.artifact) else TransientError
            raise kind(SERVICE_NAME, f"{source} cannot be copied: {flawed.reason}") from None

    def _write_copy(self, snapshot: SourceSnapshot, model: str, fetch_folder: Callable[[], Path]) -> int:
        """The artifact comes late: who may write nothing here learns so before anything large has travelled."""
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
        return self._register_version(snapshot, model, run_id, model_id)

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

    def _register_version(self, snapshot: SourceSnapshot, model: str, run_id: str | None, model_id: str | None) -> int:
        """Last of all, with all its tags in one request: from then on it is a copy, and a complete one."""
        client = self._target.client
        try:
            client.create_registered_model(model)
        except Exception as error:
            if get_error_code(error) != _ALREADY_EXISTS:
                raise
        location = f"models:/{model_id}" if model_id else f"{client.get_run(run_id).info.artifact_uri}/{_ARTIFACT_PATH}"
        kept = {key: value for key, value in snapshot.source.version.tags.items() if not key.startswith(SOURCE_TAG_PREFIX)}
        version = client.create_model_version(
            model,
            location,
            run_id,
            tags={**kept, **snapshot.source.copy_tags},
            description=snapshot.description,
            await_creation_for=0,
            model_id=model_id,
        )
        return int(version.version)
