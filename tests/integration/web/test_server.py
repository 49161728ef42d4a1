"""The server: what it refuses by itself, slow clients, many connections, and a stop that drops nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
import requests
from flask import Flask

from promoter.domain.errors import PermanentError
from promoter.web.server import THREADS, WebServer
from tests.support.fixtures.web import ReadLines
from tests.support.web_site import WebSite


def connect(server: WebServer) -> socket.socket:
    """A bare connection."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def answer_to(server: WebServer, sent: bytes) -> bytes:
    """All that comes back for these bytes, until the server closes."""
    with connect(server) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


class Gate:
    """An application whose requests wait until they are let through."""

    def __init__(self) -> None:
        """One route."""
        self.app = Flask("gate")
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        self.app.get("/")(self._wait)

    def _wait(self) -> str:
        self.entered.release()
        assert self.opened.wait(20)
        return "through"


@pytest.fixture
def gate() -> Gate:
    """Closed."""
    return Gate()


@pytest.fixture
def gated(gate: Gate, log_lines: ReadLines) -> Iterator[WebServer]:
    """A server in front of the gate."""
    del log_lines
    server = WebServer(gate.app, "127.0.0.1", 0)
    server.start()
    yield server
    gate.opened.set()
    server.stop()


MALFORMED = {
    "no request line": (b"GARBAGE\r\n\r\n", 400),
    "control characters": (b"\x00\x1b[2J\r\n\r\n", 400),
    "no colon": (b"POST / HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n", 400),
    "lower-case method": (b"post / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "length no number": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ten\r\n\r\n", 400),
    "negative length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    "chunk size no number": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "unknown coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "huge header": (b"POST / HTTP/1.1\r\nHost: a\r\nX-Hub-Signature-256: " + b"a" * 300_000 + b"\r\n\r\n", 431),
    "endless request line": (b"GET /" + b"a" * 300_000, 431),
}


def test_what_the_server_refuses_itself_is_answered_and_logged(web_site: WebSite, log_lines: ReadLines) -> None:
    """One line each, without what was sent; and the next request is served."""
    for sent, status in MALFORMED.values():
        assert int(answer_to(web_site.server, sent).split()[1]) == status
    lines = log_lines()
    assert [line["status"] for line in lines] == [status for _, status in MALFORMED.values()]
    assert {line["event"] for line in lines} == {"request refused"}
    assert all(len(line["path"]) <= 100 for line in lines)
    assert web_site.ask("/healthz").status == 200


def test_too_large_is_told_before_it_is_sent_whole(web_site: WebSite) -> None:
    """A sender that never reads while it writes still gets its 413, instead of a reset connection."""
    head = b"POST /webhooks/mlflow HTTP/1.1\r\nHost: a\r\nContent-Length: 10485760\r\n\r\n"
    for _ in range(5):
        assert answer_to(web_site.server, head + b" " * 10_485_760).startswith(b"HTTP/1.1 413")


def test_slow_clients_block_nobody(web_site: WebSite) -> None:
    """50 connections that trickle, in the headers or in the body, take no thread."""
    count = 50
    assert count > THREADS
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(web_site.server)) for _ in range(count)]
        for number, connection in enumerate(slow):
            connection.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: a\r\n")
            if number % 2:
                connection.sendall(b"Content-Length: 100\r\n\r\n")
        for number in range(10):
            for connection in slow:
                connection.sendall(b"X" if number else b"X-A: ")
            assert web_site.ask("/healthz").status == 200
            assert web_site.ask("/").status == 200


