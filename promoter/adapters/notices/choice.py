"""Which channel a setting names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from pydantic import SecretStr

from promoter.application.ports.outbox import Channel
from promoter.domain.faults import Fault, Faults, OutsideError
from promoter.domain.notices.events import ALIAS_TYPES


class Named(Protocol):
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
    def key(self) -> SecretStr:
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


def channels(named: Iterable[Named]) -> list[Channel]:
    """All of them. Raises `Faults` that name every one which cannot be used."""
    made: list[Channel] = []
    faults: list[Fault] = []
    for each in named:
        try:
            made.append(_channel(each))
        except OutsideError as error:
            faults.append(Fault(f"PROMOTER_NOTIFICATIONS, {error.what}: {error.message}", fix=error.fix))
    if faults:
        raise Faults(faults)
    return made


def _channel(named: Named) -> Channel:
    wants = [each for each in ALIAS_TYPES if not named.events or each.word in named.events]
    if named.apprise is not None:
        from promoter.adapters.notices.people import PeopleChannel

        return PeopleChannel(named.name, named.apprise, wants=wants)
    from promoter.adapters.notices.http import HttpChannel

    return HttpChannel(named.name, named.url or "", named.key, wants=wants, networks=named.networks)
