"""A proxy in front of MLflow that answers in MLflow's place, or loses a part of its answers, as broken gateways do."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from enum import Enum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.stage.proxy import Proxy

HANG_SECONDS = 30.0
_LOGIN_PAGE = b"<!doctype html><html><head><title>Sign in</title></head><body><form>user, password</form></body></html>"


class ChaosMode(Enum):
    """What every request gets. Only TRUNCATED and STRIPPED ask MLflow at all; the others answer in its place."""

    RATE_LIMITED = (429, "application/json", b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}')
    FAILING = (500, "text/plain", b"upstream failed")
    WEB_PAGE = (200, "text/html", _LOGIN_PAGE)
    NULL = (200, "application/json", b"null")
    EMPTY = (200, "application/json", b"{}")
    NOTHING = (200, "application/json", b"")
    TRUNCATED = (0, "", b"")
    STRIPPED = (1, "", b"")
    HANGING = (2, "", b"")


STRIPPED_FIELDS = (
    ("aliases",),
    ("registered_models", "model_versions"),
    ("latest_versions", "model_versions"),
    ("name",),
    ("version",),
    ("creation_timestamp",),
    ("status",),
    ("run_id", "run_uuid"),
    ("metrics",),
    ("tags",),
    ("data",),
    ("info",),
    ("runs",),
    ("key",),
    ("value",),
)
"""What STRIPPED takes out of every answer, wherever it is."""


class ChaosProxy(Proxy):
    """Forwards, unless it has a mode. `fields`: what STRIPPED takes out. `only`: the ends of the paths that are concerned."""

    mode: ChaosMode | None = None
    fields: Collection[str] = ()
    only: tuple[str, ...] = ()
    hang_seconds: float = HANG_SECONDS

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Forward one request, or do to it what the mode says."""
        mode = self.mode
        if mode is None or (self.only and not request.path.partition("?")[0].endswith(self.only)):
            super().answer(request)
            return
        self.hits += 1
        if mode is ChaosMode.HANGING:
            time.sleep(self.hang_seconds)
            request.close_connection = True
            return
        if mode not in (ChaosMode.TRUNCATED, ChaosMode.STRIPPED):
            request.rfile.read(int(request.headers.get("Content-Length") or 0))
            _send(request, *mode.value)
            return
        status, headers, content = self._ask(request, request.rfile.read(int(request.headers.get("Content-Length") or 0)))
        kind = next((value for name, value in headers if name.lower() == "content-type"), "application/json")
        if status == HTTPStatus.OK:
            content = content[: len(content) // 2] if mode is ChaosMode.TRUNCATED else _strip(content, self.fields)
        _send(request, status, kind, content)


def _send(request: BaseHTTPRequestHandler, status: int, kind: str, content: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def _strip(content: bytes, fields: Collection[str]) -> bytes:
    try:
        return json.dumps(_without(json.loads(content), fields)).encode()
    except ValueError:
        return content


def _without(value: Any, fields: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner, fields) for key, inner in value.items() if key not in fields}
    return [_without(each, fields) for each in value] if isinstance(value, list) else value
