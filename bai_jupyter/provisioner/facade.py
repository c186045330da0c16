"""Ordinary ZMQ ports for a Jupyter kernel that runs elsewhere, so that any Jupyter client can use it.

The facade binds the five ports of a connection file on this machine and is one reader of the kernel's tapes. It knows
nothing of messages: requests go out in an envelope that names the asking client, and answers come back in it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zmq

from bai_jupyter.client import ManagerClient
from bai_jupyter.common.records import Channel
from bai_jupyter.kernel_stream import Bookmark, Incoming, KernelStream

log = logging.getLogger("bai_jupyter.facade")

IP = "127.0.0.1"
_RETRY_S = 0.1
_HELD_ANSWERS = 1000  # answers to clients that are not (yet again) connected


@dataclass(frozen=True)
class Ports:
    shell: int = 0
    iopub: int = 0
    stdin: int = 0
    hb: int = 0
    control: int = 0


class Facade:
    """The five sockets of one Jupyter kernel. Lives on the event loop it is made on.

    With ``may_move`` a port that another program has taken is replaced by a free one, instead of a ``ZMQError``.
    The heartbeat answers while ``is_alive()`` says so: the kernel's own heartbeat would only tell of the network.
    """

    def __init__(
        self,
        client: ManagerClient,
        session: str,
        jupyter_kernel_id: str,
        reader: str,
        bookmark_path: Path | None,
        ports: Ports,
        is_alive: Callable[[], bool],
        *,
        may_move: bool = False,
    ) -> None:
        self._is_alive, self._may_move = is_alive, may_move
        self._loop = asyncio.get_running_loop()
        self._context = zmq.Context()
        self._held: deque[tuple[Channel, list[bytes]]] = deque(maxlen=_HELD_ANSWERS)
        self._retry: asyncio.TimerHandle | None = None
        self._routers = {
            Channel.SHELL: self._bind(zmq.ROUTER, ports.shell),
            Channel.STDIN: self._bind(zmq.ROUTER, ports.stdin),
            Channel.CONTROL: self._bind(zmq.ROUTER, ports.control),
        }
        self._iopub = self._bind(zmq.XPUB, ports.iopub)
        self._heartbeat = self._bind(zmq.ROUTER, ports.hb)
        self.stream = KernelStream(
            client, session, jupyter_kernel_id, reader, Bookmark(bookmark_path), self._deliver, self._on_gap
        )
        for channel, router in self._routers.items():
            self._watch(router, lambda channel=channel: self._forward(channel))
        self._watch(self._heartbeat, self._beat)
        self._watch(self._iopub, lambda: _drain(self._iopub))

    @property
    def ports(self) -> Ports:
        return Ports(
            shell=_port(self._routers[Channel.SHELL]),
            iopub=_port(self._iopub),
            stdin=_port(self._routers[Channel.STDIN]),
            hb=_port(self._heartbeat),
            control=_port(self._routers[Channel.CONTROL]),
        )

    def _bind(self, kind: int, port: int) -> "zmq.Socket[bytes]":
        sock = self._context.socket(kind)
        sock.linger = 0
        sock.sndhwm = 0  # what is on its way to a client is bounded by the client's own reading, not dropped here
        if kind == zmq.ROUTER:
            sock.router_mandatory = True  # say so when a client is not there, instead of dropping its answer
            sock.setsockopt(zmq.ROUTER_HANDOVER, 1)
        try:
            sock.bind(f"tcp://{IP}:{port or '*'}")
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE or not self._may_move:
                self._context.destroy()
                raise
            sock.bind(f"tcp://{IP}:*")
        return sock

    def _watch(self, sock: "zmq.Socket[bytes]", handle: Callable[[], None]) -> None:
        self._loop.add_reader(sock.fileno(), handle)
        self._loop.call_soon(handle)  # the descriptor is edge triggered: what came before the watch would wait

    # From clients

    def _forward(self, channel: Channel) -> None:
        for client, *frames in _drain(self._routers[channel]):
            self.stream.send(channel, client, frames)

    def _beat(self) -> None:
        for frames in _drain(self._heartbeat):
            if self._is_alive():
                self._send(self._heartbeat, frames)
        if self._heartbeat.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            self._loop.call_soon(self._beat)

    # To clients

    async def _deliver(self, message: Incoming) -> None:
        if message.channel is Channel.IOPUB:
            self._iopub.send_multipart(message.frames)
            self._loop.call_soon(_drain, self._iopub)
        elif message.envelope is not None:
            frames = [message.envelope.client, *message.frames]
            if not self._send(self._routers[message.channel], frames):
                self._hold(message.channel, frames)
            self._loop.call_soon(self._forward, message.channel)

    def _send(self, router: "zmq.Socket[bytes]", frames: list[bytes]) -> bool:
        try:
            router.send_multipart(frames, zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def _hold(self, channel: Channel, frames: list[bytes]) -> None:
        """Its client is not connected: a page that reconnects, or one that never will. Try again for a while."""
        self._held.append((channel, frames))
        if self._retry is None:
            self._retry = self._loop.call_later(_RETRY_S, self._try_held)

    def _try_held(self) -> None:
        self._retry = None
        for _ in range(len(self._held)):
            channel, frames = self._held.popleft()
            if not self._send(self._routers[channel], frames):
                self._held.append((channel, frames))
        if self._held:
            self._retry = self._loop.call_later(_RETRY_S, self._try_held)

    def _on_gap(self, channel: Channel) -> None:
        log.warning("output of a kernel was dropped unread on %s: it passed the journal's bound", channel.name.lower())

    async def close(self) -> None:
        await self.stream.close()
        if self._retry is not None:
            self._retry.cancel()
        for sock in (*self._routers.values(), self._iopub, self._heartbeat):
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._context.term()


def _drain(sock: "zmq.Socket[bytes]") -> list[list[bytes]]:
    """All messages that wait on a socket. Its descriptor tells of changes only, so nothing may be left behind."""
    messages = []
    while not sock.closed:
        try:
            messages.append(sock.recv_multipart(zmq.DONTWAIT))
        except zmq.Again:
            break
    return messages


def _port(sock: "zmq.Socket[bytes]") -> int:
    return int(sock.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
