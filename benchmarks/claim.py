"""What an agent does with a session that it is told of, by itself: no API, no manager, no Jupyter server.

    python benchmarks/claim.py [--image NAME] [--rounds 10] [--at-once 10 30] [--rounds-at-once 3]
    python benchmarks/claim.py --runtime process

Runs an agent's parts in this process. Seconds from the moment at which it hears of a session until that session's
kernel has answered kernel_info, for sessions that get a container that was started ahead (*warm*: from the claim) and
for those that do not (*cold*), beside a local kernel started by jupyter_client; in turn, so that what else the machine
does hits all. *CPU* is what the kernel's process, or all of its container, has used by then: that says more where
others use the cores too, for Linux may give all containers together no more of them than one other process. Of those
that are started *at once* it is the seconds of the last one, and of the middle one, each from its own start. Then how
long it takes to resize, suspend and resume one and, where this is run as root, to attach a folder to it and to detach
it again. Compare ratios, not figures.

The process runtime needs no Docker, and has neither containers started ahead nor a size that could be changed.
"""

import argparse
import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from bai_agent.containers import Site
from bai_agent.devices.cpu import CpuPlugin
from bai_agent.devices.inventory import Inventory
from bai_agent.devices.mem import MemPlugin
from bai_agent.doors import Doors
from bai_agent.jupyter_kernels import JupyterKernels
from bai_agent.manager_access import ManagerAccess
from bai_agent.reconciler import Reconciler
from bai_agent.runtimes.docker import DockerRuntime
from bai_agent.runtimes.process import IMAGE, ProcessRuntime
from bai_agent.runtimes.spares import SPARE_BYTES
from bai_agent.shares.holding import Holding
from bai_agent.shares.ladder import Enforcement
from bai_agent.shares.limits import Rule
from bai_agent.shares.nvml import Nvml
from bai_agent.state import StateFolder
from bai_agent.warm_pool import WarmPool
from kernel_path import all_at_once, write_local_spec
from kernels import Kernel

from bai_jupyter.common.ids import JupyterKernelId, KernelId, new_agent_id, new_kernel_id, new_session_id
from bai_jupyter.common.messages import (
    JupyterKernelReport,
    JupyterKernelWant,
    KernelReport,
    KernelWant,
    MountWant,
    Wanted,
)
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target

DEADLINE_S = 300
Times = dict[str, list[float]]
HOME = MountWant("home", "local:home", "", "/home/work/home", False)
DATA = MountWant("data", "local:home", "data", "/home/work/data", False)
KINDS = ("local", "cold", "warm")
_ENDED = frozenset({KernelStatus.TERMINATED, KernelStatus.ERROR})
COLD_BYTES, WARM_BYTES = SPARE_BYTES - 1024**2, SPARE_BYTES
"""A session with less memory than a container has that was started ahead is never given one."""


