"""Logs: one line an event, no secret in it, nothing that moves the reader's cursor, and no stop where it cannot be written."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from promoter.logs import configure_logging, redact_credentials

Read = Callable[[], list[str]]


@pytest.fixture
def logged(request: pytest.FixtureRequest) -> Iterator[Read]:
    """Configures the style that the test names; reads the lines."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = []
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        configure_logging(request.param)
    yield lambda: stream.getvalue().splitlines()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


both = pytest.mark.parametrize("logged", ["text", "json"], indirect=True)
text = pytest.mark.parametrize("logged", ["text"], indirect=True)
as_json = pytest.mark.parametrize("logged", ["json"], indirect=True)
log = structlog.get_logger("test")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("https://alice:s3cret@host/repo.git", "https://***@host/repo.git"),
        ("https://tok-123@host/repo.git", "https://***@host/repo.git"),
        ("https://alice:p@ss@host/x", "https://***@host/x"),
        ("https://alice:pa/ss@host/x", "https://***@host/x"),
        ("https://:s3cret@host", "https://***@host"),
        ("postgresql+psycopg://u:p@db:5432/promoter", "postgresql+psycopg://***@db:5432/promoter"),
        ("cannot fetch 'https://a:b@h/x' and \"ssh://c:d@h/y\"", "cannot fetch 'https://***@h/x' and \"ssh://***@h/y\""),
        ("http://127.0.0.1:8080/a?b=c", "http://127.0.0.1:8080/a?b=c"),
        ("mail bob@example.org about https://example.org/x", "mail bob@example.org about https://example.org/x"),
        ("fraud@champion", "fraud@champion"),
    ],
)
def test_urls_lose_their_credentials(said: str, kept: str) -> None:
    """And nothing else is lost."""
    assert redact_credentials(said) == kept


@both
def test_no_secret_reaches_a_line(logged: Read) -> None:
    """By the field's name, by its type, by its form; also nested, in exceptions, and in what libraries log."""
    url = "https://alice:hunter2@host/x"
    log.info(
        "all at once",
        webhook_secret="hunter2",
        git_token="hunter2",
        Authorization="Bearer hunter2",
        signature="hunter2",
        settings={"password": "hunter2", "repo": url, "deep": [url, {"token": "hunter2"}]},
        secretive=SecretStr("hunter2"),
        value=SecretStr("hunter2"),
        error=ValueError(f"cannot reach {url}"),
        repo=url,
        urls=(url,),
    )
    log.warning("cannot reach https://alice:hunter2@host/y")
    logging.getLogger("library").warning("cannot reach %s", url)
    try:
        int(url)
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception("failed")
    written = "\n".join(logged())
    assert written.count("failed") == 2
    assert "hunter2" not in written
    assert "https://***@host/x" in written


@as_json
def test_json_is_one_object_a_line(logged: Read) -> None:
    """With level, time and the fields as they are; of libraries too, from warnings up."""
    log.info("looked", key="model:Umsatz Süd", seconds=1.5, count=3, refused=None, ready=True)
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("two\nlines")
    first, second = (json.loads(line) for line in logged())
    assert {key: value for key, value in first.items() if key != "timestamp"} == {
        "event": "looked",
        "level": "info",
        "key": "model:Umsatz Süd",
        "seconds": 1.5,
        "count": 3,
        "refused": None,
        "ready": True,
    }
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"], second["logger"]) == ("two\nlines", "warning", "library")


@text
def test_text_stays_on_its_line_and_off_the_terminal(logged: Read) -> None:
    """Whatever others sent: newlines and escape sequences are shown, not obeyed."""
    log.info("told", name="a\x1b[2J\x9b31m", why="first\nsecond", quiet="\x07")
    logging.getLogger("library").warning("bad request:\n%s", "GET /\x1b[1m")
    first, second = logged()
    assert "\x1b" not in first + second
    assert "\\x1b[2J\\x9b31m" in first
    assert "first\\nsecond" in first
    assert "bad request:\\nGET /\\x1b[1m" in second


class Broken(io.StringIO):
    """As a full disk or a closed pipe."""

    def write(self, _text: str) -> int:
        """Fails."""
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("closed", [False, True], ids=["full", "closed"])
def test_a_log_that_cannot_be_written_stops_no_work(monkeypatch: pytest.MonkeyPatch, closed: bool) -> None:
    """The daemon goes on without it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = []
    stream: Any = io.StringIO() if closed else Broken()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        configure_logging("text")
        if closed:
            stream.close()
        log.error("unheard")
        logging.getLogger("library").error("unheard")
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
