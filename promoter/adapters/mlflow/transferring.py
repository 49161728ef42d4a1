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

from promoter.adapters.mlflow.artifact import Flawed
from promoter.adapters.mlflow.errors import WHAT, address, code_of, translated
from promoter.adapters.mlflow.fetching import fetch, put, too_large
from promoter.adapters.mlflow.taking import Taken, take
from promoter.adapters.mlflow.writing import RunCopy
from promoter.domain.faults import Refused, Unavailable
from promoter.domain.observed import SOURCE_TAG
from promoter.domain.sources import SourceVersion

EXPERIMENT = "promoter/"
_ARTIFACT = "model"
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_ACTIVE = "active"


@dataclass(frozen=True)
class CopyBounds:
    """What a copy may take: seconds for each way, bytes of the artifact, and values of metrics over the steps in all."""

    seconds: int = 900
    artifact: int = 10 * 1024**3
    points: int = 100_000


@dataclass(frozen=True)
class Server:
    """A tracking URI, with its secrets, and an `MlflowClient` for it."""

    uri: str
    client: Any

    def __repr__(self) -> str:
        """Without secrets."""
        return f"Server({self.address!r})"

    @property
    def address(self) -> str:
        """For people."""
        return address(self.uri)


class TooLarge(Refused):
    """Another try would fetch it all again, to find out the same."""


class Transfer:
    """Copies versions from one server to the other. Raises `Unavailable` or `Refused`."""

    def __init__(self, source: Server, target: Server, bounds: CopyBounds) -> None:
        """Asks nothing yet."""
        self._source = source
        self._target = target
        self._bounds = bounds

    def __call__(self, source: SourceVersion, model: str) -> int:
        """The number of the copy. Its source is read as it is now: what is measured there later stays there."""
        with tempfile.TemporaryDirectory(prefix="promoter-", ignore_cleanup_errors=True) as folder:
            with translated(f"read {source}", self._source.address):
                taken = take(self._source.client, self._source.uri, source, self._bounds.points)
                location = self._source.client.get_model_version_download_uri(source.model, str(source.version.number))
            with translated(f"copy {source} to model {model}", self._target.address):
                return self._put(taken, model, lambda: self._fetched(location, source, Path(folder, "artifact")))

    def _fetched(self, location: str, source: SourceVersion, folder: Path) -> Path:
        try:
            return fetch(location, self._source.uri, folder, seconds=self._bounds.seconds, limit=self._bounds.artifact)
        except Flawed as flawed:
            kind = TooLarge if flawed.reason == too_large(self._bounds.artifact) else Unavailable
            raise kind(WHAT, f"{source} cannot be copied: {flawed.reason}") from None

    def _put(self, taken: Taken, model: str, fetched: Callable[[], Path]) -> int:
        """The artifact comes late: who may write nothing here learns so before anything large has travelled."""
        experiment = self._experiment(model)
        run = RunCopy(self._target.client, experiment)
        run_id = run.write(taken) if taken.run else None
        model_id = None
        if taken.by_logged_model:
            model_id = run.logged_model(taken, model, run_id)
        self._put_artifact(taken, fetched(), run_id, model_id)
        if model_id:
            self._target.client.finalize_logged_model(model_id, "READY")
            run.measurements(taken, model_id, run_id)
        if run_id:
            run.end(taken, run_id)
        return self._register(taken, model, run_id, model_id)

    def _experiment(self, model: str) -> str:
        name = EXPERIMENT + model
        client = self._target.client
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name))
            except Exception as error:
                if code_of(error) != _EXISTS:
                    raise
                found = client.get_experiment_by_name(name)
        if found.lifecycle_stage != _ACTIVE:
            raise Refused(
                WHAT, f"experiment {name} at {self._target.address} is deleted", "restore it: copies keep their runs there"
            )
        return str(found.experiment_id)

    def _put_artifact(self, taken: Taken, artifact: Path, run_id: str | None, model_id: str | None) -> None:
        try:
            put(
                artifact,
                self._target.uri,
                run_id=run_id,
                model_id=model_id,
                path=_ARTIFACT,
                seconds=self._bounds.seconds,
            )
        except Flawed as flawed:
            raise Unavailable(WHAT, f"{taken.source} cannot be copied to {self._target.address}: {flawed.reason}") from None

    def _register(self, taken: Taken, model: str, run_id: str | None, model_id: str | None) -> int:
        """Last of all, with all its tags in one request: from then on it is a copy, and a complete one."""
        client = self._target.client
        try:
            client.create_registered_model(model)
        except Exception as error:
            if code_of(error) != _EXISTS:
                raise
        location = f"models:/{model_id}" if model_id else f"{client.get_run(run_id).info.artifact_uri}/{_ARTIFACT}"
        kept = {key: value for key, value in taken.source.version.tags.items() if not key.startswith(SOURCE_TAG)}
        version = client.create_model_version(
            model,
            location,
            run_id,
            tags={**kept, **taken.source.tags},
            description=taken.description,
            await_creation_for=0,
            model_id=model_id,
        )
        return int(version.version)