class Agent:
    """One without a manager: what is wanted is said to it here, and what it tells is heard here."""

    def __init__(self, folder: Path, runtime: str, image: str, most: int) -> None:
        self.image, self._told = image if runtime == "docker" else IMAGE, dict[KernelId, KernelReport]()
        self._heard = asyncio.Event()
        state, home = folder / "agent", folder / "home"
        state.mkdir()
        home.mkdir(mode=0o777)
        home.chmod(0o777)
        (home / DATA.subpath).mkdir(mode=0o755)
        store = StateFolder(state)
        store.lock()
        docker = DockerRuntime(state, new_agent_id(), "bench") if runtime == "docker" else None
        self.runtime = docker or ProcessRuntime(state, "bench")
        self.pool = None if docker is None else WarmPool(docker.spares, most * SPARE_BYTES)
        doors = Doors({})
        self.reconciler = Reconciler(
            self.runtime,
            store,
            Inventory([CpuPlugin(Decimal(-most), False), MemPlugin(0)]),  # they share what there is
            Site("bench", {"local:home": home}),
            doors,
            ManagerAccess("http://127.0.0.1:1", doors),
            self._hear,
            shares=Holding(Enforcement.WATCH, Rule(), [], state / "gpu", Nvml()),
            pool=self.pool,
        )
        self.jupyter = JupyterKernels(self.runtime, state, self.reconciler.jupyter_changed)
        self.reconciler.jupyter = self.jupyter

    def _hear(self, report: KernelReport) -> None:
        self._told[report.kernel_id] = report
        self._heard.set()

    async def begin(self) -> None:
        await self.runtime.check()
        self.digest = (await self.runtime.inspect_image(self.image)).digest
        await self.reconciler.start()

    async def end(self) -> None:
        if self.pool is not None:
            await self.pool.close()
        await self.reconciler.stop()
        await self.jupyter.close()
        if isinstance(self.runtime, DockerRuntime):
            await self.runtime.cleanup()
        await self.runtime.close()

    def want(self, mem_bytes: int, cpu: float) -> KernelWant:
        kernel = JupyterKernelWant(JupyterKernelId(str(uuid.uuid4())), 1, "python3", "/home/work/home", {}, "key")
        return KernelWant(
            kernel_id=new_kernel_id(),
            session_id=new_session_id(),
            session_name="bench",
            target=Target.RUNNING,
            image=self.image,
            image_digest=self.digest,
            slots=ResourceSlots({"cpu": Decimal(f"{cpu:.2f}"), "mem": Decimal(mem_bytes)}),
            shm_bytes=64 * 1024**2,
            environ={},
            mounts=[HOME],
            jupyter_kernels=[kernel],
        )

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not is_so():
                self._heard.clear()
                await self._heard.wait()

    async def answers(self, want: KernelWant) -> float:
        """Seconds until its kernel has answered. Raises ``RuntimeError`` if it ended before, ``TimeoutError``."""

        def has_come_out() -> bool:
            report = self._told.get(want.kernel_id)
            return report is not None and (report.status in _ENDED or any(map(_is_settled, report.jupyter_kernels)))

        begin = time.perf_counter()
        self.reconciler.wanted(Wanted([want], complete=False))
        await self.until(has_come_out)
        took = time.perf_counter() - begin
        report = self._told[want.kernel_id]
        if [one.status for one in report.jupyter_kernels] != [JupyterKernelStatus.RUNNING]:
            raise RuntimeError(f"it came to {report}")
        return took

    async def stats(self, want: KernelWant) -> dict[str, float]:
        ref = self.reconciler.ref_of(want.kernel_id)
        assert ref is not None
        return await self.runtime.stats(ref)

    async def remove(self, *wants: KernelWant) -> None:
        ended = [replace(want, target=Target.TERMINATED) for want in wants]
        self.reconciler.wanted(Wanted(ended, complete=False))
        await self.until(lambda: all(self._told[want.kernel_id].status in _ENDED for want in wants))
        self.reconciler.forget([want.kernel_id for want in wants])

    @property
    def kinds(self) -> dict[str, int]:
        """Those that it can start, and how many bytes of memory a session of the kind asks for."""
        return {"cold": COLD_BYTES} if self.pool is None else {"cold": COLD_BYTES, "warm": WARM_BYTES}

    async def fill(self, count: int) -> None:
        """So many stand ready, if it starts any ahead."""
        if self.pool is None:
            return
        recipe = self.reconciler._containers._recipe(self.want(WARM_BYTES, 1))
        stored = self.pool._ready.get(recipe, [])
        while len(stored) < count:
            stored.append(await self.pool._spares.make(recipe))
        self.pool._ready[recipe] = stored


def _is_settled(kernel: JupyterKernelReport) -> bool:
    return kernel.status is not JupyterKernelStatus.STARTING


async def one_by_one(agent: Agent, cwd: str, rounds: int) -> tuple[Times, Times]:
    """Seconds, and seconds of CPU."""
    times: Times = {kind: [] for kind in ("local", *agent.kinds)}
    used: Times = {kind: [] for kind in times}
    for _ in range(rounds):
        await agent.fill(1)
        local = Kernel("local-floor", cwd)
        times["local"].append(await local.start())
        used["local"].append(cpu_s(local.manager.provisioner.pid))
        await local.stop()
        for kind, mem_bytes in agent.kinds.items():
            want = agent.want(mem_bytes, 1)
            times[kind].append(await agent.answers(want))
            used[kind].append((await agent.stats(want))["cpu_used_s"])
            await agent.remove(want)
    return times, used


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def at_once(agent: Agent, cwd: str, count: int, rounds: int, kinds: Sequence[str]) -> tuple[Times, Times]:
    """Seconds of the last one and of the middle one, for each round. Each may use one core.

    A kind of which not all have answered once is not tried again, and has no seconds.
    """
    last: Times = {kind: [] for kind in ("local", *kinds)}
    middle: Times = {kind: [] for kind in last}
    for _ in range(rounds):
        for kind in list(last):
            try:
                is_local = kind == "local"
                took = await (all_at_once("local-floor", cwd, count) if is_local else sessions(agent, kind, count))
            except ExceptionGroup as failed:
                failures = failed.exceptions
                print(f"{len(failures)} of {count} {kind} ones did not answer: {failures[0]}", flush=True)
                del last[kind], middle[kind]
                continue
            last[kind].append(max(took))
            middle[kind].append(statistics.median(took))
    return last, middle


async def sessions(agent: Agent, kind: str, count: int) -> list[float]:
    """Raises ``ExceptionGroup`` of what kept some from answering."""
    if kind == "warm":
        await agent.fill(count)
    wants = [agent.want(agent.kinds[kind], 1) for _ in range(count)]
    found = await asyncio.gather(*map(agent.answers, wants), return_exceptions=True)
    await agent.remove(*wants)
    if failed := [one for one in found if isinstance(one, Exception)]:
        raise ExceptionGroup("not all have answered", failed)
    return [one for one in found if isinstance(one, float)]


