"""Receivers of signed messages over HTTP: they check each signature, keep what came, and can refuse some of it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.request import Request, urlopen

HOST = "127.0.0.1"
MLFLOW = ("X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature")
STANDARD = ("webhook-id", "webhook-timestamp", "webhook-signature")


@dataclass(frozen=True)
class SignedMessage:
    """A message whose signature is right."""

    id: str
    told: dict[str, Any]


class SignedInbox:
    """Takes messages at a free port of 127.0.0.1. `refuse` says which of them are answered with 503, and not kept.

    `pause`: for how many seconds whoever sent a message waits for the answer.

    `headers` are the names of those that hold a message's id, its time, and its signature. What comes is handed on, as it came,
    to the address that `forward` gives.
    """

    def __init__(
        self,
        secret: str,
        headers: tuple[str, str, str],
        refuse: Callable[[], bool] = lambda: False,
        pause: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Listens already."""
        self.letters: list[SignedMessage] = []
        self.forged = 0
        self.refused = 0
        self.came = threading.Event()
        """Set at each message; whoever waits for one clears it before."""
        self.forward: Callable[[], str | None] = lambda: None
        self._secret, self._headers, self._refuse, self._pause = secret.encode(), headers, refuse, pause
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((HOST, 0), _receiver(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._server.server_port}/"

    @property
    def times(self) -> Counter[str]:
        """How often each message came, by its id."""
        with self._lock:
            return Counter(each.id for each in self.letters)

    def take(self, headers: Message, body: bytes) -> int:
        """The status that a message is answered with."""
        number, at, signature = (headers.get(name) or "" for name in self._headers)
        right = hmac.new(self._secret, f"{number}.{at}.".encode() + body, hashlib.sha256).digest()
        if not hmac.compare_digest(signature, f"v1,{base64.b64encode(right).decode()}"):
            self.forged += 1
            return 401
        if self._refuse():
            self.refused += 1
            return 503
        with self._lock:
            self.letters.append(SignedMessage(number, json.loads(body)))
        self.came.set()
        time.sleep(self._pause())
        return 200

    def hand_on(self, headers: Message, body: bytes) -> None:
        """Whether it arrives there is nobody's worry."""
        url = self.forward()
        if url is None:
            return
        kept = {name: headers.get(name) or "" for name in (*self._headers, "Content-Type")}
        with contextlib.suppress(OSError), urlopen(Request(url, body, kept, method="POST"), timeout=2):
            pass

    def __enter__(self) -> Self:
        """Listening already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def _receiver(inbox: SignedInbox) -> type[BaseHTTPRequestHandler]:
    class InboxServer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with contextlib.suppress(OSError):
                self.send_response(inbox.take(self.headers, body))
                self.send_header("Content-Length", "0")
                self.end_headers()
                self.wfile.flush()
            inbox.hand_on(self.headers, body)

        def log_message(self, *_: object) -> None:
            """Nothing: a test that fails tells enough."""

    return InboxServer
