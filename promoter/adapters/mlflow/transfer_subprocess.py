"""Script of the child that fetches an artifact or uploads one: with its parent's credentials; the parent can kill it any time.

Run as `python -P -m promoter.adapters.mlflow.transfer_subprocess`. `loading.py` writes the request to its standard input.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from promoter.adapters._text import to_one_line
from promoter.adapters.mlflow.artifacts import describe_fetch_error
from promoter.adapters.mlflow.client import (
    bind_credentials,
    create_mlflow_client,
    prepare_environment,
    redact_server_address,
)
from promoter.adapters.mlflow.credentials import read_environment_credentials, read_own_workspace


def run_transfer_child() -> None:
    """Answer `{"path": ...}` for a fetch, `{"done": true}` for an upload, or `{"fault": ...}` in words."""
    request = json.load(sys.stdin)
    signal.alarm(request["seconds"] + 10)  # in case the parent is killed
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = _fetch_artifact(request) if request["action"] == "fetch" else _upload_artifact(request)
    os.write(request["answer_to"], json.dumps(answer).encode())


def _fetch_artifact(request: dict[str, Any]) -> dict[str, Any]:
    one_file = request["bytes"] + 1024**2  # the parent measures all files together, but only every now and then
    resource.setrlimit(resource.RLIMIT_FSIZE, (one_file, one_file))
    try:
        prepare_environment(request["tracking_uri"], elsewhere=True)
        bind_credentials(
            request["tracking_uri"],
            elsewhere=not request["own"],
            credentials=read_environment_credentials(),  # this child's environment has those of this one server
            workspace=read_own_workspace(),
        )
        from mlflow.artifacts import download_artifacts

        if link := _find_outside_link(request["location"], request["tracking_uri"]):
            return {"fault": f"{to_one_line(link)} in it is a link to somewhere else"}
        path = download_artifacts(
            artifact_uri=request["location"], dst_path=request["folder"], tracking_uri=request["tracking_uri"]
        )
    except Exception as error:  # noqa: BLE001  # the library of a storage client raises what it likes
        return _build_fault(error, "fetch the artifact", request)
    return {"path": str(path)}


def _find_outside_link(location: str, tracking_uri: str) -> str | None:
    """Find a link that leads out of an artifact on this machine: this child could read what its author could not."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store: Any = get_artifact_repository(artifact_uri=location, tracking_uri=tracking_uri)
    while hasattr(store, "repo"):
        store = store.repo
    if not getattr(store, "artifact_dir", None):
        return None
    folder = Path(store.artifact_dir)
    inside = folder.resolve()
    links = (each for each in folder.rglob("*") if each.is_symlink())
    return next((str(each.relative_to(folder)) for each in links if not each.resolve().is_relative_to(inside)), None)


def _upload_artifact(request: dict[str, Any]) -> dict[str, Any]:
    try:
        client = create_mlflow_client(request["tracking_uri"])
        if request["model_id"]:
            client.log_model_artifacts(request["model_id"], request["folder"])
        else:
            client.log_artifacts(request["run_id"], request["folder"], request["path"])
    except Exception as error:  # noqa: BLE001  # the library of a storage client raises what it likes
        return _build_fault(error, "put the artifact", request)
    return {"done": True}


def _build_fault(error: Exception, doing: str, request: dict[str, Any]) -> dict[str, Any]:
    return {"fault": describe_fetch_error(error, doing, redact_server_address(request["tracking_uri"]))}


if __name__ == "__main__":
    run_transfer_child()
