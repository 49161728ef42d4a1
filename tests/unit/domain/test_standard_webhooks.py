"""Signatures in the form of Standard Webhooks: what Promoter signs, it verifies; nothing else is accepted."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from promoter.domain.standard_webhooks import (
    TIMESTAMP_TOLERANCE_SECONDS,
    InvalidSignature,
    compute_signature,
    is_timestamp,
    parse_signing_key,
    require_recent_timestamp,
    require_same_signature,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
KEY, BODY = b"k" * 24, b'{"a": 1}'


def test_the_example_of_the_specification() -> None:
    """Key, id, time and body of https://www.standardwebhooks.com give its signature."""
    key = parse_signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = compute_signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_the_key_unless_it_has_the_prefix() -> None:
    """`whsec_` announces base64; what is none is refused."""
    assert parse_signing_key("hunter2") == b"hunter2"
    assert parse_signing_key("whsec_" + base64.b64encode(KEY).decode()) == KEY
    with pytest.raises(ValueError, match=r"."):
        parse_signing_key("whsec_hunter2!")


def test_one_right_signature_of_several_is_enough() -> None:
    """A sender that changes its key signs with both for a while."""
    right = compute_signature(KEY, "id", STAMP, BODY)
    require_same_signature(["v1,other", right], right)


@pytest.mark.parametrize(("delivery", "body"), [("other", BODY), ("id", b"{}")])
def test_every_part_is_signed(delivery: str, body: bytes) -> None:
    """Another id or another body needs another signature."""
    signatures = [compute_signature(KEY, "id", STAMP, BODY)]
    with pytest.raises(InvalidSignature, match="does not match"):
        require_same_signature(signatures, compute_signature(KEY, delivery, STAMP, body))


@pytest.mark.parametrize("direction", [1, -1])
def test_an_old_delivery_is_refused(direction: int) -> None:
    """Within the tolerance it is accepted, a second later it is not."""
    late = NOW + direction * timedelta(seconds=TIMESTAMP_TOLERANCE_SECONDS)
    require_recent_timestamp(STAMP, late)
    with pytest.raises(InvalidSignature, match="from now"):
        require_recent_timestamp(STAMP, late + direction * timedelta(seconds=1))


@pytest.mark.parametrize("signatures", [[], [""]])
def test_no_signature_at_all(signatures: list[str]) -> None:
    """An empty header is none."""
    with pytest.raises(InvalidSignature, match="missing"):
        require_same_signature(signatures, "")


@pytest.mark.parametrize(
    ("text", "valid"), [(STAMP, True), ("", False), ("-1", False), ("1.5", False), ("٣", False), ("1" * 13, False)]
)
def test_timestamps(text: str, *, valid: bool) -> None:
    """Digits of ASCII, and not too many of them."""
    assert is_timestamp(text) is valid
