"""What cells say in a local kernel is kept, for a page whose connection broke before the server heard of it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
from jupyter_client.session import DELIM
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from bai_jupyter.common.records import Channel
from bai_jupyter.extension.executions import Execution
from bai_jupyter.extension.local_tape import LocalTape
from bai_jupyter.kernel_stream import Incoming

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

HEADERS = {"Authorization": "token test-token"}
LINES = 500
PRINTING = f"""
import os, time
for n in range({LINES}):
    print(n, flush=True)
    if n == 200:
        while not os.path.exists("go"):
            time.sleep(0.02)
"""
ROOM = 100_000


def said(msg_id: str, parent: str, text: str = "") -> list[bytes]:
    parts = ({"msg_id": msg_id, "msg_type": "stream"}, {"msg_id": parent}, {}, {"name": "stdout", "text": text})
    return [b"topic", DELIM, b"", *(json.dumps(part).encode() for part in parts)]


def tape_of(*msg_ids: str, room: int = ROOM) -> LocalTape:
    tape = LocalTape(room)
    for msg_id in msg_ids:
        tape.note(Execution(msg_id, f"cell of {msg_id}", 0, {}))
    return tape


class Reader:
    """What one reader of a tape is told: ids of messages, gaps, the end."""

    def __init__(self, tape: LocalTape, **seen: str | None) -> None:
        self.told: list[str] = []
        self._replay = tape.open_replay(
            seen, self._take, lambda msg_id: self.told.append(f"gap in {msg_id}"), lambda: self.told.append("end")
        )

    async def _take(self, message: Incoming) -> None:
        self.told.append(json.loads(message.frames[3])["msg_id"])

    async def until(self, *told: str) -> None:
        async with asyncio.timeout(10):
            while self.told != [*told]:
                assert self.told == [*told][: len(self.told)]
                await asyncio.sleep(0)
        await self._replay.close()


async def test_a_reader_is_told_what_was_and_what_comes() -> None:
    tape = tape_of("a", "b")
    tape.take(Channel.IOPUB, said("1", "a"))
    tape.take(Channel.IOPUB, said("2", "b"))
    tape.take(Channel.IOPUB, said("3", "unknown"))
    reader = Reader(tape, a=None)
    tape.take(Channel.IOPUB, said("4", "a"))
    await reader.until("1", "4")
    tape.take(Channel.IOPUB, said("5", "a"))
    await Reader(tape, a="4", b=None).until("4", "5", "2")


async def test_what_is_settled_run_again_or_restarted_ends() -> None:
    for end in (
        lambda tape: tape.settle({"a"}),
        lambda tape: tape.note(Execution("b", "cell of a", 0, {})),
        lambda tape: tape.start_over(),
    ):
        tape = tape_of("a")
        tape.take(Channel.IOPUB, said("1", "a"))
        reader = Reader(tape, a=None)
        end(tape)
        await reader.until("end")


async def test_of_too_much_the_oldest_goes_and_that_is_told() -> None:
    one = sum(map(sys.getsizeof, said("00", "a")))
    tape = tape_of("a", room=3 * one)
    for number in range(10, 15):
        tape.take(Channel.IOPUB, said(str(number), "a"))
    await Reader(tape, a=None).until("gap in a", "12", "13", "14")
    await Reader(tape, a="11").until("gap in a", "12", "13", "14")
    await Reader(tape, a="12").until("12", "13", "14")  # nothing that this one has not seen
    tape.settle({"a"})
    tape.note(Execution("b", "cell of b", 0, {}))
    for number in range(20, 23):
        tape.take(Channel.IOPUB, said(str(number), "b"))
    await Reader(tape, b=None).until("20", "21", "22")


@pytest.mark.parametrize("part", [b"", b"null", b"[]", b'{"msg_id": ["a"]}', b"\xff\xfe", b"[" * 100_000], ids=range(6))
async def test_what_is_no_message_of_an_execution_is_passed_over(part: bytes) -> None:
    tape = tape_of("a")
    whole = said("1", "a")
    tape.take(Channel.IOPUB, [*whole[:4], part, *whole[5:]])  # its parent is unknown
    tape.take(Channel.IOPUB, [*whole[:3], part, *whole[4:]])  # its own name is
    tape.take(Channel.IOPUB, whole)
    reader = tape.open_replay({"a": "1"}, lambda _: asyncio.sleep(0), lambda _: None, lambda: None)
    await reader.close()


# In a real server


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[tuple[int, Callable[[], None], Callable[[], None]]]:
    """A port that leads to that one; what swallows from then on all that comes back; and what cuts the line."""
    is_swallowing = False
    ends: list[asyncio.StreamWriter] = []

    async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter, *, is_back: bool) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if not (is_back and is_swallowing):
                    to.write(data)
        to.close()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, there_writer))
        await asyncio.gather(pass_on(reader, there_writer, is_back=False), pass_on(there_reader, writer, is_back=True))

    def swallow() -> None:
        nonlocal is_swallowing
        is_swallowing = True

    def cut() -> None:
        for end in ends:
            end.transport.abort()

    async with await asyncio.start_server(take, "127.0.0.1") as listener:
        yield listener.sockets[0].getsockname()[1], swallow, cut


async def dial(port: int, path: str) -> WebSocketClientConnection:
    return await websocket_connect(HTTPRequest(f"ws://127.0.0.1:{port}{path}", headers=HEADERS, request_timeout=60))


async def leave(*pages: WebSocketClientConnection) -> None:
    for page in pages:
        page.close()
        while await page.read_message() is not None:
            pass


async def messages(page: WebSocketClientConnection) -> AsyncIterator[tuple[str, dict[str, Any], dict[str, Any], Any]]:
    """Channel, header, parent header and content of each, until the connection ends."""
    async with asyncio.timeout(60):
        while (data := await page.read_message()) is not None:
            if isinstance(data, bytes):
                channel, parts = deserialize_msg_from_ws_v1(data)
                header, parent, _, content = (json.loads(part) for part in parts[:4])
            else:
                message = json.loads(data)
                channel, header = message["channel"], message["header"]
                parent, content = message["parent_header"], message["content"]
            yield channel, header, parent, content
        page.close()


async def hear(page: WebSocketClientConnection, msg_id: str, until: str) -> tuple[str, str]:
    """What that execution prints, until it has printed ``until`` or the connection ends; the last message's id."""
    printed, last = "", ""
    async with aclosing(messages(page)) as all_messages:
        async for channel, header, parent, content in all_messages:
            if (channel, parent.get("msg_id")) == ("iopub", msg_id):
                last = header["msg_id"]
                printed += content.get("text", "")
            if until in printed:
                break
    return printed, last


