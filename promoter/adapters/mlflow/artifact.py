"""Reads small files of an artifact, bounded in time, size and depth: they come from whoever trained the model."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import yaml

from promoter.adapters.mlflow.errors import scrubbed, translate

SECONDS = 60.0
DESCRIPTION = "MLmodel"
REQUIREMENTS = "requirements.txt"
_LINES, _LINE = 5_000, 500
_BYTES = 1024 * 1024
_DEPTH = 100

T = TypeVar("T")


class Flawed(Exception):  # noqa: N818  # what a read found out, not an error of the program
    """What is wrong with an artifact. `certain`: it will not get better by waiting, or by mending the storage."""

    def __init__(self, reason: str, *, certain: bool = False) -> None:
        """`reason` is for people."""
        self.reason = reason
        self.certain = certain
        super().__init__(reason)


def read_description(location: str, tracking_uri: str, server: str, seconds: float | None = None) -> Mapping[str, Any]:
    """The `MLmodel` file of the artifact at that location, parsed; after 60 s at most. Raises `Flawed`, and nothing else."""
    content = within(SECONDS if seconds is None else seconds, lambda: _fetched(location, tracking_uri, server, DESCRIPTION))
    if content is None:
        raise Flawed("no MLmodel file", certain=True)
    return parsed(content)


def read_requirements(location: str, tracking_uri: str, server: str, seconds: float) -> tuple[str, ...] | None:
    """The lines of the artifact's `requirements.txt`, without empty ones and comments; None where it has none.

    Raises `Flawed`, and nothing else.
    """
    content = within(seconds, lambda: _fetched(location, tracking_uri, server, REQUIREMENTS), REQUIREMENTS)
    if content is None:
        return None
    if len(content) > _BYTES:
        raise Flawed(_too_large(len(content), REQUIREMENTS))
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    said = [line for line in lines if line and not line.startswith("#")]
    if len(said) > _LINES or any(len(line) > _LINE for line in said):
        raise Flawed(f"{REQUIREMENTS} has more than {_LINES} lines, or one of more than {_LINE} characters")
    return tuple(said)


def parsed(content: bytes) -> Mapping[str, Any]:
    """What the file says. Raises `Flawed`."""
    if len(content) > _BYTES:
        raise Flawed(_too_large(len(content)))
    try:
        _bound_depth(content)
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError):
        raise Flawed("MLmodel is not YAML") from None
    return document if isinstance(document, dict) else {}


def bounded(file: Path) -> bytes:
    """The content of a file, and no more of it than shows that it is too large. Raises OSError."""
    with file.open("rb") as opened:
        return opened.read(_BYTES + 1)


def flavors(description: Mapping[str, Any]) -> list[str]:
    """The names of its flavors, in order. Raises `Flawed` where it has none."""
    named = description.get("flavors")
    if not isinstance(named, dict) or not named:
        raise Flawed("MLmodel names no flavor", certain=True)
    return sorted(str(name) for name in named)


def within(seconds: float, work: Callable[[], T], what: str = DESCRIPTION) -> T:
    """Run it on a thread that is given up after that time: storage clients bound a read, not a download."""
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            outcome.put((None, error))

    threading.Thread(target=run, name="artifact", daemon=True).start()
    try:
        value, error = outcome.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise Flawed(f"{what} did not arrive within {max(0.0, seconds):.0f} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # there is a value where there is no error


def _fetched(location: str, tracking_uri: str, server: str, name: str) -> bytes | None:
    try:
        return _content(location.rstrip("/"), tracking_uri, name)
    except Flawed:
        raise
    except Exception as error:  # noqa: BLE001  # a storage client's library, and what it raises, is not ours to know
        raise Flawed(unfetched(error, f"fetch the {name} file", server)) from None


def unfetched(error: Exception, doing: str, server: str) -> str:
    """Why an artifact does not come, in words."""
    if isinstance(error, ImportError):
        return f"a library for its storage is not installed: {scrubbed(str(error))}"
    fault = translate(error, doing, server)
    return fault.message if fault else f"cannot be fetched ({type(error).__name__})"


def _content(location: str, tracking_uri: str, name: str) -> bytes | None:
    """Listed first: that tells absent from unreadable, and its size before it travels."""
    from mlflow.artifacts import download_artifacts, list_artifacts

    listed = list_artifacts(artifact_uri=location, tracking_uri=tracking_uri)
    found = next((file for file in listed if PurePosixPath(file.path).name == name and not file.is_dir), None)
    if found is None:
        return None
    if (found.file_size or 0) > _BYTES:
        raise Flawed(_too_large(found.file_size, name))
    with tempfile.TemporaryDirectory(prefix="promoter-") as folder:
        uri = f"{location}/{name}"
        return bounded(Path(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=tracking_uri)))


def _too_large(size: int, name: str = DESCRIPTION) -> str:
    return f"{name} has {size} bytes, more than {_BYTES}"


def _bound_depth(content: bytes) -> None:
    """Looks at the events before anything is built: the time to build nested collections grows with the square of the depth."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            raise Flawed(f"MLmodel is nested more than {_DEPTH} deep")
