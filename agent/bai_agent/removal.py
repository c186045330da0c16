"""Ending kernels: what runs in one ends first, then its container, then all that was made of it is removed.

Only then are its devices let go of and its end is told: never the other way round.
"""

import asyncio
import logging
from dataclasses import replace

from bai_agent import folders
from bai_agent.book import FINAL, Book
from bai_agent.containers import Containers
from bai_agent.doors import Doors
from bai_agent.ends import Ends
from bai_agent.gate import Gate
from bai_agent.jupyter_kernels import JupyterKernels
from bai_agent.runtimes.base import ContainerState, Runtime, describe_exit
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus

log = logging.getLogger(__name__)


class Removal:
    """``jupyter`` is set before anything ends."""

    jupyter: JupyterKernels

    def __init__(
        self, runtime: Runtime, book: Book, containers: Containers, gate: Gate, doors: Doors, ends: Ends
    ) -> None:
        self._runtime, self._book, self._containers = runtime, book, containers
        self._gate, self._doors, self._ends = gate, doors, ends
        self._condemned: dict[KernelId, Reason] = {}  # to be ended by ourselves, and why

    def condemn(self, kernel_id: KernelId, reason: Reason) -> None:
        """Not to run on; ``end_condemned`` ends it."""
        self._condemned[kernel_id] = reason

    def is_condemned(self, kernel_id: KernelId) -> bool:
        state = self._book.states[kernel_id]
        is_there = state.report.runtime_ref is not None and state.report.status not in FINAL
        return kernel_id in self._condemned and is_there

    async def stop(self, kernel_id: KernelId, ref: str, why: Reason | None = None) -> None:
        """What runs in it, and its container, which can be started again."""
        await self.jupyter.stop_all(kernel_id, why)
        await self._gate.shut(kernel_id, ref)
        await self._runtime.stop(ref)

    async def end(self, kernel_id: KernelId) -> None:
        """Nobody wants it any more."""
        ref = self._book.states[kernel_id].report.runtime_ref
        self._book.tell(kernel_id, status=KernelStatus.TERMINATING, reason=None)
        code = None
        if ref is not None:
            await self.stop(kernel_id, ref)
            container = await self._runtime.inspect(ref)
            code = container.exit_code if container else None
        await self._finish(kernel_id, KernelStatus.TERMINATED, code, None)

    async def end_condemned(self, kernel_id: KernelId) -> None:
        await self._stop_and_finish(kernel_id, None, self._condemned[kernel_id])

    async def end_with_command(self, kernel_id: KernelId, code: int) -> None:
        """A batch session's has ended with ``code``."""
        reason = Reason.of("task-finished") if code == 0 else Reason.of("task-failed", code=describe_exit(code))
        reason = self._ends.out_of_memory(kernel_id) or reason if code else reason
        await self._stop_and_finish(kernel_id, code, reason)

    async def _stop_and_finish(self, kernel_id: KernelId, code: int | None, reason: Reason) -> None:
        ref = self._book.states[kernel_id].report.runtime_ref
        assert ref is not None
        await self.stop(kernel_id, ref, reason)
        await self._finish(kernel_id, KernelStatus.TERMINATED, code, reason)

    async def explain(self, kernel_id: KernelId, container: ContainerState | None) -> None:
        """It is gone, and we did not ask for it: say why."""
        state = self._book.states[kernel_id]
        if state.command_code is not None and state.report.runtime_ref is not None:
            await self.end_with_command(kernel_id, state.command_code)
            return
        reason = await self._ends.why(kernel_id, container)
        await self.jupyter.stop_all(kernel_id, reason)
        await self._finish(kernel_id, KernelStatus.TERMINATED, container.exit_code if container else None, reason)

    async def fail(self, kernel_id: KernelId, reason: Reason) -> None:
        """It is of no use. Whatever was made of it goes away before that is told."""
        log.warning("kernel %s: %s", kernel_id, reason.text)
        await self.jupyter.stop_all(kernel_id, reason)
        await self._finish(kernel_id, KernelStatus.ERROR, None, reason)

    async def _finish(self, kernel_id: KernelId, status: KernelStatus, code: int | None, reason: Reason | None) -> None:
        printed = await self._ends.last_printed(kernel_id)
        await self.clear(kernel_id)
        ended = [
            item
            if item.status is JupyterKernelStatus.DEAD
            else replace(item, status=JupyterKernelStatus.DEAD, exit_code=code, reason=reason)
            for item in self._book.all_jupyter_reports(kernel_id)
        ]
        self.forget(kernel_id)
        self._book.tell(
            kernel_id,
            status=status,
            runtime_ref=None,
            devices={},
            exit_code=code,
            reason=reason,
            jupyter_kernels=ended,
            log=printed,
        )
        log.info("kernel %s: %s (%s)", kernel_id, status, reason.text if reason else "as wanted")

    async def clear(self, kernel_id: KernelId) -> None:
        """All that was made of it; its end may have been told already."""
        await self._doors.shut(kernel_id)
        refs = {found.ref for found in await self._runtime.list_ours() if found.kernel_id == kernel_id}
        for ref in refs:
            await self._runtime.remove(ref)
        await self._containers.release(kernel_id)
        await asyncio.to_thread(folders.delete, self._book.store.kernel_folder(kernel_id))

    def forget(self, kernel_id: KernelId) -> None:
        """What was remembered of this life of it."""
        self._ends.forget(kernel_id)
        self._gate.forget(kernel_id)
        self._condemned.pop(kernel_id, None)
