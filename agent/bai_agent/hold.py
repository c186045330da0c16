"""Out of memory, held: what runs in a container waits at its limit until it is given more, is interrupted, or ends.

A process that waits for memory answers nothing, not even a signal. So a margin within the granted memory is kept from
it: an interrupt gives that to it, and with it the room to unwind. One that uses the margin up as well, or that nobody
has helped in time, is killed, as every process would be without this; so is one of a batch session, which nobody
watches, and every process on a host that cannot make them wait.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bai_agent.book import Book
from bai_agent.runtimes.base import MemoryLimit, Runtime, RuntimeFault
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size

_PARTS = 8  # of what was granted; a margin takes one of them at most
_LOOK_S = 1.0  # between two looks at one that waits


@dataclass(frozen=True)
class Patience:
    """How long a process may wait for memory (0: it is killed at once), and how much is kept for an interrupt."""

    hold_s: float = 600.0
    margin_bytes: int = 64 * 1024**2


def wanted_limit(has: MemoryLimit, granted: int, margin: int, *, overdue: bool) -> MemoryLimit:
    """What the kernel is to do from now on, given what it does and how things stand. Pure.

    ``granted`` and ``margin`` in bytes; ``overdue``: those that wait have done so for long enough.
    """
    if not has.is_reached:
        return MemoryLimit(granted - margin, kills=False)
    margin_used_up = has.limit_bytes >= granted
    return replace(has, kills=overdue or margin_used_up)


class Hold:
    """``look_again(seconds, kernel_id)`` has a kernel looked at later."""

    def __init__(
        self, runtime: Runtime, book: Book, patience: Patience, look_again: Callable[[float, KernelId], None]
    ) -> None:
        self._runtime, self._book, self._patience, self._look_again = runtime, book, patience, look_again

    async def see_to(self, kernel_id: KernelId, ref: str) -> Reason | None:
        """Keep the container's limit as it is to be; why it is held, if it is."""
        granted = self._granted(kernel_id)
        has = await self._runtime.memory_limit(ref) if granted else None
        if has is None:
            return None
        state = self._book.states[kernel_id]
        if has.is_reached and state.held_since is None:
            self._book.change(kernel_id, held_since=time.time())
        elif not has.is_reached and state.held_since is not None:
            self._book.change(kernel_id, held_since=None)
        until = (self._book.states[kernel_id].held_since or 0.0) + self._patience.hold_s
        limit = wanted_limit(has, granted, self._margin(granted), overdue=time.time() >= until)
        if limit != has:
            await self._runtime.limit_memory(ref, limit)
        if not has.is_reached:
            return None
        self._look_again(_LOOK_S, kernel_id)
        return await self._why(ref, granted, until)

    async def rescue(self, kernel_id: KernelId) -> None:
        """Before an interrupt: if it is held, let it have the margin."""
        ref, granted = self._book.ref_of(kernel_id), self._granted(kernel_id)
        with suppress(RuntimeFault):
            has = await self._runtime.memory_limit(ref) if ref and granted else None
            if ref and has is not None and has.is_reached:
                await self._runtime.limit_memory(ref, MemoryLimit(granted, kills=False))

    def _granted(self, kernel_id: KernelId) -> int:
        """Bytes; 0 for one that is not held at its limit."""
        state = self._book.states.get(kernel_id)
        if state is None or state.want.command is not None or self._patience.hold_s <= 0:
            return 0
        return int((state.report.slots or state.want.slots)["mem"])

    def _margin(self, granted: int) -> int:
        return min(self._patience.margin_bytes, granted // _PARTS)

    async def _why(self, ref: str, granted: int, until: float) -> Reason:
        used = int((await self._runtime.stats(ref)).get("mem_used_bytes", granted))
        moment = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return Reason.of("held", used=format_size(used), limit=format_size(granted), time=moment)
