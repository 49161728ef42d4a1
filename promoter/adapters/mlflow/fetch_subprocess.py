"""The child that fetches an artifact: with the credentials of its parent, which can end it at any moment.

Run as `python -P -m promoter.adapters.mlflow.fetch_subprocess`; see `loading.py` for what it is asked.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any

from promoter.adapters.mlflow.artifacts import describe_fetch_error
from promoter.adapters.mlflow.client import redact_server_address


def run_fetch_child() -> None:
    """Answer `{"path": ...}`, or `{"fault": ...}` in words."""
    request = json.load(sys.stdin)
    signal.alarm(request["seconds"] + 10)  # in case the parent is killed
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    one_file = request["bytes"] + 1024**2  # the parent looks at all files together, but only every now and then
    resource.setrlimit(resource.RLIMIT_FSIZE, (one_file, one_file))
    os.write(request["answer_to"], json.dumps(_fetch_artifact(request)).encode())


def _fetch_artifact(request: dict[str, Any]) -> dict[str, str]:
    try:
        from mlflow.artifacts import download_artifacts

        path = download_artifacts(
            artifact_uri=request["location"], dst_path=request["folder"], tracking_uri=request["tracking_uri"]
        )
    except Exception as error:  # noqa: BLE001  # a storage client's library, and what it raises, is not ours to know
        return {"fault": describe_fetch_error(error, "fetch the artifact", redact_server_address(request["tracking_uri"]))}
    return {"path": str(path)}


if __name__ == "__main__":
    run_fetch_child()
