"""A Jupyter kernel to measure, wherever its kernelspec starts it. Needs jupyter_client only.

    python benchmarks/kernels.py KERNELSPEC

starts one in this interpreter's environment, measures it, ends it and prints the seconds as JSON.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager

BUSY = "while True: pass"


class Kernel:
    """One kernel, local or remote, with a client.

    ``sockets``: an empty folder for those of a local one. Without it has TCP ports, which are chosen while they are
    free and taken when it has started: of many at once some find theirs taken by another's client, and end.
    """

    def __init__(self, name: str, cwd: str, sockets: str | None = None) -> None:
        self.manager = AsyncKernelManager(kernel_name=name)
        if sockets is not None:
            self.manager.transport, self.manager.ip = "ipc", str(Path(sockets, "k"))
        self.cwd = cwd

    async def start(self, **options: Any) -> float:
        """Seconds from the call to the first kernel_info reply."""
        begin = time.perf_counter()
        await self.manager.start_kernel(cwd=self.cwd, **options)
        self.client = self.manager.client()
        self.client.start_channels(hb=False)
        await self._hear_kernel_info()
        took = time.perf_counter() - begin
        await self.client.wait_for_ready(timeout=60)
        return took

    async def _hear_kernel_info(self) -> None:
        self.client.kernel_info()
        await self.client.get_shell_msg(timeout=60)

    async def run(self, code: str) -> float:
        """Seconds to reply and idle."""
        begin = time.perf_counter()
        await self.client.execute_interactive(code, output_hook=lambda _: None, timeout=300, store_history=False)
        return time.perf_counter() - begin

    async def interrupt(self) -> float:
        """Seconds from the interrupt of a busy loop to its reply."""
        running = asyncio.ensure_future(self.run(BUSY))
        await asyncio.sleep(0.3)
        begin = time.perf_counter()
        await self.manager.interrupt_kernel()
        await running
        return time.perf_counter() - begin

    async def restart(self) -> float:
        begin = time.perf_counter()
        await self.manager.restart_kernel(now=True)
        await self._hear_kernel_info()
        took = time.perf_counter() - begin
        await self.client.wait_for_ready(timeout=60)
        return took

    async def stop(self) -> None:
        self.client.stop_channels()
        await self.manager.shutdown_kernel(now=True)
        self.manager.context.destroy(linger=0)


async def main(name: str) -> None:
    kernel = Kernel(name, tempfile.gettempdir())
    times = {"start": [await kernel.start()], "execute": [await kernel.run("1") for _ in range(100)]}
    await kernel.stop()
    print(json.dumps(times))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
