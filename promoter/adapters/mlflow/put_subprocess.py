"""The child that puts an artifact on a server: with the credentials of its parent, which can end it at any moment.

Run as `python -P -m promoter.adapters.mlflow.put_subprocess`; see `fetching.py` for what it is asked.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any

from promoter.adapters.mlflow.artifacts import describe_fetch_error
from promoter.adapters.mlflow.client import create_mlflow_client, redact_server_address


def run_put_child() -> None:
    """Answer `{"done": true}`, or `{"fault": ...}` in words."""
    request = json.load(sys.stdin)
    signal.alarm(request["seconds"] + 10)  # in case the parent is killed
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.write(request["answer_to"], json.dumps(_upload_artifact(request)).encode())


def _upload_artifact(request: dict[str, Any]) -> dict[str, Any]:
    try:
        client = create_mlflow_client(request["tracking_uri"])
        if request["model_id"]:
            client.log_model_artifacts(request["model_id"], request["folder"])
        else:
            client.log_artifacts(request["run_id"], request["folder"], request["path"])
    except Exception as error:  # noqa: BLE001  # a storage client's library, and what it raises, is not ours to know
        return {"fault": describe_fetch_error(error, "put the artifact", redact_server_address(request["tracking_uri"]))}
    return {"done": True}


if __name__ == "__main__":
    run_put_child()
