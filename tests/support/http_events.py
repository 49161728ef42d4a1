"""What tests of notifications over HTTP send, and what they hear."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import SecretStr

from promoter.adapters.notifications.webhook import WebhookChannel
from promoter.domain.audit import AuditRecord, ChangeOutcome, NewAuditRecord, RecordKind
from promoter.domain.errors import ExternalError, PermanentError, TransientError
from promoter.domain.notifications import CHANNEL_EVENT_TYPES, EventBuilder

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
FACT = NewAuditRecord(
    NOW, RecordKind.CHANGE, "fraud", "champion", 7, 8, outcome=ChangeOutcome.APPLIED, reason="Grün \N{CHECK MARK}"
)
(EVENT,) = EventBuilder("led").build_events(AuditRecord(12, FACT))
HOME = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def channel(url: str, secret: str = "hunter2", networks: list[Any] | None = None, seconds: float = 10.0) -> WebhookChannel:
    """A channel that may go to this machine."""
    home = HOME if networks is None else networks
    return WebhookChannel("ci", url, SecretStr(secret), event_types=CHANNEL_EVENT_TYPES, networks=home, seconds=seconds)


def refused(url: str, **options: Any) -> ExternalError:
    """What is said of an event that does not arrive."""
    with pytest.raises((TransientError, PermanentError)) as caught:
        channel(url, **options).send_event(EVENT)
    assert "hunter2" not in str(caught.value)
    assert "/events" not in str(caught.value), "a path may be a secret"
    return caught.value
