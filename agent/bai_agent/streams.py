"""Data streams: dial the manager for one, and splice bytes between that WebSocket and a local socket.

Never looks at the bytes. Each side is read no faster than the other takes: every write is awaited.
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from urllib.parse import quote

from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from bai_agent.link import dial, websocket_url
from bai_jupyter.common.errors import BaiError

log = logging.getLogger(__name__)

PIECE_BYTES = 64 * 1024
_LOCAL_TIMEOUT_S = 5.0


class StreamFailed(BaiError):
    """A stream could not be opened; the message says which end."""


class Streams:
    """The open streams of an agent."""

    def __init__(self, manager_url: str) -> None:
        self._manager_url = manager_url
        self._open: set[asyncio.Task[None]] = set()

    async def open(self, stream_id: str, ticket: str, socket_path: Path) -> None:
        """Join the manager's stream to the unix socket at ``socket_path``. Returns once both ends are connected.

        Raises ``StreamFailed``.
        """
        try:
            reader, writer = await asyncio.wait_for(connect_unix(socket_path), _LOCAL_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            raise StreamFailed(f"Nothing answers at {socket_path.name}: {error}") from error
        url = websocket_url(self._manager_url, f"/agent/streams/{quote(stream_id, safe='')}?ticket={quote(ticket)}")
        try:
            socket = await dial(url)
        except (OSError, HTTPClientError, TimeoutError) as error:
            writer.close()
            raise StreamFailed(f"The manager does not take stream {stream_id}: {error}") from error
        task = asyncio.create_task(splice(socket, reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def connect_unix(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a unix socket whose path may be longer than the 107 bytes a socket address holds."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{path.name}", limit=PIECE_BYTES)
    finally:
        os.close(folder)


async def splice(socket: WebSocketClientConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until either end closes; then close the other."""
    ways = [asyncio.create_task(_up(reader, socket)), asyncio.create_task(_down(socket, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        socket.close()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _up(reader: asyncio.StreamReader, socket: WebSocketClientConnection) -> None:
    with contextlib.suppress(OSError, WebSocketClosedError):
        while piece := await reader.read(PIECE_BYTES):
            await socket.write_message(piece, binary=True)


async def _down(socket: WebSocketClientConnection, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, WebSocketClosedError):
        while (message := await socket.read_message()) is not None:
            writer.write(message if isinstance(message, bytes) else message.encode())
            await writer.drain()
