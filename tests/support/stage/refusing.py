"""A proxy in front of MLflow that refuses Promoter single models, runs or experiments, as MLflow's own rights do."""

from __future__ import annotations

import json
from collections.abc import Collection
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote_plus

from tests.support.stage.proxy import Proxy

_LISTS = ("/search", "/search-versions")
_REFUSED = json.dumps({"error_code": "PERMISSION_DENIED", "message": "Permission denied"}).encode()
_JSON = [("Content-Type", "application/json")]


class RefusingProxy(Proxy):
    """Forwards everything until names are refused: their rows are missing in lists, and what names them is forbidden."""

    names: Collection[str] = ()
    """Models, runs or experiments that may not be read, nor written."""
    read_only: Collection[str] = ()
    """Models that may not be written."""

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        text = unquote_plus(request.path) + body.decode(errors="replace")
        listed = request.path.partition("?")[0].endswith(_LISTS)
        refused = () if listed else self.names
        if any(each in text for each in (*refused, *(self.read_only if request.command != "GET" else ()))):
            return 403, _JSON, _REFUSED
        status, headers, content = super()._ask(request, body)
        return status, headers, self._filter_rows(content) if listed else content

    def _filter_rows(self, content: bytes) -> bytes:
        found: dict[str, Any] = json.loads(content)
        for rows in (each for each in found.values() if isinstance(each, list)):
            rows[:] = [row for row in rows if not {row.get("name"), row.get("info", {}).get("run_id")} & {*self.names}]
        return json.dumps(found).encode()
