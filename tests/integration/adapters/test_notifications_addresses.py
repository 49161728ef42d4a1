"""Where notifications never go, whatever a name resolves to and whatever the environment says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from promoter.adapters.notifications.http_client import AddressNotAllowed, check_peer_address
from promoter.domain.errors import PermanentError
from tests.support.http_events import EVENT, PROXIES, channel, refused
from tests.support.http_receiver import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    """It takes everything."""
    with serving() as found:
        yield found


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Names resolve to these addresses, one after the other, as a hostile DNS server says; the names that were asked for."""
    asked: list[str] = []
    answers = list(addresses)

    def answer(host: str, port: int, *_: object, **__: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port) if family == socket.AF_INET else (address, port, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def test_an_address_that_is_not_public_is_not_talked_to(server: Server) -> None:
    """Unless its network is named; not a byte is sent."""
    error = refused(server.url, networks=[])
    assert isinstance(error, PermanentError)
    assert "127.0.0.1 is no public address: name its network in `networks` if it is meant" in error.message
    assert "127.0.0.1" in refused(server.url, networks=[ip_network("10.0.0.0/8")]).message
    assert server.came == []
    channel(server.url, networks=[ip_network("127.0.0.1/32")]).send_event(EVENT)


def test_a_name_that_changes_its_mind_gets_nowhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the name is a public address for whoever checks it first, and then one inside. The peer is checked."""
    asked = resolve(monkeypatch, "93.184.215.14", "127.0.0.1")
    url = f"http://rebind.example.org:{server.port}/events"
    assert socket.getaddrinfo("rebind.example.org", server.port)[0][4][0] == "93.184.215.14"
    assert "127.0.0.1 is no public address" in refused(url, networks=[]).message
    assert asked == ["rebind.example.org"] * 2
    assert server.came == []


def test_each_try_is_checked_anew(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is kept: what was right at the first try is not taken for granted at the second."""
    resolve(monkeypatch, "127.0.0.1", "127.0.0.1", "127.0.0.2")
    url = f"http://name.example.org:{server.port}/events"
    once = channel(url, networks=[ip_network("127.0.0.1/32")])
    once.send_event(EVENT)
    once.send_event(EVENT)
    with serving(host="127.0.0.2") as other:
        monkeypatch.setattr(once, "_url", f"http://name.example.org:{other.port}/events")
        with pytest.raises(PermanentError, match=r"127\.0\.0\.2 is no public address"):
            once.send_event(EVENT)
        assert (server.connections, other.came) == (2, [])


def test_an_address_in_ipv6_clothes_is_seen_through(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes ::ffff:127.0.0.1 for IPv4."""
    resolve(monkeypatch, "::ffff:127.0.0.1")
    assert "is no public address" in refused(f"http://name.example.org:{server.port}/events", networks=[]).message
    assert server.came == []


@pytest.mark.parametrize("name", PROXIES)
def test_no_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It would be the connected peer, and could go anywhere."""
    with serving() as proxy:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        channel(server.url).send_event(EVENT)
        assert (proxy.connections, len(server.came)) == (0, 1)


def test_no_password_of_this_machine_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A .netrc is for its owner's own sessions."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    channel(server.url).send_event(EVENT)
    assert "authorization" not in server.came[0].headers


PUBLIC = ("93.184.215.14", "8.8.8.8", "2606:2800:21f::1")
INSIDE = (
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "127.0.0.1",
    "0.0.0.0",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "2002:0a00:0001::1",
)
LINK_LOCAL = ("169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    """Nobody has to name them."""
    check_peer_address(address, [])


@pytest.mark.parametrize("address", [*INSIDE, *LINK_LOCAL])
def test_addresses_that_are_not(address: str) -> None:
    """In whatever form they come."""
    with pytest.raises(AddressNotAllowed):
        check_peer_address(address, [])


@pytest.mark.parametrize("address", LINK_LOCAL)
def test_link_local_addresses_are_named_exactly_or_not_at_all(address: str) -> None:
    """A network that holds them among others does not mean them."""
    wide = [ip_network(each) for each in ("0.0.0.0/0", "::/0", "169.254.0.0/16", "fe80::/10", "169.254.169.0/24")]
    with pytest.raises(AddressNotAllowed, match="is link-local: name it exactly"):
        check_peer_address(address, wide)
    check_peer_address(address, [*wide, ip_network("169.254.169.254/32"), ip_network("fe80::1/128")])
