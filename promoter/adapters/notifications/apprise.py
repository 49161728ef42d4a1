"""The channels to people, through Apprise: mail, chat, pagers. They get a message in words."""

from __future__ import annotations

import logging
from collections.abc import Collection
from importlib.util import find_spec
from typing import Any

from pydantic import SecretStr

from promoter.domain.errors import PermanentError, TransientError
from promoter.domain.notifications import EventType, NotificationEvent

GENERIC_SCHEMES = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
"""Apprise's channels to any server: `webhook.py` has a signed one, which checks where it goes."""
_TITLES = {
    EventType.CHANGED: "Alias moved",
    EventType.DRIFTED: "Drift",
    EventType.ROLLED_BACK: "Rolled back",
    EventType.BLOCKED: "Blocked",
    EventType.TEST: "Test",
}


class AppriseChannel:
    """Sends messages to one of Apprise's URLs, which is a secret as a whole."""

    def __init__(self, name: str, url: SecretStr, *, event_types: Collection[EventType]) -> None:
        """Raises `PermanentError` where Apprise is not installed, or knows no such channel."""
        self.name = name
        self.wanted_event_types = frozenset(event_types)
        if find_spec("apprise") is None:
            raise PermanentError(name, "Apprise is not installed", "pip install 'promoter[notifications]'")
        self._sender = _create_apprise_sender(name, url.get_secret_value())

    def __repr__(self) -> str:
        return f"AppriseChannel({self.name!r})"

    def send_event(self, event: NotificationEvent) -> None:
        """Send the event once."""
        import apprise

        title, body = render_message_text(event)
        try:
            arrived = self._sender.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT)
        except TypeError:
            arrived = False  # what Apprise raises for a message that it cannot send
        if not arrived:
            raise TransientError(self.name, "Apprise could not deliver: the address, its credentials, or the service")


def render_message_text(event: NotificationEvent) -> tuple[str, str]:
    """Render title and text of a message."""
    data = event.data
    lines = [event.summary_line]
    lines += [f"Commit: {data['revision']}"] if data.get("revision") else []
    lines += [f"Entry {event.entry} of the ledger."] if event.entry else []
    lines += [event.source] if event.source.startswith("http") else []
    return f"{_TITLES[event.type]}: {event.subject}", "\n".join(lines)


def _create_apprise_sender(name: str, url: str) -> Any:
    import apprise

    # What Apprise logs may hold the URL; our own error says what went wrong.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    scheme = url.partition("://")[0].strip().lower()
    if scheme in GENERIC_SCHEMES:
        fix = "use `url` and `secret` instead of `apprise`: that is signed, and checks where it goes"
        raise PermanentError(name, f"{scheme}:// is no channel for people", fix)
    sender = apprise.Apprise()
    if not sender.add(url):
        raise PermanentError(
            name, "Apprise knows no such channel", "see its documentation for what a URL for that service looks like"
        )
    return sender
