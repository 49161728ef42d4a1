"""The notices' room: channels that are told of events. CloudEvents' and Apprise's libraries are used here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from pydantic import SecretStr

from promoter.application.ports.outbox import NotificationChannel
from promoter.domain.errors import ExternalError, Fault, Faults
from promoter.domain.notifications import ALIAS_EVENT_TYPES


class ChannelConfig(Protocol):
    """What the settings say of a channel: `url` and `key`, or `apprise`."""

    @property
    def name(self) -> str:
        """What it is called."""
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
        """What a server's events are signed with."""
        ...

    @property
    def networks(self) -> Sequence[IPv4Network | IPv6Network]:
        """Where the server may be although its address is not public."""
        ...

    @property
    def events(self) -> Sequence[str]:
        """The words of the types that it is told of; empty: all."""
        ...


def create_channels(named: Iterable[ChannelConfig]) -> list[NotificationChannel]:
    """All of them. Raises `Faults` that name every one which cannot be used."""
    made: list[NotificationChannel] = []
    faults: list[Fault] = []
    for each in named:
        try:
            made.append(_create_channel(each))
        except ExternalError as error:
            faults.append(Fault(f"PROMOTER_NOTIFICATIONS, {error.what}: {error.message}", fix=error.fix))
    if faults:
        raise Faults(faults)
    return made


def _create_channel(named: ChannelConfig) -> NotificationChannel:
    event_types = [each for each in ALIAS_EVENT_TYPES if not named.events or each.short_name in named.events]
    if named.apprise is not None:
        from promoter.adapters.notifications.apprise import AppriseChannel

        return AppriseChannel(named.name, named.apprise, event_types=event_types)
    from promoter.adapters.notifications.webhook import WebhookChannel

    return WebhookChannel(named.name, named.url or "", named.signing_secret, event_types=event_types, networks=named.networks)
