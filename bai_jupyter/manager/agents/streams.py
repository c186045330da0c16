"""Data streams: the agent dials a WebSocket for each, and it is joined to the caller's. Bytes are not looked into.

Each side reads its next frame only when the last one was written to the other side's socket, so a reader that stalls
stops its writer, and nothing piles up here. An empty frame means that no more comes this way; the other way goes on.

Who asks may be the manager itself: a ``ByteStream`` is read and written here instead of being joined to a WebSocket.
"""

import asyncio
import hmac
import os
import select
import socket
from functools import cached_property
from typing import Any
from uuid import uuid4

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from bai_jupyter.common.errors import Unavailable
from bai_jupyter.common.ids import KernelId
from bai_jupyter.manager.agents.link import AgentLink
from bai_jupyter.manager.agents.traffic import StreamUse, Traffic
from bai_jupyter.manager.auth.vault import new_token

TICKET_S = 30.0
MAX_MESSAGE_BYTES = 1024 * 1024
PIECE_BYTES = 64 * 1024
NO_SUCH, ENDED, AGENT_AWAY = 4404, 4409, 4503

_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class Side:
    """One side of a stream. What it hears goes to ``peer``; when one side closes, so does the other."""

    peer: "Side | None" = None
    is_closed = False
    close_code: int | None = None

    @cached_property
    def _joined(self) -> asyncio.Event:
        return asyncio.Event()

    async def take(self, frame: bytes) -> None:
        """A frame from the peer. Returns when there is room for the next; raises ``WebSocketClosedError``."""
        raise NotImplementedError

    def on_peer_closed(self, code: int | None) -> None:
        raise NotImplementedError

    def join(self, peer: "Side") -> None:
        """Splice the two. One that has closed before there was a peer to tell, tells it now."""
        self.peer, peer.peer = peer, self
        self._joined.set()
        peer._joined.set()
        for side, other in ((self, peer), (peer, self)):
            if side.is_closed:
                other.on_peer_closed(side.close_code)

    def has_closed(self) -> None:
        self.is_closed = True
        self._joined.set()
        if self.peer is not None:
            self.peer.on_peer_closed(self.close_code)


class SplicedSocket(Side, WebSocketHandler):
    """A side that is a WebSocket."""

    @property
    def max_message_size(self) -> int:
        return MAX_MESSAGE_BYTES

    @property
    def ping_interval(self) -> float | None:
        return None  # a stalled reader would miss the pong and lose its stream; TCP keep-alive finds dead hosts

    async def take(self, frame: bytes) -> None:
        await self.write_message(frame, binary=True)

    async def on_message(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.close(1003, "binary frames only")
            return
        await self._joined.wait()  # nothing more is read meanwhile
        if self.peer is None:
            return
        try:
            await self.peer.take(message)
        except WebSocketClosedError:
            self.close(1000)

    def on_close(self) -> None:
        self.has_closed()

    def tune(self) -> None:
        """Small frames go out at once, and a dead host is noticed."""
        self.set_nodelay(True)
        assert self.ws_connection is not None
        assert self.ws_connection.stream is not None
        connection = self.ws_connection.stream.socket
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class CallerSocket(SplicedSocket):
    """The side of who asked for the stream."""

    def on_peer_closed(self, code: int | None) -> None:
        """Pass on what the agent said; without a word from it, the caller should dial again."""
        meant = code is not None and (code == 1000 or 4000 <= code <= 4999)
        self.close(code if meant else AGENT_AWAY)


class AgentSocket(SplicedSocket):
    """``/agent/streams/{stream_id}?ticket=…``: the agent's side. The ticket is its only credential."""

    use: StreamUse | None = None  # what is told of its frames, from when it was asked for

    def initialize(self, streams: "Streams") -> None:
        self._streams = streams

    def prepare(self) -> None:
        arrived = self._streams.claim(self.path_args[0], self.get_query_argument("ticket", ""))
        if arrived is None:
            self.set_status(403)
            self.finish()
        else:
            self._arrived = arrived

    def open(self, *_args: str, **_kwargs: str) -> None:
        self.tune()
        if self._arrived.done():
            self.close(1000, "nobody waits for this stream any more")
        else:
            self._arrived.set_result(self)

    async def take(self, frame: bytes) -> None:
        await self.send(frame)

    def send(self, frame: bytes) -> "asyncio.Future[None]":
        """To the agent; awaited, it returns when there is room for the next."""
        if self.use is not None:
            self.use.went(frame)
        return self.write_message(frame, binary=True)

    async def on_message(self, message: str | bytes) -> None:
        if self.use is not None:
            self.use.came()
        await super().on_message(message)

    def on_close(self) -> None:
        if self.use is not None:
            self.use.ended()
        super().on_close()

    def on_peer_closed(self, code: int | None) -> None:  # noqa: ARG002
        self.close(1000)


class ByteStream(Side):
    """The manager's own side of a stream. It has the names of tornado's client connection, and can stand in for one.

    Guarantees: at most one frame waits here unread; the end of the stream is told after all that came before it.
    """

    def __init__(self, agent: AgentSocket) -> None:
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._agent = agent
        self.join(agent)

    async def read_message(self) -> bytes | None:
        """The next frame; empty: no more comes, but can still be written; None: the stream is closed."""
        if self.is_closed and self._arrived.empty():
            return None
        return await self._arrived.get()

    def write_message(self, frame: bytes, binary: bool = True) -> "asyncio.Future[None]":  # noqa: ARG002
        """Send a frame; awaited, it returns when there is room for the next. Raises ``WebSocketClosedError``."""
        return self._agent.send(frame)

    def close(self) -> None:
        """What was not read is dropped."""
        if not self.is_closed:
            self.has_closed()
        while not self._arrived.empty():
            self._arrived.get_nowait()

    async def take(self, frame: bytes) -> None:
        if self.is_closed:
            raise WebSocketClosedError
        await self._arrived.put(frame)

    def on_peer_closed(self, code: int | None) -> None:
        self.close_code, self.is_closed = code, True
        if self._arrived.empty():
            self._arrived.put_nowait(None)  # wakes a reader that waits


async def local_socket(stream: ByteStream) -> socket.socket:
    """A socket of this process that leads into the stream, for what can only speak to sockets.

    The stream ends when both ways have ended, or the socket was closed.
    """
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs, limit=PIECE_BYTES)
    _carriers.add(carrier := asyncio.create_task(carry(stream, reader, writer)))
    carrier.add_done_callback(_carriers.discard)
    return ours


