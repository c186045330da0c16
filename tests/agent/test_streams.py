"""Streams: bytes go both ways whole, through a real WebSocket and a unix socket with a long path."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bai_agent.streams import PIECE_BYTES, StreamFailed, Streams, to_unix
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import WebSocketHandler

pytestmark = pytest.mark.asyncio


class StreamHandler(WebSocketHandler):
    def initialize(self, seen: dict[str, Any]) -> None:
        self.seen = seen

    def open(self, stream_id: str) -> None:  # type: ignore[override]
        self.seen |= {"id": stream_id, "ticket": self.get_argument("ticket"), "socket": self}
        self.seen["opened"].set()

    def on_message(self, message: str | bytes) -> None:
        self.seen["pieces"].append(message)
        self.seen["got"].set()

    def on_close(self) -> None:
        self.seen["closed"].set()


@pytest_asyncio.fixture
async def far_end() -> AsyncIterator[dict[str, Any]]:
    """The manager's end: what it saw, and the socket to send with."""
    seen: dict[str, Any] = {name: asyncio.Event() for name in ("opened", "got", "closed")}
    seen["pieces"] = []
    listener, seen["port"] = bind_unused_port()
    server = HTTPServer(Application([(r"/agent/streams/([^/]+)", StreamHandler, {"seen": seen})]))
    server.add_socket(listener)
    yield seen
    server.stop()
    await server.close_all_connections()


@pytest_asyncio.fixture
async def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A unix socket that answers each byte with itself, at a path longer than a socket address can hold."""
    folder = tmp_path / ("long-" * 20)
    folder.mkdir()
    monkeypatch.chdir(folder)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, "relay.sock")
    assert len(str(folder / "relay.sock")) > 107
    yield folder / "relay.sock"
    server.close()
    await server.wait_closed()


@pytest_asyncio.fixture
async def streams(far_end: dict[str, Any]) -> AsyncIterator[Streams]:
    made = Streams(f"http://127.0.0.1:{far_end['port']}")
    yield made
    await made.close()


async def test_bytes_go_both_ways_whole(streams: Streams, far_end: dict[str, Any], echo: Path) -> None:
    await streams.open("s-1", "tick&et", await to_unix(echo))
    await asyncio.wait_for(far_end["opened"].wait(), 10)
    assert (far_end["id"], far_end["ticket"]) == ("s-1", "tick&et")
    sent = os.urandom(1_000_000)
    for start in range(0, len(sent), PIECE_BYTES):
        await far_end["socket"].write_message(sent[start : start + PIECE_BYTES], binary=True)
    async with asyncio.timeout(10):
        while sum(map(len, far_end["pieces"])) < len(sent):
            far_end["got"].clear()
            await far_end["got"].wait()
    assert b"".join(far_end["pieces"]) == sent
    assert max(map(len, far_end["pieces"])) <= PIECE_BYTES


async def test_closing_one_end_closes_the_other(streams: Streams, far_end: dict[str, Any], echo: Path) -> None:
    await streams.open("s-1", "t", await to_unix(echo))
    await asyncio.wait_for(far_end["opened"].wait(), 10)
    far_end["socket"].close()
    async with asyncio.timeout(10):
        while streams._open:
            await asyncio.wait(streams._open)
            await asyncio.sleep(0)


async def test_an_end_that_is_not_there_is_named(streams: Streams, far_end: dict[str, Any], echo: Path) -> None:
    with pytest.raises(StreamFailed, match=r"Nothing answers at other\.sock"):
        await to_unix(echo.with_name("other.sock"))
    with pytest.raises(StreamFailed, match="manager does not take stream"):
        await Streams("http://127.0.0.1:1").open("s-1", "t", await to_unix(echo))
