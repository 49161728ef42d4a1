"""Notifications: the channels that events are sent to. Only here are the libraries of CloudEvents and Apprise used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from pydantic import SecretStr

from promoter.application.ports.outbox import NotificationChannel
from promoter.domain.errors import ExternalError, Fault, Faults
from promoter.domain.notifications import ALIAS_EVENT_TYPES


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
    event_types = [each for each in ALIAS_EVENT_TYPES if not config.events or each.short_name in config.events]
    if config.apprise is not None:
        from promoter.adapters.notifications.apprise import AppriseChannel

        return AppriseChannel(config.name, config.apprise, event_types=event_types)
    from promoter.adapters.notifications.webhook import WebhookChannel

    return WebhookChannel(
        config.name, config.url or "", config.signing_secret, event_types=event_types, networks=config.networks
    )
