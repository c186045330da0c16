"""Terminals: a job in one is told from one in which nothing runs; a restart."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bai_agent.attachments import Attachments
from bai_agent.terminals import Terminal

from bai_jupyter.common import stdio
from bai_jupyter.common.stdio import Kind

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("job", ["sleep 1000", "sleep 1000 &"])
async def test_a_job_in_a_terminal(bench: Any, tmp_path: Path, job: str) -> None:
    _, ref = await bench.launch()
    terminal = Terminal(Attachments(bench.runtime, tmp_path / "attached"), ref)
    await terminal.start((24, 80))

    async def type_until(line: bytes, has_job: bool) -> None:
        """Again and again: a shell drops what is typed before it has shown its prompt."""
        async with asyncio.timeout(60):
            while terminal.has_job is not has_job:
                await terminal.take(Kind.INPUT, line)
                with suppress(TimeoutError):
                    async with asyncio.timeout(3):
                        while terminal.has_job is not has_job:
                            await asyncio.sleep(0.02)

    try:
        await type_until(b"\n", has_job=False)  # what runs at the start of a shell is done
        await type_until(job.encode() + b"\n", has_job=True)
        end = b"for each in 1 2 3 4; do kill %$each; done\n" if job.endswith("&") else b"\x03"
        await type_until(end, has_job=False)
    finally:
        await terminal.close()


class _Screen:
    """What a looker has seen."""

    def __init__(self, terminal: Terminal) -> None:
        self._frames, self.seen = terminal.look(), ""

    async def until(self, text: str) -> None:
        async with asyncio.timeout(60):
            while text not in self.seen:
                kind, payload = stdio.unpack(await self._frames.get())
                assert kind is Kind.OUTPUT, (kind, self.seen)
                self.seen += payload.decode(errors="replace")


@pytest.mark.parametrize("before", ["", "trap '' HUP; "])
async def test_what_is_typed_after_a_restart_reaches_the_new_shell(bench: Any, tmp_path: Path, before: str) -> None:
    _, ref = await bench.launch()
    terminal = Terminal(Attachments(bench.runtime, tmp_path / "attached"), ref)
    await terminal.start((24, 80))
    screen = _Screen(terminal)
    try:
        await terminal.take(Kind.INPUT, f"{before}old=here; echo is-$old\n".encode())
        await screen.until("is-here\r\n")
        await terminal.take(Kind.RESTART, b"")
        await terminal.take(Kind.INPUT, b"echo now-$old-new\n")
        await screen.until("now--new\r\n")
    finally:
        await terminal.close()


async def test_a_restart_of_a_shell_that_has_ended(bench: Any, tmp_path: Path) -> None:
    _, ref = await bench.launch()
    terminal = Terminal(Attachments(bench.runtime, tmp_path / "attached"), ref)
    await terminal.start((24, 80))
    await terminal.take(Kind.INPUT, b"exit\n")
    async with asyncio.timeout(60):
        while not terminal.is_over:
            await asyncio.sleep(0.02)
        await terminal.take(Kind.RESTART, b"")
