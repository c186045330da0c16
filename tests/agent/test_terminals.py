"""Terminals: a job in one is told from one in which nothing runs; a restart."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bai_agent.attachments import Attachments
from bai_agent.terminals import Terminal, TerminalEnd

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


async def exited(terminal: Terminal, monkeypatch: Any) -> None:
    """No shell is started after the one that was told to end."""

    async def start(*_: Any, **__: Any) -> Any:
        raise AssertionError("one more shell")

    monkeypatch.setattr(terminal._attachments, "start", start)
    async with asyncio.timeout(60):
        while not terminal.is_over:
            await terminal.take(Kind.INPUT, b"exit\n")
            await asyncio.wait({terminal._task}, timeout=0.5)  # type: ignore[type-var]
    await terminal._task  # type: ignore[misc]


async def test_after_two_restarts_an_exit_is_one(process_bench: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """The second is asked for while the new shell of the first is being started."""
    _, ref = await process_bench.launch()
    attachments = Attachments(process_bench.runtime, tmp_path / "attached")
    terminal, start = Terminal(attachments, ref), attachments.start
    await terminal.start((24, 80))
    again: list[asyncio.Task[None]] = []

    async def start_and_ask(*args: Any, **kwargs: Any) -> Any:
        if not again:
            again.append(asyncio.create_task(terminal.take(Kind.RESTART, b"")))
            await asyncio.sleep(0)
        return await start(*args, **kwargs)

    monkeypatch.setattr(attachments, "start", start_and_ask)
    await terminal.take(Kind.RESTART, b"")
    await again[0]
    await exited(terminal, monkeypatch)


async def test_a_restart_whose_page_has_gone_makes_no_exit_one(
    process_bench: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    _, ref = await process_bench.launch()
    terminal = Terminal(Attachments(process_bench.runtime, tmp_path / "attached"), ref)
    await terminal.start((24, 80))
    screen = _Screen(terminal)
    await terminal.take(Kind.INPUT, b"trap '' HUP; echo is-$((40 + 2))\n")
    await screen.until("is-42\r\n")
    page = asyncio.create_task(terminal.take(Kind.RESTART, b""))
    await asyncio.wait({page}, timeout=0.1)
    page.cancel()
    await asyncio.gather(page, return_exceptions=True)
    await exited(terminal, monkeypatch)


class _SlowPage:
    """Takes nothing until it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()

    async def read_message(self) -> None:
        await asyncio.Event().wait()

    async def write_message(self, message: bytes, binary: bool = False) -> None:
        await self.may.wait()


async def test_who_was_too_slow_is_cut_off(process_bench: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """And not left with a terminal that shows nothing any more."""
    monkeypatch.setattr("bai_agent.terminals._PATIENCE_S", 0.05)
    _, ref = await process_bench.launch()
    terminal = Terminal(Attachments(process_bench.runtime, tmp_path / "attached"), ref)
    await terminal.start((24, 80))
    page, end = _SlowPage(), TerminalEnd(terminal, lambda: asyncio.sleep(0))
    carrying = asyncio.create_task(end.carry(page))
    await terminal.take(Kind.INPUT, b"for n in 1 2 3 4 5 6 7 8 9 10; do seq 20000; done; echo all-$((40 + 2))\n")
    async with asyncio.timeout(60):
        while b"all-42" not in terminal._shown:
            await asyncio.sleep(0.02)
        page.may.set()
        await carrying
    assert not end.has_told_the_end
    end.close()
    await terminal.close()
