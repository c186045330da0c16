"""Agents one after the other on one state folder, without containers, and what they tell."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bai_agent.containers import Site
from bai_agent.devices.inventory import Inventory
from bai_agent.devices.mock import MockPlugin
from bai_agent.doors import Doors
from bai_agent.manager_access import DOOR, ManagerAccess
from bai_agent.reconciler import Reconciler
from bai_agent.runtimes.process import ProcessRuntime
from bai_agent.shares.holding import Holding
from bai_agent.shares.ladder import Enforcement
from bai_agent.shares.limits import Rule
from bai_agent.shares.nvml import Nvml
from bai_agent.state import StateFolder

from bai_jupyter.common.ids import JupyterKernelId, KernelId
from bai_jupyter.common.messages import (
    JupyterKernelReport,
    JupyterKernelWant,
    KernelReport,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus


@dataclass
class RecordedJupyterKernels:
    """What the reconciler asks of Jupyter kernels; nothing is started."""

    changed: Callable[[KernelId], None]
    asked: dict[KernelId, list[str]] = field(default_factory=dict)
    adopted: list[KernelId] = field(default_factory=list)
    stopped: list[KernelId] = field(default_factory=list)
    told: dict[KernelId, Reason | None] = field(default_factory=dict)
    known: dict[KernelId, dict[JupyterKernelId, JupyterKernelReport]] = field(default_factory=dict)

    async def converge(
        self, kernel_id: KernelId, ref: str, wants: Iterable[JupyterKernelWant], kernelspecs: Any, image: str = ""
    ) -> None:
        self.asked[kernel_id] = sorted(kernelspecs)
        for want in wants:
            report = JupyterKernelReport(want.jupyter_kernel_id, want.generation, JupyterKernelStatus.RUNNING)
            self.known.setdefault(kernel_id, {})[want.jupyter_kernel_id] = report

    async def adopt(self, kernel_id: KernelId, ref: str, image: str = "") -> None:
        self.adopted.append(kernel_id)

    def reports(self, kernel_id: KernelId) -> list[JupyterKernelReport]:
        return list(self.known.get(kernel_id, {}).values())

    async def interrupt(self, kernel_id: KernelId, jupyter_kernel_id: JupyterKernelId) -> None: ...

    def relay_socket(self, kernel_id: KernelId, jupyter_kernel_id: JupyterKernelId, generation: int) -> Path:
        raise KeyError(jupyter_kernel_id)

    async def stop_all(self, kernel_id: KernelId, why: Reason | None = None) -> None:
        self.stopped.append(kernel_id)
        self.told[kernel_id] = why
        self.known.pop(kernel_id, None)

    async def close(self) -> None: ...


class RuntimeDiesAfter(ProcessRuntime):
    """The agent is killed right after this runtime has done ``step``, before it could write that down."""

    step = ""

    async def create(self, request: Any) -> str:
        return await self._then_die("create", super().create(request))

    async def start(self, ref: str) -> None:
        await self._then_die("start", super().start(ref))

    async def stop(self, ref: str) -> None:
        await self._then_die("stop", super().stop(ref))

    async def remove(self, ref: str) -> None:
        await self._then_die("remove", super().remove(ref))

    async def change_mounts(self, ref: str, *changes: Any, **options: Any) -> dict[str, str]:
        return await self._then_die("change_mounts", super().change_mounts(ref, *changes, **options))

    async def _then_die(self, step: str, work: Any) -> Any:
        result = await work
        if step == self.step:
            raise asyncio.CancelledError
        return result


@dataclass
class World:
    """Agents one after the other on one state folder, and all they told."""

    bench: Any
    told: list[KernelReport] = field(default_factory=list)
    agents: list[tuple[Reconciler, ProcessRuntime]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def agent(
        self,
        runtime_class: type[ProcessRuntime] = ProcessRuntime,
        step: str = "",
        plugin_class: type[MockPlugin] = MockPlugin,
        holding_class: type[Holding] = Holding,
    ) -> Reconciler:
        runtime = runtime_class(self.bench.state_dir, "lab-1", self.bench.runtime._python)
        if step:
            runtime.step = step  # type: ignore[attr-defined]
        gpu = {"id": "gpu", "slots": {"cuda.shares": 1}}
        inventory = Inventory([plugin_class([{"id": "m", "count": 2, "slots": {"mock.device": 1}}, gpu])])
        site = Site("lab-1", {"local:home": self.bench.volume})
        doors = Doors({DOOR: ("127.0.0.1", 1), "hub": ("127.0.0.1", 1)})
        made = Reconciler(
            runtime,
            StateFolder(self.bench.state_dir),
            inventory,
            site,
            doors,
            ManagerAccess("http://127.0.0.1:1", doors),
            self._hear,
            shares=holding_class(Enforcement.WATCH, Rule(), [], self.bench.state_dir / "gpu", Nvml()),
            orphan_grace_s=0.05,
        )
        made.jupyter = RecordedJupyterKernels(made.jupyter_changed)
        self.agents.append((made, runtime))
        await made.start()
        return made

    def _hear(self, report: KernelReport) -> None:
        self.told.append(report)
        self.arrived.set()

    def last(self, kernel_id: KernelId) -> KernelReport | None:
        mine = [report for report in self.told if report.kernel_id == kernel_id]
        return max(mine, key=lambda report: report.revision, default=None)

    async def status(self, kernel_id: KernelId, status: KernelStatus) -> KernelReport:
        async with asyncio.timeout(15):
            while (last := self.last(kernel_id)) is None or last.status is not status:
                self.arrived.clear()
                await self.arrived.wait()
        return last

    async def end_agent(self) -> None:
        made, runtime = self.agents[-1]
        await made.stop()
        await runtime.close()


def want(world: World, **changes: Any) -> Any:
    return world.bench.want(**{"slots": ResourceSlots.parse({"mock.device": 1}), **changes})


def want_of_a_gpu(world: World, **changes: Any) -> Any:
    return world.bench.want(slots=ResourceSlots.parse({"cuda.shares": "0.5"}), **changes)


async def quiet(reconciler: Reconciler) -> None:
    """Wait until no kernel is being worked on: here, until the step that kills it was reached."""
    async with asyncio.timeout(15):
        while tasks := list(reconciler._looks._tasks.values()):
            await asyncio.wait(tasks)
            await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def agents_on(bench: Any) -> AsyncIterator[World]:
    made = World(bench)
    yield made
    for reconciler, runtime in made.agents:
        await reconciler.stop()
        await runtime.close()
