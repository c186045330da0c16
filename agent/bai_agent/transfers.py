"""Uploads and downloads as ends of streams to the manager."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from bai_agent.files import FileFault
from bai_agent.open_folders import Params

_CLOSE_TIMEOUT_S = 10.0  # tornado gives a peer that does not answer 5 s


class Socket(Protocol):
    """A stream to the manager. An empty frame: no more comes this way."""

    def read_message(self) -> Awaitable[str | bytes | None]: ...

    def write_message(self, message: bytes, binary: bool = ...) -> Awaitable[None]: ...


class TransferEnd:
    """An upload or download as the end of a stream, and that stream as it sees it."""

    def __init__(self, serve: Callable[[Socket, Params], Awaitable[None]], endpoint: Params) -> None:
        self._serve, self._endpoint = serve, endpoint
        self._is_over = False

    async def carry(self, socket: WebSocketClientConnection) -> None:
        self._socket = socket
        try:
            with suppress(WebSocketClosedError):
                await self._serve(self, self._endpoint)
        finally:
            socket.close()
            await self._read_the_rest()

    async def _read_the_rest(self) -> None:
        """What was sent before the other side knew: tornado would wait for ever for somebody to take it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                while not self._is_over:
                    await self.read_message()

    async def read_message(self) -> str | bytes | None:
        message = await self._socket.read_message()
        self._is_over = message is None
        return message

    def write_message(self, message: bytes, binary: bool = True) -> Awaitable[None]:
        return self._socket.write_message(message, binary=binary)

    def close(self) -> None:
        """Nothing is held from one piece to the next."""


def told(fault: FileFault) -> bytes:
    return json.dumps({"error": fault.reason.to_json()}).encode()
