"""Signatures of webhooks: who sent this body. Constant-time, and closed where no secret is configured."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime

from pydantic import SecretStr
from werkzeug.datastructures import Headers

WINDOW_SECONDS = 300
"""MLflow sends retries with the first try's timestamp, so that a delivery may be some seconds old, not minutes."""


class Unsigned(Exception):  # noqa: N818  # says what the request is
    """The request does not prove who sent it. The text says why, for the log, without what was sent."""


def mlflow(headers: Headers, body: bytes, secret: SecretStr | None, now: datetime) -> str:
    """The delivery id of a request that MLflow signed: HMAC-SHA256 over `id.timestamp.body`. Raises `Unsigned`."""
    key = _key(secret)
    delivery, stamp = headers.get("X-MLflow-Delivery-Id", ""), headers.get("X-MLflow-Timestamp", "")
    signature = headers.get("X-MLflow-Signature", "")
    if not delivery or len(delivery) > 100 or not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:  # noqa: PLR2004
        raise Unsigned("delivery id or timestamp missing or malformed")
    expected = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    _same(signature, "v1," + base64.b64encode(expected).decode())
    if abs(now.timestamp() - int(stamp)) > WINDOW_SECONDS:
        raise Unsigned(f"timestamp more than {WINDOW_SECONDS} s from now")
    return delivery


def github(headers: Headers, body: bytes, secret: SecretStr | None) -> str:
    """The delivery id of a request that GitHub signed: HMAC-SHA256 over the body, in hex. Raises `Unsigned`."""
    expected = hmac.new(_key(secret), body, hashlib.sha256).hexdigest()
    _same(headers.get("X-Hub-Signature-256", ""), "sha256=" + expected)
    return headers.get("X-GitHub-Delivery", "")[:100]


def unknown(_body: bytes) -> str:
    """A sender whose signatures this version cannot check. Raises `Unsigned`, always."""
    raise Unsigned("this version takes no webhooks of this sender")


def _key(secret: SecretStr | None) -> bytes:
    if secret is None or not secret.get_secret_value():
        raise Unsigned("no secret is configured for this webhook")
    return secret.get_secret_value().encode()


def _same(given: str, expected: str) -> None:
    if not given:
        raise Unsigned("signature missing")
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise Unsigned("signature does not match")
