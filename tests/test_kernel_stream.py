"""Requests that nobody has taken: what becomes of them at the first connection, and when the kernel is restarted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest
import pytest_asyncio

from bai_jupyter import kernel_stream
from bai_jupyter.common.errors import Unavailable
from bai_jupyter.common.records import Channel, Kind, Record, RecordReader, Welcome, pack, pack_welcome
from bai_jupyter.kernel_stream import Bookmark, Incoming, KernelStream, reader_id

pytestmark = pytest.mark.asyncio
ZEROS = {channel.name.lower(): 0 for channel in Channel}


class Relay:
    """Takes the place of manager, agent and relay, and can be away. Writes down what each generation was sent."""

    def __init__(self) -> None:
        self.is_away = False
        self.sent: list[tuple[int, bytes]] = []
        self.connections: list[Connected] = []

    async def open_stream(self, session: str, jupyter_kernel_id: str, generation: int) -> "Connected":
        if self.is_away:
            raise Unavailable("away")
        self.connections.append(Connected(self, generation))
        return self.connections[-1]

    async def until_sent(self, count: int) -> list[tuple[int, bytes]]:
        async with asyncio.timeout(60):
            while len(self.sent) < count:
                await asyncio.sleep(0.01)
        return self.sent


class Connected:
    """A connection on which a welcome arrives, and what a test says."""

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

    def says(self, kind: Kind, offset: int = 0) -> None:
        self._arriving.put_nowait(pack(kind, offset=offset))

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


async def test_what_a_kernel_that_others_restarted_has_not_taken_is_asked_of_the_one_after_it(
    relay: Relay, stream: KernelStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a cell is run after a kernel was woken, and before the page has heard of that."""
    monkeypatch.setattr(kernel_stream, "_READ_OUT_S", 3600.0)
    stream.follow(1)
    for text in (b"one", b"two"):
        stream.send(Channel.SHELL, b"", [text])
    await relay.until_sent(2)
    (old,) = relay.connections
    old.says(Kind.TAKEN, 1)
    stream.go_on(2)
    stream.send(Channel.SHELL, b"", [b"new"])  # it is told by now: nothing of that for the old one
    assert len(relay.sent) == 2
    old.says(Kind.ENDED)
    assert (await relay.until_sent(4))[2:] == [(2, b"two"), (2, b"new")]
    assert len(relay.connections) == 2


async def test_a_kernel_that_was_replaced_and_does_not_end_is_left(
    relay: Relay, stream: KernelStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_stream, "_READ_OUT_S", 0.0)
    stream.follow(1)
    stream.send(Channel.SHELL, b"", [b"one"])
    await relay.until_sent(1)
    stream.go_on(2)
    assert await relay.until_sent(2) == [(1, b"one"), (2, b"one")]


async def test_a_restart_of_ones_own_drops_what_was_to_be_carried_over(relay: Relay, stream: KernelStream) -> None:
    stream.follow(1)
    stream.send(Channel.SHELL, b"", [b"one"])
    await relay.until_sent(1)
    stream.go_on(2)
    stream.follow(2)
    stream.send(Channel.SHELL, b"", [b"new"])
    assert await relay.until_sent(2) == [(1, b"one"), (2, b"new")]
