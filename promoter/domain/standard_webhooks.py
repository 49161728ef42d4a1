"""Signatures of webhooks, in the form of Standard Webhooks: made for what Promoter sends, verified on what it receives.

MLflow and GitLab sign in this form too. GitHub and Gitea sign the body alone; for them there is `require_same_signature`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

SECRET_PREFIX = "whsec_"  # noqa: S105  # how a secret begins, not one
TIMESTAMP_TOLERANCE_SECONDS = 300
"""Senders repeat a delivery with the first try's timestamp, so that it may be some seconds old, not minutes."""
_MAX_TIMESTAMP_LENGTH = 12


class InvalidSignature(Exception):  # noqa: N818  # says what the request is
    """The request does not prove who sent it. The text says why, for the log, without what was sent."""


def parse_signing_key(secret: str) -> bytes:
    """Return the key: `whsec_BASE64` has it in base64, other text is the key itself. Raises ValueError for no base64."""
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    return secret.encode()


def compute_signature(key: bytes, delivery: str, timestamp: int | str, body: bytes) -> str:
    """Sign a delivery: HMAC-SHA256 over `id.timestamp.body`, in base64."""
    digest = hmac.new(key, f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def is_timestamp(text: str) -> bool:
    """Whether the text is a number of seconds since 1970."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_TIMESTAMP_LENGTH


def require_recent_timestamp(timestamp: str, now: datetime) -> None:
    """Raises `InvalidSignature` unless the timestamp is close to now."""
    if abs(now.timestamp() - int(timestamp)) > TIMESTAMP_TOLERANCE_SECONDS:
        raise InvalidSignature(f"timestamp more than {TIMESTAMP_TOLERANCE_SECONDS} s from now")


def require_same_signature(signatures: Sequence[str], expected: str) -> None:
    """Raises `InvalidSignature` unless one of the signatures is the expected one, compared in constant time."""
    if not any(signatures):
        raise InvalidSignature("signature missing")
    if not any(hmac.compare_digest(each.encode("utf-8", "surrogateescape"), expected.encode()) for each in signatures):
        raise InvalidSignature("signature does not match")
