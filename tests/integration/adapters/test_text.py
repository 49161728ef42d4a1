"""Messages of others: no secret stays in them, and nothing that steers a terminal."""

from __future__ import annotations

import pytest

from promoter.adapters._text import (
    MESSAGE_LIMIT,
    explain_network_error,
    explain_network_text,
    redact_secrets,
    replace_unprintable,
    to_one_line,
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://ada:pw@host/x", "https://***@host/x"),
        ("https://a@b@host/x", "https://***@host/x"),
        ("GET https://host/x?token=1 failed", "GET https://host/x failed"),
        ("Authorization: Basic abc=", "Authorization: ***"),
        ("t0ken, t0ken", "***, ***"),
        ("models:/fraud@champion and git+https://host/repo@v1", "models:/fraud@champion and git+https://host/repo@v1"),
        ("mail ada@example.org", "mail ada@example.org"),
    ],
)
def test_secrets_are_replaced(text: str, kept: str) -> None:
    """Those that are known by their text, those of addresses, and those of headers; nothing else."""
    assert redact_secrets(text, ["t0ken", ""]) == kept


def test_user_info_can_be_left_out() -> None:
    """An address then reads as if it never had any."""
    assert redact_secrets("http://ada:pw@host", user_info="") == "http://host"


def test_a_message_is_one_printable_line() -> None:
    """It is cut where it is too long."""
    assert to_one_line("a\n\tb  \x1b[31mc\u202e") == "a b ?[31mc?"
    assert replace_unprintable("a\x00b") == "a?b"
    assert to_one_line("x" * 1_000) == "x" * (MESSAGE_LIMIT - 1) + "…"
    assert to_one_line("a long\nline", 5) == "a lo…"


def test_a_known_network_error_is_explained() -> None:
    """Its own text, which may hold a password, is never repeated."""
    assert explain_network_text("[Errno 111] Connection refused by http://a:b@c") == "the connection is refused"
    assert explain_network_text("too many 503 error responses") == "it keeps answering with status 503"
    assert explain_network_text("something else") is None
    assert explain_network_error(TimeoutError("read timed out")) == "it does not answer in time"
    assert explain_network_error(OSError("http://a:b@c")) == "it cannot be reached (OSError)"
