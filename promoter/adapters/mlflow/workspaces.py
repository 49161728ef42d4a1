"""The workspaces of an MLflow server (`--enable-workspaces`): whether it has any, and in which one a registry is read.

A server without them refuses a request that names one, an old one leaves the name unread; and a workspace that is not there
answers like a model that is not there. So both are found out before anything else is believed.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import Any

from cachetools import TTLCache

from promoter.adapters.mlflow.credentials import WORKSPACE_VARIABLE, address_default_workspace
from promoter.application.ports import DEFAULT_WORKSPACE
from promoter.domain.errors import PermanentError

_SERVICE_NAME = "MLflow"
_SERVER_INFO = ("/api/3.0/mlflow/server-info", "/api/3.0/mlflow/server-features")
"""Where a server tells what it has; the second place is that of older ones."""
_WORKSPACES = "/api/3.0/mlflow/workspaces"
_ENABLED = "workspaces_enabled"
_LOCAL_SWITCH = "MLFLOW_ENABLE_WORKSPACES"
"""MLflow's variable by which a program that opens MLflow's database itself works in a workspace."""
_REMEMBERED_SECONDS = 60.0
_CACHE_SIZE = 100
_MAX_NAMED = 5
_OK, _NOT_FOUND, _UNAUTHORIZED, _SERVER_ERROR = 200, 404, 401, 500

_known: TTLCache[str, bool] = TTLCache(_CACHE_SIZE, _REMEMBERED_SECONDS)
_known_lock = Lock()


def has_workspaces(uri: str) -> bool | None:
    """Whether the registry has workspaces; None where the server does not tell. Raises what MLflow raises without an answer.

    What a server told is remembered for a minute.
    """
    if not _is_web_address(uri):
        return os.environ.get(_LOCAL_SWITCH, "").strip().lower() in ("true", "1")
    with _known_lock:
        known = _known.get(uri)
    if known is not None:
        return known
    found = _fetch_feature(uri)
    if found is not None:
        with _known_lock:
            _known[uri] = found
    return found


def read_workspace(uri: str, address: str, named: str | None, variable: str = WORKSPACE_VARIABLE) -> str | None:
    """Return the workspace in which requests of this thread to the registry are answered; None where it has no workspaces.

    `named`: the workspace that the requests name, `variable`: where the user named it, `address`: the server without secrets.
    Raises `PermanentError` where there is no such workspace, and what MLflow raises.
    """
    enabled = has_workspaces(uri)
    if named is None:
        if not enabled:
            return None
        named, fix = DEFAULT_WORKSPACE, f"set {variable} to the workspace that Promoter is to work in"
    else:
        if not enabled:
            raise build_unsupported_error(address, named, variable)
        fix = f"set {variable} to another one, or create it in MLflow"
    if _is_web_address(uri):
        _require_workspace(uri, address, named, fix)
    return named


def build_unsupported_error(address: str, named: str, variable: str = WORKSPACE_VARIABLE) -> PermanentError:
    """Build the error for a workspace of a server that has none, or does not tell that it has."""
    return PermanentError(
        _SERVICE_NAME,
        f"{variable} names the workspace {named}, and {address} has no workspaces",
        f"unset {variable}, or start that MLflow server with --enable-workspaces (MLflow 3.10 or newer)",
    )


def _is_web_address(uri: str) -> bool:
    return uri.lower().startswith(("http://", "https://"))


def _request(uri: str, path: str) -> Any:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    return http_request(get_default_host_creds(uri), path, "GET", raise_on_status=False)


def _fetch_feature(uri: str) -> bool | None:
    for path in _SERVER_INFO:
        answer = _request(uri, path)
        if answer.status_code == _OK:
            found = _parse_object(answer)
            return None if found is None else found.get(_ENABLED) is True
        if answer.status_code != _NOT_FOUND:
            return None
    return False


def _require_workspace(uri: str, address: str, name: str, fix: str) -> None:
    """Raise `PermanentError` where the workspace is not there. Whoever may not read it gets another answer than that."""
    from mlflow.utils.rest_utils import verify_rest_response

    path = f"{_WORKSPACES}/{name}"
    answer = _request(uri, path)
    if answer.status_code == _NOT_FOUND:
        raise PermanentError(_SERVICE_NAME, f"there is no workspace {name} at {address}{_name_others(uri)}", fix)
    if answer.status_code == _UNAUTHORIZED or answer.status_code >= _SERVER_ERROR:
        verify_rest_response(answer, path)


def _name_others(uri: str) -> str:
    """Name the workspaces that Promoter's user may see. Nothing where the server does not list them."""
    with address_default_workspace(uri):
        answer = _request(uri, _WORKSPACES)
    found = _parse_object(answer) if answer.status_code == _OK else None
    rows = found.get("workspaces") if found else None
    names = [str(row["name"]) for row in rows if "name" in row] if isinstance(rows, list) else []
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"; Promoter sees {', '.join(names[:_MAX_NAMED])}{more} there" if names else ""


def _parse_object(answer: Any) -> dict[str, Any] | None:
    try:
        found = answer.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
