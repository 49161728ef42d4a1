"""Whether a version could serve again: it is READY, its `MLmodel` file names a flavor, and it loads."""

from __future__ import annotations

from typing import Any

from promoter.adapters.mlflow.artifact import Flawed, flavors, read_description
from promoter.adapters.mlflow.convert import version_of
from promoter.adapters.mlflow.errors import is_absent
from promoter.adapters.mlflow.loading import SWITCHED_OFF, Loader
from promoter.domain.observed import Loading
from promoter.domain.verdict import Finding, Verdict

_RULE = "ready"
_EXPECTED = "a READY version whose MLmodel file can be fetched and names a flavor, and whose artifact loads"


class _Unfit(Exception):  # noqa: N818  # a verdict on its way out, not an error
    def __init__(self, verdict: Verdict, value: str) -> None:
        self.finding = _found(verdict, value)
        super().__init__(value)


class Readiness:
    """Finds whether versions are ready. Raises what MLflow raises for the registry's own answers."""

    def __init__(self, client: Any, tracking_uri: str, server: str, loader: Loader | None) -> None:
        """`client` is an `MlflowClient`; without a loader nothing is loaded."""
        self._client = client
        self._tracking_uri = tracking_uri
        self._server = server
        self._loader = loader

    def of(self, model: str, version: int) -> Finding:
        """FAIL is certain (no such version, registration failed, no such file, no flavor, it does not load).

        PENDING is a registration under way, ERROR an `MLmodel` file that cannot be read now. Where the model cannot be tried
        here (a library that is not installed, no time, no memory), the file is enough, and the value says why.
        """
        try:
            entity = self._registered(model, version)
            location = self._client.get_model_version_download_uri(model, str(version))
            named = ", ".join(self._flavors(location))
        except _Unfit as unfit:
            return unfit.finding
        return _judged(named, self._loader.load(model, version_of(entity)) if self._loader else SWITCHED_OFF)

    def _registered(self, model: str, version: int) -> Any:
        try:
            entity = self._client.get_model_version(model, str(version))
        except Exception as error:
            if is_absent(error):
                raise _Unfit(Verdict.FAIL, "no such version") from None
            raise
        if entity.status == "PENDING_REGISTRATION":
            raise _Unfit(Verdict.PENDING, "registration under way")
        if entity.status != "READY":
            raise _Unfit(Verdict.FAIL, f"status {entity.status}")
        return entity

    def _flavors(self, location: str) -> list[str]:
        try:
            return flavors(read_description(location, self._tracking_uri, self._server))
        except Flawed as flawed:
            raise _Unfit(Verdict.FAIL if flawed.certain else Verdict.ERROR, flawed.reason) from None


def _judged(named: str, loading: Loading) -> Finding:
    if loading.outcome == "failed":
        return _found(Verdict.FAIL, f"{named}; does not load: {loading.detail}")
    told = "loads" if loading.outcome == "loaded" else f"not loaded here: {loading.detail}"
    return _found(Verdict.PASS, f"{named}; {told}")


def _found(verdict: Verdict, value: str) -> Finding:
    return Finding(_RULE, verdict, value, _EXPECTED)
