"""Data streams: the agent dials a WebSocket for each, and it is joined to the caller's. Bytes are not looked into.

Each side reads its next frame only when the last one was written to the other side's socket, so a reader that stalls
stops its writer, and nothing piles up here.
"""

import asyncio
import hmac
import socket
from functools import cached_property
from typing import Any
from uuid import uuid4

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from bai_jupyter.common.errors import Unavailable
from bai_jupyter.common.ids import KernelId
from bai_jupyter.manager.agents.link import AgentLink
from bai_jupyter.manager.auth.vault import new_token

TICKET_S = 30.0
MAX_MESSAGE_BYTES = 1024 * 1024
NO_SUCH, ENDED, AGENT_AWAY = 4404, 4409, 4503

_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class SplicedSocket(WebSocketHandler):
    """One side of a stream. Frames go to ``peer``; when one side closes, so does the other."""

    peer: "SplicedSocket | None" = None
    is_closed = False

    @cached_property
    def _joined(self) -> asyncio.Event:
        return asyncio.Event()

    @property
    def max_message_size(self) -> int:
        return MAX_MESSAGE_BYTES

    @property
    def ping_interval(self) -> float | None:
        return None  # a stalled reader would miss the pong and lose its stream; TCP keep-alive finds dead hosts

    def join(self, peer: "SplicedSocket") -> None:
        """Splice the two. One that has closed before there was a peer to tell, tells it now."""
        self.peer, peer.peer = peer, self
        self._joined.set()
        peer._joined.set()
        for side, other in ((self, peer), (peer, self)):
            if side.is_closed:
                other.on_peer_closed(side.close_code)

    async def on_message(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.close(1003, "binary frames only")
            return
        await self._joined.wait()  # nothing more is read meanwhile
        if self.peer is None:
            return
        try:
            await self.peer.write_message(message, binary=True)
        except WebSocketClosedError:
            self.close(1000)

    def on_close(self) -> None:
        self.is_closed = True
        self._joined.set()
        if self.peer is not None:
            self.peer.on_peer_closed(self.close_code)

    def on_peer_closed(self, code: int | None) -> None:
        raise NotImplementedError

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

    def on_peer_closed(self, code: int | None) -> None:  # noqa: ARG002
        self.close(1000)


class Streams:
    """Streams that agents were asked for and have not dialled yet."""

    def __init__(self) -> None:
        self._expected: dict[str, tuple[str, asyncio.Future[AgentSocket]]] = {}

    async def open(self, link: AgentLink, kernel_id: KernelId, endpoint: dict[str, Any]) -> AgentSocket:
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
                return await asyncio.shield(arrived)
        except BaseException as error:
            _discard(arrived)
            if isinstance(error, TimeoutError):
                raise Unavailable(f"{link.name} did not open the stream in time.") from error
            raise
        finally:
            self._expected.pop(stream_id, None)

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
