"""A server that takes notifications: it answers as it is told to, and keeps what came."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

LIMIT = 1_000_000


@dataclass(frozen=True)
class ReceivedMessage:
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """What came, and what is answered: the bytes of an answer, each with the seconds that it waits before."""

    port: int
    came: list[ReceivedMessage] = field(default_factory=list)
    connections: int = 0
    answer: Callable[[ReceivedMessage], Iterator[tuple[float, bytes]]] = lambda _came: iter([(0.0, plain(204))])

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/events"

    def say(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Answer with these pieces from now on, with pauses before each."""
        self.answer = lambda _came: iter([(pause, piece) for piece in pieces])


def plain(status: int, *headers: str, body: bytes = b"") -> bytes:
    """An answer."""
    lines = [f"HTTP/1.1 {status} Whatever", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


@contextmanager
def serving(tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Server]:
    """Serve on a free port until the end of the block."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        server = Server(listening.getsockname()[1])
        thread = threading.Thread(target=_accept, args=(listening, server, tls), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _accept(listening: socket.socket, server: Server, tls: ssl.SSLContext | None) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        server.connections += 1
        threading.Thread(target=_serve, args=(connection, server, tls), daemon=True).start()


def _serve(connection: socket.socket, server: Server, tls: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError), connection:
        wire = tls.wrap_socket(connection, server_side=True) if tls else connection
        with wire:
            came = _read(wire)
            if came is None:
                return
            server.came.append(came)
            for pause, piece in server.answer(came):
                time.sleep(pause)
                wire.sendall(piece)


def _read(wire: socket.socket) -> ReceivedMessage | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = wire.recv(65_536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    while len(body) < min(LIMIT, int(headers.get("content-length", 0))):
        body += wire.recv(65_536)
    return ReceivedMessage(line, headers, body)
