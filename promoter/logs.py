"""Logs: one line an event on standard error, as text or as JSON. URLs lose their credentials, secrets their values."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from threading import Lock
from typing import Any, TextIO

import structlog

from promoter.domain.text import escape_lines

_CREDENTIALS = re.compile(r"(\w[\w+.-]*://)[^\s\"'<>]*@")
"""Up to the last @, since passwords hold slashes and @ of their own. A plain @ later in a URL is lost as well."""
_SECRET_NAMES = ("secret", "token", "password", "authorization", "signature")


def redact_credentials(text: str) -> str:
    """The text without user and password in URLs."""
    return _CREDENTIALS.sub(r"\1***@", text)


def _redact_value(key: str, value: Any) -> Any:
    if any(name in key.lower() for name in _SECRET_NAMES):
        return "***"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _redact_value(str(name), each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value("", each) for each in value]
    return redact_credentials(str(value))


def _redact_secrets(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _redact_value(key, value) for key, value in event.items()}


def _escape_control_characters(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What others sent stays on its line, and leaves the terminal as it is; newlines in values are quoted anyway."""
    shown = {key: escape_lines(value) if isinstance(value, str) else value for key, value in event.items()}
    shown["event"] = str(shown.get("event", "")).replace("\n", "\\n")
    return shown


class _LogStream:
    """A stream for log lines. A line that cannot be written, for a full disk or a closed pipe, must not stop any work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = Lock()

    def msg(self, line: str) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _StructlogForwarder(logging.Handler):
    """Passes on what libraries log, so that it has the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        logger.log(max(record.levelno, logging.DEBUG), record.getMessage(), logger=record.name, exc_info=record.exc_info)


def configure_logging(style: str, level: str = "info") -> None:
    """`style`: `text` or `json`. Standard logging (of libraries) goes the same way, from warnings up."""
    number = logging.getLevelName(level.upper())
    lines = _LogStream(sys.stderr)
    renderers: list[Any] = (
        [structlog.processors.JSONRenderer()]
        if style == "json"
        else [_escape_control_characters, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_secrets,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_StructlogForwarder()], force=True)