_carriers: set[asyncio.Task[None]] = set()  # a task that nobody holds may be collected


async def carry(stream: ByteStream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All bytes both ways, until both have ended or either side is closed. Closes both."""

    async def up() -> None:
        while piece := await reader.read(PIECE_BYTES):
            await stream.write_message(piece)
        await stream.write_message(b"")
        await _hung_up(writer.get_extra_info("socket"))
        stream.close()  # nobody is left who could hear an answer

    async def down() -> None:
        while frame := await stream.read_message():
            writer.write(frame)
            await writer.drain()
        writer.write_eof()

    try:
        async with asyncio.TaskGroup() as ways:
            ways.create_task(up())
            ways.create_task(down())
    except* (OSError, WebSocketClosedError):
        pass  # whoever holds the socket sees it end
    finally:
        stream.close()
        writer.close()


async def _hung_up(connection: socket.socket) -> None:
    """Returns when both ways of a socket have ended; asyncio tells only of one. Raises ``OSError`` if it was closed."""
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    own = os.dup(connection.fileno())  # so that the number is not another socket's meanwhile
    try:
        with select.epoll() as watch:
            watch.register(own, 0)  # the end is told without being asked for
            loop.add_reader(watch, over.set)
            try:
                await over.wait()
            finally:
                loop.remove_reader(watch)
    finally:
        os.close(own)


class Streams:
    """Streams that agents were asked for and have not dialled yet."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._expected: dict[str, tuple[str, asyncio.Future[AgentSocket]]] = {}

    async def open(self, link: AgentLink, kernel_id: KernelId | None, endpoint: dict[str, Any]) -> AgentSocket:
        """Ask the agent for a stream to ``endpoint`` (see ``messages.Call``) and wait until it has dialled.

        Raises ``AgentFault`` with its reason, or ``Unavailable``. The socket must be joined, or closed.
        """
        stream_id, ticket = str(uuid4()), new_token()
        arrived: asyncio.Future[AgentSocket] = asyncio.get_running_loop().create_future()
        self._expected[stream_id] = (ticket, arrived)
        params = {"kernel_id": kernel_id, "stream_id": stream_id, "ticket": ticket, "endpoint": endpoint}
        try:
            async with asyncio.timeout(TICKET_S):
                await link.call("open_stream", params, TICKET_S)
                socket = await asyncio.shield(arrived)
        except BaseException as error:
            _discard(arrived)
            if isinstance(error, TimeoutError):
                raise Unavailable(f"{link.name} did not open the stream in time.") from error
            raise
        finally:
            self._expected.pop(stream_id, None)
        socket.use = self.traffic.stream(kernel_id, endpoint["kind"])
        if socket.is_closed:
            socket.use.ended()
        return socket

    def claim(self, stream_id: str, ticket: str) -> asyncio.Future[AgentSocket] | None:
        """Use the ticket up: None if it is wrong, used, or too old."""
        expected = self._expected.get(stream_id)
        if expected is None or not hmac.compare_digest(expected[0].encode(), ticket.encode()):
            return None
        del self._expected[stream_id]
        return expected[1]


def _discard(arrived: "asyncio.Future[AgentSocket]") -> None:
    if arrived.done() and not arrived.cancelled():
        arrived.result().close(1000)
    arrived.cancel()