async def question_in(page: WebSocketClientConnection) -> dict[str, Any]:
    async with aclosing(messages(page)) as all_messages:
        async for _, header, _, _ in all_messages:
            if header["msg_type"] == "input_request":
                return header
    raise AssertionError("nothing was asked")


async def run_cell(page: WebSocketClientConnection, code: str) -> str:
    msg_id = uuid4().hex
    header = {"msg_id": msg_id, "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True, "stop_on_error": True}
    message = {"header": header, "parent_header": {}, "metadata": {"cellId": "cell-1"}, "content": content}
    await page.write_message(json.dumps({**message, "channel": "shell"}))
    return msg_id


async def test_lines_that_were_on_their_way_when_the_connection_broke(server: Any, wait_until: Any) -> None:
    server.options.append("--BaiMappingKernelManager.local_output=1000000")
    await asyncio.to_thread(server.start)

    async def ask(method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(server.ask, method, path, body)

    kernel_id = (await ask("POST", "/api/kernels", {"name": "python3"}))["id"]
    assert (await ask("GET", f"/api/kernels/{kernel_id}"))["bai_keeps_output"]
    path = f"/api/kernels/{kernel_id}/channels?session_id=page"
    async with line_to(server.port) as (port, swallow, cut):
        page = await dial(port, path)
        msg_id = await run_cell(page, PRINTING)
        before, last = await hear(page, msg_id, until="100\n")
        swallow()
        watcher = await dial(server.port, f"/bai/api/kernels/{kernel_id}/outputs?msg_id={msg_id}&after=")
        await hear(watcher, msg_id, until="200\n")  # the server has written them all into the line
        cut()
        await leave(watcher)
    on_the_way, last_on_the_way = await hear(page, msg_id, until="nothing")
    last = last_on_the_way or last
    assert "200\n" not in before + on_the_way
    again = await dial(server.port, path)
    [execution] = (await ask("GET", f"/bai/api/kernels/{kernel_id}/executions"))["executions"]
    assert execution == {"msg_id": msg_id, "cell_id": "cell-1"}
    rest = await dial(server.port, f"/bai/api/kernels/{kernel_id}/outputs?msg_id={msg_id}&after={last}")
    (server.home / "work" / "go").touch()
    after, _ = await hear(rest, msg_id, until="nothing")  # it ends by itself
    assert before + on_the_way + after == "".join(f"{n}\n" for n in range(LINES))
    await leave(again)
    await ask("DELETE", f"/bai/api/kernels/{kernel_id}/executions?msg_id={msg_id}")
    assert (await ask("GET", f"/bai/api/kernels/{kernel_id}/executions"))["executions"] == []


ASKING = """
import os, time
print("begun", flush=True)
while not os.path.exists("go"):
    time.sleep(0.02)
print(input("name? "))
"""


async def test_a_question_that_was_asked_meanwhile_is_asked_once(server: Any) -> None:
    server.options.append("--BaiMappingKernelManager.local_output=1000000")
    await asyncio.to_thread(server.start)
    kernel_id = (await asyncio.to_thread(server.ask, "POST", "/api/kernels", {"name": "python3"}))["id"]
    path = f"/api/kernels/{kernel_id}/channels?session_id=page"
    page = await dial(server.port, path)
    msg_id = await run_cell(page, ASKING)
    _, last = await hear(page, msg_id, until="begun")
    await leave(page)
    (server.home / "work" / "go").touch()
    again = await dial(server.port, path)
    outputs = f"/bai/api/kernels/{kernel_id}/outputs?msg_id={msg_id}"
    rest = await dial(server.port, f"{outputs}&after={last}")
    question = await question_in(rest)
    header = {"msg_id": uuid4().hex, "msg_type": "input_reply", "session": "s", "username": "", "version": "5.3"}
    answer = {"header": header, "parent_header": question, "metadata": {}, "content": {"value": "kim"}}
    await again.write_message(json.dumps({**answer, "channel": "stdin"}))
    assert (await hear(rest, msg_id, until="nothing"))[0] == "kim\n"
    all_of_it = await dial(server.port, f"{outputs}&after=")
    kinds = [header["msg_type"] async for _, header, _, _ in messages(all_of_it)]
    assert kinds[0] == "status"
    assert kinds[-1] == "status"
    assert "input_request" not in kinds
    await leave(again)


async def test_outside_a_session_local_kernels_are_jupyters_own(server: Any) -> None:
    await asyncio.to_thread(server.start)
    kernel = await asyncio.to_thread(server.ask, "POST", "/api/kernels", {"name": "python3"})
    path = f"/api/kernels/{kernel['id']}"
    assert "bai_keeps_output" not in await asyncio.to_thread(server.ask, "GET", path)
    refused = await asyncio.to_thread(server.refusal, "GET", f"/bai{path}/executions", None)
    assert (refused[0], refused[1]["code"]) == (404, "object-not-found")
