"""The WSGI server: waitress, which reads a request whole before a thread is taken, and caps its body while reading."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

import structlog
from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from promoter.domain.errors import PermanentError
from promoter.web.webhooks import BODY_LIMIT

log = structlog.get_logger(__name__)


THREADS = 16
MAX_CONNECTIONS = 1_000
READ_LIMIT = 2 * BODY_LIMIT
"""Waitress counts the framing of chunks too. A body between the two limits is read, and then refused by the application."""
LINGER_SECONDS = 2.0
_SHUTDOWN_SECONDS = 5.0


class _RefusedRequestTask(ErrorTask):  # type: ignore[misc]
    """Logs a request that waitress itself refuses (too large, malformed): it never reaches the application."""

    def execute(self) -> None:
        error = self.request.error
        # A request whose first line cannot be read has no path.
        path = str(getattr(self.request, "path", "?"))[:100]
        log.warning("request refused", status=error.code, reason=error.reason, path=path)
        self.channel.lingers = True
        super().execute()


class _LingeringChannel(HTTPChannel):  # type: ignore[misc]
    """A connection that goes on reading for a moment after a refusal.

    A socket that is closed with unread bytes resets the connection, and the sender never sees why (RFC 9112, 9.6).
    """

    error_task_class = _RefusedRequestTask
    close_when_flushed: bool
    lingers = False
    _linger_until: float | None = None

    def readable(self) -> bool:
        return self._linger_until is not None or bool(super().readable())

    def handle_read(self) -> None:
        if self._linger_until is None:
            super().handle_read()
            return
        try:
            self.recv(self.adj.recv_bytes)
        except OSError:
            self.will_close = True

    def writable(self) -> bool:
        if self._linger_until is not None and time.monotonic() > self._linger_until:
            self.will_close = True
        return bool(super().writable())

    def handle_write(self) -> None:
        if not (self.lingers and self.close_when_flushed):
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if not self.total_outbufs_len:
            self.close_when_flushed = False
            self._linger_until = time.monotonic() + LINGER_SECONDS
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.will_close = True


class WebServer:
    """Serves the application from a thread, and drains on stop."""

    def __init__(self, app: Flask, host: str, port: int) -> None:
        """Listen at once (port 0: any free one). Raises `PermanentError` where the address cannot be had."""
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a line for each request that waits for a thread
        self._server = create_server(
            app,
            sockets=[_open_listening_socket(host, port)],
            threads=THREADS,
            connection_limit=MAX_CONNECTIONS,
            max_request_body_size=READ_LIMIT,
            asyncore_use_poll=True,  # select() knows no descriptor above 1,023
            clear_untrusted_proxy_headers=True,
            ident=None,
        )
        self._server.channel_class = _LingeringChannel
        self._thread = threading.Thread(target=self._server.run, name="web", daemon=True)

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.effective_port)

    def start(self) -> None:
        """Start to answer requests, in a thread of its own."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Take no new connection, let running requests finish for up to `timeout` seconds, then close."""
        server = self._server
        self._run_in_poll_thread(self._close_listening_socket)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._has_open_requests():
            time.sleep(0.01)
        server.task_dispatcher.shutdown()
        self._run_in_poll_thread(self._close_connections)
        if self._thread.is_alive():
            self._thread.join(_SHUTDOWN_SECONDS)
        if not self._thread.is_alive() and not server.task_dispatcher.threads:
            server.trigger.close()

    def _has_open_requests(self) -> bool:
        return any(channel.requests or channel.total_outbufs_len for channel in list(self._server.active_channels.values()))

    def _run_in_poll_thread(self, step: Callable[[], None]) -> None:
        """Run the step in the thread that polls the sockets, or in this one where that does not run.

        The polling thread closes every socket but the trigger, which `stop` closes last: whoever wakes the thread may still be
        about to write to it, and by then its descriptor could belong to another file.
        """
        done = threading.Event()

        def stepped() -> None:
            step()
            done.set()

        if self._thread.is_alive():
            self._server.trigger.pull_trigger(stepped)
            done.wait(_SHUTDOWN_SECONDS)
        else:
            stepped()

    def _close_listening_socket(self) -> None:
        self._server.del_channel()
        self._server.socket.close()

    def _close_connections(self) -> None:
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.trigger.del_channel()  # the last one: the loop ends


def _open_listening_socket(host: str, port: int) -> socket.socket:
    """Open one socket, also for a name with several addresses."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=both)
    except OSError as error:
        fix = "another program has it, or it is not an address of this host: set PROMOTER_LISTEN"
        raise PermanentError("web", f"cannot listen on {host}:{port}: {error.strerror}", fix) from None
