"""The WebSocket of a kernel: packets leave at once, nothing of ours is left out, and waiting is told as events."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

LINES = 900  # not more than ZMQ queues for a reader that is late, on a busy machine
NOISE = f"import sys\nfor n in range({LINES}):\n    print(n)\n    sys.stdout.flush()"
FINE_LIMIT = "--ZMQChannelsWebsocketConnection.iopub_msg_rate_limit=50"


async def dial(server: Any, path: str) -> WebSocketClientConnection:
    url = server.url.replace("http", "ws", 1) + path
    request = HTTPRequest(url, headers={"Authorization": "token test-token"}, request_timeout=60)
    return await websocket_connect(request)


async def channels(server: Any, kernel_id: str) -> WebSocketClientConnection:
    return await dial(server, f"/api/kernels/{kernel_id}/channels?session_id={uuid4().hex}")


async def execute(connection: WebSocketClientConnection, code: str) -> str:
    """What the cell printed, until its idle."""
    header = {"msg_id": uuid4().hex, "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    await connection.write_message(json.dumps(message))
    printed = []
    async with asyncio.timeout(60):
        while True:
            text = await connection.read_message()
            assert text is not None, "the server hung up"
            answer = json.loads(text)
            if answer["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if answer["msg_type"] == "stream":
                printed.append(answer["content"]["text"])
            if answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
                return "".join(printed)


async def start_kernel(server: Any, name: str) -> str:
    kernel_id: str = (await asyncio.to_thread(server.ask, "POST", "/api/kernels", {"name": name}))["id"]
    return kernel_id


async def test_the_rate_limit_spares_ours_and_keeps_local_ones(server: Any) -> None:
    server.options.append(FINE_LIMIT)
    await asyncio.to_thread(server.start)
    ours = await channels(server, await start_kernel(server, "survivor"))
    printed = await execute(ours, NOISE)
    ours.close()
    assert printed.split() == [str(n) for n in range(LINES)]

    local = await channels(server, await start_kernel(server, "python3"))
    limited = await execute(local, NOISE)
    local.close()
    assert "IOPub message rate exceeded" in limited


async def test_small_packets_are_not_held_back(server: Any) -> None:
    await asyncio.to_thread(server.start)
    kernel_id = await start_kernel(server, "survivor")
    connection = await channels(server, kernel_id)
    await execute(connection, "pass")
    port = connection.protocol.stream.socket.getsockname()[1]  # type: ignore[union-attr]
    assert await asyncio.to_thread(server.has_nodelay, port)
    connection.close()


async def test_a_page_waits_while_its_kernel_is_queued_and_hears_why(
    server: Any, wait_until: Callable[..., Any]
) -> None:
    gate = server.home / "gate"
    gate.touch()
    await asyncio.to_thread(server.start)
    events = await dial(server, "/api/events/subscribe")
    kernel_id = await start_kernel(server, "survivor")
    waiting = asyncio.ensure_future(channels(server, kernel_id))
    heard = await next_status(events, lambda event: event["status"] == "PENDING")
    assert heard["kernel_id"] == kernel_id
    assert heard["reason"] == {"code": "queued", "text": "3rd in the queue of group gpu."}
    assert heard["queue"] == {"position": 3, "of": 3, "estimate_s": 60}
    assert not waiting.done()

    gate.unlink()
    connection = await waiting
    assert await execute(connection, "print(5)") == "5\n"
    assert (await next_status(events, lambda event: event["status"] == "RUNNING"))["queue"] is None
    connection.close()
    events.close()


async def next_status(events: WebSocketClientConnection, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            event = json.loads(await events.read_message() or "{}")
            if event.get("schema_id") == "https://events.bai-jupyter.org/kernel_status/v1" and is_it(event):
                return event


async def test_a_dead_kernel_refuses_at_once(server: Any, wait_until: Callable[..., Any]) -> None:
    await asyncio.to_thread(server.start)
    kernel_id = await start_kernel(server, "survivor")
    connection = await channels(server, kernel_id)
    connection.close()
    while await connection.read_message() is not None:  # until it is closed: a server that is killed answers no more
        pass
    await asyncio.to_thread(server.stop, 9)
    server.kill_kernels()
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(
        wait_until, lambda: server.ask("GET", f"/api/kernels/{kernel_id}")["execution_state"] == "dead", "its death"
    )
    with pytest.raises(HTTPClientError) as refused:
        await channels(server, kernel_id)
    assert refused.value.code == 409
