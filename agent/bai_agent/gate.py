"""Nothing of a session runs before the limits of its GPUs hold for the container's present main process."""

import asyncio

from bai_agent.book import Book, amounts_of
from bai_agent.devices.base import Figures
from bai_agent.runtimes.base import Runtime
from bai_agent.shares.holding import Holding
from bai_agent.shares.limits import CUDA
from bai_agent.shares.watchdog import Watched
from bai_jupyter.common.ids import KernelId


class Gate:
    """Asked again after each start of a container and of the agent."""

    def __init__(self, runtime: Runtime, shares: Holding, book: Book) -> None:
        self._runtime, self._shares, self._book = runtime, shares, book
        self._passed: dict[KernelId, int] = {}  # the main process for which limits were seen to hold

    async def open(self, kernel_id: KernelId, ref: str) -> bool:
        """Put the limits in force. False if the container has ended. Raises ``NotHeld``: then nothing may run."""
        held = self._book.held_by(kernel_id)
        if not self._shares.limits(held):
            return True
        pid = await self._runtime.main_pid(ref)
        if pid is None:
            return False  # an event tells that
        if self._passed.get(kernel_id) != pid:
            await asyncio.to_thread(self._shares.hold, self._book.store.kernel_folder(kernel_id), held, pid)
            self._passed[kernel_id] = pid
        return True

    def is_open(self, kernel_id: KernelId) -> bool:
        state = self._book.states.get(kernel_id)
        return state is None or kernel_id in self._passed or not self._shares.limits(amounts_of(state.report.devices))

    async def shut(self, kernel_id: KernelId, ref: str) -> None:
        """The container is about to end: whoever starts it again sets its limits anew."""
        if kernel_id in self._passed:
            pid = await self._runtime.main_pid(ref)
            if pid is not None:
                await asyncio.to_thread(self._shares.let_go, self._book.held_by(kernel_id), pid)
            self.forget(kernel_id)

    def forget(self, kernel_id: KernelId) -> None:
        self._passed.pop(kernel_id, None)

    def figures(self) -> dict[KernelId, Figures]:
        """What kernels hold of their shares, where it is the kernel that holds them to it."""
        found = {name: self._shares.figures(self._book.held_by(name), pid) for name, pid in self._passed.items()}
        return {kernel_id: figures for kernel_id, figures in found.items() if figures}

    def watched(self) -> list[Watched]:
        """The kernels that hold shares of NVIDIA's GPUs, for the watchdog. The kernel holds those of AMD's itself."""
        found = []
        for kernel_id, state in self._book.states.items():
            held = amounts_of(state.report.devices)
            limits = [limit for limit in self._shares.limits(held) if limit.slot == CUDA]
            if limits and state.report.runtime_ref is not None:
                allowed = {limit.device_id: limit.total_bytes for limit in limits}
                found.append(Watched(kernel_id, state.report.runtime_ref, allowed))
        return found
