"""What a session itself runs, once for each start of its container: its SSH server for others of its cluster, what
unpacks its image's packages, its owner's bootstrap script, its own one, the command of a batch session.

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
from bai_agent.book import Book
from bai_agent.runtimes import pids
from bai_agent.runtimes.base import INSIDE_HOME, Process, Runtime
from bai_jupyter.common.ids import KernelId

log = logging.getLogger(__name__)

PACKAGES, OWNER_BOOTSTRAP, BOOTSTRAP, COMMAND = "packages", "owner-bootstrap", "bootstrap", "command"
CLUSTER_SSHD = "cluster-sshd"
CLUSTER_SSHD_SCRIPT = "command -v bai-cluster-sshd > /dev/null && exec bai-cluster-sshd\n"
"""An image without such a command has no SSH among its containers."""
_SCRIPT = "script"


class Programs:
    """Starts them and tells ``look_at(kernel_id)`` when one has ended."""

    def __init__(self, runtime: Runtime, book: Book, look_at: Callable[[KernelId], None]) -> None:
        self._runtime, self._book, self._look_at = runtime, book, look_at
        self._watches: dict[KernelId, asyncio.Task[None]] = {}

    async def code(
        self, kernel_id: KernelId, ref: str, program: str, script: str, env: Mapping[str, str]
    ) -> int | None:
        """Start a program that was not started since the container was; its exit code, if it has ended.

        ``None`` while it runs; then its end will be told.
        """
        programs = self._book.states[kernel_id].programs
        if program not in programs:
            name = self._folder_name(kernel_id, program)
            process = await self._start(kernel_id, ref, self._book.run_folder(kernel_id), name, script, env)
            programs = {**programs, program: process}
            self._book.change(kernel_id, programs=programs)
        code = await self._runtime.exit_code(programs[program])
        if code is None and kernel_id not in self._watches:
            self._watches[kernel_id] = asyncio.create_task(self._watch(kernel_id, programs[program]))
        return code

    def runs(self, kernel_id: KernelId) -> bool:
        """What comes before all else in it, or a batch session's command."""
        state = self._book.states.get(kernel_id)
        if state is None:
            return False
        if COMMAND in state.programs:
            return state.command_code is None
        return bool(state.programs) and not state.bootstrapped

    def last_line(self, kernel_id: KernelId, program: str) -> str:
        """What it printed last."""
        return folders.last_line(self._book.run_folder(kernel_id), self._folder_name(kernel_id, program))

    def _folder_name(self, kernel_id: KernelId, program: str) -> str:
        return f"{program}-{kernel_id[:8]}-{self._book.states[kernel_id].report.restarts}"

    async def _start(
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
