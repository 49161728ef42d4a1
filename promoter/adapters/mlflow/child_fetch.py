"""The child that fetches an artifact: with the credentials of its parent, which can end it at any moment.

Run as `python -P -m promoter.adapters.mlflow.child_fetch`; see `loading.py` for what it is asked.
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


def main() -> None:
    """Answer `{"path": ...}`, or `{"fault": ...}` in words."""
    ask = json.load(sys.stdin)
    signal.alarm(ask["seconds"] + 10)  # in case the parent is killed
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    one_file = ask["bytes"] + 1024**2  # the parent looks at all files together, but only every now and then
    resource.setrlimit(resource.RLIMIT_FSIZE, (one_file, one_file))
    os.write(ask["answer_to"], json.dumps(_fetch(ask)).encode())


def _fetch(ask: dict[str, Any]) -> dict[str, str]:
    try:
        from mlflow.artifacts import download_artifacts

        path = download_artifacts(artifact_uri=ask["location"], dst_path=ask["folder"], tracking_uri=ask["tracking_uri"])
    except Exception as error:  # noqa: BLE001  # a storage client's library, and what it raises, is not ours to know
        return {"fault": unfetched(error, "fetch the artifact", address(ask["tracking_uri"]))}
    return {"path": str(path)}


if __name__ == "__main__":
    main()
