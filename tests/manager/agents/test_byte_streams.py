"""Streams that the manager itself reads and writes: bounded, closed on both sides, with halves that end apart."""

import asyncio
import os
from contextlib import suppress

import pytest
import pytest_asyncio
from tornado.websocket import WebSocketClosedError

from bai_jupyter.manager.agents.streams import ByteStream, local_socket

pytestmark = pytest.mark.asyncio

FRAME = os.urandom(64 * 1024)
FRAMES = 320


@pytest_asyncio.fixture
async def open_stream(manager, agent, admin):
    """Open a port of a running session; the agent's side does what ``agent.on_stream`` says."""
    await admin.create("my-work")
    view = await admin.until_status("my-work", "RUNNING")
    (session,) = await manager.services.sessions.get_many([view["id"]])

    async def open_one() -> ByteStream:
        return ByteStream(await manager.services.apps.open_port(session, 8000))

    return open_one


async def test_both_ways_and_what_the_agent_is_asked(open_stream, agent):
    stream = await open_stream()
    for size in (1, 1000, 64 * 1024):
        await stream.write_message(FRAME[:size])
        assert await stream.read_message() == FRAME[:size]
    stream.close()
    assert [call.params["endpoint"] for call in agent.calls if call.method == "open_stream"] == [
        {"kind": "port", "port": 8000}
    ]


async def test_a_reader_that_stalls_stops_the_agent(open_stream, agent):
    sent = 0

    async def pour(socket, _endpoint):
        nonlocal sent
        with suppress(WebSocketClosedError):
            while sent < FRAMES:
                await socket.write_message(FRAME, binary=True)
                sent += 1
            await socket.write_message(b"", binary=True)
            await socket.read_message()

    agent.on_stream = pour
    stream = await open_stream()
    settled = -1
    while settled != sent or sent == 0:
        settled = sent
        await asyncio.sleep(0.2)
    assert sent < FRAMES
    got = 0
    while frame := await stream.read_message():
        got += len(frame)
    assert got == FRAMES * len(FRAME)
    stream.close()


async def test_all_that_came_before_the_end_is_read(open_stream, agent):
    async def say_and_go(socket, _endpoint):
        for n in range(10):
            await socket.write_message(bytes([n]), binary=True)
        socket.close(4409, "ended")

    agent.on_stream = say_and_go
    stream = await open_stream()
    heard = []
    while (frame := await stream.read_message()) is not None:
        heard.append(frame)
    assert heard == [bytes([n]) for n in range(10)]
    assert stream.close_code == 4409
    assert await stream.read_message() is None


async def test_closing_tells_the_agent_also_with_something_unread(open_stream, agent):
    told = asyncio.Event()

    async def pour(socket, _endpoint):
        with suppress(WebSocketClosedError):
            while True:
                await socket.write_message(FRAME, binary=True)
        told.set()

    agent.on_stream = pour
    stream = await open_stream()
    await stream.read_message()
    stream.close()
    async with asyncio.timeout(20):
        await told.wait()


async def test_an_app_that_never_answers_hears_that_the_caller_has_gone(open_stream, agent):
    at_end, told = asyncio.Event(), asyncio.Event()

    async def never_answer(socket, _endpoint):
        assert await socket.read_message() == FRAME
        assert await socket.read_message() == b""
        at_end.set()
        assert await socket.read_message() is None
        told.set()

    agent.on_stream = never_answer
    _, writer = await asyncio.open_connection(sock=await local_socket(await open_stream()))
    async with asyncio.timeout(20):
        writer.write(FRAME)
        writer.write_eof()
        await at_end.wait()
        assert not told.is_set()
        writer.close()
        await told.wait()


async def test_a_socket_that_leads_into_a_stream_has_halves(open_stream, agent):
    async def answer_at_the_end(socket, _endpoint):
        heard = b""
        while frame := await socket.read_message():
            heard += frame
        await socket.write_message(heard[::-1], binary=True)
        await socket.write_message(b"", binary=True)
        await socket.read_message()

    agent.on_stream = answer_at_the_end
    reader, writer = await asyncio.open_connection(sock=await local_socket(await open_stream()))
    writer.write(FRAME * 3)
    writer.write_eof()
    async with asyncio.timeout(20):
        assert await reader.read() == (FRAME * 3)[::-1]
    writer.close()
