"""A proxy in front of MLflow that hangs for every request that names one of some models, and is quick for all others."""

from __future__ import annotations

import select
import socket
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote_plus

from tests.support.stage.proxy import Proxy


def _require_client(request: BaseHTTPRequestHandler) -> None:
    """Raise `ConnectionError` where the client has given up."""
    readable, _, _ = select.select([request.connection], [], [], 0)
    if readable and not request.connection.recv(1, socket.MSG_PEEK):
        raise ConnectionError("the client has gone")


class HangingProxy(Proxy):
    """Forwards everything until models are told to hang. `held` counts the requests that wait now."""

    def __init__(self, target: str) -> None:
        """Nothing hangs yet."""
        self.models: frozenset[str] = frozenset()
        self.everything = False
        """Whether requests that name no model wait as well."""
        self.held = 0
        self._released = threading.Event()
        self._lock = threading.Lock()
        super().__init__(target)

    def hang(self, *models: str) -> None:
        """From now on every request that names one of these models waits."""
        self._released.clear()
        self.models = frozenset(models)

    def release(self) -> None:
        """Let all go on."""
        self.models, self.everything = frozenset(), False
        self._released.set()

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        text = unquote_plus(request.path) + body.decode(errors="replace")
        if self.everything or any(
            f'{name}"' in text or f"{name}'" in text or f"={name}&" in f"{text}&" for name in self.models
        ):
            self._count(1)
            try:
                while not self._released.wait(0.1):
                    _require_client(request)
            finally:
                self._count(-1)
        return super()._ask(request, body)

    def _count(self, step: int) -> None:
        with self._lock:
            self.held += step
