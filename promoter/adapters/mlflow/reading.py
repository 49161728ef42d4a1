"""Reads one thing of the artifacts of many versions: at once, bounded in time, and remembered."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from promoter.adapters.mlflow.artifact import READ_SECONDS, ArtifactError
from promoter.adapters.mlflow.errors import find_refusal_message
from promoter.adapters.mlflow.memory import ExpiringCache
from promoter.application.ports import EvidenceTarget, VersionKey
from promoter.domain.observed import Unreadable

_MAX_THREADS = 8
_TOTAL_SECONDS = 180.0  # seconds for one call, however many versions: storage that hangs must not hold up a look
_CACHE_SIZE = 4_096

ContentT = TypeVar("ContentT")


class ArtifactReader(Generic[ContentT]):
    """By version. Artifacts do not change: what was read once is remembered, what failed is tried again."""

    def __init__(self, client: Any, fetch: Callable[[str, float], ContentT | None]) -> None:
        """`client` is an `MlflowClient`; `fetch` reads from a location within so many seconds, and raises `ArtifactError`."""
        self._client = client
        self._fetch = fetch
        self._read: ExpiringCache[tuple[object, ...], tuple[ContentT | None]] = ExpiringCache(_CACHE_SIZE)

    def read_artifacts(self, versions: Collection[EvidenceTarget]) -> dict[VersionKey, ContentT | Unreadable | None]:
        """By version; None where it has none. Raises what MLflow raises, but for what concerns a single one of them."""
        deadline = time.monotonic() + _TOTAL_SECONDS
        with ThreadPoolExecutor(_MAX_THREADS) as pool:
            found = pool.map(lambda each: self._read_artifact(each, deadline), versions)
            return {each.version_key: read for each, read in zip(versions, found, strict=True)}

    def _read_artifact(self, requested: EvidenceTarget, deadline: float) -> ContentT | Unreadable | None:
        identity = (requested.model, requested.version.number, requested.version.created_at, requested.version.source)
        remembered = self._read.get(identity)
        if remembered is None:
            try:
                remembered = (self._fetch(self._find_location(requested), min(READ_SECONDS, deadline - time.monotonic())),)
            except ArtifactError as flawed:
                return Unreadable(flawed.reason)
            self._read.put(identity, remembered)
        return remembered[0]

    def _find_location(self, requested: EvidenceTarget) -> str:
        try:
            return str(self._client.get_model_version_download_uri(requested.model, str(requested.version.number)))
        except Exception as error:
            refused = find_refusal_message(error)
            if refused is None:
                raise
            raise ArtifactError(f"where its artifact is cannot be read: {refused}") from None
