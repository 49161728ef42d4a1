"""Reads one thing of the artifacts of many versions: at once, bounded in time, and remembered."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from promoter.adapters.mlflow.artifact import SECONDS, Flawed
from promoter.adapters.mlflow.errors import refusal
from promoter.adapters.mlflow.memory import Memory
from promoter.application.ports import Evidenced, Key
from promoter.domain.observed import Unread

_THREADS = 8
_IN_ALL = 180.0  # seconds for one call, however many versions: storage that hangs must not hold up a look
_REMEMBERED = 4_096

T = TypeVar("T")


class ArtifactReader(Generic[T]):
    """By version. Artifacts do not change: what was read once is remembered, what failed is tried again."""

    def __init__(self, client: Any, fetch: Callable[[str, float], T | None]) -> None:
        """`client` is an `MlflowClient`; `fetch` reads from a location within so many seconds, and raises `Flawed`."""
        self._client = client
        self._fetch = fetch
        self._read: Memory[tuple[object, ...], tuple[T | None]] = Memory(_REMEMBERED)

    def read(self, versions: Collection[Evidenced]) -> dict[Key, T | Unread | None]:
        """By version; None where it has none. Raises what MLflow raises, but for what concerns a single one of them."""
        deadline = time.monotonic() + _IN_ALL
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(lambda each: self._one(each, deadline), versions)
            return {each.key: read for each, read in zip(versions, found, strict=True)}

    def _one(self, asked: Evidenced, deadline: float) -> T | Unread | None:
        identity = (asked.model, asked.version.number, asked.version.created_at, asked.version.source)
        remembered = self._read.get(identity)
        if remembered is None:
            try:
                remembered = (self._fetch(self._location(asked), min(SECONDS, deadline - time.monotonic())),)
            except Flawed as flawed:
                return Unread(flawed.reason)
            self._read.put(identity, remembered)
        return remembered[0]

    def _location(self, asked: Evidenced) -> str:
        try:
            return str(self._client.get_model_version_download_uri(asked.model, str(asked.version.number)))
        except Exception as error:
            refused = refusal(error)
            if refused is None:
                raise
            raise Flawed(f"where its artifact is cannot be read: {refused}") from None
