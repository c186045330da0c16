"""Answers as they arrive: the pieces of one HTTP answer, and the events among them."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, ResponseStartLine
from tornado.iostream import StreamClosedError

_PIECES_AHEAD = 8

Json = dict[str, Any]


class Answer(HTTPMessageDelegate):
    """One answer as it arrives, no faster than it is taken."""

    def __init__(self) -> None:
        self.started: asyncio.Future[ResponseStartLine] = asyncio.get_running_loop().create_future()
        self.headers = HTTPHeaders()
        self.is_complete = False
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES_AHEAD)

    async def read(self, connection: HTTP1Connection) -> None:
        with suppress(StreamClosedError):
            await connection.read_response(self)
        if not self.started.done():
            self.started.set_exception(ConnectionResetError("the connection ended before an answer"))
            self.started.exception()  # seen, also if nobody waits any more
        await self._pieces.put(None)

    async def next_piece(self, silence_s: float | None = None) -> bytes | None:
        """The next bytes of the body; ``None`` at its end, or when nothing came for ``silence_s``."""
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with a piece.
            async with asyncio.timeout(silence_s):
                return await self._pieces.get()
        except TimeoutError:
            return None

    async def body(self) -> bytes:
        pieces = []
        while (piece := await self.next_piece()) is not None:
            pieces.append(piece)
        return b"".join(pieces)

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        if start_line.code >= 200 and not self.started.done():
            self.headers = headers
            self.started.set_result(start_line)

    async def data_received(self, chunk: bytes) -> None:
        await self._pieces.put(chunk)

    def finish(self) -> None:
        self.is_complete = True

    def on_connection_close(self) -> None:
        self.is_complete = False


class EventReader:
    """Server-sent events out of bytes that come in pieces. Comments and events that are not JSON are dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._name, self._data = "message", []  # type: tuple[str, list[str]]

    def feed(self, piece: bytes) -> list[tuple[str, Json]]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        found = [self._take(line.rstrip(b"\r").decode("utf-8", "replace")) for line in lines]
        return [event for event in found if event is not None]

    def _take(self, line: str) -> tuple[str, Json] | None:
        key, _, value = line.partition(":")
        if key == "event":
            self._name = value.removeprefix(" ")
        elif key == "data":
            self._data.append(value.removeprefix(" "))
        elif not line:
            name, data = self._name, "\n".join(self._data)
            self._name, self._data = "message", []
            with suppress(ValueError):
                return name, json.loads(data)
        return None
