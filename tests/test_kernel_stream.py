"""Requests that wait while nothing is connected: what becomes of them at the first connection, and at a restart."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest
import pytest_asyncio

from bai_jupyter.common.errors import Unavailable
from bai_jupyter.common.records import Channel, Kind, Record, RecordReader, Welcome, pack_welcome
from bai_jupyter.kernel_stream import Bookmark, Incoming, KernelStream, reader_id

pytestmark = pytest.mark.asyncio
ZEROS = {channel.name.lower(): 0 for channel in Channel}


class Relay:
    """Takes the place of manager, agent and relay, and can be away. Writes down what each generation was sent."""

    def __init__(self) -> None:
        self.is_away = False
        self.sent: list[tuple[int, bytes]] = []

    async def open_stream(self, session: str, jupyter_kernel_id: str, generation: int) -> "Connected":
        if self.is_away:
            raise Unavailable("away")
        return Connected(self, generation)

    async def until_sent(self, count: int) -> list[tuple[int, bytes]]:
        async with asyncio.timeout(60):
            while len(self.sent) < count:
                await asyncio.sleep(0.01)
        return self.sent


class Connected:
    """A connection on which nothing but a welcome arrives."""

    close_code = None

    def __init__(self, relay: Relay, generation: int) -> None:
        self._relay, self._generation = relay, generation
        self._records = RecordReader()
        self._arriving: asyncio.Queue[bytes] = asyncio.Queue()

    async def read_message(self) -> bytes:
        return await self._arriving.get()

    def write_message(self, message: bytes, binary: bool = True) -> Awaitable[None]:
        for record in self._records.feed(message):
            self._take(record)
        taken = asyncio.get_running_loop().create_future()
        taken.set_result(None)
        return taken

    def _take(self, record: Record) -> None:
        if record.kind == Kind.HELLO:
            self._arriving.put_nowait(pack_welcome(Welcome(ZEROS, ZEROS, 0)))
        else:
            self._relay.sent.append((self._generation, record.payload[-3:]))

    def close(self) -> None:
        pass


@pytest.fixture
def relay() -> Relay:
    return Relay()


@pytest_asyncio.fixture
async def stream(relay: Relay) -> AsyncIterator[KernelStream]:
    async def hear(_: Incoming) -> None:
        pass

    stream = KernelStream(relay, "s", "k", reader_id("page"), Bookmark(), hear)
    yield stream
    await stream.close()


async def test_what_is_asked_before_the_kernel_is_there_reaches_it(relay: Relay, stream: KernelStream) -> None:
    stream.send(Channel.SHELL, b"", [b"one"])
    stream.follow(1)
    stream.send(Channel.SHELL, b"", [b"two"])
    assert await relay.until_sent(2) == [(1, b"one"), (1, b"two")]


async def test_what_was_asked_of_a_kernel_is_not_asked_of_the_one_after_it(relay: Relay, stream: KernelStream) -> None:
    relay.is_away = True
    stream.follow(1)
    stream.send(Channel.SHELL, b"", [b"old"])
    stream.follow(2)
    stream.send(Channel.SHELL, b"", [b"new"])
    relay.is_away = False
    assert await relay.until_sent(1) == [(2, b"new")]


async def test_following_the_same_kernel_again_drops_nothing(relay: Relay, stream: KernelStream) -> None:
    relay.is_away = True
    stream.follow(1)
    stream.send(Channel.SHELL, b"", [b"one"])
    stream.follow(1)
    relay.is_away = False
    assert await relay.until_sent(1) == [(1, b"one")]
