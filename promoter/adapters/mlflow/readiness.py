"""What there is to see of a version that is to serve again; `promoter.domain.readiness` says what follows from it."""

from __future__ import annotations

from typing import Any

from promoter.adapters.mlflow.artifact import ArtifactError, list_flavors, read_mlmodel_file
from promoter.adapters.mlflow.convert import parse_model_version
from promoter.adapters.mlflow.errors import is_not_found
from promoter.adapters.mlflow.loading import SWITCHED_OFF, ModelLoader
from promoter.domain.observed import ReadinessCheck
from promoter.domain.readiness import READY_STATUS


class ReadinessChecker:
    """Checks versions. Raises what MLflow raises for the registry's own answers."""

    def __init__(self, client: Any, tracking_uri: str, server: str, loader: ModelLoader | None) -> None:
        """`client` is an `MlflowClient`; without a loader nothing is loaded."""
        self._client = client
        self._tracking_uri = tracking_uri
        self._server = server
        self._loader = loader

    def check_version(self, model: str, version: int) -> ReadinessCheck:
        """Its status, the flavors of its `MLmodel` file, and whether it loads; no further than to what it fails by."""
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
