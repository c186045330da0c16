"""The reverse proxy to web servers inside sessions, HTTP and WebSockets: what all its ways in share.

A way in says who is let through and where to (``_admit``, ``_open``), and what is changed in headers.
"""

import asyncio
from collections.abc import Hashable
from contextlib import suppress

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import stream_request_body
from tornado.websocket import WebSocketClosedError

from bai_jupyter.common.errors import Unavailable
from bai_jupyter.manager.agents.streams import ByteStream, local_socket
from bai_jupyter.manager.api.base import ApiHandler
from bai_jupyter.manager.api.problems import LengthRequired
from bai_jupyter.reverse_proxy import (
    MAX_BODY_BYTES,
    NEEDS_LENGTH,
    PIECE_BYTES,
    AnswerCopy,
    agrees,
    end_to_end,
    handshake,
    handshake_answer,
    has_body,
    needs_length,
)

_END_OF_HEAD = b"\r\n\r\n"
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})


@stream_request_body
class ReverseProxyHandler(ApiHandler):
    """Bodies go through in pieces, both ways, no faster than the other side takes them."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    _app_side: HTTP1Connection | None = None
    _stream: IOStream

    # What a way in says

    async def _admit(self) -> str | None:
        """The request's target on the far side; None if it is answered already. Raises ``PublicError``."""
        raise NotImplementedError

    @property
    def _key(self) -> Hashable:
        """Connections with the same key lead to the same place."""
        raise NotImplementedError

    async def _open(self) -> ByteStream:
        """A new connection to the far side. Raises ``PublicError``."""
        raise NotImplementedError

    def request_headers(self) -> HTTPHeaders:
        """What the far side gets of the request's headers."""
        return end_to_end(self.request.headers)

    def answer_headers(self, headers: HTTPHeaders) -> HTTPHeaders:
        """What the caller gets of the answer's headers."""
        return end_to_end(headers)

    # HTTP

    async def prepare(self) -> None:
        self.request.connection.set_max_body_size(MAX_BODY_BYTES)  # type: ignore[union-attr]
        if needs_length(str(self.request.method), self.request.headers):
            raise LengthRequired(NEEDS_LENGTH)
        target = await self._admit()
        if target is None:
            return
        self._target = target
        if self.request.headers.get("Upgrade", "").lower() == "websocket":
            await self._join(await self._open())
        else:
            is_repeatable = self.request.method in _REPEATABLE and not has_body(self.request.headers)
            used = self.services.idle_connections.take(self._key) if is_repeatable else None
            self._is_fresh = used is None
            await self._begin(used or IOStream(await local_socket(await self._open())))

    async def data_received(self, chunk: bytes) -> None:
        if self._app_side is None:
            return  # it was refused
        with suppress(StreamClosedError):  # it has heard enough; its answer says why
            await self._app_side.write(chunk)

    async def get(self, *_args: str) -> None:
        await self.while_connected(self._answer())

    head = post = put = patch = delete = options = get

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._let_go()

    def on_finish(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        if self._app_side is not None:
            self._app_side.close()

    async def _begin(self, stream: IOStream) -> None:
        self._stream = stream
        self._app_side = HTTP1Connection(stream, True, HTTP1ConnectionParameters(max_body_size=MAX_BODY_BYTES))
        start = RequestStartLine(str(self.request.method), self._target, "HTTP/1.1")
        with suppress(StreamClosedError):  # there may be an answer all the same
            await self._app_side.write_headers(start, self.request_headers())

    async def _answer(self) -> None:
        copy = await self._read_answer()
        if not copy.has_begun and not self._is_fresh:
            # The app had closed a connection that it was given before; nobody has heard this request.
            await self._begin(IOStream(await local_socket(await self._open())))
            copy = await self._read_answer()
        if not copy.is_whole:
            self.break_off(Unavailable("The app ended the connection without a whole answer. Try again."))
        if copy.keeps_alive:
            self._app_side = None
            self.services.idle_connections.put(self._key, self._stream)
        await self.finish()

    async def _read_answer(self) -> AnswerCopy:
        assert self._app_side is not None
        copy = AnswerCopy(self, self.answer_headers)
        with suppress(StreamClosedError):
            self._app_side.finish()
            await self._app_side.read_response(copy)
        return copy

    # WebSockets

    async def _join(self, stream: ByteStream) -> None:
        """Pass the handshake on, and if the app agrees bytes both ways until either side ends.

        If not, that is all: what comes behind it may be another's request, from a proxy before this one.
        """
        asked = handshake(str(self.request.method), self._target, self.request_headers())
        client: IOStream = self.request.connection.detach()  # type: ignore[union-attr]
        client.set_nodelay(True)
        self._finished = True  # tornado has nothing more to do with it
        client.set_close_callback(stream.close)  # who hangs up does not wait for the app
        try:
            await stream.write_message(asked)
            head, rest = await _head(stream)
            answer = handshake_answer(head, self.answer_headers)
            if not agrees(head):
                await client.write(answer)
                return
            await client.write(answer + rest)
            client.set_close_callback(None)
            ways = [asyncio.create_task(_up(client, stream)), asyncio.create_task(_down(stream, client))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except (HTTPInputError, StreamClosedError, WebSocketClosedError):
            return
        finally:
            stream.close()
            client.close()


async def _head(stream: ByteStream) -> tuple[bytes, bytes]:
    """An answer's head, and what came behind it. Raises ``HTTPInputError``."""
    came = b""
    while _END_OF_HEAD not in came:
        frame = await stream.read_message()
        if not frame or len(came) > PIECE_BYTES:
            raise HTTPInputError("no answer to a handshake")
        came += frame
    head, end, rest = came.partition(_END_OF_HEAD)
    return head + end, rest


async def _up(client: IOStream, stream: ByteStream) -> None:
    with suppress(StreamClosedError, WebSocketClosedError):
        while True:
            await stream.write_message(await client.read_bytes(PIECE_BYTES, partial=True))


async def _down(stream: ByteStream, client: IOStream) -> None:
    with suppress(StreamClosedError):
        while frame := await stream.read_message():
            await client.write(frame)
