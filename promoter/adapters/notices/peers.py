"""Which addresses a notification may go to. It is the connected peer that counts, not what a name resolved to before.

Whoever can write a name's DNS records could else send Promoter to whatever is reachable from where it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IpNetwork = IPv4Network | IPv6Network
IpAddress = IPv4Address | IPv6Address

_LINK_LOCAL_NETWORKS: tuple[IpNetwork, ...] = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"))
"""Link-local: where clouds tell secrets to whoever asks."""
_NAT64 = ip_network("64:ff9b::/96")
_IPV4_BITS = 0xFFFFFFFF


class AddressNotAllowed(Exception):  # noqa: N818  # it is no fault of the program
    """The peer's address is none that the channel may talk to."""


def check_peer_address(peer: str, networks: Sequence[IpNetwork]) -> None:
    """Raises `AddressNotAllowed` unless the address is public, or in a network that the channel names.

    A link-local address has to be named exactly, as a network of that one address.
    """
    found = ip_address(peer.partition("%")[0])
    for address in (found, *_extract_ipv4_addresses(found)):
        named = any(address in network for network in networks)
        exactly = any(network.prefixlen == network.max_prefixlen and address in network for network in networks)
        if any(address in never for never in _LINK_LOCAL_NETWORKS):
            if not exactly:
                raise AddressNotAllowed(f"{address} is link-local: name it exactly in `networks` if it is meant")
        elif not named and (not address.is_global or address.is_multicast):
            raise AddressNotAllowed(f"{address} is no public address: name its network in `networks` if it is meant")


def _extract_ipv4_addresses(address: IpAddress) -> list[IpAddress]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(IPv4Address(int(address) & _IPV4_BITS))
    return [each for each in found if each is not None]
