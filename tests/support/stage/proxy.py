"""A real HTTP proxy in front of MLflow that can go wrong: it loses requests, answers, or both, and remembers alias writes."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

HOST = "127.0.0.1"
_HOP = ("connection", "transfer-encoding", "keep-alive", "content-length", "server", "date")


class ProxyFault(Enum):
    """What happens to a request. FAILS and HANGS never reach MLflow; LOST and SILENT do, and only the answer is lost.

    LATE waits until all is well again, and then goes its way.
    """

    FAILS = auto()
    HANGS = auto()
    LOST = auto()
    SILENT = auto()
    LATE = auto()


@dataclass(frozen=True)
class AliasWrite:
    """A write that MLflow carried out. `version` None: the alias was deleted."""

    model: str
    alias: str
    version: int | None


Where = Callable[[str, str], bool]
"""Takes method and path."""


def everything(_method: str, _path: str) -> bool:
    """Every request."""
    return True


def alias_writes(method: str, path: str) -> bool:
    """Requests that set or delete an alias."""
    return method in ("POST", "DELETE") and path.endswith("/registered-models/alias")


class Proxy:
    """Listens on a free port of 127.0.0.1 and forwards to `target`, unless something is `broken`."""

    def __init__(self, target: str) -> None:
        """Starts to listen."""
        self.writes: list[AliasWrite] = []
        self.hits = 0
        self.wrong: tuple[ProxyFault, Where] | None = None
        self._target = urlsplit(target)
        self._healed = threading.Event()
        self._server = ThreadingHTTPServer((HOST, 0), _forwarder(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._server.server_port}"

    @contextmanager
    def broken(self, wrong: ProxyFault, where: Where = everything) -> Iterator[None]:
        """While inside, what `where` says goes wrong in that way. `hits` counts how often."""
        self.hits, self.wrong = 0, (wrong, where)
        self._healed.clear()
        try:
            yield
        finally:
            self.wrong = None
            self._healed.set()

    def __enter__(self) -> Self:
        """Listening already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self._healed.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Forward one request, or do to it what is wrong."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path = urlsplit(request.path).path
        wrong = self.wrong[0] if self.wrong and self.wrong[1](request.command, path) else None
        self.hits += wrong is not None
        if wrong in (ProxyFault.FAILS, ProxyFault.HANGS):
            self._go_wrong(request, wrong)
            return
        if wrong is ProxyFault.LATE:
            self._healed.wait(60)
            wrong = None
        status, headers, content = self._ask(request, body)
        if status == http.HTTPStatus.OK and alias_writes(request.command, path):
            self._remember(request.command, json.loads(body or b"{}"))
        if wrong:
            self._go_wrong(request, wrong)
            return
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _go_wrong(self, request: BaseHTTPRequestHandler, wrong: ProxyFault) -> None:
        if wrong in (ProxyFault.FAILS, ProxyFault.LOST):
            request.send_response(500)
            request.send_header("Content-Length", "0")
            request.end_headers()
        else:
            self._healed.wait(60)

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=60)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "connection")}
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _remember(self, method: str, told: dict[str, Any]) -> None:
        version = int(told["version"]) if method == "POST" else None
        self.writes.append(AliasWrite(told["name"], told["alias"], version))


def _forwarder(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Forwarder(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            try:
                proxy.answer(self)
            except OSError:
                self.close_connection = True  # either side has gone

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Nothing: a test that fails tells enough."""

    return Forwarder
