"""Why a container ended that nobody here had asked to end, and what it said last."""

import asyncio
import logging
import time
from contextlib import suppress
from datetime import timedelta

from bai_agent import folders
from bai_agent.book import Book, boot_id
from bai_agent.runtimes.base import ContainerState, Memory, Runtime, RuntimeFault, describe_exit
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size

log = logging.getLogger(__name__)

_OOM_EXPLAINS_S = 5.0  # a container that ends this soon after an out-of-memory event ended of it
_AT_ONCE = timedelta(seconds=5)  # a container that lived no longer never was of use
_SIGNALLED = 128  # exit codes from here on are those of signals
_KILLED = _SIGNALLED + 9  # also what Linux does to who is out of memory
_LONGEST_LINE = 200  # characters of a program's last words in a sentence
_KEPT_LINES = 2000
_KEPT_CHARACTERS = 256 * 1024


class Ends:
    def __init__(self, runtime: Runtime, agent: str, book: Book) -> None:
        self._runtime, self._agent, self._book = runtime, agent, book
        self._ooms: dict[KernelId, tuple[float, Memory | None]] = {}

    async def note_out_of_memory(self, kernel_id: KernelId) -> None:
        """The engine has told of it just now."""
        ref = self._book.ref_of(kernel_id)
        with suppress(RuntimeFault):
            self._ooms[kernel_id] = (time.monotonic(), await self._runtime.memory(ref) if ref else None)

    def forget(self, kernel_id: KernelId) -> None:
        self._ooms.pop(kernel_id, None)

    async def why(self, kernel_id: KernelId, container: ContainerState | None) -> Reason:
        state = self._book.states[kernel_id]
        code = describe_exit(container.exit_code if container else None)
        out_of_memory = self.out_of_memory(
            kernel_id, certain=container is not None and self._is_told_by(kernel_id, container)
        )
        if out_of_memory is not None:
            return out_of_memory
        if state.boot_id != boot_id():
            return Reason.of("host-restarted", agent=self._agent)
        if container is not None and _ended_at_once(container) and state.report.runtime_ref is not None:
            line = (await self._runtime.logs(state.report.runtime_ref, 1)).strip()[:_LONGEST_LINE]
            return Reason.of("container-exited", code=code, line=line)
        return Reason.of("killed-outside", code=code)

    def _is_told_by(self, kernel_id: KernelId, container: ContainerState) -> bool:
        """An engine never forgets that anything in a container ran out of memory: what was heard of then is over."""
        return container.oom and container.exit_code == _KILLED and kernel_id not in self._ooms

    def out_of_memory(self, kernel_id: KernelId, *, certain: bool = False) -> Reason | None:
        """The sentence for it, if an out-of-memory event came a moment ago, or if that is ``certain``."""
        at, memory = self._ooms.get(kernel_id, (-_OOM_EXPLAINS_S, None))
        if not certain and time.monotonic() - at >= _OOM_EXPLAINS_S:
            return None
        limit = int(self._book.states[kernel_id].want.slots["mem"])
        used, limit = (memory.used_bytes, memory.limit_bytes) if memory else (limit, limit)
        return Reason.of("oom-killed", process="the session", used=format_size(used), limit=format_size(limit))

    async def logs(self, kernel_id: KernelId, tail: int) -> str:
        """The container's output, and what processes inside printed. Raises ``KeyError``."""
        ref = self._book.states[kernel_id].report.runtime_ref
        own = await self._runtime.logs(ref, tail) if ref else ""
        return own + await asyncio.to_thread(folders.tail_logs, self._book.run_folder(kernel_id), tail)

    async def last_printed(self, kernel_id: KernelId) -> str | None:
        """What the manager keeps of the log for a while."""
        if self._book.ref_of(kernel_id) is None:
            return None
        try:
            return (await self.logs(kernel_id, _KEPT_LINES))[-_KEPT_CHARACTERS:]
        except (RuntimeFault, OSError) as error:
            log.warning("kernel %s: its log is lost: %s", kernel_id, error)
            return None


def _ended_at_once(container: ContainerState) -> bool:
    """By itself and before it was of use: whoever ends one from outside sends a signal."""
    if container.started_at is None or container.ended_at is None or container.exit_code is None:
        return False
    return container.exit_code < _SIGNALLED and container.ended_at - container.started_at < _AT_ONCE
