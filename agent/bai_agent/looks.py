"""Looking at kernels: one task per kernel at a time, again after each failure, with growing pauses.

Asked to look at a kernel that is being looked at, it looks once more afterwards: what was changed before it was asked
is seen. Knows nothing of what a look does.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from bai_agent.runtimes.base import RuntimeFault
from bai_jupyter.common.ids import KernelId

log = logging.getLogger(__name__)

_PAUSES_S = (0.2, 30.0)


class Looks:
    """``look(kernel_id)`` may raise anything; ``on_failure`` is told of it before the pause."""

    def __init__(
        self, look: Callable[[KernelId], Awaitable[None]], on_failure: Callable[[KernelId, Exception], None]
    ) -> None:
        self._look, self._on_failure = look, on_failure
        self._tasks: dict[KernelId, asyncio.Task[None]] = {}
        self._wakes: dict[KernelId, asyncio.Event] = {}

    def now(self, kernel_id: KernelId) -> None:
        if kernel_id not in self._tasks:
            wake = self._wakes[kernel_id] = asyncio.Event()
            self._tasks[kernel_id] = asyncio.create_task(self._work(kernel_id, wake))
        self._wakes[kernel_id].set()

    def later(self, delay_s: float, kernel_id: KernelId) -> None:
        asyncio.get_running_loop().call_later(delay_s, self.now, kernel_id)

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, kernel_id: KernelId, wake: asyncio.Event) -> None:
        """Look until there was nothing new to look at and nothing failed."""
        failures = 0
        try:
            while wake.is_set():
                wake.clear()
                try:
                    await self._look(kernel_id)
                    failures = 0
                except asyncio.CancelledError:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the agent
                    failures += 1
                    _log(kernel_id, failures, error)
                    self._on_failure(kernel_id, error)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause_s(failures)):
                            await wake.wait()
                    wake.set()
        finally:
            del self._tasks[kernel_id], self._wakes[kernel_id]


def pause_s(failures: int) -> float:
    """Before the next look, after so many failures in a row."""
    shortest, longest = _PAUSES_S
    return float(min(longest, shortest * 2 ** min(failures - 1, 32)))


def _log(kernel_id: KernelId, failures: int, error: Exception) -> None:
    if isinstance(error, RuntimeFault):
        level = logging.WARNING if failures == 1 else logging.DEBUG
        log.log(level, "kernel %s: %s (attempt %s)", kernel_id, error, failures)
    else:
        log.error("kernel %s: attempt %s failed", kernel_id, failures, exc_info=error)
