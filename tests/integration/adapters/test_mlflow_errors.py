"""What MLflow's errors become, and how calls travel. Answers that a healthy server never gives come from a bare HTTP server."""

from __future__ import annotations

import http.server
import json
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from promoter.adapters.mlflow.client import (
    FreshConnection,
    explain_error_text,
    prepare_environment,
    redact_message,
    redact_server_address,
    translate_mlflow_errors,
)
from promoter.adapters.mlflow.registry import MlflowRegistry
from promoter.adapters.mlflow.webhooks import MlflowWebhooks
from promoter.application.ports import EvidenceTarget
from promoter.demo.servers.mlflow import find_free_port
from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.observed import ModelVersion, Unreadable


@dataclass
class Canned:
    """Answers each request the same way, and keeps each request's `Connection` header."""

    status: int = 200
    body: str = "{}"
    uri: str = ""
    connections: list[str | None] = field(default_factory=list)


@pytest.fixture
def canned() -> Iterator[Canned]:
    """A server of fixed answers."""
    answer = Canned()

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer.connections.append(self.headers["Connection"])
            self.send_response(answer.status)
            self.end_headers()
            self.wfile.write(answer.body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    answer.uri = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield answer
    server.shutdown()
    server.server_close()


def error_body(code: str, words: str = "it is") -> str:
    """An error as MLflow's REST API says it."""
    return json.dumps({"error_code": code, "message": f"{code} {words}"})


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, "You are not authenticated.", PermanentError, "MLFLOW_TRACKING_USERNAME"),
        (403, error_body("PERMISSION_DENIED"), PermanentError, "EDIT"),
        (400, error_body("INVALID_PARAMETER_VALUE"), PermanentError, "does not accept"),
        (400, error_body("BAD_REQUEST"), PermanentError, "does not accept"),
        (
            400,
            error_body("BAD_REQUEST", "(sqlite3.IntegrityError) UNIQUE constraint failed"),
            TransientError,
            "another client wrote",
        ),
        (404, "<html>Not Found</html>", PermanentError, "MLFLOW_TRACKING_URI"),
        (429, error_body("REQUEST_LIMIT_EXCEEDED"), TransientError, "status 429"),
        (500, error_body("INTERNAL_ERROR"), TransientError, "status 500"),
        (503, error_body("TEMPORARILY_UNAVAILABLE"), TransientError, "status 503"),
        (200, "<html>Welcome</html>", TransientError, "JSON"),
    ],
)
def test_answers_are_told_apart_as_worth_another_try_or_not(
    canned: Canned, monkeypatch: pytest.MonkeyPatch, status: int, body: str, kind: type[Exception], words: str
) -> None:
    """Refusals come with what to do; overload and failures can be tried again."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    canned.status, canned.body = status, body

    with pytest.raises(kind, match=words):
        MlflowRegistry(canned.uri).read_aliases("m")


@pytest.mark.timeout(60)
def test_a_server_that_is_down_is_unavailable_soon_and_no_secret_is_told() -> None:
    """Not after MLflow's four minutes, and without the password of the address, also in the traceback."""
    registry = MlflowRegistry(f"http://bob:hunter2@127.0.0.1:{find_free_port()}")

    with pytest.raises(TransientError, match="the connection is refused") as caught:
        registry.observe_models()

    assert "hunter2" not in "".join(traceback.format_exception(caught.value)) + repr(registry)


def test_a_server_that_keeps_silent_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for an answer is bounded."""
    import socket

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = MlflowRegistry(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(TransientError, match="does not answer in time"):
            registry.set_alias("m", "champion", 1)


@pytest.mark.parametrize("tracking_uri", ["", "http://", "https://bob:hunter2@", "http://[bob", "localhost:5000"])
def test_an_address_that_is_none_is_refused(tracking_uri: str) -> None:
    """A person has to mend the setting."""
    with pytest.raises(PermanentError):
        MlflowRegistry(tracking_uri).read_aliases("m")


def test_a_server_without_webhooks_is_refused_and_says_since_when_there_are_some(canned: Canned) -> None:
    """An MLflow older than webhooks answers 404 to them."""
    canned.status, canned.body = 404, "Not Found"

    with pytest.raises(PermanentError, match=r"MLflow 3\.3 or newer"):
        MlflowWebhooks(canned.uri).list_webhooks()


@pytest.mark.parametrize("source", ["models:/other/1", "models:/m-1"])
def test_one_thing_that_may_not_be_read_does_not_spoil_the_rest(canned: Canned, source: str) -> None:
    """It is told in words; what another try may mend is raised, as everywhere."""
    registry = MlflowRegistry(canned.uri, load_models=True)
    asked = EvidenceTarget("m", ModelVersion(1, datetime(2026, 1, 1, tzinfo=UTC), source=source))
    canned.status, canned.body = 403, error_body("PERMISSION_DENIED")

    (model,) = registry.read_logged_models([asked]).values()
    (signature,) = registry.read_signatures([asked]).values()
    loading = registry.check_loading("m", asked.version)

    assert isinstance(model, Unreadable)
    assert isinstance(signature, Unreadable)
    assert loading.outcome == "untried"
    for message in (model.reason, signature.reason, loading.detail):
        assert message.endswith("cannot be read: PERMISSION_DENIED it is")
    canned.status, canned.body = 409, error_body("TEMPORARILY_UNAVAILABLE")
    other = EvidenceTarget("another", asked.version)
    for read in (
        registry.read_logged_models,
        registry.read_signatures,
        lambda rows: registry.check_loading("another", rows[0].version),
    ):
        with pytest.raises(TransientError):
            read([other])


def test_plain_http_asks_for_a_fresh_connection_each_time(canned: Canned) -> None:
    """The plugin that MLflow found by its entry point adds the header."""
    canned.status, canned.body = 404, error_body("RESOURCE_DOES_NOT_EXIST")

    assert MlflowRegistry(canned.uri).read_aliases("m") is None

    assert canned.connections == ["close"]


def test_tls_keeps_its_connections_and_the_users_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new TLS connection would cost more than it saves; what is set in the environment is somebody's decision."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")

    prepare_environment("https://mlflow.example.com")

    import os

    assert not FreshConnection().in_context()
    assert (os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"], os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) == ("7", "2")


def test_what_may_be_secret_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """User info and query of an address, and the token wherever it appears."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")

    assert redact_server_address("https://bob:pw@mlflow.example.com:8443/x/?key=1") == "https://mlflow.example.com:8443/x"
    assert redact_message("GET http://bob:pw@host/a?sig=abc\n failed with t0ken") == "GET http://host/a failed with ***"
    assert len(redact_message("x" * 1_000)) == 300
    assert (
        explain_error_text("NewConnectionError(http://bob:pw@host): [Errno 111] Connection refused")
        == "the connection is refused"
    )


def test_a_database_in_the_place_of_a_server_is_unavailable() -> None:
    """MLflow opens one itself: its driver's errors, which hold the address, are words here."""
    from sqlalchemy.exc import OperationalError

    with (
        pytest.raises(TransientError, match="the database does not answer as MLflow's does") as caught,
        translate_mlflow_errors("read models", "postgresql://127.0.0.1:1/x"),
    ):
        raise OperationalError("connect postgresql://u:hunter2@127.0.0.1:1/x", None, ConnectionError("hunter2"))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
