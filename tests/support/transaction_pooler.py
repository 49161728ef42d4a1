"""A connection pooler in transaction mode, as PgBouncer is one: whoever asks gets any server process for each statement."""

from __future__ import annotations

import os
import socket
import struct
import threading
from types import TracebackType
from typing import Self

import psycopg

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
_READY, _TERMINATE = b"Z", b"X"
_END_OF_BATCH = (b"Q", b"S")
"""A simple query, and the end of the messages of an extended one."""


class TransactionPooler:
    """Listens on a free port of 127.0.0.1, lets everybody in, and has one connection to the server for all of them."""

    def __init__(self, url: str) -> None:
        """`url`: the database that all are led to."""
        self._upstream = psycopg.connect(url, autocommit=True)
        self._server = socket.socket(fileno=os.dup(self._upstream.fileno()))
        self._server.setblocking(True)
        self._turn = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()
        self._server.close()
        self._upstream.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                self._greet(client)
                batch = b""
                while (message := _read_message(client))[0:1] != _TERMINATE:
                    batch += message
                    if message[0:1] in _END_OF_BATCH:
                        self._relay(batch, client)
                        batch = b""
        except (ConnectionError, OSError):
            return

    def _greet(self, client: socket.socket) -> None:
        while struct.unpack("!i", _read(client, _size(client))[:4])[0] in (_SSL_REQUEST, _GSS_REQUEST):
            client.sendall(b"N")
        settings = {"server_version": "16.0", "client_encoding": "UTF8", "server_encoding": "UTF8", "DateStyle": "ISO"}
        status = [_pack(b"S", f"{name}\0{value}\0".encode()) for name, value in settings.items()]
        key = _pack(b"K", struct.pack("!ii", 1, 1))  # a number of its own: there is no server process yet
        client.sendall(_pack(b"R", struct.pack("!i", 0)) + b"".join(status) + key + _pack(_READY, b"I"))

    def _relay(self, batch: bytes, client: socket.socket) -> None:
        with self._turn:
            self._server.sendall(batch)
            while True:
                message = _read_message(self._server)
                client.sendall(message)
                if message[0:1] == _READY:
                    return


def _pack(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _size(connection: socket.socket) -> int:
    return int(struct.unpack("!i", _read(connection, 4))[0]) - 4


def _read(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            raise ConnectionError
        found += part
    return found


def _read_message(connection: socket.socket) -> bytes:
    kind = _read(connection, 1)
    return _pack(kind, _read(connection, _size(connection)))
