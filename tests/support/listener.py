"""A web server of somebody else: it keeps what each request brings, and answers all alike."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Listener:
    """What was heard, and what it answers."""

    uri: str
    location: str = ""
    """Where a redirect leads; empty: none."""
    status: int = 404
    body: str = '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none here"}'
    heard: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and `Authorization` of each request."""
    workspaces: list[str | None] = field(default_factory=list)
    """`X-MLFLOW-WORKSPACE` of each request."""

    @property
    def proofs(self) -> set[str | None]:
        """Every `Authorization` that was heard."""
        return {proof for _, proof in self.heard}


@contextmanager
def listen() -> Iterator[Listener]:
    """Run a listener on a free port of 127.0.0.1."""

    class Hearing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            listener.heard.append((self.path, self.headers["Authorization"]))
            listener.workspaces.append(self.headers["X-MLFLOW-WORKSPACE"])
            self.send_response(307 if listener.location else listener.status)
            if listener.location:
                self.send_header("Location", listener.location + self.path)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(listener.body.encode())

        do_POST = do_GET  # noqa: N815  # the library's name

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hearing)
    listener = Listener(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
