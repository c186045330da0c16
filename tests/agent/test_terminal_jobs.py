"""A job in a terminal is told from a terminal in which nothing runs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from bai_agent.attachments import Attachments
from bai_agent.terminals import Terminal

from bai_jupyter.common.stdio import Kind

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("job", ["sleep 1000", "sleep 1000 &"])
async def test_a_job_in_a_terminal(bench: Any, tmp_path: Path, job: str) -> None:
    _, ref = await bench.launch()
    terminal = Terminal(Attachments(bench.runtime, tmp_path / "attached"), ref)
    await terminal.start((24, 80))
    shown = terminal.look()

    async def until(has_job: bool) -> None:
        async with asyncio.timeout(30):
            while terminal.has_job is not has_job:
                await asyncio.sleep(0.02)

    try:
        await terminal.take(Kind.INPUT, b"echo it li''stens\n")
        said = b""
        async with asyncio.timeout(30):
            while b"it listens" not in said:
                said += await shown.get()
        await until(has_job=False)
        await terminal.take(Kind.INPUT, job.encode() + b"\n")
        await until(has_job=True)
        await terminal.take(Kind.INPUT, b"kill %1\n" if job.endswith("&") else b"\x03")
        await until(has_job=False)
    finally:
        await terminal.close()
