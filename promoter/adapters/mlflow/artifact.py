"""Reads small files of an artifact, bounded in time, size and depth: they come from whoever trained the model."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import yaml

from promoter.adapters.mlflow.errors import redact_secrets, convert_mlflow_error

READ_SECONDS = 60.0
MLMODEL_FILE = "MLmodel"
REQUIREMENTS_FILE = "requirements.txt"
_MAX_LINES, _MAX_LINE_LENGTH = 5_000, 500
_MAX_FILE_BYTES = 1024 * 1024
_MAX_YAML_DEPTH = 100

ResultT = TypeVar("ResultT")


class ArtifactError(Exception):  # noqa: N818  # what a read found out, not an error of the program
    """What is wrong with an artifact. `certain`: it will not get better by waiting, or by mending the storage."""

    def __init__(self, reason: str, *, certain: bool = False) -> None:
        """`reason` is for people."""
        self.reason = reason
        self.certain = certain
        super().__init__(reason)


def read_mlmodel_file(location: str, tracking_uri: str, server: str, seconds: float | None = None) -> Mapping[str, Any]:
    """The `MLmodel` file of the artifact at that location, parsed; after 60 s at most. Raises `ArtifactError`, and nothing else."""
    content = run_with_deadline(
        READ_SECONDS if seconds is None else seconds, lambda: _fetch_artifact_file(location, tracking_uri, server, MLMODEL_FILE)
    )
    if content is None:
        raise ArtifactError("no MLmodel file", certain=True)
    return parse_mlmodel(content)


def read_requirements_file(location: str, tracking_uri: str, server: str, seconds: float) -> tuple[str, ...] | None:
    """The lines of the artifact's `requirements.txt`, without empty ones and comments; None where it has none.

    Raises `ArtifactError`, and nothing else.
    """
    content = run_with_deadline(
        seconds, lambda: _fetch_artifact_file(location, tracking_uri, server, REQUIREMENTS_FILE), REQUIREMENTS_FILE
    )
    if content is None:
        return None
    if len(content) > _MAX_FILE_BYTES:
        raise ArtifactError(_describe_oversize(len(content), REQUIREMENTS_FILE))
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    requirements = [line for line in lines if line and not line.startswith("#")]
    if len(requirements) > _MAX_LINES or any(len(line) > _MAX_LINE_LENGTH for line in requirements):
        raise ArtifactError(
            f"{REQUIREMENTS_FILE} has more than {_MAX_LINES} lines, or one of more than {_MAX_LINE_LENGTH} characters"
        )
    return tuple(requirements)


def parse_mlmodel(content: bytes) -> Mapping[str, Any]:
    """What the file says. Raises `ArtifactError`."""
    if len(content) > _MAX_FILE_BYTES:
        raise ArtifactError(_describe_oversize(len(content)))
    try:
        _check_yaml_depth(content)
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError):
        raise ArtifactError("MLmodel is not YAML") from None
    return document if isinstance(document, dict) else {}


def read_bounded_file(file: Path) -> bytes:
    """The content of a file, and no more of it than shows that it is too large. Raises OSError."""
    with file.open("rb") as opened:
        return opened.read(_MAX_FILE_BYTES + 1)


def list_flavors(description: Mapping[str, Any]) -> list[str]:
    """The names of its flavors, in order. Raises `ArtifactError` where it has none."""
    named = description.get("flavors")
    if not isinstance(named, dict) or not named:
        raise ArtifactError("MLmodel names no flavor", certain=True)
    return sorted(str(name) for name in named)


def run_with_deadline(seconds: float, work: Callable[[], ResultT], what: str = MLMODEL_FILE) -> ResultT:
    """Run it on a thread that is given up after that time: storage clients bound a read, not a download."""
    outcome: queue.SimpleQueue[tuple[ResultT | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            outcome.put((None, error))

    threading.Thread(target=run, name="artifact", daemon=True).start()
    try:
        value, error = outcome.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise ArtifactError(f"{what} did not arrive within {max(0.0, seconds):.0f} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # there is a value where there is no error


def _fetch_artifact_file(location: str, tracking_uri: str, server: str, name: str) -> bytes | None:
    try:
        return _download_file(location.rstrip("/"), tracking_uri, name)
    except ArtifactError:
        raise
    except Exception as error:  # noqa: BLE001  # a storage client's library, and what it raises, is not ours to know
        raise ArtifactError(describe_fetch_error(error, f"fetch the {name} file", server)) from None


def describe_fetch_error(error: Exception, doing: str, server: str) -> str:
    """Why an artifact does not come, in words."""
    if isinstance(error, ImportError):
        return f"a library for its storage is not installed: {redact_secrets(str(error))}"
    fault = convert_mlflow_error(error, doing, server)
    return fault.message if fault else f"cannot be fetched ({type(error).__name__})"


def _download_file(location: str, tracking_uri: str, name: str) -> bytes | None:
    """Listed first: that tells absent from unreadable, and its size before it travels."""
    from mlflow.artifacts import download_artifacts, list_artifacts

    listed = list_artifacts(artifact_uri=location, tracking_uri=tracking_uri)
    found = next((file for file in listed if PurePosixPath(file.path).name == name and not file.is_dir), None)
    if found is None:
        return None
    if (found.file_size or 0) > _MAX_FILE_BYTES:
        raise ArtifactError(_describe_oversize(found.file_size, name))
    with tempfile.TemporaryDirectory(prefix="promoter-") as folder:
        uri = f"{location}/{name}"
        return read_bounded_file(Path(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=tracking_uri)))


def _describe_oversize(size: int, name: str = MLMODEL_FILE) -> str:
    return f"{name} has {size} bytes, more than {_MAX_FILE_BYTES}"


def _check_yaml_depth(content: bytes) -> None:
    """Looks at the events before anything is built: the time to build nested collections grows with the square of the depth."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_YAML_DEPTH:
            raise ArtifactError(f"MLmodel is nested more than {_MAX_YAML_DEPTH} deep")
