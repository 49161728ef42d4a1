"""How calls travel to MLflow: bounded waits and retries, no telemetry, little noise, and no wait for a delayed ACK.

MLflow itself imports this module (it names an entry point), in every process of the environment: so it imports nothing
heavy, and does nothing until `prepare` is called.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from promoter.adapters.mlflow.errors import require_server_address

# MLflow's own defaults keep one call to a dead server waiting for four minutes, and take any Retry-After at its word.
# With these a call fails after about 3 s where nobody listens, and after 90 s where somebody listens and says nothing.
_ENVIRONMENT_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_HTTP_POOL_CONNECTIONS": "8",
    "MLFLOW_HTTP_POOL_MAXSIZE": "32",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Left to itself, MLflow takes over its own loggers and those of two libraries that the ledger uses as well.
    "MLFLOW_CONFIGURE_LOGGING": "false",
    # A control-plane daemon talks to the servers that it was given, and to nobody else: no usage data to MLflow's makers.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


class _ConnectionSwitch:
    fresh_connections = False


def prepare_environment(tracking_uri: str, *, elsewhere: bool = False) -> None:
    """Set what MLflow reads from the environment (what the user has set stays), before MLflow is imported.

    `elsewhere`: it is not Promoter's own server, which alone decides how connections are kept.
    """
    for name, value in _ENVIRONMENT_DEFAULTS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    # Each retry is a warning there; the failure that comes of them is reported once, by whoever asked.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    if not elsewhere:
        _ConnectionSwitch.fresh_connections = tracking_uri.lower().startswith("http://")


def create_mlflow_client(tracking_uri: str, *, elsewhere: bool = False) -> Any:
    """An `MlflowClient` for that server; where the registry has a URI of its own, `MLFLOW_REGISTRY_URI` says it.

    `elsewhere`: it is not Promoter's own server, and what that variable says is not for it.
    Raises `PermanentError` for an address that is none. Asks the server nothing yet.
    """
    require_server_address(tracking_uri)
    prepare_environment(tracking_uri, elsewhere=elsewhere)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri, tracking_uri if elsewhere else None)


class FreshConnection:
    """MLflow's plugin interface for request headers: asks plain-http servers to close the connection after each answer.

    An MLflow server with several workers (its default) sends an answer in two segments and holds the second back until the
    first is acknowledged, which a kept-alive connection delays by 40 ms. A new connection is acknowledged at once. Over TLS
    a new connection costs more than it saves, so nothing changes there. Other processes are left alone: it answers only
    where `prepare` was called. (It does not derive from MLflow's abstract class, which would import MLflow.)
    """

    def in_context(self) -> bool:
        """Whether this process's registry adapter asked for it."""
        return _ConnectionSwitch.fresh_connections

    def request_headers(self) -> dict[str, Any]:
        """The header to add to each request."""
        return {"Connection": "close"}
