"""Data streams: dial the manager for one, and carry bytes between that WebSocket and something local, an *end*.

Each side is read no faster than the other takes: every write is awaited. A socket's bytes are not looked at.
"""

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol
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


class End(Protocol):
    """The local end of a stream."""

    async def carry(self, socket: WebSocketClientConnection) -> None:
        """Carry bytes both ways until it is over, or the WebSocket is closed."""
        ...

    def close(self) -> None:
        """Let go; also of an end that was never carried."""
        ...


class Streams:
    """The open streams of an agent. ``tls`` is as for its link."""

    def __init__(self, manager_url: str, tls: ssl.SSLContext | None = None) -> None:
        self._manager_url, self._tls = manager_url, tls
        self._open: set[asyncio.Task[None]] = set()

    async def open(self, stream_id: str, ticket: str, end: End) -> None:
        """Join the manager's stream to ``end``. Returns once the manager has taken it. Raises ``StreamFailed``."""
        url = websocket_url(self._manager_url, f"/agent/streams/{quote(stream_id, safe='')}?ticket={quote(ticket)}")
        try:
            socket = await dial(url, self._tls)
        except (OSError, HTTPClientError, TimeoutError) as error:
            end.close()
            raise StreamFailed(f"The manager does not take stream {stream_id}: {error}") from error
        task = asyncio.create_task(self._carry(socket, end))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _carry(self, socket: WebSocketClientConnection, end: End) -> None:
        try:
            await end.carry(socket)
        finally:
            socket.close()
            end.close()

    async def close(self) -> None:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class SocketEnd:
    """A connected socket. When one way has ended, with ``halves`` the other goes on until it ends too; an empty frame
    is how the end of a way is told. ``before_frame(is_first)`` is awaited before each other frame for the socket."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        halves: bool,
        before_frame: Callable[[bool], Awaitable[None]] | None = None,
    ) -> None:
        self._reader, self._writer, self._halves, self._before_frame = reader, writer, halves, before_frame

    async def carry(self, socket: WebSocketClientConnection) -> None:
        ways = {asyncio.create_task(self._up(socket)), asyncio.create_task(self._down(socket))}
        try:
            while ways:
                ended, ways = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                if not self._halves or any(way.result() for way in ended):
                    break
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def close(self) -> None:
        self._writer.close()

    async def _up(self, socket: WebSocketClientConnection) -> bool:
        """True if nothing more can be told to the manager."""
        try:
            with contextlib.suppress(OSError):
                while piece := await self._reader.read(PIECE_BYTES):
                    await socket.write_message(piece, binary=True)
            if self._halves:
                await socket.write_message(b"", binary=True)
        except WebSocketClosedError:
            return True
        return False

    async def _down(self, socket: WebSocketClientConnection) -> bool:
        """True if nothing more will come from the manager."""
        is_first = True
        while (message := await socket.read_message()) is not None:
            if message and self._before_frame is not None:
                with contextlib.suppress(BaiError, KeyError):  # it has ended, or its owner asks again
                    await self._before_frame(is_first)
            is_first = False
            with contextlib.suppress(OSError):  # it reads no more, and may still write
                if message:
                    self._writer.write(message if isinstance(message, bytes) else message.encode())
                    await self._writer.drain()
                else:
                    self._writer.write_eof()
        return True


async def to_unix(path: Path, before_frame: Callable[[bool], Awaitable[None]] | None = None) -> SocketEnd:
    """The unix socket at ``path``. Raises ``StreamFailed``."""
    try:
        async with asyncio.timeout(_LOCAL_TIMEOUT_S):
            reader, writer = await connect_unix(path)
    except (OSError, TimeoutError) as error:
        raise StreamFailed(f"Nothing answers at {path.name}: {error}") from error
    return SocketEnd(reader, writer, halves=False, before_frame=before_frame)


async def connect_unix(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a unix socket whose path may be longer than the 107 bytes a socket address holds."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{path.name}", limit=PIECE_BYTES)
    finally:
        os.close(folder)
