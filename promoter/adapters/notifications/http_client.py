"""One HTTP request to a server of others: no redirect, no proxy, the connected peer checked, everything bounded."""

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

from promoter.adapters._http import BoundedSession

IpNetwork = IPv4Network | IPv6Network
IpAddress = IPv4Address | IPv6Address

_LINK_LOCAL_NETWORKS: tuple[IpNetwork, ...] = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"))
"""Link-local addresses: there clouds give secrets to whoever asks."""
_NAT64 = ip_network("64:ff9b::/96")
_IPV4_BITS = 0xFFFFFFFF


class AddressNotAllowed(Exception):  # noqa: N818  # it is no fault of the program
    """The channel may not talk to the peer's address."""


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
    """List the IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(IPv4Address(int(address) & _IPV4_BITS))
    return [each for each in found if each is not None]


CONNECT_SECONDS, READ_SECONDS, ALL_SECONDS = 5.0, 10.0, 15.0
"""How long to connect, to wait for the next bytes, and for all from the connection to the end of the answer."""
ANSWER_LIMIT_BYTES = 65_536
"""Bytes of an answer that are read: only its status counts."""
_CHUNK_SIZE = 8_192


def post_checked_request(
    url: str, body: bytes, headers: Mapping[str, str], networks: Sequence[IpNetwork], seconds: float = ALL_SECONDS
) -> int:
    """Send the body; return the status of the answer. Raises `AddressNotAllowed`, or what requests raises."""
    timeout = (min(CONNECT_SECONDS, seconds), min(READ_SECONDS, seconds))
    with _CheckedSession(networks, seconds) as session:
        return session.post(url, data=body, headers=dict(headers), timeout=timeout, allow_redirects=False).status_code


class _CheckedSession(BoundedSession):
    """A session for one request: it uses the certificates that this machine trusts, but not its proxy and .netrc."""

    def __init__(self, networks: Sequence[IpNetwork], seconds: float) -> None:
        self._checked = _CheckedAdapter(networks, seconds)
        super().__init__(seconds, self._checked)
        self.trust_env = False
        self.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True

    def read_body(self, response: requests.Response, deadline: float) -> bytes:
        """Read to the end, so that a server that dies in the middle has not answered, but no more than the limit.

        The adapter keeps the time. The content is of no interest, and is thrown away.
        """
        del deadline
        size = 0
        try:
            for chunk in response.raw.stream(_CHUNK_SIZE, decode_content=False):
                size += len(chunk)
                if size > ANSWER_LIMIT_BYTES:
                    break
        except HTTPError as error:
            raise requests.exceptions.ConnectionError("the answer breaks off") from error
        if self._checked.is_cut:
            raise requests.exceptions.ReadTimeout("the answer takes too long")
        return b""


class _HeaderLines:
    """A file that keeps the last line that was read from it."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._file.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _CompleteResponse(HTTPResponse):
    """An answer whose headers must end: the standard library also accepts headers that break off in the middle."""

    def begin(self) -> None:
        """Read status and headers. Raises IncompleteRead where they break off."""
        lines = _HeaderLines(self.fp)
        self.fp = lines  # type: ignore[assignment]  # for as long as lines are read
        super().begin()
        if not lines.last:
            raise IncompleteRead(b"")


class _CheckedAdapter(HTTPAdapter):
    """Makes connections whose peer is checked before a byte is sent, and that are cut after some seconds, whatever happens."""

    def __init__(self, networks: Sequence[IpNetwork], seconds: float) -> None:
        self._networks = networks
        self._seconds = seconds
        self.is_cut = False
        """Whether a connection was cut since it took too long."""
        self._timers: list[tuple[Timer, socket.socket]] = []
        super().__init__(max_retries=0)

    def close(self) -> None:
        """Close the connections, and stop waiting to cut them."""
        for timer, twin in self._timers:
            timer.cancel()
            twin.close()
        super().close()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the pools make checked connections."""
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
        self.is_cut = True
        with contextlib.suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    def _build_http_pool(self) -> type[HTTPConnectionPool]:
        check_peer = self._check_connected_peer

        class CheckedHttpConnection(HTTPConnection):
            response_class = _CompleteResponse

            def _new_conn(self) -> socket.socket:
                return check_peer(super()._new_conn())

        class CheckedHttpPool(HTTPConnectionPool):
            ConnectionCls = CheckedHttpConnection

        return CheckedHttpPool

    def _build_https_pool(self) -> type[HTTPSConnectionPool]:
        check_peer = self._check_connected_peer

        class CheckedHttpsConnection(HTTPSConnection):
            response_class = _CompleteResponse

            def _new_conn(self) -> socket.socket:
                return check_peer(super()._new_conn())

        class CheckedHttpsPool(HTTPSConnectionPool):
            ConnectionCls = CheckedHttpsConnection

        return CheckedHttpsPool
