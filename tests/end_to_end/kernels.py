"""Kernels of a cluster as any Jupyter program has them: jupyter_client and the provisioner."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jupyter_client.manager import AsyncKernelManager

WAIT_S = 60


class Kernel:
    """A started kernel and a client of it."""

    def __init__(self, manager: AsyncKernelManager, client: Any) -> None:
        self.manager, self.client = manager, client

    async def run(self, code: str, **options: Any) -> str:
        """Execute; everything it prints, or the error's name and value."""
        out: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                out.append(content["text"])
            elif message["msg_type"] == "error":
                out.append(f"{content['ename']}: {content['evalue']}")

        await self.client.execute_interactive(code, output_hook=hear, timeout=WAIT_S, **options)
        return "".join(out)


@asynccontextmanager
async def manager_of(cluster: Any, kernelspec: str = "python3") -> AsyncIterator[AsyncKernelManager]:
    """A kernel manager that has started nothing yet. What it has started in the end, it ends."""
    names = await cluster.write_kernelspecs()
    manager = AsyncKernelManager(kernel_name=next(name for name in names if name.endswith(f"-{kernelspec}")))
    try:
        yield manager
    finally:
        if manager.has_kernel:
            await manager.shutdown_kernel(now=True)
        manager.context.destroy(linger=0)


@asynccontextmanager
async def kernel_of(cluster: Any, kernelspec: str = "python3", **start: Any) -> AsyncIterator[Kernel]:
    async with manager_of(cluster, kernelspec) as manager:
        await manager.start_kernel(**{"cwd": str(cluster.home), **start})
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=WAIT_S)
            yield Kernel(manager, client)
        finally:
            client.stop_channels()
