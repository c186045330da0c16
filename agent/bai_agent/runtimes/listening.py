"""Which TCP ports processes inside a container listen at, by the kernel's own tables (``proc_net_tcp`` of Linux's
documentation): nothing is dialled to find out.

Told is what ``Runtime.connect`` reaches, and what somebody may want to open. What listens at the loopback address on a
port that the kernel hands out by itself is a program's own wiring (each ipykernel has such a one, and each debugger).
"""

import ipaddress
import os
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FIRST_EPHEMERAL = 32768
"""Linux's default of ``ip_local_port_range``."""

MOST = 100
"""A program that listens at all its ports should not fill messages and pages."""

_LISTEN = "0A"
_DIALLED = ipaddress.IPv4Address("127.0.0.1")


class Listener(NamedTuple):
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    inode: int  # of the socket


def parse(table: str) -> Iterator[Listener]:
    """The listening sockets of a ``/proc/<pid>/net/tcp`` or ``tcp6``."""
    for line in table.splitlines()[1:]:
        _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
        if state == _LISTEN:
            address, _, port = local.partition(":")
            yield Listener(_address(address), int(port, 16), int(inode))


def open_ports(tables: Collection[str], inodes: Collection[int] | None = None) -> list[int]:
    """Ports for people, in order, the first ``MOST``. ``inodes``: only these sockets count."""
    found = [one for table in tables for one in parse(table) if inodes is None or one.inode in inodes]
    return sorted({one.port for one in found if _is_for_people(one)})[:MOST]


def tables_of(process: int | str) -> list[str]:
    """Of the network namespace of a process. Raises ``OSError``; without IPv6 there is one table."""
    tables = [Path(f"/proc/{process}/net/tcp").read_text()]
    with suppress(FileNotFoundError):
        tables.append(Path(f"/proc/{process}/net/tcp6").read_text())
    return tables


def sockets_of(pid: int) -> set[int]:
    """Inodes of the sockets that a process holds; none of one that has ended."""
    found = set()
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                kind, _, inode = os.readlink(entry.path).partition(":")
                if kind == "socket":
                    found.add(int(inode.strip("[]")))
    return found


def _is_for_people(listener: Listener) -> bool:
    address = listener.address
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_unspecified or (address == _DIALLED and listener.port < FIRST_EPHEMERAL)


def _address(words: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Words of 32 bits in hexadecimal, each in the byte order of this machine."""
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    return ipaddress.IPv4Address(packed) if len(packed) == 4 else ipaddress.IPv6Address(packed)
