"""Containers that are started ahead while nothing else is, so that a session need not wait for one.

What a container is made from cannot be changed later (``Recipe``), so a spare is made for sessions like those
that were asked for lately: how many of which kind is ``demand.wanted``. It holds no slots: its memory is the agent's
own (``AgentApp.warm_pool_mem``), and a spare is limited to its part of that. Nothing of this survives the agent, and
nothing of it is missed: what is not there is made as ever.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from bai_agent import demand
from bai_agent.runtimes.base import CreateRequest, Recipe, RuntimeFault
from bai_agent.runtimes.spares import SPARE_BYTES, Spare, Spares
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import KernelWant

log = logging.getLogger(__name__)

_LOOK_S = 2.0
_AFTER_FAILURE_S = 30.0
_REMEMBERED = 200  # sessions


def is_foreseeable(want: KernelWant) -> bool:
    """Whether its container can be one that was started ahead. One with devices is made with them, one of several in
    their network, and nobody waits for the start of a batch session."""
    others = [slot for slot, amount in want.slots.items() if amount and slot not in ("cpu", "mem")]
    is_large_enough = want.slots["cpu"] > 0 and want.slots["mem"] >= SPARE_BYTES
    is_alone = want.cluster_host is None
    return bool(want.image_digest) and want.command is None and not others and is_large_enough and is_alone


class WarmPool:
    """At most ``mem_bytes`` in all. ``is_busy()``: something is started right now, which goes first."""

    def __init__(self, spares: Spares, mem_bytes: int) -> None:
        self._spares, self.mem_bytes = spares, mem_bytes
        self.is_busy: Callable[[], bool] = lambda: False
        self._asked: deque[tuple[float, Recipe]] = deque(maxlen=_REMEMBERED)
        self._ready: dict[Recipe, list[Spare]] = {}

    # For a kernel

    def take(self, recipe: Recipe) -> Spare | None:
        """One that suits, if there is one. It is nobody else's any more."""
        self._asked.append((time.monotonic(), recipe))
        ready = self._ready.get(recipe)
        return ready.pop() if ready else None

    async def claim(
        self, spare: Spare, want: KernelWant, prepare: Callable[[KernelWant, Spare], Awaitable[CreateRequest]]
    ) -> str:
        """Make it this kernel's container; its ref. ``prepare`` is called once the folders are the kernel's.

        Raises whatever went wrong; then ``abandon`` it.
        """
        self._spares.begin(spare, want)
        return await self._spares.finish(spare, await prepare(want, spare))

    async def abandon(self, kernel_id: KernelId, spare: Spare | None = None) -> None:
        """Remove what is left of a claim that came to nothing."""
        await self._spares.abandon(kernel_id)
        if spare is not None:
            await self._spares.clear_one(spare.spare_id)

    # In idle time

    async def run(self) -> None:
        is_known = True  # which there are
        while True:
            try:
                if not is_known:
                    await self._spares.clear()
                    is_known = True
                pause_s = _LOOK_S if await self._look() else 0.0
            except (RuntimeFault, OSError) as error:
                log.warning("nothing is started ahead for %s s: %s", _AFTER_FAILURE_S, error)
                self._ready.clear()
                is_known, pause_s = False, _AFTER_FAILURE_S
            await asyncio.sleep(pause_s)

    async def _look(self) -> bool:
        """Remove what is too much, and start one that is missing. True if there is no more to do for now."""
        meminfo = await asyncio.to_thread(Path("/proc/meminfo").read_text)
        limit = 0 if demand.is_short_of_memory(meminfo) else self.mem_bytes // SPARE_BYTES
        wanted = demand.wanted(self._asked, time.monotonic(), limit)
        for recipe, ready in list(self._ready.items()):
            live = await self._spares.live(list(ready))
            for spare in [one for one in ready if one not in live] + ready[wanted.get(recipe, 0) :]:
                if spare in ready:  # nobody has taken it meanwhile
                    ready.remove(spare)
                    await self._spares.clear_one(spare.spare_id)
            if not ready:
                self._ready.pop(recipe, None)
        missing = [recipe for recipe, count in wanted.items() if len(self._ready.get(recipe, [])) < count]
        if not missing or self.is_busy():
            return True
        await self._make(missing[0])
        return False

    async def _make(self, recipe: Recipe) -> None:
        try:
            spare = await self._spares.make(recipe)
        except (RuntimeFault, OSError):
            self._asked = deque((one for one in self._asked if one[1] != recipe), _REMEMBERED)
            raise
        self._ready.setdefault(recipe, []).append(spare)
        log.info("%s of %s: started ahead", spare.spare_id, recipe.image[:19])

    async def close(self) -> None:
        """Remove them: an agent that does not run can give them to nobody."""
        self._ready.clear()
        with suppress(RuntimeFault):
            await self._spares.clear()
