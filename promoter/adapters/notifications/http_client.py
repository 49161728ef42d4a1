"""One HTTP request to somebody else's server: no redirect, no proxy, the peer checked, everything bounded."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from http.client import HTTPResponse, IncompleteRead
from io import BufferedIOBase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from threading import Timer
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

IpNetwork = IPv4Network | IPv6Network
IpAddress = IPv4Address | IPv6Address

_LINK_LOCAL_NETWORKS: tuple[IpNetwork, ...] = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"))
"""Link-local: where clouds tell secrets to whoever asks."""
_NAT64 = ip_network("64:ff9b::/96")
_IPV4_BITS = 0xFFFFFFFF


class AddressNotAllowed(Exception):  # noqa: N818  # it is no fault of the program
    """The peer's address is none that the channel may talk to."""


def check_peer_address(peer: str, networks: Sequence[IpNetwork]) -> None:
    """Raises `AddressNotAllowed` unless the address is public, or in a network that the channel names.

    A link-local address has to be named exactly, as a network of that one address.
    """
    found = ip_address(peer.partition("%")[0])
    for address in (found, *_extract_ipv4_addresses(found)):
        named = any(address in network for network in networks)
        exactly = any(network.prefixlen == network.max_prefixlen and address in network for network in networks)
        if any(address in never for never in _LINK_LOCAL_NETWORKS):
            if not exactly:
                raise AddressNotAllowed(f"{address} is link-local: name it exactly in `networks` if it is meant")
        elif not named and (not address.is_global or address.is_multicast):
            raise AddressNotAllowed(f"{address} is no public address: name its network in `networks` if it is meant")


def _extract_ipv4_addresses(address: IpAddress) -> list[IpAddress]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(IPv4Address(int(address) & _IPV4_BITS))
    return [each for each in found if each is not None]


CONNECT_SECONDS, READ_SECONDS, ALL_SECONDS = 5.0, 10.0, 15.0
"""To connect, for the next bytes, and for everything from the connection to the end of the answer."""
ANSWER_LIMIT_BYTES = 65_536
"""Bytes of an answer that are read: only its status counts."""
_CHUNK_SIZE = 8_192


def post_checked_request(
    url: str, body: bytes, headers: Mapping[str, str], networks: Sequence[IpNetwork], seconds: float = ALL_SECONDS
) -> int:
    """The status that the server answers with. Raises `AddressNotAllowed`, or what requests raises."""
    wire = _CheckedAdapter(networks, seconds)
    try:
        with requests.Session() as session:
            session.trust_env = False  # neither a proxy nor a .netrc of this machine's; but whom it trusts
            session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
            session.mount("http://", wire)
            session.mount("https://", wire)
            answer = session.post(
                url,
                data=body,
                headers=dict(headers),
                timeout=(min(CONNECT_SECONDS, seconds), min(READ_SECONDS, seconds)),
                allow_redirects=False,
                stream=True,
            )
            with answer:
                _read_whole_answer(answer)
                if wire.cut:
                    raise requests.exceptions.ReadTimeout("the answer takes too long")
                return answer.status_code
    finally:
        wire.close_connections()


def _read_whole_answer(answer: requests.Response) -> None:
    """To its end, so that a server that dies in the middle has not answered; but not for ever."""
    size = 0
    try:
        for chunk in answer.raw.stream(_CHUNK_SIZE, decode_content=False):
            size += len(chunk)
            if size > ANSWER_LIMIT_BYTES:
                return
    except HTTPError as error:
        raise requests.exceptions.ConnectionError("the answer breaks off") from error


class _HeaderLines:
    """A file that remembers the last line that was read from it."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._file.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _CompleteResponse(HTTPResponse):
    """An answer whose headers have an end: to the standard library, those of a server that died in the middle have one, too."""

    def begin(self) -> None:
        """Read status and headers."""
        lines = _HeaderLines(self.fp)
        self.fp = lines  # type: ignore[assignment]  # for as long as lines are read
        super().begin()
        if not lines.last:
            raise IncompleteRead(b"")


class _CheckedAdapter(HTTPAdapter):
    """Connections whose peer is checked before a byte is sent, and which are cut after a while whatever happens on them."""

    def __init__(self, networks: Sequence[IpNetwork], seconds: float) -> None:
        self._networks = networks
        self._seconds = seconds
        self.cut = False
        """Whether a connection was, since it took too long."""
        self._timers: list[tuple[Timer, socket.socket]] = []
        super().__init__(max_retries=0)

    def close_connections(self) -> None:
        """Nobody waits any more."""
        for timer, twin in self._timers:
            timer.cancel()
            twin.close()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """With connections of our own."""
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": self._build_http_pool(), "https": self._build_https_pool()}

    def _check_connected_peer(self, sock: socket.socket) -> socket.socket:
        try:
            check_peer_address(sock.getpeername()[0], self._networks)
        except BaseException:
            sock.close()
            raise
        # A twin, since TLS takes the socket over. Cutting it cuts the connection, and wakes whoever reads from it.
        twin = sock.dup()
        timer = Timer(self._seconds, self._cut_connection, (twin,))
        timer.daemon = True
        self._timers.append((timer, twin))
        timer.start()
        return sock

    def _cut_connection(self, twin: socket.socket) -> None:
        self.cut = True
        with contextlib.suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    def _build_http_pool(self) -> type[HTTPConnectionPool]:
        check_peer = self._check_connected_peer

        class Connection(HTTPConnection):
            response_class = _CompleteResponse

            def _new_conn(self) -> socket.socket:
                return check_peer(super()._new_conn())

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        return Pool

    def _build_https_pool(self) -> type[HTTPSConnectionPool]:
        check_peer = self._check_connected_peer

        class Connection(HTTPSConnection):
            response_class = _CompleteResponse

            def _new_conn(self) -> socket.socket:
                return check_peer(super()._new_conn())

        class Pool(HTTPSConnectionPool):
            ConnectionCls = Connection

        return Pool
