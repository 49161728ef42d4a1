"""The WSGI server: waitress, which reads a request whole before a thread is taken, and caps its body while reading."""

from __future__ import annotations

import threading
import time

import structlog
from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from promoter.delivery.web.webhooks import BODY_LIMIT
from promoter.domain.faults import Refused

log = structlog.get_logger(__name__)

THREADS = 16
CONNECTIONS = 1_000


class _LoggedError(ErrorTask):  # type: ignore[misc]
    """What waitress itself refuses (too large, malformed) never reaches the application: it gets its log line here."""

    def execute(self) -> None:
        error = self.request.error
        log.warning("request refused", status=error.code, reason=error.reason, path=str(self.request.path)[:100])
        super().execute()


class _Channel(HTTPChannel):  # type: ignore[misc]
    error_task_class = _LoggedError


class WebServer:
    """Serves the application from a thread, and drains on stop."""

    def __init__(self, app: Flask, host: str, port: int) -> None:
        """Listens at once (port 0: any free one). Raises `Refused` where the address cannot be had."""
        try:
            self._server = create_server(
                app,
                host=host,
                port=port,
                threads=THREADS,
                connection_limit=CONNECTIONS,
                max_request_body_size=BODY_LIMIT,
                clear_untrusted_proxy_headers=True,
                ident=None,
            )
        except OSError as error:
            fix = "another program has it, or it is not an address of this host: set PROMOTER_LISTEN"
            raise Refused("web", f"cannot listen on {host}:{port}: {error.strerror}", fix) from None
        self._server.channel_class = _Channel
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def port(self) -> int:
        """The port that it got."""
        return int(self._server.effective_port)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Take no new connection, let running requests finish, then close."""
        server = self._server
        server.del_channel()
        server.socket.close()
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and any(c.requests or c.total_outbufs_len for c in server.active_channels.values()):
            time.sleep(0.02)
        server.task_dispatcher.shutdown()
        for channel in list(server.active_channels.values()):
            channel.handle_close()

    def _run(self) -> None:
        try:
            self._server.run()
        except OSError:
            log.debug("the listening socket was closed")
