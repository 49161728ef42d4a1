"""Notifications over HTTP: their form and signature, what counts as an arrival, and where they never go."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from pydantic import SecretStr

from promoter.adapters.notices import wire
from promoter.adapters.notices.http import HttpChannel
from promoter.adapters.notices.peers import Barred, check
from promoter.domain.audit import AuditRecord, Kind, NewRecord, Outcome, RecordedDecision
from promoter.domain.events import ALIAS_TYPES, Event, Teller
from promoter.domain.faults import OutsideError, Refused, Unavailable
from tests.adapters.receiving import Server, plain, serving

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
FACT = NewRecord(NOW, Kind.CHANGE, "fraud", "champion", 7, 8, outcome=Outcome.APPLIED, reason="Grün \N{CHECK MARK}")
(EVENT,) = Teller("led").events(AuditRecord(12, FACT))
HOME = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def server() -> Iterator[Server]:
    """It takes everything."""
    with serving() as found:
        yield found


def channel(url: str, secret: str = "hunter2", networks: list[Any] | None = None, seconds: float = 10.0) -> HttpChannel:
    """A channel that may go to this machine."""
    home = HOME if networks is None else networks
    return HttpChannel("ci", url, SecretStr(secret), wants=ALIAS_TYPES, networks=home, seconds=seconds)


def refused(url: str, **options: Any) -> OutsideError:
    """What is said of an event that does not arrive."""
    with pytest.raises((Unavailable, Refused)) as caught:
        channel(url, **options).send(EVENT)
    assert "hunter2" not in str(caught.value)
    assert "/events" not in str(caught.value), "a path may be a secret"
    return caught.value


@pytest.mark.parametrize(
    ("secret", "key"), [("hunter2", b"hunter2"), (f"whsec_{base64.b64encode(b'k' * 24).decode()}", b"k" * 24)]
)
def test_an_event_arrives_in_its_form_and_signed(server: Server, secret: str, key: bytes) -> None:
    """CloudEvents' own library reads it, and a signature made by hand is the same."""
    channel(server.url, secret).send(EVENT)
    (came,) = server.came
    assert came.line == "POST /events HTTP/1.1"
    assert came.headers["content-type"] == "application/cloudevents+json"
    assert json.loads(came.body) == EVENT.as_json()
    read = from_http_event(HTTPMessage(came.headers, came.body))
    assert (read.get_id(), read.get_type(), read.get_time()) == ("led/12/changed", "dev.promoter.alias.changed", NOW)
    assert read.get_extension("sequence") == "00000000000000000012"
    at, told = came.headers["webhook-timestamp"], came.headers["webhook-id"]
    assert told == EVENT.id
    assert abs(int(at) - time.time()) < 60
    digest = hmac.new(key, f"{told}.{at}.".encode() + came.body, hashlib.sha256).digest()
    assert came.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_a_tree_that_is_too_large_is_left_out(server: Server) -> None:
    """A receiver has a limit, and the ledger has the tree; the event says what it lacks."""
    rules = [{"rule": "r" * 1_000, "verdict": "fail"}] * 100
    tree = {"model": "m", "alias": "a", "version": 1, "policy": "p", "verdict": "fail", "rules": rules}
    (event,) = Teller("led").events(RecordedDecision(3, NOW, "r", tree, None, gate=True))
    channel(server.url).send(event)
    data = json.loads(server.came[0].body)["data"]
    assert len(server.came[0].body) < 60_000
    assert (data["left_out"], data["model"], "rules" in data) == (["rules"], "m", False)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_is_an_arrival(server: Server, status: int) -> None:
    """Whatever it says."""
    server.say(plain(status, body=b"" if status == 204 else b"thanks"))
    channel(server.url).send(EVENT)
    assert len(server.came) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, Refused),
        (404, Refused),
        (410, Refused),
        (408, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_every_other_status_is_none(server: Server, status: int, kind: type[OutsideError]) -> None:
    """The status is told; what the other side wrote is not."""
    server.say(plain(status, body=b"internal secret"))
    error = refused(server.url)
    assert type(error) is kind
    assert error.message == f"http://127.0.0.1:{server.port} answered with status {status}"


def test_a_receiver_that_is_down(server: Server) -> None:
    """Nobody listens; then a name that nobody knows."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert refused(f"http://127.0.0.1:{port}/events").message == f"http://127.0.0.1:{port} cannot be reached, or breaks off"
    assert "a name that cannot be resolved" in refused(f"http://nobody.invalid:{server.port}/events").message


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"HTTP/1.1 20"],
        [b"HTTP/1.1 200 OK\r\nContent-Le"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"],
        [b"hello\r\n\r\n"],
    ],
    ids=["at once", "status line", "headers", "body", "chunk", "no HTTP"],
)
def test_a_receiver_that_dies_in_the_middle_has_not_answered(server: Server, pieces: list[bytes]) -> None:
    """Only a whole answer is one."""
    server.say(*pieces)
    assert isinstance(refused(server.url), Unavailable)
    assert len(server.came) == 1


@pytest.mark.parametrize(
    ("pieces", "pause"),
    [
        ([plain(204)], 30.0),
        ([b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 100], 0.2),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *[b"a"] * 100], 0.2),
    ],
    ids=["silent", "headers drop by drop", "body drop by drop"],
)
def test_a_slow_receiver_is_not_waited_for(server: Server, pieces: list[bytes], pause: float) -> None:
    """However it keeps the connection busy."""
    server.say(*pieces, pause=pause)
    started = time.monotonic()
    assert isinstance(refused(server.url, seconds=1.0), Unavailable)
    assert time.monotonic() - started < 15


def test_an_endless_answer_is_not_read_to_its_end(server: Server) -> None:
    """The status has been said; the rest is nobody's business."""
    server.say(plain(200, body=b"a" * 10 * wire.ANSWER_LIMIT))
    channel(server.url).send(EVENT)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(server: Server, status: int) -> None:
    """Neither inside nor outside: the address of the metadata service would be one."""
    with serving() as inside:
        server.say(plain(status, f"Location: {inside.url}"))
        error = refused(server.url)
        assert f"redirects (status {status}), which is not followed" in error.message
        assert (type(error), inside.connections) == (Refused, 0)


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
    assert isinstance(error, Refused)
    assert "127.0.0.1 is no public address: name its network in `networks` if it is meant" in error.message
    assert "127.0.0.1" in refused(server.url, networks=[ip_network("10.0.0.0/8")]).message
    assert server.came == []
    channel(server.url, networks=[ip_network("127.0.0.1/32")]).send(EVENT)


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
    once.send(EVENT)
    once.send(EVENT)
    with serving(host="127.0.0.2") as other:
        monkeypatch.setattr(once, "_url", f"http://name.example.org:{other.port}/events")
        with pytest.raises(Refused, match=r"127\.0\.0\.2 is no public address"):
            once.send(EVENT)
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
        channel(server.url).send(EVENT)
        assert (proxy.connections, len(server.came)) == (0, 1)


def test_no_password_of_this_machine_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A .netrc is for its owner's own sessions."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    channel(server.url).send(EVENT)
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
    check(address, [])


@pytest.mark.parametrize("address", [*INSIDE, *LINK_LOCAL])
def test_addresses_that_are_not(address: str) -> None:
    """In whatever form they come."""
    with pytest.raises(Barred):
        check(address, [])


@pytest.mark.parametrize("address", LINK_LOCAL)
def test_link_local_addresses_are_named_exactly_or_not_at_all(address: str) -> None:
    """A network that holds them among others does not mean them."""
    wide = [ip_network(each) for each in ("0.0.0.0/0", "::/0", "169.254.0.0/16", "fe80::/10", "169.254.169.0/24")]
    with pytest.raises(Barred, match="is link-local: name it exactly"):
        check(address, wide)
    check(address, [*wide, ip_network("169.254.169.254/32"), ip_network("fe80::1/128")])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, signed by itself, with its key."""
    from datetime import timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=2))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    path = tmp_path_factory.mktemp("tls") / "here.pem"
    path.write_bytes(pem)
    return path


def test_over_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate has to be trusted; the peer is checked before the first byte; a slow one is cut off."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as server:
        url = server.url.replace("http:", "https:")
        assert "has a certificate that cannot be trusted" in refused(url).message
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        channel(url).send(EVENT)
        assert len(server.came) == 1
        assert "is no public address" in refused(url, networks=[]).message
        server.say(b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 100, pause=0.2)
        assert isinstance(refused(url, seconds=1.0), Unavailable)


def test_a_channel_tells_no_secret_of_itself() -> None:
    """Neither the key nor the path, which may be one."""
    shown = repr(channel("https://example.org:8443/hooks/hunter2?token=hunter2"))
    assert shown == "HttpChannel('ci', 'https://example.org:8443')"


def test_the_event_is_one_of_the_domain() -> None:
    """What the tests send is what the ledger tells."""
    assert isinstance(EVENT, Event)