async def changes(agent: Agent, rounds: int) -> Times:
    """Seconds that it takes to change a session in which a kernel runs."""
    want = agent.want(WARM_BYTES, 1)
    await agent.answers(want)
    times: Times = {"resize": [], "suspend": [], "resume": []}
    if os.geteuid() == 0:  # else the engine mounts folders only when a container is made
        times |= {"attach a folder": [], "detach it": []}

    async def resized(number: int) -> None:
        nonlocal want
        size = ResourceSlots({"cpu": Decimal(1 + number % 2), "mem": Decimal(WARM_BYTES * (1 + number % 2))})
        want = replace(want, slots=size, resizes=number)
        agent.reconciler.wanted(Wanted([want], complete=False))
        await agent.until(lambda: agent._told[want.kernel_id].resizes == number)

    async def mounted(*mounts: MountWant) -> None:
        nonlocal want
        want = replace(want, mounts=list(mounts), mount_changes=want.mount_changes + 1)
        agent.reconciler.wanted(Wanted([want], complete=False))
        await agent.until(lambda: agent._told[want.kernel_id].mount_changes == want.mount_changes)
        if refused := agent._told[want.kernel_id].refused_mounts:
            raise RuntimeError(f"the folder was refused: {refused}")

    async def detached() -> None:
        await agent.reconciler.release_mount(want.kernel_id, DATA.target, is_forced=False)
        await mounted(HOME)

    for number in range(1, rounds + 1):
        times["resize"].append(await timed(resized(number)))
        times["suspend"].append(await timed(agent.reconciler.suspend(want.kernel_id)))
        times["resume"].append(await timed(agent.reconciler.resume(want.kernel_id)))
        if "detach it" in times:
            times["attach a folder"].append(await timed(mounted(HOME, DATA)))
            times["detach it"].append(await timed(detached()))
    await agent.remove(want)
    return times


async def timed(work: Awaitable[None]) -> float:
    begin = time.perf_counter()
    await work
    return time.perf_counter() - begin


async def mib_of(agent: Agent, pool: WarmPool, count: int) -> float:
    """What one that stands ready uses, by its own cgroup."""
    await agent.fill(count)
    refs = [spare.ref for ready in pool._ready.values() for spare in ready]
    used = [(await agent.runtime.stats(ref))["mem_used_bytes"] / 1024**2 for ref in refs]
    return statistics.median(used)


def show(label: str, times: Times) -> None:
    """Medians of what was measured, and the ratios of the last kind to those before it, also of the least."""
    middle = {kind: statistics.median(found) for kind, found in times.items()}
    figures = "".join(f"{middle[kind]:9.3f}" if kind in middle else f"{'-':>9}" for kind in KINDS)
    *before, ours = [kind for kind in KINDS if kind in times] or [""]
    ratios = ", ".join(f"{middle[ours] / middle[kind]:.2f} of {kind}" for kind in before)
    least = ", ".join(f"{min(times[ours]) / min(times[kind]):.2f}" for kind in before)
    of_least = f"; of the least, {least}" if len(times[ours]) > 1 else ""
    print(f"{label:20}{figures}   {ours} is {ratios}{of_least}" if before else f"{label:20}{figures}", flush=True)


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bai-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.environ["JUPYTER_PATH"] = str(folder / "jupyter")
        os.environ["JUPYTER_RUNTIME_DIR"] = str(folder / "runtime")
        write_local_spec(folder)
        agent = Agent(folder, options.runtime, options.image, max([1, *options.at_once]))
        print(f"{'seconds; ' + load():20}" + "".join(f"{kind:>9}" for kind in KINDS), flush=True)
        try:
            await agent.begin()
            times, used = await one_by_one(agent, name, options.rounds)
            show("one", times)
            show("one, CPU", used)
            kinds = [kind for kind in agent.kinds if not (options.no_cold and kind == "cold")]
            for count in options.at_once:
                last, middle = await at_once(agent, name, count, options.rounds_at_once, kinds)
                show(f"{count} at once, last", last)
                show(f"{count} at once, middle", middle)
            if agent.pool is not None:
                for what, took in (await changes(agent, options.rounds)).items():
                    print(f"{what:20}{statistics.median(took):9.3f}   {min(took):.3f} to {max(took):.3f}", flush=True)
                print(f"{'memory of one':20}{await mib_of(agent, agent.pool, 3):9.0f} MiB")
        finally:
            await agent.end()
    print(f"at the end: {load()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image", default="bai/python-minimal:3.11")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runtime", choices=("docker", "process"), default="docker")
    parser.add_argument("--at-once", type=int, nargs="*", default=[10, 30])
    parser.add_argument("--rounds-at-once", type=int, default=3)
    parser.add_argument(
        "--no-cold", action="store_true", help="none at once: on a busy machine they may not even start"
    )
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: sys.exit(143))
    asyncio.run(main(parser.parse_args()))
