"""Logs: one line an event on standard error, as text or as JSON. URLs lose their credentials, secrets their values."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_CREDENTIALS = re.compile(r"(\w[\w+.-]*://)[^/\s:@]*(?::[^/\s@]*)?@")
_SECRET_NAMES = ("secret", "token", "password", "authorization", "signature")


def redact(text: str) -> str:
    """The text without user and password in URLs."""
    return _CREDENTIALS.sub(r"\1***@", text)


def _without_secrets(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if any(name in key.lower() for name in _SECRET_NAMES):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = redact(value)
    return event


def configure(style: str, level: str = "info") -> None:
    """`style`: `text` or `json`. Standard logging (of libraries) goes the same way, from warnings up."""
    number = logging.getLevelName(level.upper())
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s", force=True)
