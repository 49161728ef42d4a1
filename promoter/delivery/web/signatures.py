"""Signatures of webhooks: who sent this body. Constant-time, and closed where no secret is configured."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime

from pydantic import SecretStr
from werkzeug.datastructures import Headers

TIMESTAMP_TOLERANCE_SECONDS = 300
"""MLflow sends retries with the first try's timestamp, so that a delivery may be some seconds old, not minutes."""


_SIGNING_TOKEN_PREFIX = b"whsec_"
_MAX_SIGNATURES = 10


class InvalidSignature(Exception):  # noqa: N818  # says what the request is
    """The request does not prove who sent it. The text says why, for the log, without what was sent."""


def verify_mlflow_signature(headers: Headers, body: bytes, secret: SecretStr | None, now: datetime) -> str:
    """The delivery id of a request that MLflow signed: HMAC-SHA256 over `id.timestamp.body`. Raises `Unsigned`."""
    key = _require_secret(secret)
    delivery, stamp = headers.get("X-MLflow-Delivery-Id", ""), headers.get("X-MLflow-Timestamp", "")
    signature = headers.get("X-MLflow-Signature", "")
    if not delivery or len(delivery) > 100 or not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:  # noqa: PLR2004
        raise InvalidSignature("delivery id or timestamp missing or malformed")
    expected = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    _require_same_signature(signature, "v1," + base64.b64encode(expected).decode())
    if abs(now.timestamp() - int(stamp)) > TIMESTAMP_TOLERANCE_SECONDS:
        raise InvalidSignature(f"timestamp more than {TIMESTAMP_TOLERANCE_SECONDS} s from now")
    return delivery


def verify_github_signature(headers: Headers, body: bytes, secret: SecretStr | None) -> str:
    """The delivery id of a request that GitHub signed: HMAC-SHA256 over the body, in hex. Raises `Unsigned`."""
    expected = hmac.new(_require_secret(secret), body, hashlib.sha256).hexdigest()
    _require_same_signature(headers.get("X-Hub-Signature-256", ""), "sha256=" + expected)
    return headers.get("X-GitHub-Delivery", "")[:100]


def verify_gitlab_signature(headers: Headers, body: bytes, secret: SecretStr | None, now: datetime) -> str:
    """The delivery id of a request from GitLab. Raises `Unsigned`.

    A secret that begins with `whsec_` is a signing token: the request must bear its signature, in the form of Standard
    Webhooks, and a token in a header is worth nothing. Any other is the secret token, which GitLab sends in the clear.
    """
    key = _require_secret(secret)
    delivery = headers.get("webhook-id") or headers.get("Idempotency-Key") or headers.get("X-Gitlab-Event-UUID", "")
    if key.startswith(_SIGNING_TOKEN_PREFIX):
        _verify_standard_webhook(headers, body, key, now)
    else:
        _require_same_signature(headers.get("X-Gitlab-Token", ""), key.decode())
    return delivery[:100]


def _verify_standard_webhook(headers: Headers, body: bytes, token: bytes, now: datetime) -> None:
    """HMAC-SHA256 over `id.timestamp.body`, in base64; the header may have several signatures."""
    try:
        key = base64.b64decode(token.removeprefix(_SIGNING_TOKEN_PREFIX), validate=True)
    except ValueError:
        raise InvalidSignature("the configured signing token is not `whsec_` and base64") from None
    delivery, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not delivery or not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:  # noqa: PLR2004
        raise InvalidSignature("webhook-id or webhook-timestamp missing or malformed")
    made = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    expected = ("v1," + base64.b64encode(made).decode()).encode()
    given = headers.get("webhook-signature", "").split()[:_MAX_SIGNATURES]
    if not given:
        raise InvalidSignature("signature missing")
    if not any(hmac.compare_digest(each.encode("utf-8", "surrogateescape"), expected) for each in given):
        raise InvalidSignature("signature does not match")
    if abs(now.timestamp() - int(stamp)) > TIMESTAMP_TOLERANCE_SECONDS:
        raise InvalidSignature(f"timestamp more than {TIMESTAMP_TOLERANCE_SECONDS} s from now")


def verify_gitea_signature(headers: Headers, body: bytes, secret: SecretStr | None) -> str:
    """The delivery id of a request that Gitea or Forgejo signed: HMAC-SHA256 over the body, in hex. Raises `Unsigned`."""
    expected = hmac.new(_require_secret(secret), body, hashlib.sha256).hexdigest()
    _require_same_signature(headers.get("X-Gitea-Signature") or headers.get("X-Forgejo-Signature", ""), expected)
    return (headers.get("X-Gitea-Delivery") or headers.get("X-Forgejo-Delivery", ""))[:100]


def _require_secret(secret: SecretStr | None) -> bytes:
    if secret is None or not secret.get_secret_value():
        raise InvalidSignature("no secret is configured for this webhook")
    return secret.get_secret_value().encode()


def _require_same_signature(given: str, expected: str) -> None:
    if not given:
        raise InvalidSignature("signature missing")
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise InvalidSignature("signature does not match")
