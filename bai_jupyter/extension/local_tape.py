"""What cells say in a local kernel, for pages whose connection broke meanwhile.

Jupyter writes what such a kernel says into a page's WebSocket, and keeps it only while no page is connected. What it
wrote into a connection that had broken, before it heard of that, is in no page. A server in a session is reached by way
of a proxy, the manager and an agent, each of which may end. So there what cells say is kept in memory, until a saved
notebook holds it, and a page reads it again as it does from a remote kernel's tape (``outputs``).
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tornado.websocket import WebSocketClosedError

from bai_jupyter.common.records import Channel
from bai_jupyter.extension.executions import Execution, Executions, answer_of, cell_of
from bai_jupyter.extension.page import without_identities, word_in
from bai_jupyter.kernel_stream import Incoming


@dataclass
class _Said:
    """What one execution has said so far. The first ``dropped`` messages of it are there no more."""

    messages: deque[Incoming] = field(default_factory=deque)
    dropped: int = 0

    @property
    def end(self) -> int:
        return self.dropped + len(self.messages)

    def position_of(self, msg_id: str) -> int:
        """-1 if it is not there."""
        for position, message in enumerate(self.messages, self.dropped):
            parts = without_identities(message.frames)
            if parts is not None and word_in(parts[1], "msg_id") == msg_id:
                return position
        return -1


class LocalTape(Executions):
    """The unsettled executions of one local kernel, with what they said: at most ``max_bytes``, the oldest goes first.

    A restart of the kernel makes all of it void, as does the end of this server, with which the kernel ends.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._size = max_bytes, 0
        self._said: dict[str, _Said] = {}
        self._readers: set[LocalReplay] = set()
        self._iopub: Any = None
        super().__init__(None)

    def listen(self, iopub: Any) -> None:
        """Take what comes from this ZMQ stream, until ``close``."""
        self.close()
        self._iopub = iopub
        iopub.on_recv(lambda frames: self.take(Channel.IOPUB, frames))

    def close(self) -> None:
        """The kernel ends."""
        self.start_over()
        if self._iopub is not None and not self._iopub.closed():
            self._iopub.close()
        self._iopub = None

    def hear(self, channel: str, frames: list[bytes]) -> None:
        """A page sends this to the kernel. ``frames`` begin at Jupyter's delimiter."""
        if channel == "shell" and (found := cell_of(frames)) is not None:
            self.note(Execution(*found, generation=0, positions={}))
        elif channel == "stdin" and (question_id := answer_of(frames)) is not None:
            self.note(question_id)

    def take(self, channel: Channel, frames: list[bytes]) -> None:
        """The kernel says this. It is kept if it is about an execution that is."""
        parts = without_identities(frames)
        said = self._said.get(word_in(parts[2], "msg_id") or "") if parts is not None else None
        if said is None:
            return
        said.messages.append(Incoming(channel, None, frames))
        self._size += _size(frames)
        while self._size > self._max_bytes:
            oldest = next(each for each in self._said.values() if each.messages)
            self._size -= _size(oldest.messages.popleft().frames)
            oldest.dropped += 1
        self._tell_readers()

    def settle(self, msg_ids: Collection[str]) -> None:
        super().settle(msg_ids)
        self._forget_others()

    def start_over(self) -> None:
        """The kernel is restarted."""
        self.settle([*self._said])

    def open_replay(
        self,
        seen: Mapping[str, str | None],
        on_message: Callable[[Incoming], Awaitable[None]],
        on_gap: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> "LocalReplay":
        """Read these executions, each from the message on that was ``seen`` last, or from its beginning.

        ``on_message`` is awaited for each message, ``on_gap`` is told which execution lacks some, and ``on_end`` is
        called when none of them is kept any more.
        """
        start = {
            msg_id: self._said[msg_id].position_of(last) if last else 0
            for msg_id, last in seen.items()
            if msg_id in self._said
        }
        reader = LocalReplay(self._said, start, on_message, on_gap, on_end, self._readers.discard)
        self._readers.add(reader)
        return reader

    def _put(self, noted: Execution | str) -> None:
        super()._put(noted)
        self._forget_others()

    def _forget_others(self) -> None:
        """Keep what the executions say that count, and nothing else."""
        kept = {each.msg_id for each in self.of(0)}
        for msg_id in self._said.keys() - kept:
            self._size -= sum(_size(message.frames) for message in self._said.pop(msg_id).messages)
        for msg_id in kept - self._said.keys():
            self._said[msg_id] = _Said()
        self._tell_readers()

    def _tell_readers(self) -> None:
        for reader in self._readers:
            reader.news.set()


class LocalReplay:
    """One reader of a ``LocalTape``. A slow one slows nobody, and may find a gap."""

    def __init__(
        self,
        said: Mapping[str, _Said],
        start: dict[str, int],
        on_message: Callable[[Incoming], Awaitable[None]],
        on_gap: Callable[[str], None],
        on_end: Callable[[], None],
        on_close: Callable[["LocalReplay"], None],
    ) -> None:
        self.news = asyncio.Event()
        self._said, self._next = said, start
        self._on_message, self._on_gap, self._on_end, self._on_close = on_message, on_gap, on_end, on_close
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        while self._next.keys() & self._said.keys():
            self.news.clear()
            for msg_id in self._next:
                await self._read_one(msg_id)
            await self.news.wait()
        self._on_end()

    async def _read_one(self, msg_id: str) -> None:
        while (said := self._said.get(msg_id)) is not None and self._next[msg_id] < said.end:
            if self._next[msg_id] < said.dropped:
                self._next[msg_id] = said.dropped
                self._on_gap(msg_id)
                continue
            message = said.messages[self._next[msg_id] - said.dropped]
            self._next[msg_id] += 1
            await self._on_message(message)

    async def close(self) -> None:
        self._on_close(self)
        self._reading.cancel()
        with suppress(asyncio.CancelledError, WebSocketClosedError):
            await self._reading


def _size(frames: list[bytes]) -> int:
    """What they take in memory."""
    return sum(map(sys.getsizeof, frames))
