"""Artifacts on their way to this machine, and from it to a server: each by a child, bounded in time and size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from promoter.adapters.mlflow import child
from promoter.adapters.mlflow.artifact import ArtifactError

_FETCH_COMMAND = ("-P", "-m", "promoter.adapters.mlflow.child_fetch")
_UPLOAD_COMMAND = ("-P", "-m", "promoter.adapters.mlflow.child_put")


def fetch_artifact(location: str, tracking_uri: str, folder: Path, *, seconds: int, limit: int) -> Path:
    """Fetch what is at that location into a new folder; where it is in there. Raises `ArtifactError`, and nothing else."""
    folder.mkdir()
    request = {
        "location": location,
        "tracking_uri": tracking_uri,
        "folder": str(folder),
        "bytes": limit,
        "seconds": seconds,
    }
    ended = child.run_child(
        _FETCH_COMMAND,
        request,
        seconds=seconds,
        folder=folder,
        environment=_build_client_environment(tracking_uri),
        overgrown=lambda: measure_folder_size(folder) > limit,
    )
    if measure_folder_size(folder) > limit:
        raise ArtifactError(describe_size_limit(limit))
    if ended.status is None:
        raise ArtifactError(f"its artifact did not arrive within {seconds} s")
    answer = ended.answer or {}
    path = Path(str(answer.get("path") or folder.parent))
    if "fault" in answer or not path.is_relative_to(folder):
        raise ArtifactError(f"its artifact cannot be fetched: {answer.get('fault', child.describe_exit_status(ended.status))}")
    return path


def upload_artifact(
    folder: Path, tracking_uri: str, *, run_id: str | None, model_id: str | None, path: str | None, seconds: int
) -> None:
    """Put what is in the folder among the artifacts of a run or, if given, of a logged model. Raises `ArtifactError`."""
    request = {
        "tracking_uri": tracking_uri,
        "run_id": run_id,
        "model_id": model_id,
        "path": path,
        "folder": str(folder),
        "seconds": seconds,
    }
    ended = child.run_child(
        _UPLOAD_COMMAND, request, seconds=seconds, folder=folder.parent, environment=_build_client_environment(tracking_uri)
    )
    if ended.status is None:
        raise ArtifactError(f"its artifact could not be put within {seconds} s")
    if not (ended.answer or {}).get("done"):
        raise ArtifactError(
            f"its artifact cannot be put: {(ended.answer or {}).get('fault', child.describe_exit_status(ended.status))}"
        )


def describe_size_limit(limit: int) -> str:
    """The words for it."""
    return f"its artifact has more than {limit} bytes"


def _build_client_environment(tracking_uri: str) -> Mapping[str, str]:
    """Some of MLflow's storage clients ask the environment which server is meant, whatever they were told."""
    rest = {name: value for name, value in os.environ.items() if name != "MLFLOW_REGISTRY_URI"}
    return {**rest, "MLFLOW_TRACKING_URI": tracking_uri}


def measure_folder_size(folder: Path) -> int:
    """The bytes of all files in a folder that may be changing."""
    sizes = 0
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                sizes += Path(place, file).lstat().st_size
            except OSError:
                continue  # renamed or gone meanwhile
    return sizes
