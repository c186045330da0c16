"""Which images the runtime has, looked at again and again; and with that, whether its container engine answers."""

import asyncio
import logging
from collections.abc import Callable

from bai_agent.runtimes.base import Runtime, RuntimeFault
from bai_jupyter.common.messages import ImageFacts

log = logging.getLogger(__name__)

_EVERY_S = 60.0


class ImageWatch:
    """``images`` are those of the last time, ``known`` is set after the first; ``trouble`` says why the engine did not
    answer the last time, and is empty if it did. ``tell`` is called with each change."""

    def __init__(self, runtime: Runtime, tell: Callable[[list[ImageFacts]], object], every_s: float = _EVERY_S) -> None:
        self._runtime, self._tell, self._every_s = runtime, tell, every_s
        self.images: list[ImageFacts] = []
        self.known = asyncio.Event()
        self.trouble = ""

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        try:
            found = await self._runtime.images()
        except RuntimeFault as fault:
            log.warning("%s", fault)
            self.trouble = fault.reason.text
            return
        self.trouble = ""
        self.known.set()
        if found != self.images:
            self.images = found
            self._tell(list(found))
