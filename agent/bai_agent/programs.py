"""What a session itself runs, once for each start of its container: its owner's bootstrap script, its own one, the
command of a batch session.

Each runs from a file in the kernel's ``run/`` folder and prints into ``log`` beside it. The user inside can write
there: nothing that is found in it is believed.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from bai_agent import folders
from bai_agent.runtimes import pids
from bai_agent.runtimes.base import INSIDE_HOME, Process, Runtime
from bai_jupyter.common.ids import KernelId

log = logging.getLogger(__name__)

OWNER_BOOTSTRAP, BOOTSTRAP, COMMAND = "owner-bootstrap", "bootstrap", "command"
_SCRIPT = "script"


class Programs:
    """Starts them and tells ``look_at(kernel_id)`` when one has ended. What runs is in the kernel's own record."""

    def __init__(self, runtime: Runtime, look_at: Callable[[KernelId], None]) -> None:
        self._runtime, self._look_at = runtime, look_at
        self._watches: dict[KernelId, asyncio.Task[None]] = {}

    async def start(
        self, kernel_id: KernelId, ref: str, run: Path, name: str, script: str, env: Mapping[str, str]
    ) -> Process:
        """Run ``script`` with the container's shell. ``name`` is a folder of ``run``, new for each start.

        An agent that died before it could write down what it had started has left that folder, and perhaps the process.
        """
        place = run / name
        inside = self._runtime.to_inside(kernel_id, place / _SCRIPT)
        for pid in pids.with_argument(inside):
            log.warning("kernel %s: ending stray process %s of %s", kernel_id, pid, name)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(place, ignore_errors=True)
        folders.make_private(run, name, _SCRIPT, script.encode())
        return await self._runtime.exec(ref, ["/bin/sh", inside], env=env, cwd=INSIDE_HOME, log_path=place / "log")

    async def exit_code(self, kernel_id: KernelId, process: Process) -> int | None:
        """``None`` while it runs; then its end will be told."""
        code = await self._runtime.exit_code(process)
        if code is None and kernel_id not in self._watches:
            self._watches[kernel_id] = asyncio.create_task(self._watch(kernel_id, process))
        return code

    async def close(self) -> None:
        for watch in self._watches.values():
            watch.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)

    async def _watch(self, kernel_id: KernelId, process: Process) -> None:
        try:
            await self._runtime.wait(process)
        finally:
            del self._watches[kernel_id]
        self._look_at(kernel_id)


def folder_name(program: str, kernel_id: KernelId, restarts: int) -> str:
    return f"{program}-{kernel_id[:8]}-{restarts}"
