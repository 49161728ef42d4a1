"""The child that puts an artifact on a server: with the credentials of its parent, which can end it at any moment.

Run as `python -P -m promoter.adapters.mlflow.child_put`; see `fetching.py` for what it is asked.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any

from promoter.adapters.mlflow.artifact import unfetched
from promoter.adapters.mlflow.errors import address
from promoter.adapters.mlflow.transport import connect


def main() -> None:
    """Answer `{"done": true}`, or `{"fault": ...}` in words."""
    ask = json.load(sys.stdin)
    signal.alarm(ask["seconds"] + 10)  # in case the parent is killed
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.write(ask["answer_to"], json.dumps(_put(ask)).encode())


def _put(ask: dict[str, Any]) -> dict[str, Any]:
    try:
        client = connect(ask["tracking_uri"])
        if ask["model_id"]:
            client.log_model_artifacts(ask["model_id"], ask["folder"])
        else:
            client.log_artifacts(ask["run_id"], ask["folder"], ask["path"])
    except Exception as error:  # noqa: BLE001  # a storage client's library, and what it raises, is not ours to know
        return {"fault": unfetched(error, "put the artifact", address(ask["tracking_uri"]))}
    return {"done": True}


if __name__ == "__main__":
    main()
