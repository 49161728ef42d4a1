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
from pathlib import Path

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from promoter.adapters.notifications import http_client
from promoter.domain.audit import RecordedDecision
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from promoter.domain.ledger.checkpoints import LifecycleEvent, LifecycleEventType
from promoter.domain.notifications import EventBuilder, NotificationEvent
from tests.support.http_events import EVENT, NOW, channel, refused
from tests.support.http_receiver import Server, plain, serving


@pytest.fixture
def server() -> Iterator[Server]:
    """It takes everything."""
    with serving() as found:
        yield found


@pytest.mark.parametrize(
    ("secret", "key"), [("hunter2", b"hunter2"), (f"whsec_{base64.b64encode(b'k' * 24).decode()}", b"k" * 24)]
)
def test_an_event_arrives_in_its_form_and_signed(server: Server, secret: str, key: bytes) -> None:
    """CloudEvents' own library reads it, and a signature made by hand is the same."""
    channel(server.url, secret).send_event(EVENT)
    (came,) = server.came
    assert came.line == "POST /events HTTP/1.1"
    assert came.headers["content-type"] == "application/cloudevents+json"
    assert json.loads(came.body) == EVENT.to_json()
    read = from_http_event(HTTPMessage(came.headers, came.body))
    assert (read.get_id(), read.get_type(), read.get_time()) == ("led/12/changed", "dev.promoter.alias.changed", NOW)
    assert read.get_extension("sequence") == "00000000000000000012"
    at, event_id = came.headers["webhook-timestamp"], came.headers["webhook-id"]
    assert event_id == EVENT.id
    assert abs(int(at) - time.time()) < 60
    digest = hmac.new(key, f"{event_id}.{at}.".encode() + came.body, hashlib.sha256).digest()
    assert came.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_a_tree_that_is_too_large_is_left_out(server: Server) -> None:
    """A receiver has a limit, and the ledger has the tree; the event says what it lacks."""
    rules = [{"rule": "r" * 1_000, "verdict": "fail"}] * 100
    tree = {"model": "m", "alias": "a", "version": 1, "policy": "p", "verdict": "fail", "rules": rules}
    (event,) = EventBuilder("led").build_events(RecordedDecision(3, NOW, "r", tree, None, gate=True))
    channel(server.url).send_event(event)
    data = json.loads(server.came[0].body)["data"]
    assert len(server.came[0].body) < 60_000
    assert (data["left_out"], data["model"], "rules" in data) == (["rules"], "m", False)


def test_a_reason_that_is_too_long_is_left_out(server: Server) -> None:
    """A commit with a thousand faults is an event as well, which says what it is about in a sentence of some length."""
    facts = {"revision": "abc", "reason": "\n".join(["x" * 3_000] * 100), "in_force": None, "author": None}
    (event,) = EventBuilder("led").build_events(LifecycleEvent(NOW, LifecycleEventType.REVISION_REFUSED, facts, 4))
    channel(server.url).send_event(event)
    data = json.loads(server.came[0].body)["data"]
    assert len(server.came[0].body) < 60_000
    assert (data["left_out"], data["revision"], len(data["summary"])) == (["reason"], "abc", 2_000)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_is_an_arrival(server: Server, status: int) -> None:
    """Whatever it says."""
    server.say(plain(status, body=b"" if status == 204 else b"thanks"))
    channel(server.url).send_event(EVENT)
    assert len(server.came) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PermanentError),
        (401, PermanentError),
        (404, PermanentError),
        (410, PermanentError),
        (408, TransientError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
    ],
)
def test_every_other_status_is_none(server: Server, status: int, kind: type[ExternalError]) -> None:
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
    assert isinstance(refused(server.url), TransientError)
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
    assert isinstance(refused(server.url, seconds=1.0), TransientError)
    assert time.monotonic() - started < 15


def test_an_endless_answer_is_not_read_to_its_end(server: Server) -> None:
    """The status has been said; the rest is nobody's business."""
    server.say(plain(200, body=b"a" * 10 * http_client.ANSWER_LIMIT_BYTES))
    channel(server.url).send_event(EVENT)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(server: Server, status: int) -> None:
    """Neither inside nor outside: the address of the metadata service would be one."""
    with serving() as inside:
        server.say(plain(status, f"Location: {inside.url}"))
        error = refused(server.url)
        assert f"redirects (status {status}), which is not followed" in error.message
        assert (type(error), inside.connections) == (PermanentError, 0)


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
        channel(url).send_event(EVENT)
        assert len(server.came) == 1
        assert "is no public address" in refused(url, networks=[]).message
        server.say(b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 100, pause=0.2)
        assert isinstance(refused(url, seconds=1.0), TransientError)


def test_a_channel_tells_no_secret_of_itself() -> None:
    """Neither the key nor the path, which may be one."""
    shown = repr(channel("https://example.org:8443/hooks/hunter2?token=hunter2"))
    assert shown == "WebhookChannel('ci', 'https://example.org:8443')"


def test_the_event_is_one_of_the_domain() -> None:
    """What the tests send is what the ledger tells."""
    assert isinstance(EVENT, NotificationEvent)
