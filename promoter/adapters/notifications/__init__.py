"""Notifications: the channels that events are sent to. Only here are the libraries of CloudEvents and Apprise used."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Protocol

from pydantic import SecretStr

from promoter.application.ports.outbox import NotificationChannel
from promoter.domain.errors import ExternalError, Fault, Faults, PermanentError, TransientError
from promoter.domain.notifications import EventType, NotificationEvent, select_event_types
from promoter.domain.text import disarm_message_text


class ChannelConfig(Protocol):
    """What the settings have of a channel: `url` and a secret, or `apprise`."""

    @property
    def name(self) -> str:
        """The channel's name."""
        ...

    @property
    def url(self) -> str | None:
        """A server's address."""
        ...

    @property
    def apprise(self) -> SecretStr | None:
        """One of Apprise's URLs."""
        ...

    @property
    def signing_secret(self) -> SecretStr:
        """The secret that a server's events are signed with."""
        ...

    @property
    def networks(self) -> Sequence[IPv4Network | IPv6Network]:
        """Networks in which the server may be although its address is not public."""
        ...

    @property
    def events(self) -> Sequence[str]:
        """The short names of the types of events that it gets; empty: all."""
        ...


def create_channels(configs: Iterable[ChannelConfig]) -> list[NotificationChannel]:
    """Create all channels. Raises `Faults` that name every channel which cannot be used."""
    channels: list[NotificationChannel] = []
    faults: list[Fault] = []
    for each in configs:
        try:
            channels.append(_create_channel(each))
        except ExternalError as error:
            faults.append(Fault(f"PROMOTER_NOTIFICATIONS, {error.what}: {error.message}", fix=error.fix))
    if faults:
        raise Faults(faults)
    return channels


def _create_channel(config: ChannelConfig) -> NotificationChannel:
    event_types = select_event_types(config.events)
    if config.apprise is not None:
        return AppriseChannel(config.name, config.apprise, event_types=event_types)
    from promoter.adapters.notifications.webhook import WebhookChannel

    return WebhookChannel(
        config.name, config.url or "", config.signing_secret, event_types=event_types, networks=config.networks
    )


GENERIC_SCHEMES = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
"""Apprise's channels to any server: `WebhookChannel` is signed, and checks where it goes."""
_TITLES = {
    EventType.CHANGED: "Alias moved",
    EventType.DRIFTED: "Drift",
    EventType.ROLLED_BACK: "Rolled back",
    EventType.BLOCKED: "Blocked",
    EventType.REPLACED: "Another version",
    EventType.OVERRIDE_STARTED: "Override",
    EventType.OVERRIDE_EXPIRING: "Override ends soon",
    EventType.OVERRIDE_ENDED: "Override ended",
    EventType.REVISION_REFUSED: "Commit refused",
    EventType.TEST: "Test",
}
_LINK_LABELS = {"pull_request": "pull request", "page": "page", "version": "version", "run": "run"}
_PLAIN_LINK = re.compile(r"https?://[^\s<>|\\^`{}\"]+", re.ASCII)
"""A web address in which no chat finds anything else."""
_REVISION_DIGITS = 10


class AppriseChannel:
    """The channel to people, through Apprise: mail, chat, pagers. It gets a message in words.

    Apprise's URL is a secret as a whole.
    """

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
    """Render title and text of a message: a line of links, the first of them where one decides, and a line that says it all.

    No chat obeys what others wrote: `<!channel>`, `@everyone`, links.
    """
    data = event.data
    known = ((label, data["links"].get(name)) for name, label in _LINK_LABELS.items())
    links = [f"{label}: {link}" for label, link in known if link and _PLAIN_LINK.fullmatch(link)]
    places = [f"entry {event.entry} of the ledger"] if event.entry else []
    places += [f"commit {str(data['revision'])[:_REVISION_DIGITS]}"] if data.get("revision") else []
    sentence = disarm_message_text(event.summary_line) + (f" ({', '.join(places)})" if places else "")
    lines = [" | ".join(links)] if links else []
    return f"{_TITLES[event.type]}: {disarm_message_text(event.subject)}", "\n".join([*lines, sentence])


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
