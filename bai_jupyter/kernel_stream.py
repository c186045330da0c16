"""Read one Jupyter kernel's tapes and send it requests, whatever breaks in between.

A ``KernelStream`` is one reader of one Jupyter kernel: a page, or the local ports that stock clients connect to. It
dials the manager, says how far it has read, and goes on from there; after a cut it dials again. Each message is given
out exactly once, in its channel's order, and each request is taken once, as long as the reader's ``Bookmark`` lives.
"""

import asyncio
import hashlib
import logging
import mmap
import os
import struct
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tornado.websocket import WebSocketClosedError

from bai_jupyter.common.errors import NotFound, PublicError, Unavailable
from bai_jupyter.common.records import (
    Channel,
    Envelope,
    FrameReader,
    Hello,
    Kind,
    Record,
    RecordReader,
    Welcome,
    pack_frames,
    pack_hello,
    pack_request,
    read_welcome,
)

log = logging.getLogger("bai_jupyter.kernel_stream")

GONE, ENDED_AND_DROPPED = 4404, 4409
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_READ_OUT_S = 5.0  # so long a process that was replaced may take to end


def reader_id(name: str) -> str:
    """The stable id of whoever is called ``name`` (a browser's session id, say): 16 hex digits."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


class Bookmark:
    """How far one reader has read, in a memory-mapped file, so that ``kill -9`` keeps it and each note costs nothing.

    Without a path it lives in memory only. A new generation starts at the beginning of its tapes.
    """

    _FIELDS = struct.Struct("<Q4Q")

    def __init__(self, path: Path | None = None, *, from_start: bool = True) -> None:
        self.is_new = path is None or not path.exists()
        self._from_start = from_start
        if path is None:
            self._data: mmap.mmap = mmap.mmap(-1, self._FIELDS.size)
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, self._FIELDS.size)
            self._data = mmap.mmap(descriptor, self._FIELDS.size)
        finally:
            os.close(descriptor)

    @property
    def generation(self) -> int:
        return int(self._FIELDS.unpack_from(self._data)[0])

    def positions(self, generation: int) -> dict[Channel, int] | None:
        """Where to go on in this generation; ``None`` for "at the live end" (a new reader that wants no history)."""
        noted, *offsets = self._FIELDS.unpack_from(self._data)
        if noted == generation:
            return dict(zip(Channel, offsets, strict=True))
        if noted == 0 and not self._from_start:
            return None
        return dict.fromkeys(Channel, 0)

    def note(self, generation: int, positions: dict[Channel, int]) -> None:
        self._FIELDS.pack_into(self._data, 0, generation, *(positions[channel] for channel in Channel))

    def close(self) -> None:
        self._data.close()


@dataclass(frozen=True)
class Incoming:
    """One message from the kernel. ``envelope`` is ours if this answers a request of this reader, else ``None``;
    ``frames`` begin at Jupyter's delimiter (for IOPub: at the topic)."""

    channel: Channel
    envelope: Envelope | None
    frames: list[bytes]


class Connection(Protocol):
    """What is read and written: tornado's client connection, or what stands in for one."""

    close_code: int | None

    def read_message(self) -> Awaitable[str | bytes | None]: ...

    def write_message(self, message: bytes, binary: bool = ...) -> Awaitable[None]: ...

    def close(self) -> None: ...


class Dialler(Protocol):
    """Who opens a stream to a Jupyter kernel's relay: ``ManagerClient``, or the manager itself.

    Raises ``NotFound`` if there never will be one, ``Unavailable`` if it should be tried again.
    """

    async def open_stream(self, session: str, jupyter_kernel_id: str, generation: int) -> Any: ...


