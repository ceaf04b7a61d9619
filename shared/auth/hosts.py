"""Where a key may be used from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from shared.errors import ForbiddenError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = tuple[Network, ...]


class HostNotAllowedError(ForbiddenError):
    """The API key may not be used from this address."""

    code = "host_not_allowed"


def parse_networks(text: str) -> Networks:
    """Read a list such as `10.0.0.0/8, 192.168.7.3, fd00::/8`; it may be empty.

    Raises:
        ValueError: An entry is neither an address nor a network without bits of a host.
    """
    entries = (entry.strip() for entry in text.split(",") if entry.strip())
    return tuple(ipaddress.ip_network(entry) for entry in entries)


def client_address(peer: str | None, forwarded_for: str, proxies: Networks) -> Address | None:
    """The address that a request comes from.

    Each proxy adds the address that it was called from at the right of `X-Forwarded-For`; what
    stands further left, its client may have written. So the list is read from the right, for as
    long as the address that was found so far is of a proxy of ours.

    Args:
        peer: The other end of the connection.
        forwarded_for: The header, or the empty string.
        proxies: Whose word is taken for it.

    Returns:
        None where it is no address.
    """
    hops = forwarded_for.split(",") if forwarded_for else []
    address = _parse_address(peer or "")
    while address is not None and hops and is_within(address, proxies):
        address = _parse_address(hops.pop().strip())
    return address


def is_within(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks."""
    return any(address in network for network in networks)


def _parse_address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket that takes both kinds has IPv4 clients under such an address.
    return getattr(address, "ipv4_mapped", None) or address
