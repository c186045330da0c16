"""Requests to addresses that users give, sent by servers of ours: only to where a stranger outside could send them too.

Names are resolved once, and the connection goes to what was resolved and checked.
"""

import ipaddress
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from tornado.netutil import DefaultLoopResolver

from bai_jupyter.common.errors import BaiError

LONGEST_URL = 2000
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class PrivateAddress(BaiError):
    """A name leads where a stranger outside could not go."""


def check_url(url: str) -> None:
    """Raises ``ValueError`` for what no request can be sent to, as far as can be told without resolving its name."""
    if len(url) > LONGEST_URL or any(not "!" <= char <= "~" for char in url):
        raise ValueError("it is too long, or has characters that addresses do not have")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.port == 0:
        raise ValueError("it is not of the form http(s)://host[:port]/path")


def is_public(address: Address) -> bool:
    """True for an address on the public Internet, also for one that is wrapped in another."""
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(wrapped)
    return address.is_global and not address.is_multicast


class PublicResolver(DefaultLoopResolver):
    """Finds public addresses, and those of ``allowed`` networks. One other among them, and none is returned."""

    def initialize(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        found = await super().resolve(host, port, family)
        for _, place in found:
            address = ipaddress.ip_address(str(place[0]).partition("%")[0])
            if not is_public(address) and not any(address in network for network in self._allowed):
                raise PrivateAddress(f"{host} is {address}, which is not public")
        return found