def test_descriptors_beyond_what_select_knows_are_served(web_site: WebSite) -> None:
    """A daemon with more than 1,024 open files goes on answering."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2_048:
        pytest.fail("the test needs 2,048 open files: raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_048), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        assert web_site.ask("/healthz").status == 200
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert web_site.ask("/healthz").status == 200


def test_stop_lets_a_running_request_finish_and_takes_no_new_one(gate: Gate, gated: WebServer) -> None:
    """The answer arrives whole, although the server was told to stop while the request ran."""
    url = f"http://127.0.0.1:{gated.port}/"
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(requests.get, url, timeout=20)
        assert gate.entered.acquire(timeout=10)
        stopping = pool.submit(gated.stop)
        refused = threading.Event()
        while not refused.is_set():
            try:
                socket.create_connection(("127.0.0.1", gated.port), timeout=5).close()
            except ConnectionError:
                refused.set()
        assert not stopping.done()
        gate.opened.set()
        assert running.result(20).text == "through"
        stopping.result(20)
    gated._thread.join(10)
    assert not gated._thread.is_alive()


def test_stop_also_lets_queued_requests_finish(gate: Gate, gated: WebServer) -> None:
    """More requests than threads: those that wait for a thread have been taken, so that they are answered."""
    count = THREADS + 4
    with ThreadPoolExecutor(count + 1) as pool:
        url = f"http://127.0.0.1:{gated.port}/"
        running = [pool.submit(requests.get, url, timeout=20) for _ in range(count)]
        for _ in range(THREADS):
            assert gate.entered.acquire(timeout=10)
        while sum(bool(channel.requests) for channel in list(gated._server.active_channels.values())) < count:
            time.sleep(0.005)
        stopping = pool.submit(gated.stop)
        assert not wait([stopping], timeout=0.1).done
        gate.opened.set()
        assert [each.result(20).text for each in running] == ["through"] * count
        stopping.result(20)


def test_stop_gives_up_on_a_request_that_never_ends(gate: Gate) -> None:
    """After its timeout, so that a deployment is not held up for ever."""
    server = WebServer(gate.app, "127.0.0.1", 0)
    server.start()
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(requests.get, f"http://127.0.0.1:{server.port}/", timeout=20)
        assert gate.entered.acquire(timeout=10)
        server._server.task_dispatcher.shutdown = lambda: None  # which would wait another five seconds
        server.stop(timeout=0.05)
        assert isinstance(stuck.exception(20), requests.ConnectionError)
        gate.opened.set()


def test_stop_writes_to_no_descriptor_that_is_closed(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else may wake the loop first, which then does what it was asked for before this thread has written."""
    server = WebServer(gate.app, "127.0.0.1", 0)
    server.start()
    trigger = server._server.trigger
    ends, pull = list(trigger._fds), trigger._physical_pull

    def late() -> None:
        pull()
        time.sleep(0.3)
        pull()

    monkeypatch.setattr(trigger, "_physical_pull", late)
    server.stop()
    assert not server._thread.is_alive()
    for end in ends:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


def test_a_server_that_never_started_stops(gate: Gate) -> None:
    """As when the daemon fails between making it and starting it: its address is free again."""
    server = WebServer(gate.app, "127.0.0.1", 0)
    server.stop()
    again = WebServer(gate.app, "127.0.0.1", server.port)
    again.stop()


def test_an_address_that_is_taken_is_refused_in_words(web_site: WebSite) -> None:
    """So is one of another host, and a name that nobody knows."""
    for host, port in (("127.0.0.1", web_site.server.port), ("192.0.2.1", 0), ("no.such.host.invalid", 80)):
        with pytest.raises(PermanentError, match=f"cannot listen on {host}:.*PROMOTER_LISTEN"):
            WebServer(Flask("unused"), host, port)


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0"])
def test_names_and_all_interfaces_are_served(gate: Gate, host: str) -> None:
    """Whatever a name resolves to, one socket is served."""
    assert ask_for(gate, host, "127.0.0.1") == "through"


def test_ipv6_is_served_where_the_machine_has_it(gate: Gate) -> None:
    """`::` answers to IPv4 as well; a machine without IPv6 says so in words."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        with pytest.raises(PermanentError, match="cannot listen on ::1"):
            WebServer(gate.app, "::1", 0)
        return
    assert ask_for(gate, "::1", "[::1]") == "through"
    assert ask_for(gate, "::", "127.0.0.1") == "through"


def ask_for(gate: Gate, host: str, name: str) -> str:
    """What a server on that host answers to whoever asks by that name."""
    gate.opened.set()
    server = WebServer(gate.app, host, 0)
    server.start()
    try:
        return requests.get(f"http://{name}:{server.port}/", timeout=10).text
    finally:
        server.stop()
