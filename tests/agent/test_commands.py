"""A command's last output reaches a reader that is slow, and is not waited for from whom a command left behind."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from bai_agent import commands
from bai_agent.commands import CommandEnd
from bai_agent.runtimes.base import OUTPUT

from bai_jupyter.common import stdio

pytestmark = pytest.mark.asyncio


class Ended:
    """A process that has ended; its output may still be open."""

    def __init__(self, pieces: list[bytes], *, is_open: bool) -> None:
        self.process = SimpleNamespace(host_pid=0, started=0)
        self._pieces, self._is_open = pieces, is_open

    async def output(self) -> Any:
        for piece in self._pieces:
            yield OUTPUT, piece
        if self._is_open:
            await asyncio.Event().wait()


class RuntimeOfEnded:
    async def wait(self, _process: Any) -> int:
        return 3

    async def signal(self, _process: Any, _signum: int) -> None: ...


class SlowReader:
    """Takes a frame when it is told to."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.may_take, self.is_offered = asyncio.Semaphore(0), asyncio.Event()

    async def write_message(self, frame: bytes, *, binary: bool) -> None:
        self.is_offered.set()
        await self.may_take.acquire()
        self.taken.append(frame)

    async def read_message(self) -> None:
        await asyncio.Event().wait()


async def carry(ended: Ended, reader: SlowReader) -> "asyncio.Task[None]":
    attachments = SimpleNamespace(runtime=RuntimeOfEnded())
    return asyncio.create_task(CommandEnd(attachments, ended).carry(reader))  # type: ignore[arg-type]


async def test_a_reader_that_is_slow_gets_all(monkeypatch):
    monkeypatch.setattr(commands, "_LAST_WORDS_S", 0.01)
    reader = SlowReader()
    carrying = await carry(Ended([b"a", b"b"], is_open=False), reader)
    await reader.is_offered.wait()
    for _ in range(20):  # many times as long as nothing may come from a process
        await asyncio.wait({carrying}, timeout=0.01)
    for _ in range(3):
        reader.may_take.release()
    await asyncio.wait_for(carrying, 30)
    assert reader.taken == [
        stdio.pack(stdio.Kind.OUTPUT, b"a"),
        stdio.pack(stdio.Kind.OUTPUT, b"b"),
        stdio.pack_ended(3),
    ]


async def test_whoever_was_left_behind_with_the_output_open_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(commands, "_LAST_WORDS_S", 0.01)
    reader = SlowReader()
    reader.may_take = asyncio.Semaphore(9)
    await asyncio.wait_for(await carry(Ended([b"a"], is_open=True), reader), 30)
    assert reader.taken[-1] == stdio.pack_ended(3)
