"""May this network address be contacted on behalf of a stranger? Only if it is on the public internet.

Everything else (this machine, the local network, cloud metadata, and IPv6 forms that hide an IPv4 address) is
refused, whatever way the address was spelled: the judgement is on what a host name resolves to.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection

from sam3.errors import BadInput, Unavailable

Resolver = Callable[[str, int], list[str]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# networks in which an IPv6 address stands for an IPv4 one (its last 32 bits), or may
NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
COMPATIBLE = ipaddress.IPv6Network("::/96")


def is_public(text: str) -> bool:
    """Whether an address ("93.184.216.34", "2606:2800::1") is on the public internet and nowhere else."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in (*NAT64, COMPATIBLE)) or address.teredo:
            return False  # nobody publishes pictures there, and what is behind them cannot be known
        if hidden := address.ipv4_mapped or address.sixtofour:
            return is_public(str(hidden))
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system resolves it.

    Raises:
        Unavailable: unknown host.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{host}: unknown host. Check the address.") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def pin(host: str, port: int, *, resolver: Resolver = resolve, allow: Collection[str] = ()) -> str:
    """The one address to connect to: looked up once, so that it cannot change between check and use.

    Args:
        allow: addresses to accept although they are not public (tests, a picture server of one's own).

    Raises:
        BadInput: one of the host's addresses is not public.
    """
    addresses = resolver(host, port)
    if not addresses or any(a not in allow and not is_public(a) for a in addresses):
        raise BadInput(f"{host}: not on the public internet; refused. Send the picture itself.", field="url")
    return addresses[0]
