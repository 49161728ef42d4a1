"""Whether a version could be loaded: it is READY, and its `MLmodel` file can be fetched and names a flavor."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from promoter.adapters.mlflow.errors import is_absent, scrubbed, translate
from promoter.domain.verdict import Finding, Verdict

_RULE = "ready"
_EXPECTED = "a READY version whose MLmodel file can be fetched and names a flavor"
_SECONDS = 60.0
_BYTES = 1024 * 1024
_DEPTH = 100
_DESCRIPTION = "MLmodel"


class _Unfit(Exception):  # noqa: N818  # a verdict on its way out, not an error
    def __init__(self, verdict: Verdict, value: str) -> None:
        self.finding = Finding(_RULE, verdict, value, _EXPECTED)
        super().__init__(value)


def readiness(client: Any, tracking_uri: str, server: str, model: str, version: int) -> Finding:
    """The finding, after 60 s at most (the registry's own answer not counted). Raises what MLflow raises for that one.

    FAIL is certain (no such version, registration failed, no such file, no flavor), PENDING a registration under way,
    ERROR an artifact that cannot be read now.
    """
    try:
        _require_registered(client, model, version)
        location = client.get_model_version_download_uri(model, str(version))
        flavors = _within(_SECONDS, lambda: _flavors(location, tracking_uri, server))
    except _Unfit as unfit:
        return unfit.finding
    return Finding(_RULE, Verdict.PASS, ", ".join(flavors), _EXPECTED)


def _require_registered(client: Any, model: str, version: int) -> None:
    try:
        entity = client.get_model_version(model, str(version))
    except Exception as error:
        if is_absent(error):
            raise _Unfit(Verdict.FAIL, "no such version") from None
        raise
    if entity.status == "PENDING_REGISTRATION":
        raise _Unfit(Verdict.PENDING, "registration under way")
    if entity.status != "READY":
        raise _Unfit(Verdict.FAIL, f"status {entity.status}")


def _flavors(location: str, tracking_uri: str, server: str) -> list[str]:
    try:
        content = _description(location.rstrip("/"), tracking_uri)
    except _Unfit:
        raise
    except ImportError as error:
        raise _Unfit(Verdict.ERROR, f"a library for its storage is not installed: {scrubbed(str(error))}") from None
    except Exception as error:  # noqa: BLE001  # a storage client's library, and what it raises, is not ours to know
        fault = translate(error, "fetch the MLmodel file", server)
        raise _Unfit(Verdict.ERROR, fault.message if fault else f"cannot be fetched ({type(error).__name__})") from None
    return _named_flavors(content)


def _description(location: str, tracking_uri: str) -> bytes:
    """The content of the `MLmodel` file. Listed first: that tells absent from unreadable, and its size before it travels."""
    from mlflow.artifacts import download_artifacts, list_artifacts

    listed = list_artifacts(artifact_uri=location, tracking_uri=tracking_uri)
    found = next((file for file in listed if PurePosixPath(file.path).name == _DESCRIPTION and not file.is_dir), None)
    if found is None:
        raise _Unfit(Verdict.FAIL, "no MLmodel file")
    if (found.file_size or 0) > _BYTES:
        raise _Unfit(Verdict.ERROR, f"MLmodel has {found.file_size} bytes, more than {_BYTES}")
    with tempfile.TemporaryDirectory(prefix="promoter-") as folder:
        uri = f"{location}/{_DESCRIPTION}"
        return Path(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=tracking_uri)).read_bytes()


def _named_flavors(content: bytes) -> list[str]:
    try:
        _bound_depth(content)
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError):
        raise _Unfit(Verdict.ERROR, "MLmodel is not YAML") from None
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict) or not flavors:
        raise _Unfit(Verdict.FAIL, "MLmodel names no flavor")
    return sorted(str(name) for name in flavors)


def _bound_depth(content: bytes) -> None:
    """Looks at the events before anything is built: the time to build nested collections grows with the square of the depth."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            raise _Unfit(Verdict.ERROR, f"MLmodel is nested more than {_DEPTH} deep")


def _within(seconds: float, work: Callable[[], list[str]]) -> list[str]:
    """Run it on a thread that is given up after that time: storage clients bound a read, not a download."""
    outcome: queue.SimpleQueue[list[str] | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            outcome.put(error)

    threading.Thread(target=run, name="readiness", daemon=True).start()
    try:
        found = outcome.get(timeout=seconds)
    except queue.Empty:
        raise _Unfit(Verdict.ERROR, f"MLmodel did not arrive within {seconds:.0f} s") from None
    if isinstance(found, BaseException):
        raise found
    return found
