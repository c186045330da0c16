"""The reconciler: its decision as a table, and that a kill between any two steps converges to the same end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bai_agent.devices.inventory import Inventory
from bai_agent.devices.mock import MockPlugin
from bai_agent.reconciler import Reconciler, Site, Step, next_step
from bai_agent.runtimes.base import ContainerState, Progress, RuntimeFault
from bai_agent.runtimes.process import ProcessRuntime
from bai_agent.state import KernelState, StateFolder

from bai_jupyter.common.ids import JupyterKernelId, KernelId
from bai_jupyter.common.messages import JupyterKernelReport, JupyterKernelWant, KernelReport, Wanted
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CREATED = ContainerState(running=False, exit_code=None, oom=False, started_at=None)
RUNS = ContainerState(running=True, exit_code=None, oom=False, started_at=NOW)
ENDED = ContainerState(running=False, exit_code=137, oom=False, started_at=NOW)


@pytest.mark.parametrize(
    ("target", "status", "container", "step"),
    [
        (Target.RUNNING, KernelStatus.PREPARING, None, Step.START),
        (Target.RUNNING, KernelStatus.PULLING, None, Step.START),
        (Target.RUNNING, KernelStatus.CREATING, CREATED, Step.START),
        (Target.RUNNING, KernelStatus.CREATING, RUNS, Step.RUN),
        (Target.RUNNING, KernelStatus.CREATING, ENDED, Step.ENDED),
        (Target.RUNNING, KernelStatus.RUNNING, RUNS, Step.RUN),
        (Target.RUNNING, KernelStatus.RUNNING, ENDED, Step.ENDED),
        (Target.RUNNING, KernelStatus.RUNNING, None, Step.ENDED),
        (Target.RUNNING, KernelStatus.TERMINATING, RUNS, Step.END),
        (Target.RUNNING, KernelStatus.TERMINATED, None, Step.NOTHING),
        (Target.RUNNING, KernelStatus.ERROR, RUNS, Step.CLEAR),
        (Target.TERMINATED, KernelStatus.PREPARING, None, Step.END),
        (Target.TERMINATED, KernelStatus.RUNNING, RUNS, Step.END),
        (Target.TERMINATED, KernelStatus.TERMINATED, None, Step.NOTHING),
        (Target.TERMINATED, KernelStatus.TERMINATED, ENDED, Step.CLEAR),
    ],
)
def test_next_step(target: Target, status: KernelStatus, container: ContainerState | None, step: Step) -> None:
    assert next_step(target, status, container) is step


@dataclass
class RecordedJupyterKernels:
    """What the reconciler asks of Jupyter kernels; nothing is started."""

    changed: Callable[[KernelId], None]
    asked: dict[KernelId, list[str]] = field(default_factory=dict)
    adopted: list[KernelId] = field(default_factory=list)
    stopped: list[KernelId] = field(default_factory=list)
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

    async def stop_all(self, kernel_id: KernelId) -> None:
        self.stopped.append(kernel_id)
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

    async def _then_die(self, step: str, work: Any) -> Any:
        result = await work
        if step == self.step:
            raise asyncio.CancelledError
        return result


class RuntimePullsForever(ProcessRuntime):
    async def ensure_image(self, name: str, digest: str, progress: Progress) -> None:
        progress(40, 4, 10)
        await asyncio.Event().wait()


class RuntimeEngineIsAway(ProcessRuntime):
    away = True

    async def ensure_image(self, name: str, digest: str, progress: Progress) -> None:
        if self.away:
            raise RuntimeFault(Reason.of("engine-down", agent="lab-1", cause="connection refused"))


@dataclass
class World:
    """Agents one after the other on one state folder, and all they told."""

    bench: Any
    told: list[KernelReport] = field(default_factory=list)
    agents: list[tuple[Reconciler, ProcessRuntime]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def agent(self, runtime_class: type[ProcessRuntime] = ProcessRuntime, step: str = "") -> Reconciler:
        runtime = runtime_class(self.bench.state_dir, "lab-1", self.bench.runtime._python)
        if step:
            runtime.step = step  # type: ignore[attr-defined]
        inventory = Inventory([MockPlugin([{"id": "m", "count": 2, "slots": {"mock.device": 1}}])])
        site = Site("lab-1", {"local:home": self.bench.volume})
        made = Reconciler(runtime, StateFolder(self.bench.state_dir), inventory, site, self._hear, orphan_grace_s=0.05)
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


@pytest_asyncio.fixture
async def world(process_bench: Any) -> AsyncIterator[World]:
    made = World(process_bench)
    yield made
    for reconciler, runtime in made.agents:
        await reconciler.stop()
        await runtime.close()


def want(world: World, **changes: Any) -> Any:
    return world.bench.want(slots=ResourceSlots.parse({"mock.device": 1}), **changes)


async def quiet(reconciler: Reconciler) -> None:
    """Wait until no kernel is being worked on: here, until the step that kills it was reached."""
    async with asyncio.timeout(15):
        while reconciler._workers:
            await asyncio.wait(list(reconciler._workers.values()))
            await asyncio.sleep(0)


@pytest.mark.asyncio
@pytest.mark.parametrize("step", ["create", "start"])
async def test_killed_while_starting_the_next_agent_finishes_with_one_container(world: World, step: str) -> None:
    first = await world.agent(RuntimeDiesAfter, step)
    wanted = want(world)
    first.wanted(Wanted([wanted], complete=True))
    await quiet(first)
    assert world.last(wanted.kernel_id).status is KernelStatus.CREATING  # type: ignore[union-attr]
    await world.end_agent()

    await world.agent()
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    assert len(await world.bench.runtime.list_ours()) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("step", ["stop", "remove"])
async def test_killed_while_ending_the_next_agent_finishes(world: World, step: str) -> None:
    first = await world.agent(RuntimeDiesAfter, step)
    wanted = want(world)
    first.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    first.wanted(Wanted([replace(wanted, target=Target.TERMINATED)], complete=False))
    await quiet(first)
    assert world.last(wanted.kernel_id).devices  # type: ignore[union-attr]  # held until it is gone for sure
    await world.end_agent()

    await world.agent()
    ended = await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    assert ended.devices == {}
    assert await world.bench.runtime.list_ours() == []


@pytest.mark.asyncio
async def test_an_end_wanted_during_a_pull_stops_the_pull(world: World) -> None:
    agent = await world.agent(RuntimePullsForever)
    wanted = want(world)
    agent.wanted(Wanted([wanted], complete=True))
    pulling = await world.status(wanted.kernel_id, KernelStatus.PULLING)
    assert pulling.reason is not None
    assert "40 %" in pulling.reason.text
    agent.wanted(Wanted([replace(wanted, target=Target.TERMINATED)], complete=False))
    await world.status(wanted.kernel_id, KernelStatus.TERMINATED)


@pytest.mark.asyncio
async def test_an_engine_that_is_away_is_waited_for(world: World) -> None:
    agent = await world.agent(RuntimeEngineIsAway)
    wanted = want(world)
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.PREPARING)
    world.agents[-1][1].away = False  # type: ignore[attr-defined]
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)


@pytest.mark.asyncio
async def test_two_kernels_at_once_never_hold_one_device(world: World) -> None:
    agent = await world.agent()
    wanted = [want(world) for _ in range(3)]
    agent.wanted(Wanted(wanted, complete=True))
    await quiet(agent)
    ends = [world.last(item.kernel_id) for item in wanted]
    assert sorted(end.status for end in ends if end) == ["ERROR", "RUNNING", "RUNNING"]
    given = [name for end in ends if end for name in end.devices.get("mock.device", {})]
    assert sorted(given) == ["m-0", "m-1"]


@pytest.mark.asyncio
async def test_jupyter_kernels_are_converged_adopted_reported_and_ended(world: World) -> None:
    agent = await world.agent()
    jupyter = JupyterKernelWant(JupyterKernelId("j"), 1, "python3", "/home/work", {}, "key")
    wanted = want(world, jupyter_kernels=[jupyter])
    agent.wanted(Wanted([wanted], complete=True))
    await quiet(agent)
    last = world.last(wanted.kernel_id)
    assert last is not None
    assert [item.status for item in last.jupyter_kernels] == [JupyterKernelStatus.RUNNING]
    assert "python3" in agent.jupyter.asked[wanted.kernel_id]  # type: ignore[attr-defined]
    await world.end_agent()

    second = await world.agent()
    assert second.jupyter.adopted == [wanted.kernel_id]  # type: ignore[attr-defined]
    second.wanted(Wanted([replace(wanted, target=Target.TERMINATED)], complete=True))
    ended = await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    assert second.jupyter.stopped == [wanted.kernel_id]  # type: ignore[attr-defined]
    assert [item.status for item in ended.jupyter_kernels] == [JupyterKernelStatus.DEAD]


@pytest.mark.asyncio
async def test_a_container_of_a_kernel_that_is_over_is_removed(world: World) -> None:
    """An engine that answered late made it after its end was told."""
    agent = await world.agent()
    wanted = want(world, target=Target.TERMINATED)
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    await world.bench.launch(wanted)
    await world.end_agent()
    await world.agent()
    assert await world.bench.runtime.list_ours() == []


@pytest.mark.asyncio
async def test_one_that_is_wanted_again_in_time_is_not_removed(world: World) -> None:
    agent = await world.agent()
    wanted, other = want(world), want(world)
    agent.wanted(Wanted([wanted, other], complete=True))
    for item in (wanted, other):
        await world.status(item.kernel_id, KernelStatus.RUNNING)
    agent.wanted(Wanted([], complete=True))
    agent.wanted(Wanted([wanted], complete=False))
    async with asyncio.timeout(10):
        while len(await world.bench.runtime.list_ours()) == 2:
            await asyncio.sleep(0.02)
    (left,) = await world.bench.runtime.list_ours()
    assert left.kernel_id == wanted.kernel_id


def test_state_survives_and_a_broken_file_is_told_not_fatal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make_process_bench: Any
) -> None:
    bench = make_process_bench()
    store = StateFolder(bench.state_dir)
    store.lock()
    wanted = bench.want()
    report = KernelReport(
        wanted.kernel_id, wanted.session_id, KernelStatus.TERMINATED, 3, reason=Reason.of("other", text="x")
    )
    store.save(KernelState(wanted, report))
    assert store.load() == {wanted.kernel_id: KernelState(wanted, report)}
    assert (store.kernel_folder(wanted.kernel_id) / "state.json").stat().st_mode & 0o777 == 0o600
    (store.kernel_folder(wanted.kernel_id) / "state.json").write_text("{")
    assert store.load() == {}
    assert "cannot be read" in caplog.text
    store.unlock()
    with contextlib.suppress(FileNotFoundError):
        (bench.state_dir / "credential").unlink()
    assert store.credential() is None
    assert store.own_id() == store.own_id()
