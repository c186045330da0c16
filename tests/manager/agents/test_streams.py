"""Kernel streams: joined both ways, bounded, and closed with a code that says why."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClosedError

from bai_jupyter.common.reasons import Reason

FRAME = os.urandom(64 * 1024)
TOTAL = 20 * 1024 * 1024


@pytest_asyncio.fixture
async def kernel(agent, admin):
    """The path of a running Jupyter kernel's stream."""
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    body = {"kernelspec": "python3", "key": "k", "folder": "home", "path": "a"}
    view = await admin.post("/session/my-work/jupyter-kernels", body)
    return f"/stream/session/my-work/jupyter-kernels/{view['id']}"


async def closed_with(socket):
    async with asyncio.timeout(20):
        while await socket.read_message() is not None:
            pass
    socket.close()
    return socket.close_code


@pytest.mark.asyncio
async def test_both_ways(agent, admin, kernel):
    socket = await admin.connect(kernel + "?generation=1")
    for size in (1, 1000, 64 * 1024):
        await socket.write_message(FRAME[:size], binary=True)
        assert await socket.read_message() == FRAME[:size]
    socket.close()
    call = next(call for call in agent.calls if call.method == "open_stream")
    assert call.params["endpoint"]["generation"] == 1


@pytest.mark.asyncio
async def test_twenty_megabytes_to_a_stalled_reader_stay_outside_the_manager(agent, admin, kernel, helpers):
    sent = 0

    async def pour(socket, _endpoint):
        nonlocal sent
        with suppress(WebSocketClosedError):
            while sent < TOTAL:
                await socket.write_message(FRAME, binary=True)
                sent += len(FRAME)
            await socket.read_message()

    agent.on_stream = pour
    before = _resident_bytes()
    socket = await admin.connect(kernel)
    # Nobody reads; tornado's client reads ahead one message, the rest must wait in kernel buffers or with the writer.
    settled = -1
    while settled != sent or sent == 0:
        settled = sent
        await asyncio.sleep(0.2)
    assert sent < TOTAL, "the writer was not stopped"
    assert _resident_bytes() - before < TOTAL // 2
    received = 0
    while received < TOTAL:
        received += len(await socket.read_message())
    assert received == TOTAL
    socket.close()


@pytest.mark.asyncio
async def test_twenty_megabytes_to_a_stalled_agent(agent, admin, kernel):
    go_on = asyncio.Event()
    received = 0

    async def stall(socket, _endpoint):
        nonlocal received
        await go_on.wait()
        with suppress(WebSocketClosedError):
            while (frame := await socket.read_message()) is not None:
                received += len(frame)
                if received == TOTAL:
                    await socket.write_message(b"all", binary=True)

    agent.on_stream = stall
    socket = await admin.connect(kernel)
    sent = 0

    async def pour():
        nonlocal sent
        while sent < TOTAL:
            await socket.write_message(FRAME, binary=True)
            sent += len(FRAME)

    writer = asyncio.create_task(pour())
    settled = -1
    while settled != sent or sent == 0:
        settled = sent
        await asyncio.sleep(0.2)
    assert sent < TOTAL, "the writer was not stopped"
    go_on.set()
    await writer
    assert await socket.read_message() == b"all"
    socket.close()


@pytest.mark.asyncio
async def test_codes(agent, admin, kernel, helpers):
    base, _, known = kernel.rpartition("/")
    assert await closed_with(await admin.connect(f"{base}/00000000-0000-0000-0000-000000000000")) == 4404
    assert await closed_with(await admin.connect(kernel.replace("my-work", "no-such"))) == 4404
    assert await closed_with(await admin.connect(kernel + "?generation=7")) == 4404
    agent.call_errors["open_stream"] = Reason.of("not-found", kind="stream", name="x")
    assert await closed_with(await admin.connect(kernel + "?generation=1")) == 4503
    await admin.post(f"/session/my-work/jupyter-kernels/{known}/restart", status=200)
    assert await closed_with(await admin.connect(kernel + "?generation=1")) == 4409
    await agent.close()
    await helpers.wait_until(lambda: not agent.linked.is_set(), "the link gone")

    async def away():
        return await closed_with(await admin.connect(kernel + "?generation=2")) == 4503

    await helpers.wait_until(away, "code 4503")


@pytest.mark.asyncio
async def test_a_stranger_gets_the_code_of_what_does_not_exist(agent, admin, kernel, make_user):
    alice = await make_user("alice")
    sessions = (await admin.get("/sessions"))["sessions"]
    socket = await alice.connect(kernel.replace("my-work", sessions[0]["id"]))
    assert await closed_with(socket) == 4404


@pytest.mark.asyncio
async def test_unsigned_is_refused_before_the_upgrade(admin, kernel):
    admin.secret_key = "wrong"
    with pytest.raises(HTTPClientError, match="401"):
        await admin.connect(kernel)


@pytest.mark.asyncio
async def test_the_agents_word_is_passed_on_and_its_death_means_dial_again(agent, admin, kernel):
    async def say_ended(socket, _endpoint):
        socket.close(4409, "ended")

    agent.on_stream = say_ended
    assert await closed_with(await admin.connect(kernel)) == 4409

    async def die(socket, _endpoint):
        socket.protocol.stream.close()

    agent.on_stream = die
    assert await closed_with(await admin.connect(kernel)) == 4503


@pytest.mark.asyncio
async def test_the_agents_side_ends_with_the_callers(agent, admin, kernel):
    ended = asyncio.Event()

    async def wait(socket, _endpoint):
        await closed_with(socket)
        ended.set()

    agent.on_stream = wait
    socket = await admin.connect(kernel)
    socket.close()
    await closed_with(socket)
    async with asyncio.timeout(20):
        await ended.wait()


@pytest.mark.asyncio
async def test_a_ticket_is_good_once_and_only_for_its_stream(agent, admin, kernel):
    socket = await admin.connect(kernel)
    await socket.write_message(b"x", binary=True)
    await socket.read_message()
    params = next(call for call in agent.calls if call.method == "open_stream").params
    for ticket in (params["ticket"], "guess", ""):
        with pytest.raises(HTTPClientError, match="403"):
            await agent.dial_stream(params["stream_id"], ticket)
    socket.close()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
