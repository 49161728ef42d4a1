"""What there is to see of a version that is to serve again; `promoter.domain.readiness` says what follows from it."""

from __future__ import annotations

from typing import Any

from promoter.adapters.mlflow.artifact import Flawed, flavors, read_description
from promoter.adapters.mlflow.convert import version_of
from promoter.adapters.mlflow.errors import is_absent
from promoter.adapters.mlflow.loading import SWITCHED_OFF, Loader
from promoter.domain.observed import Checked
from promoter.domain.readiness import READY


class Readiness:
    """Checks versions. Raises what MLflow raises for the registry's own answers."""

    def __init__(self, client: Any, tracking_uri: str, server: str, loader: Loader | None) -> None:
        """`client` is an `MlflowClient`; without a loader nothing is loaded."""
        self._client = client
        self._tracking_uri = tracking_uri
        self._server = server
        self._loader = loader

    def of(self, model: str, version: int) -> Checked:
        """Its status, the flavors of its `MLmodel` file, and whether it loads; no further than to what it fails by."""
        entity = self._registered(model, version)
        if entity is None:
            return Checked(None)
        status = str(entity.status)
        if status != READY:
            return Checked(status)
        location = self._client.get_model_version_download_uri(model, str(version))
        try:
            named = tuple(flavors(read_description(location, self._tracking_uri, self._server)))
        except Flawed as flawed:
            return Checked(status, flaw=flawed.reason, certain=flawed.certain)
        return Checked(status, named, loading=self._loader.load(model, version_of(entity)) if self._loader else SWITCHED_OFF)

    def _registered(self, model: str, version: int) -> Any:
        try:
            return self._client.get_model_version(model, str(version))
        except Exception as error:
            if is_absent(error):
                return None
            raise
