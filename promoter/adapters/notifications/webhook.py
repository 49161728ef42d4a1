"""The channel to a server of others: CloudEvents over HTTP, signed in the form of Standard Webhooks."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

import requests
from cloudevents.core.bindings.http import to_structured_event
from cloudevents.core.v1.event import CloudEvent
from pydantic import SecretStr

from promoter import __version__
from promoter.adapters.notifications.http_client import ALL_SECONDS, AddressNotAllowed, IpNetwork, post_checked_request
from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.notifications import EventType, NotificationEvent
from promoter.domain.standard_webhooks import compute_signature, parse_signing_key

BODY_LIMIT = 60_000
"""Bytes of one event. What is larger loses the parts that may be long, one after the other: the ledger has them anyway."""
LONG_PARTS = ("rules", "reason", "actor", "review")
"""The parts of an event's data that may be long, in the order in which they are left out."""
_OK, _REDIRECT, _CLIENT, _SERVER = 200, 300, 400, 500
_RETRY_STATUSES = {408, 425, 429}
"""The statuses of 4xx that ask for another try."""


class WebhookChannel:
    """Sends events to one URL, signed with one secret."""

    def __init__(
        self,
        name: str,
        url: str,
        secret: SecretStr,
        *,
        event_types: Collection[EventType],
        networks: Sequence[IpNetwork] = (),
        seconds: float = ALL_SECONDS,
    ) -> None:
        """`networks`: where the server may be although its address is not public. `seconds`: for one try."""
        self.name = name
        self.wanted_event_types = frozenset(event_types)
        parts = urlsplit(url)
        self.place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._url = url
        self._key = parse_signing_key(secret.get_secret_value())
        self._networks = tuple(networks)
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"WebhookChannel({self.name!r}, {self.place!r})"

    def send_event(self, event: NotificationEvent) -> None:
        """Send the event once. It has arrived where the server answers 2xx, to the answer's end."""
        kind, body = render_structured_event(event)
        at = int(time.time())
        headers = {
            "Content-Type": kind,
            "User-Agent": f"promoter/{__version__}",
            "Connection": "close",
            "webhook-id": event.id,
            "webhook-timestamp": str(at),
            "webhook-signature": compute_signature(self._key, event.id, at, body),
        }
        try:
            status = post_checked_request(self._url, body, headers, self._networks, self._seconds)
        except AddressNotAllowed as error:
            raise PermanentError(self.name, f"{self.place} is not called: {error}") from None
        except (requests.RequestException, OSError) as error:
            raise TransientError(self.name, f"{self.place} {_describe_request_error(error)}") from None
        if not _OK <= status < _REDIRECT:
            raise self._build_status_error(status)

    def _build_status_error(self, status: int) -> TransientError | PermanentError:
        if _REDIRECT <= status < _CLIENT:
            fix = "give the address that it redirects to as `url`"
            return PermanentError(self.name, f"{self.place} redirects (status {status}), which is not followed", fix)
        fault = TransientError if status >= _SERVER or status in _RETRY_STATUSES or status < _OK else PermanentError
        return fault(self.name, f"{self.place} answered with status {status}")


def render_structured_event(event: NotificationEvent) -> tuple[str, bytes]:
    """Render the event in CloudEvents' structured mode: content type and body."""
    attributes = event.to_json()
    data = attributes.pop("data")
    attributes["time"] = datetime.fromisoformat(attributes["time"])
    message = to_structured_event(CloudEvent(attributes, data))
    long = next((name for name in LONG_PARTS if name in data), None)
    if len(message.body) > BODY_LIMIT and long:
        return render_event_without(event, long)
    return message.headers["content-type"], message.body


def render_event_without(event: NotificationEvent, name: str) -> tuple[str, bytes]:
    """Render the event without one part of its data; `left_out` names that part."""
    kept = {key: each for key, each in event.data.items() if key != name}
    return render_structured_event(replace(event, data={**kept, "left_out": [*event.data.get("left_out", ()), name]}))


def _describe_request_error(error: Exception) -> str:
    """Say in words of ours what went wrong: the client's own message may hold the URL."""
    if isinstance(error, requests.exceptions.SSLError):
        return "has a certificate that cannot be trusted, or speaks no TLS"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "cannot be reached in time"
    if isinstance(error, requests.exceptions.Timeout):
        return "does not answer in time"
    if "NameResolutionError" in repr(error):
        return "has a name that cannot be resolved"
    return "cannot be reached, or breaks off"
