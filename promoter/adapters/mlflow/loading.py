"""Loads the artifact of a version, to know that it loads: one child fetches it, another one loads it, both bounded.

The second child runs code of whoever trained the model. It runs in a sandbox (`sandbox.py`) or not at all, and gets no
credentials, tracking URI or setting: only a search path, a language, a temporary home, and what the deployment hands on.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import time
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any

from cachetools import TLRUCache

from promoter.adapters.mlflow import subprocesses
from promoter.adapters.mlflow.artifacts import (
    MLMODEL_FILE,
    ArtifactError,
    build_artifact_key,
    list_flavors,
    parse_mlmodel,
    read_bounded_file,
)
from promoter.adapters.mlflow.client import find_refusal_message, redact_message, select_transfer_timeout
from promoter.adapters.mlflow.credentials import build_child_environment, is_own_server
from promoter.adapters.mlflow.sandbox import LOAD_COMMAND, Sandbox, SandboxFinder, SandboxLimits, SandboxTerms
from promoter.domain.observed import LoadingResult, ModelVersion

_TRANSFER_COMMAND = ("-P", "-m", "promoter.adapters.mlflow.transfer_subprocess")


def fetch_artifact(location: str, tracking_uri: str, folder: Path, *, seconds: int, limit: int) -> Path:
    """Fetch what is at that location into a new folder; return its path in there. Raises `ArtifactError`, and nothing else."""
    folder.mkdir()
    request = {
        "action": "fetch",
        "location": location,
        "tracking_uri": tracking_uri,
        "own": is_own_server(tracking_uri),
        "folder": str(folder),
        "bytes": limit,
        "seconds": seconds,
    }
    ended = subprocesses.run_child(
        _TRANSFER_COMMAND,
        request,
        seconds=seconds,
        folder=folder,
        environment={**build_child_environment(tracking_uri), **select_transfer_timeout()},
        excessive=lambda _pid: measure_folder_size(folder) > limit,
    )
    if measure_folder_size(folder) > limit:
        raise ArtifactError(describe_size_limit(limit))
    if ended.status is None:
        raise ArtifactError(f"its artifact did not arrive within {seconds} s")
    answer = ended.answer or {}
    path = Path(str(answer.get("path") or folder.parent))
    if "fault" in answer or not path.is_relative_to(folder):
        raise ArtifactError(
            f"its artifact cannot be fetched: {answer.get('fault', subprocesses.describe_exit_status(ended.status))}"
        )
    return path


def upload_artifact(
    folder: Path, tracking_uri: str, *, run_id: str | None, model_id: str | None, path: str | None, seconds: int
) -> None:
    """Put what is in the folder among the artifacts of a run or, if given, of a logged model. Raises `ArtifactError`."""
    request = {
        "action": "upload",
        "tracking_uri": tracking_uri,
        "run_id": run_id,
        "model_id": model_id,
        "path": path,
        "folder": str(folder),
        "seconds": seconds,
    }
    ended = subprocesses.run_child(
        _TRANSFER_COMMAND,
        request,
        seconds=seconds,
        folder=folder.parent,
        environment={**build_child_environment(tracking_uri), **select_transfer_timeout()},
    )
    if ended.status is None:
        raise ArtifactError(f"its artifact could not be put within {seconds} s")
    if not (ended.answer or {}).get("done"):
        raise ArtifactError(
            f"its artifact cannot be put: {(ended.answer or {}).get('fault', subprocesses.describe_exit_status(ended.status))}"
        )


def describe_size_limit(limit: int) -> str:
    """Say that an artifact is too large."""
    return f"its artifact has more than {limit} bytes"


def measure_folder_size(folder: Path) -> int:
    """Count the bytes of all files in a folder that may be changing."""
    sizes = 0
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                sizes += Path(place, file).lstat().st_size
            except OSError:
                continue  # renamed or gone meanwhile
    return sizes


SWITCHED_OFF = LoadingResult("untried", "PROMOTER_LOAD_MODELS is not set to true")

_MAX_PARALLEL_LOADS = 2
_CACHE_SIZE = 4_096
_RETRY_AFTER_SECONDS = 600.0
"""What did not load may load once a library is installed; a load takes too long to be tried in each reconciliation."""
_INHERITED_VARIABLES = (
    "KERAS_BACKEND",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
_KERAS_LIBRARIES = {"jax": ("jax", "jaxlib"), "tensorflow": ("tensorflow",), "torch": ("torch",)}
"""The modules of each backend of Keras."""
_DEFAULT_KERAS_BACKEND = "tensorflow"
_GARBLED = LoadingResult("untried", "its code wrote where only the loader answers")
_ADDRESS_IN_MEMORY = re.compile(r"0x[0-9a-fA-F]{6,}")


@dataclass(frozen=True)
class LoadBounds:
    """What one load may take."""

    fetch_seconds: int = 120
    """Seconds to fetch the artifact."""
    load_seconds: int = 60
    """Seconds to load it."""
    artifact: int = 2 * 1024**3
    """Bytes of the artifact."""
    memory: int = 8 * 1024**3
    """Bytes of address space of each process, and of memory of all of them."""


class ModelLoader:
    """Loads versions, two at a time. "Loaded" and "too large" are cached for good, other results for ten minutes."""

    def __init__(self, client: Any, tracking_uri: str, bounds: LoadBounds, terms: SandboxTerms | None = None) -> None:
        """`client` is an `MlflowClient`."""
        self._client = client
        self._tracking_uri = tracking_uri
        self._bounds = bounds
        self._terms = terms or SandboxTerms()
        self._sandboxes = SandboxFinder(self._terms)
        self._turns = BoundedSemaphore(_MAX_PARALLEL_LOADS)
        self._too_large = LoadingResult("untried", describe_size_limit(bounds.artifact))
        self._cache: TLRUCache[Hashable, LoadingResult] = TLRUCache(_CACHE_SIZE, self._find_expiry, time.monotonic)
        self._cache_lock = Lock()

    def load_version(self, model: str, version: ModelVersion) -> LoadingResult:
        """Load it: `loaded`; `failed` where the loader raises or there is nothing to load; `untried` where that is not certain.

        It is not where the artifact cannot be fetched, or is too large; where a library, time or memory is missing; or where
        the child crashes, since native code takes a limit on memory in many ways. Raises what MLflow raises.
        """
        key = build_artifact_key(model, version)
        known = self._find_known_result(key)
        if known is not None:
            return known
        with self._turns:
            known = self._find_known_result(key)  # another thread may have tried it meanwhile
            if known is None:
                known = self._try_loading(model, version)
                with self._cache_lock:
                    self._cache[key] = known
            return known

    def _find_known_result(self, key: Hashable) -> LoadingResult | None:
        with self._cache_lock:
            return self._cache.get(key)

    def _find_expiry(self, _key: Hashable, result: LoadingResult, now: float) -> float:
        lasts = result.outcome == "loaded" or result == self._too_large
        return inf if lasts else now + _RETRY_AFTER_SECONDS

    def _try_loading(self, model: str, version: ModelVersion) -> LoadingResult:
        try:
            location = self._client.get_model_version_download_uri(model, str(version.number))
        except Exception as error:
            refused = find_refusal_message(error)
            if refused is None:
                raise
            return LoadingResult("untried", f"where its artifact is cannot be read: {refused}")
        sandbox, reason = self._sandboxes.find_sandbox()
        if sandbox is None:
            return LoadingResult("untried", reason)
        with tempfile.TemporaryDirectory(prefix="promoter-", ignore_cleanup_errors=True) as folder:
            try:
                return self._load_in_child(self._fetch_artifact(location, Path(folder, "artifact")), sandbox)
            except ArtifactError as flawed:
                return LoadingResult("failed" if flawed.certain else "untried", flawed.reason)

    def _fetch_artifact(self, location: str, folder: Path) -> Path:
        bounds = self._bounds
        return fetch_artifact(location, self._tracking_uri, folder, seconds=bounds.fetch_seconds, limit=bounds.artifact)

    def _load_in_child(self, artifact: Path, sandbox: Sandbox) -> LoadingResult:
        bounds, token = self._bounds, secrets.token_hex(16)
        description = _read_description(artifact)
        flavors, environment = list_flavors(description), _build_model_environment(self._terms.environment)
        if backend := _find_keras_backend(description):
            environment = {"KERAS_BACKEND": backend, **environment}  # what the deployment says counts before the model's word
        ended = sandbox.run_command(
            LOAD_COMMAND,
            {"flavors": flavors, "token": token},
            artifact,
            environment,
            SandboxLimits(seconds=bounds.load_seconds, memory=bounds.memory, scratch=bounds.artifact),
        )
        answer = ended.answer or {}
        if ended.garbled or (answer and answer.get("token") != token):
            return _GARBLED
        if ended.status is None and not answer:
            return LoadingResult("untried", ended.excess or f"it did not load within {bounds.load_seconds} s")
        outcome, detail = answer.get("outcome"), str(answer.get("detail", ""))
        # The detail goes into the ledger: the same failure is to read the same the next time.
        detail = detail.replace(sandbox.paths.artifact, "artifact").replace(sandbox.paths.home, "tmp")
        detail = redact_message(_ADDRESS_IN_MEMORY.sub("0x…", detail))
        if outcome == "untried" and "keras" in flavors:
            detail += _describe_missing_backend(detail, environment.get("KERAS_BACKEND"))
        if outcome in ("loaded", "failed", "untried"):
            return LoadingResult(outcome, detail)
        return LoadingResult("untried", subprocesses.describe_exit_status(ended.status or 0))


def _read_description(artifact: Path) -> Mapping[str, Any]:
    try:
        content = read_bounded_file(artifact / MLMODEL_FILE)
    except OSError:
        raise ArtifactError("no MLmodel file", certain=True) from None
    return parse_mlmodel(content)


def _find_keras_backend(description: Mapping[str, Any]) -> str | None:
    """Find the library that a Keras 3 model was logged on, as MLflow notes it; None where it notes none that is known."""
    keras = description["flavors"].get("keras")
    backend = keras.get("keras_backend") if isinstance(keras, dict) else None
    return backend if isinstance(backend, str) and backend in _KERAS_LIBRARIES else None


def _describe_missing_backend(detail: str, backend: str | None) -> str:
    """Say what to do where the library is missing that Keras runs on; nothing where it is another one."""
    name = backend or _DEFAULT_KERAS_BACKEND
    if not any(f"No module named '{each}'" in detail for each in _KERAS_LIBRARIES.get(name, ())):
        return ""
    others = " or ".join(sorted(_KERAS_LIBRARIES.keys() - {name}))
    return f"; Keras runs on {name} here: install it beside Promoter, or set KERAS_BACKEND to {others} if that is installed"


def _build_model_environment(further: Collection[str]) -> Mapping[str, str]:
    """Build all that the model's code gets to see of the environment; the sandbox adds a home."""
    always = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    return always | {name: os.environ[name] for name in (*_INHERITED_VARIABLES, *further) if name in os.environ}