class KernelStream:
    """One reader of one Jupyter kernel, on the event loop it was made on.

    ``on_message`` is awaited for each message: while it takes its time nothing more is read, all the way back to the
    tape. ``on_gap(channel)`` is told when output was dropped unread, ``on_end()`` when a generation has been read to
    its end. ``follow(generation)`` starts reading; a larger generation replaces the one before; ``go_on(generation)``
    does so after a restart by others. With ``all_replies`` it also reads what answers others' requests.
    """

    def __init__(
        self,
        client: Dialler,
        session: str,
        jupyter_kernel_id: str,
        reader: str,
        bookmark: Bookmark,
        on_message: Callable[[Incoming], Awaitable[None]],
        on_gap: Callable[[Channel], None] = lambda _channel: None,
        on_end: Callable[[], None] = lambda: None,
        *,
        all_replies: bool = False,
    ) -> None:
        self._client = client
        self._session = session
        self._id = jupyter_kernel_id
        self._reader = reader
        self._reader_bytes = bytes.fromhex(reader)
        self._bookmark = bookmark
        self._on_message = on_message
        self._on_gap = on_gap
        self._on_end = on_end
        self._all_replies = all_replies
        self._generation = 0
        self._counter: int | None = None  # known once the relay has said what it took
        self._waiting: list[tuple[Channel, bytes, list[bytes]]] = []  # before the counter is known
        self._untaken: OrderedDict[int, tuple[Channel, bytes, list[bytes]]] = OrderedDict()
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._next: int | None = None  # to be read once the one that is read now has ended
        self._patience: asyncio.TimerHandle | None = None

    # For callers

    def follow(self, generation: int) -> None:
        """Read this generation from now on. Requests not yet taken by an older one are dropped with it."""
        if generation == self._generation and self._task is not None and not self._task.done():
            return
        if self._generation not in (0, generation):
            self._waiting.clear()
        self._start(generation)

    def go_on(self, generation: int) -> None:
        """It was restarted by others: read the one before to its end, at most ``_READ_OUT_S`` long, and then this one.

        What the one before has not taken is asked of this one, in order: whoever asked knew nothing of the restart.
        """
        if self._task is None or generation <= self._generation:
            self.follow(generation)
            return
        self._next = generation
        if self._task.done():
            self._move()
        elif self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(_READ_OUT_S, self._move)

    def _move(self) -> None:
        if self._next is not None:
            self._waiting[:0] = self._untaken.values()
            self._start(self._next)

    def _start(self, generation: int) -> None:
        self._generation, self._next = generation, None
        self._counter = None
        self._untaken.clear()
        self._stop()
        self._task = asyncio.create_task(self._follow(generation))

    def _stop(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._task is not None:
            self._task.cancel()

    def send(self, channel: Channel, client: bytes, frames: list[bytes]) -> None:
        """Send one message, ``frames`` beginning at Jupyter's delimiter. Kept until the relay has taken it."""
        request = (channel, client, frames)
        if self._counter is None or self._next is not None:
            self._waiting.append(request)
            return
        self._counter += 1
        self._untaken[self._counter] = request
        self._transmit(self._counter, *request)

    def mark(self) -> tuple[int, dict[Channel, int]]:
        """Generation and positions behind which everything lies that a request sent now will cause."""
        generation = self._next or self._generation
        return generation, self._bookmark.positions(generation) or dict.fromkeys(Channel, 0)

    async def close(self) -> None:
        self._next = None
        self._stop()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._bookmark.close()

    # Dial, again and again

    async def _follow(self, generation: int) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                ended = await self._read_once(generation)
            except NotFound:
                ended = True
            except (PublicError, OSError) as error:
                ended = False
                if not isinstance(error, Unavailable):
                    log.warning("stream of Jupyter kernel %s: %s", self._id, error)
            else:
                pause_s = _FIRST_PAUSE_S
            if ended and self._next is not None:
                asyncio.get_running_loop().call_soon(self._move)
                return
            if ended:
                self._on_end()
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _read_once(self, generation: int) -> bool:
        """Read one connection to its end. True if there is nothing more to come."""
        connection: Connection = await self._client.open_stream(self._session, self._id, generation)
        try:
            positions = self._bookmark.positions(generation)
            reading = _Reading(positions)
            named = {channel.name.lower(): offset for channel, offset in (positions or {}).items()}
            await connection.write_message(pack_hello(Hello(self._reader, named)), binary=True)
            while (data := await connection.read_message()) is not None:
                assert isinstance(data, bytes)
                for record in reading.records.feed(data):
                    if await self._take(generation, connection, reading, record):
                        return True
            return connection.close_code in (GONE, ENDED_AND_DROPPED)
        except WebSocketClosedError:
            return False
        finally:
            self._connection = None
            connection.close()

    async def _take(self, generation: int, connection: Connection, reading: "_Reading", record: Record) -> bool:
        """Deal with one record. True at the end of the tapes."""
        match record.kind:
            case Kind.DATA:
                await self._take_data(generation, reading, record)
            case Kind.TAKEN:
                for counter in [counter for counter in self._untaken if counter <= record.offset]:
                    del self._untaken[counter]
            case Kind.WELCOME:
                self._take_welcome(generation, connection, reading, read_welcome(record.payload))
            case Kind.GAP:
                reading.frames[Channel(record.channel)].jump(record.offset)
                self._on_gap(Channel(record.channel))
            case Kind.ENDED:
                return True
        return False

    async def _take_data(self, generation: int, reading: "_Reading", record: Record) -> None:
        channel = Channel(record.channel)
        frames = reading.frames[channel]
        for message in frames.feed(record.offset, record.payload):
            incoming = self._sort(channel, message)
            if incoming is not None:
                await self._on_message(incoming)
            self._note(generation, reading)

    def _note(self, generation: int, reading: "_Reading") -> None:
        self._bookmark.note(generation, {each: reading.frames[each].position for each in Channel})

    def _sort(self, channel: Channel, frames: list[bytes]) -> Incoming | None:
        """Whose is it? ``None`` for an answer that is none of this reader's business."""
        if channel is Channel.IOPUB:
            return Incoming(channel, None, frames)
        envelope = Envelope.read(frames[0])
        if envelope is None:  # a kernel that lost the identity frame: better to all than to none
            return Incoming(channel, None, frames)
        is_wanted = self._all_replies or envelope.reader == self._reader_bytes
        return Incoming(channel, envelope, frames[1:]) if is_wanted else None

    def _take_welcome(self, generation: int, connection: Connection, reading: "_Reading", welcome: Welcome) -> None:
        reading.begin(welcome)
        self._note(generation, reading)  # "from now on" must mean the same after the next cut
        self._connection = connection
        if self._counter is None:
            self._counter = welcome.taken
        for counter, request in list(self._untaken.items()):
            if counter <= welcome.taken:
                del self._untaken[counter]
            elif self._next is None:
                self._transmit(counter, *request)
        if self._next is None:
            waiting, self._waiting = self._waiting, []
            for item in waiting:
                self.send(*item)

    def _transmit(self, counter: int, channel: Channel, client: bytes, frames: list[bytes]) -> None:
        if self._connection is None:
            return
        message = pack_frames([Envelope(self._reader_bytes, counter, client).pack(), *frames])
        for piece in pack_request(channel, counter, message):
            with suppress(WebSocketClosedError):  # sent again after the next welcome
                self._connection.write_message(piece, binary=True)


class _Reading:
    """What one connection has read so far."""

    def __init__(self, positions: dict[Channel, int] | None) -> None:
        self.records = RecordReader()
        self._positions = positions
        self.frames: dict[Channel, FrameReader] = {}

    def begin(self, welcome: Welcome) -> None:
        for channel in Channel:
            name = channel.name.lower()
            begin = welcome.end[name] if self._positions is None else self._positions[channel]
            self.frames[channel] = FrameReader(begin)
