"""Loads the artifact of a version, to know that it can be loaded: fetched by one child, loaded by another one, both bounded.

The second child runs code of whoever trained the model. It gets no credentials, tracking URI or setting: only a search path,
a language, and a temporary home. That keeps secrets out of its environment, and accidents small. It is no sandbox: the code
runs as Promoter's own user, and may read what that user may. Where that is too much, `load_models` is to be switched off.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from promoter.adapters.mlflow import child
from promoter.adapters.mlflow.artifact import DESCRIPTION, Flawed, bounded, flavors, parsed
from promoter.adapters.mlflow.errors import refusal, scrubbed
from promoter.adapters.mlflow.fetching import fetch, too_large
from promoter.adapters.mlflow.memory import Memory
from promoter.domain.observed import Loading, ModelVersion

SWITCHED_OFF = Loading("untried", "switched off by PROMOTER_LOAD_MODELS")

_AT_ONCE = 2
_REMEMBERED = 4_096
_AGAIN_AFTER = 600.0  # seconds: what did not load may load once a library is installed, but not at every look
_LOAD = ("-I", str(Path(__file__).with_name("child_load.py")))
_FORBID_PICKLE = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
_ADDRESS_IN_MEMORY = re.compile(r"0x[0-9a-fA-F]{6,}")


@dataclass(frozen=True)
class Bounds:
    """What a load may take: seconds for fetching and for loading, bytes of the artifact and of address space."""

    fetch_seconds: int = 120
    load_seconds: int = 60
    artifact: int = 2 * 1024**3
    memory: int = 8 * 1024**3


class Loader:
    """Loads versions, two at a time. A success is remembered, and so is that it is too large; the rest for ten minutes."""

    def __init__(self, client: Any, tracking_uri: str, bounds: Bounds) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._tracking_uri = tracking_uri
        self._bounds = bounds
        self._turns = BoundedSemaphore(_AT_ONCE)
        self._too_large = Loading("untried", too_large(bounds.artifact))
        self._known: Memory[tuple[object, ...], Loading] = Memory(_REMEMBERED)

    def load(self, model: str, version: ModelVersion) -> Loading:
        """LOADED; FAILED where the loader raises, or there is nothing to load; UNTRIED where that cannot be told here.

        That is: the artifact cannot be fetched, or is too large; a library is missing; time or memory is not enough. Nor is a
        crash of the child certain, since native code takes a limit on memory in many ways. Raises what MLflow raises.
        """
        identity = (model, version.number, version.created_at, version.source)
        known = self._known.get(identity)
        if known is not None:
            return known
        with self._turns:
            known = self._known.get(identity)  # somebody else may have tried it meanwhile
            if known is None:
                known = self._tried(model, version)
                lasting = known.outcome == "loaded" or known == self._too_large
                self._known.put(identity, known, inf if lasting else _AGAIN_AFTER)
            return known

    def _tried(self, model: str, version: ModelVersion) -> Loading:
        try:
            location = self._client.get_model_version_download_uri(model, str(version.number))
        except Exception as error:
            refused = refusal(error)
            if refused is None:
                raise
            return Loading("untried", f"where its artifact is cannot be read: {refused}")
        with tempfile.TemporaryDirectory(prefix="promoter-", ignore_cleanup_errors=True) as folder:
            try:
                return self._loaded(self._fetched(location, Path(folder, "artifact")), Path(folder))
            except Flawed as flawed:
                return Loading("failed" if flawed.certain else "untried", flawed.reason)

    def _fetched(self, location: str, folder: Path) -> Path:
        bounds = self._bounds
        return fetch(location, self._tracking_uri, folder, seconds=bounds.fetch_seconds, limit=bounds.artifact)

    def _loaded(self, artifact: Path, folder: Path) -> Loading:
        home = folder / "home"
        home.mkdir()
        bounds = self._bounds
        ask = {
            "folder": str(artifact),
            "flavors": _flavors_of(artifact),
            "memory": bounds.memory,
            "bytes": bounds.artifact,
            "seconds": bounds.load_seconds,
        }
        ended = child.run(_LOAD, ask, seconds=bounds.load_seconds, folder=home, environment=_environment(home))
        if ended.status is None:
            return Loading("untried", f"it did not load within {bounds.load_seconds} s")
        answer = ended.answer or {}
        outcome, detail = answer.get("outcome"), str(answer.get("detail", ""))
        # What is told goes into the ledger: the same failure is to read the same the next time.
        detail = scrubbed(_ADDRESS_IN_MEMORY.sub("0x…", detail.replace(str(artifact), "artifact").replace(str(folder), "tmp")))
        if outcome in ("loaded", "failed", "untried"):
            return Loading(outcome, detail)
        return Loading("untried", child.ending(ended.status))


def _flavors_of(artifact: Path) -> list[str]:
    try:
        content = bounded(artifact / DESCRIPTION)
    except OSError:
        raise Flawed("no MLmodel file", certain=True) from None
    return flavors(parsed(content))


def _environment(home: Path) -> Mapping[str, str]:
    """All that the model's code gets to see of the environment."""
    given = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "HOME": str(home),
        "TMPDIR": str(home),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    forbid = os.environ.get(_FORBID_PICKLE)
    return given if forbid is None else {**given, _FORBID_PICKLE: forbid}
