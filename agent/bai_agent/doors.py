"""A container's doors: unix sockets in its ``/run/bai``, each of which leads to one address and nowhere else.

What a session needs may be at an address that containers cannot reach and should not: this host, or a private network.
So nothing is opened in the network; the agent carries a socket of this container alone to that address. Bytes are not
looked at.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bai_agent import folders
from bai_jupyter.common.ids import KernelId

_DIAL_TIMEOUT_S = 10.0
_PIECE_BYTES = 64 * 1024
# Of one container through one door: it may not use up the agent's descriptors. A Jupyter server holds three for each
# kernel that it has elsewhere.
_MAX_CONNECTIONS = 128


class Address(NamedTuple):
    """Where a door leads. With ``tls`` the agent encrypts what it carries there, and sees to it that nobody else
    answers; inside nothing is encrypted, and nothing need be known of certificates."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


@dataclass
class _Door:
    server: asyncio.Server
    connections: set["asyncio.Task[None]"] = field(default_factory=set)


class Doors:
    """The doors of all containers on this agent. ``addresses`` says where those of each name lead."""

    def __init__(self, addresses: Mapping[str, Address]) -> None:
        self._addresses = dict(addresses)
        self._open: dict[KernelId, dict[str, _Door]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._addresses

    async def open(self, kernel_id: KernelId, run: Path, name: str) -> None:
        """See to one door of a container; may be repeated. Raises ``OSError`` if its user hinders it."""
        doors = self._open.setdefault(kernel_id, {})
        if name in doors:
            return
        connections: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            if len(connections) >= _MAX_CONNECTIONS:
                writer.close()
                return
            connections.add(task)
            try:
                await _carry(self._addresses[name], reader, writer)
            finally:
                connections.discard(task)
                writer.close()

        listener = folders.bind_private(run, socket_name(name))
        doors[name] = _Door(await asyncio.start_unix_server(serve, sock=listener), connections)

    async def shut(self, kernel_id: KernelId) -> None:
        """Close a container's doors and hang up on who came through them."""
        for door in self._open.pop(kernel_id, {}).values():
            door.server.close()
            tasks = list(door.connections)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await door.server.wait_closed()

    async def close(self) -> None:
        for kernel_id in list(self._open):
            await self.shut(kernel_id)


def socket_name(door: str) -> str:
    return f"{door}.sock"


async def _carry(address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    dialling = asyncio.open_connection(address.host, address.port, ssl=address.tls)
    try:
        async with asyncio.timeout(_DIAL_TIMEOUT_S):
            there = await dialling
    except (OSError, TimeoutError):  # who dialled sees the connection end, and may try again
        return
    try:
        async with asyncio.TaskGroup() as ways:
            ways.create_task(_copy(reader, there[1]))
            ways.create_task(_copy(there[0], writer))
    finally:
        there[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the end of what is read, which is then told to the other side."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        else:  # TLS ends both ways at once, as HTTP does
            writer.close()
