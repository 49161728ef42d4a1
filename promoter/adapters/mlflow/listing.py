"""A short list of a model's versions, for shell completion: one request, without MLflow's client, which loads for seconds."""

from __future__ import annotations

import os
from collections.abc import Sequence

from promoter.adapters._http import BoundedSession
from promoter.adapters.mlflow.credentials import REGISTRY_VARIABLE, read_environment_credentials

_SEARCH = "/api/2.0/mlflow/model-versions/search"
_WORKSPACE_VARIABLE, _WORKSPACE_HEADER = "MLFLOW_WORKSPACE", "X-MLFLOW-WORKSPACE"
_INSECURE_VARIABLE = "MLFLOW_TRACKING_INSECURE_TLS"
_OK = 200


def list_version_numbers(tracking_uri: str, model: str, *, timeout: float, limit: int = 50) -> Sequence[int]:
    """List the numbers of a model's newest versions, the newest first; none where the registry is no web server.

    `timeout` in seconds. Raises what `requests` raises, and ValueError for an answer that is none of MLflow's.
    """
    uri = (os.environ.get(REGISTRY_VARIABLE) or tracking_uri).rstrip("/")
    if not uri.lower().startswith(("http://", "https://")) or "'" in model:
        return ()
    session = BoundedSession(timeout)
    header = read_environment_credentials().build_header()
    session.headers.update({"Authorization": header} if header else {})
    workspace = os.environ.get(_WORKSPACE_VARIABLE)
    session.headers.update({_WORKSPACE_HEADER: workspace} if workspace else {})
    session.verify = os.environ.get(_INSECURE_VARIABLE, "").lower() not in ("true", "1")
    query = {"filter": f"name='{model}'", "max_results": str(limit), "order_by": "version_number DESC"}
    answer = session.get(uri + _SEARCH, params=query)
    found = answer.json() if answer.status_code == _OK else {}
    rows = found.get("model_versions", []) if isinstance(found, dict) else []
    return [int(each["version"]) for each in rows if str(each.get("version", "")).isdigit()]
