"""Agents one after the other on one state folder, with a real engine, and a way to kill one right after a step."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from bai_agent.containers import Site
from bai_agent.devices.cpu import CpuPlugin
from bai_agent.devices.inventory import Inventory
from bai_agent.devices.mem import MemPlugin
from bai_agent.doors import Doors
from bai_agent.jupyter_kernels import JupyterKernels
from bai_agent.manager_access import ManagerAccess
from bai_agent.reconciler import Reconciler
from bai_agent.runtimes.base import Recipe
from bai_agent.runtimes.spares import SPARE_BYTES
from bai_agent.shares.holding import Holding
from bai_agent.shares.ladder import Enforcement
from bai_agent.shares.limits import Rule
from bai_agent.shares.nvml import Nvml
from bai_agent.state import StateFolder
from bai_agent.warm_pool import WarmPool

from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import KernelReport, KernelWant, Wanted
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import KernelStatus, Target

DEADLINE_S = 60


@dataclass
class World:
    """Agents one after the other on one state folder, each with an engine and a pool."""

    bench: Any
    image_digest: str
    pin: bool = False  # kernels to cores
    told: dict[KernelId, KernelReport] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    relays: list[subprocess.Popen[bytes]] = field(default_factory=list)  # they outlive their agent

    async def agent(self) -> Reconciler:
        self.runtime = self.bench.remake()
        await self.runtime.check()
        self.pool = WarmPool(self.runtime.spares, 2 * SPARE_BYTES)
        doors = Doors({})
        self.reconciler = Reconciler(
            self.runtime,
            StateFolder(self.bench.state_dir),
            Inventory([CpuPlugin(Decimal(0), self.pin), MemPlugin(0)]),
            Site("lab-1", {"local:home": self.bench.volume}),
            doors,
            ManagerAccess("http://127.0.0.1:1", doors),
            self._hear,
            shares=Holding(Enforcement.WATCH, Rule(), [], self.bench.state_dir / "gpu", Nvml()),
            pool=self.pool,
        )
        self.jupyter = JupyterKernels(self.runtime, self.bench.state_dir, self.reconciler.jupyter_changed)
        self.reconciler.jupyter = self.jupyter
        await self.reconciler.start()
        self.told |= {report.kernel_id: report for report in self.reconciler.reports()}  # as a manager hears it
        return self.reconciler

    async def kill(self) -> None:
        """Nothing more is done. What a process would take along is closed."""
        children = [launch.keeper._child for launch in self.jupyter._launches.values()]
        self.relays += [child for child in children if child is not None]
        await self.reconciler.stop()
        await self.jupyter.close()
        await self.runtime.close()

    def _hear(self, report: KernelReport) -> None:
        self.told[report.kernel_id] = report
        self.arrived.set()

    async def until(self, kernel_id: KernelId, is_so: Callable[[KernelReport], bool]) -> KernelReport:
        """Until what it last told is so."""
        async with asyncio.timeout(DEADLINE_S):
            while kernel_id not in self.told or not is_so(self.told[kernel_id]):
                self.arrived.clear()
                await self.arrived.wait()
        return self.told[kernel_id]

    async def status(self, kernel_id: KernelId, status: KernelStatus) -> KernelReport:
        return await self.until(kernel_id, lambda told: told.status is status)

    def want(self, **changes: Any) -> KernelWant:
        values = {
            "image_digest": self.image_digest,
            "slots": ResourceSlots.parse({"cpu": "0.5", "mem": "128m"}),
            "mounts": [self.bench.mount("data", "data")],
        }
        want: KernelWant = self.bench.want(**{**values, **changes})
        return want

    async def fill(self, want: KernelWant) -> None:
        """One more container that suits stands ready."""
        recipe: Recipe = self.reconciler._containers._recipe(want)
        assert self.pool.take(recipe) is None
        while not await self.pool._look():
            pass

    def spares(self) -> list[str]:
        """What lies in the folder of those that are nobody's, and the links of those that are somebody's."""
        return [path.name for path in (self.bench.state_dir / "spares").glob("*")]


@asynccontextmanager
async def agents_on(bench: Any, image_digest: str) -> AsyncIterator[World]:
    """One that runs. What is still there in the end is ended."""
    made = World(bench, image_digest)
    await made.agent()
    yield made
    for kernel_id in made.told:
        state = made.reconciler.book.states.get(kernel_id)
        if state is not None:
            made.reconciler.wanted(Wanted([replace(state.want, target=Target.TERMINATED)], complete=False))
            await made.status(kernel_id, KernelStatus.TERMINATED)
    await made.pool.close()
    await made.kill()
    for relay in made.relays:
        await asyncio.to_thread(relay.wait, DEADLINE_S)


def die_after(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    nth: int = 1,
    error: BaseException | None = None,
) -> asyncio.Event:
    """The agent is killed right after it has done this for the ``nth`` time; then the event is set.

    With an ``error`` it is not killed: that is raised there.
    """
    step, done, died = getattr(owner, name), 0, asyncio.Event()

    def count() -> None:
        nonlocal done
        done += 1
        if done == nth:
            died.set()
            raise error or asyncio.CancelledError

    async def later(*args: Any) -> Any:
        made = await step(*args)
        count()
        return made

    def at_once(*args: Any) -> Any:
        made = step(*args)
        count()
        return made

    monkeypatch.setattr(owner, name, later if asyncio.iscoroutinefunction(step) else at_once)
    return died
