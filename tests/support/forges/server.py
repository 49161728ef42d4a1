"""A face of a hosted forge on real HTTP, at 127.0.0.1 on a free port, with everything that a network does to it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from tests.support.forges.faults import FaultyAnswer, ForgeCall
from tests.support.forges.model import ForgeAccount
from tests.support.forges.state import HostedForge

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ACCOUNT = "forge.account"
"""Where the WSGI environment says whose token a request carries: an `Account`, or None."""


class _Quiet(WSGIRequestHandler):
    """Says nothing on standard error."""

    def log(self, *_words: Any) -> None:
        """Nothing."""

    def handle(self) -> None:
        """A connection that was cut on purpose is no error."""
        with contextlib.suppress(OSError, ValueError):
            super().handle()


class HostedServer:
    """Serves a face while started. Requests are done one at a time, each seeing all that was pushed before it.

    `ACCOUNT` in the environment is who asks. `forge.faults` says what goes wrong.
    """

    def __init__(self, forge: HostedForge, face: WSGIApplication) -> None:
        """Serves nothing before `start`."""
        self.forge = forge
        self._face = face
        self._port = 0
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it is served, without a slash at the end; the same after a stop and a new start."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Serve."""
        self._server = make_server("127.0.0.1", self._port, self._answer, threaded=True, request_handler=_Quiet)
        self._port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="forge", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on, as in an outage; the forge keeps its state."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            self._thread.join(10)
            server.server_close()

    def __enter__(self) -> Self:
        """Started."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stopped, and no more webhooks."""
        self.stop()
        self.forge.close()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        faults = self.forge.faults
        account = self.forge.by_token(_token(environ))
        environ[ACCOUNT] = account
        call = _call(environ, account)
        faults.calls.append(call)
        if faults.latency:
            time.sleep(faults.latency)
        if faults.cuts_before(call):
            return _cut(environ)
        prepared = FaultyAnswer(502, b"<html>Bad Gateway</html>", (("Content-Type", "text/html"),)) if faults.down else None
        prepared = prepared or faults.instead(call)
        if prepared is not None:
            start_response(f"{prepared.status} Prepared", [*prepared.headers, ("Content-Length", str(len(prepared.body)))])
            return [prepared.body]
        with self.forge.using():
            answer = list(self._face(environ, start_response))
        if call.writes:
            faults.writes.append(call)
        return _cut(environ) if faults.cuts_after(call) else answer


def _cut(environ: WSGIEnvironment) -> Iterable[bytes]:
    """End the connection without a byte."""
    with contextlib.suppress(OSError):
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError


def _call(environ: WSGIEnvironment, account: ForgeAccount | None) -> ForgeCall:
    """The request; its body can be read again afterwards."""
    raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(raw)
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = raw.decode("utf-8", "replace")
    query = environ.get("QUERY_STRING")
    path = environ["PATH_INFO"] + (f"?{query}" if query else "")
    return ForgeCall(environ["REQUEST_METHOD"], path, body, account.login if account else None)


def _token(environ: WSGIEnvironment) -> str:
    """The token, however this kind of forge takes it."""
    kind, _, value = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if kind.lower() == "basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            return base64.b64decode(value).decode().partition(":")[2]
    return value or str(environ.get("HTTP_PRIVATE_TOKEN", ""))
