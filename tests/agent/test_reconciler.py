"""The reconciler: a kill between any two steps converges to the same end."""

import asyncio
import contextlib
import errno
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from bai_agent.containers import Site
from bai_agent.devices.base import DeviceFault
from bai_agent.devices.inventory import Inventory
from bai_agent.devices.mock import MockPlugin
from bai_agent.doors import Doors
from bai_agent.manager_access import DOOR, ManagerAccess
from bai_agent.reconciler import Reconciler
from bai_agent.runtimes.base import INSIDE_RUN, UNKNOWN_EXIT, ContainerState, Progress, RuntimeFault, describe_exit
from bai_agent.runtimes.process import ProcessRuntime
from bai_agent.shares.holding import Holding, NotHeld
from bai_agent.shares.ladder import Enforcement
from bai_agent.shares.limits import Rule
from bai_agent.shares.nvml import Nvml
from bai_agent.state import KernelState, StateFolder

from bai_jupyter.common.ids import JupyterKernelId, KernelId, new_kernel_id
from bai_jupyter.common.messages import (
    FileWant,
    JupyterKernelReport,
    JupyterKernelWant,
    KernelReport,
    MountWant,
    Wanted,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = ContainerState(running=False, exit_code=137, oom=False, started_at=NOW)


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "0"), (3, "3"), (137, "137, SIGKILL"), (250, "250"), (UNKNOWN_EXIT, "unknown"), (None, "unknown")],
)
def test_an_exit_code_is_told_with_the_name_of_its_signal(code: int | None, text: str) -> None:
    assert describe_exit(code) == text


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


class RuntimePullsForever(ProcessRuntime):
    async def ensure_image(self, name: str, digest: str, progress: Progress) -> None:
        progress(40, 4, 10)
        await asyncio.Event().wait()


class RuntimeEngineIsAway(ProcessRuntime):
    away = True

    async def ensure_image(self, name: str, digest: str, progress: Progress) -> None:
        if self.away:
            raise RuntimeFault(Reason.of("engine-down", agent="lab-1", cause="connection refused"))


class RuntimeFreezes(ProcessRuntime):
    """As an engine would, but for the container that is ``stuck``."""

    frozen: ClassVar[set[str]] = set()
    stuck = ""

    async def pause(self, ref: str) -> None:
        self._check(ref)
        self.frozen.add(ref)

    async def unpause(self, ref: str) -> None:
        self._check(ref)
        self.frozen.discard(ref)

    def _check(self, ref: str) -> None:
        if ref == self.stuck:
            raise RuntimeFault(Reason.of("suspend-failed", agent="lab-1", cause="stuck"))


class DevicesNeverReady(MockPlugin):
    def prepare(self, held: Any, folder: Path) -> Any:
        raise DeviceFault("m-0", "its tool says no")


class DevicesMadeReady(MockPlugin):
    """Writes down in files what was asked of it, and when."""

    log: list[tuple[str, Any]]

    def prepare(self, held: Any, folder: Path) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "made").touch()
        self.log.append(("prepare", folder))
        return self.options(held)

    def release(self, held: Any) -> None:
        self.log.append(("release", sorted(held["mock.device"])))


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


@pytest_asyncio.fixture
async def world(process_bench: Any) -> AsyncIterator[World]:
    made = World(process_bench)
    yield made
    for reconciler, runtime in made.agents:
        await reconciler.stop()
        await runtime.close()


def want(world: World, **changes: Any) -> Any:
    return world.bench.want(**{"slots": ResourceSlots.parse({"mock.device": 1}), **changes})


async def quiet(reconciler: Reconciler) -> None:
    """Wait until no kernel is being worked on: here, until the step that kills it was reached."""
    async with asyncio.timeout(15):
        while tasks := list(reconciler._looks._tasks.values()):
            await asyncio.wait(tasks)
            await asyncio.sleep(0)


@pytest.mark.asyncio
@pytest.mark.parametrize("step", ["create", "start"])
async def test_killed_while_starting_the_next_agent_finishes_with_one_container(world: World, step: str) -> None:
    first = await world.agent(RuntimeDiesAfter, step)
    (world.bench.volume / "mine").mkdir()
    wanted = want(world, mounts=[world.bench.mount("home", "mine")])
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
async def test_the_containers_of_a_session_are_frozen_together_or_not_at_all(world: World) -> None:
    agent = await world.agent(RuntimeFreezes)
    runtime: Any = world.agents[0][1]
    alone = want(world, slots=ResourceSlots())
    main = replace(want(world, slots=ResourceSlots()), cluster_host="main1")
    sub = replace(main, kernel_id=new_kernel_id(), cluster_host="sub1")
    agent.wanted(Wanted([alone, main, sub], complete=True))
    for one in (alone, main, sub):
        await world.status(one.kernel_id, KernelStatus.RUNNING)
    refs = {agent.ref_of(main.kernel_id), agent.ref_of(sub.kernel_id)}
    await agent.suspend(main.kernel_id)
    assert runtime.frozen == refs
    await agent.resume(sub.kernel_id)
    assert runtime.frozen == set()
    runtime.stuck = agent.ref_of(sub.kernel_id)
    with pytest.raises(RuntimeFault):
        await agent.suspend(main.kernel_id)
    assert runtime.frozen == set()
    assert not agent.is_suspended(main.kernel_id)

    runtime.stuck = ""
    await agent.suspend(main.kernel_id)
    runtime.stuck = agent.ref_of(sub.kernel_id)
    with pytest.raises(RuntimeFault):
        await agent.resume(main.kernel_id)
    assert runtime.frozen == {runtime.stuck}
    assert agent.is_suspended(main.kernel_id)  # so whoever uses it next thaws the other one, too


@pytest.mark.asyncio
async def test_an_engine_that_is_away_is_waited_for(world: World) -> None:
    agent = await world.agent(RuntimeEngineIsAway)
    wanted = want(world)
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.PREPARING)
    world.agents[-1][1].away = False  # type: ignore[attr-defined]
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)


@pytest.mark.asyncio
async def test_devices_that_cannot_be_made_ready_fail_the_session_and_say_why(world: World) -> None:
    agent = await world.agent(plugin_class=DevicesNeverReady)
    wanted = want(world)
    agent.wanted(Wanted([wanted], complete=True))
    failed = await world.status(wanted.kernel_id, KernelStatus.ERROR)
    assert failed.reason is not None
    assert failed.reason.text == "m-0 could not be made ready on lab-1: its tool says no."
    assert failed.devices == {}
    assert await world.bench.runtime.list_ours() == []


@pytest.mark.asyncio
async def test_devices_are_made_ready_for_each_container_and_released_once_it_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[tuple[str, Any]] = []

    class RuntimeTellsOfRemovals(ProcessRuntime):
        async def remove(self, ref: str) -> None:
            await super().remove(ref)
            log.append(("remove", ref))

    monkeypatch.setattr(DevicesMadeReady, "log", log, raising=False)
    agent = await world.agent(RuntimeTellsOfRemovals, plugin_class=DevicesMadeReady)
    wanted = want(world)
    agent.wanted(Wanted([wanted], complete=True))
    running = await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    folder = world.bench.folder(wanted.kernel_id) / "devices/mock"
    assert log == [("prepare", folder)]
    assert (folder / "made").exists()
    agent.wanted(Wanted([replace(wanted, target=Target.TERMINATED)], complete=False))
    await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    assert log[1:] == [("remove", running.runtime_ref), ("release", ["m-0"])]
    assert not folder.exists()


@pytest.mark.asyncio
async def test_on_a_full_disk_all_is_told_and_the_next_agent_goes_on_from_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, wanted = await world.agent(), want(world)
    first.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    with monkeypatch.context() as patched:
        patched.setattr(first.book.store, "save", _no_room)
        first.wanted(Wanted([replace(wanted, target=Target.TERMINATED)], complete=False))
        told = await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
        await world.end_agent()
    second = await world.agent()
    (again,) = second.reports()
    assert again.status is not KernelStatus.TERMINATED  # what was written down last
    assert again.revision > told.revision


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


# What a session runs itself


@pytest.mark.asyncio
async def test_a_bootstrap_script_comes_before_running(world: World) -> None:
    agent = await world.agent()
    wanted = want(world, bootstrap="#!/bin/sh\npwd > where\necho prepared\n")
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    scratch = world.bench.folder(wanted.kernel_id) / "scratch"
    assert (scratch / "where").read_text().strip() == str(scratch)
    assert "prepared\n" in await agent.logs(wanted.kernel_id, 10)
    (scratch / "where").unlink()
    agent.wanted(Wanted([replace(wanted, environ={})], complete=True))
    await quiet(agent)
    assert not (scratch / "where").exists()  # once for each start


@pytest.mark.asyncio
async def test_the_owners_files_and_script_come_before_the_sessions_own(world: World) -> None:
    agent = await world.agent()
    files = [FileWant(".local/rc", "600", "from a file\n"), FileWant(".local/rc/below", "644", "in the way")]
    mine = {"owner_bootstrap": "cat .local/rc > both", "bootstrap": "echo own >> both", "files": files}
    wanted = want(world, **mine)
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    assert (world.bench.folder(wanted.kernel_id) / "scratch" / "both").read_text() == "from a file\nown\n"
    state = world.bench.folder(wanted.kernel_id) / "state.json"
    assert "from a file" not in state.read_text()
    agent.wanted(Wanted([wanted], complete=True))  # as a manager says that has not heard that it runs
    await quiet(agent)
    assert "from a file" not in state.read_text()
    assert world.last(wanted.kernel_id).status is KernelStatus.RUNNING  # type: ignore[union-attr]


@pytest.mark.asyncio
async def test_an_owners_script_that_fails_is_told_apart(world: World) -> None:
    agent = await world.agent()
    wanted = want(world, owner_bootstrap="echo oh; exit 4", bootstrap="echo own > ran")
    agent.wanted(Wanted([wanted], complete=True))
    ended = await world.status(wanted.kernel_id, KernelStatus.ERROR)
    assert ended.reason is not None
    assert ended.reason.text.startswith('Your own bootstrap script failed with code 4. Last line: "oh".')


@pytest.mark.asyncio
async def test_a_session_has_the_doors_that_it_asked_for_before_its_command_runs(world: World) -> None:
    agent = await world.agent()
    door = {"DOOR": f"{INSIDE_RUN}/hub.sock"}
    wanted = want(world, doors=["hub"], command='test -S "$DOOR"', environ={**world.bench.environ, **door})
    agent.wanted(Wanted([wanted], complete=True))
    assert (await world.status(wanted.kernel_id, KernelStatus.TERMINATED)).exit_code == 0


@pytest.mark.asyncio
async def test_a_command_finds_its_way_to_the_manager_and_what_its_user_gave_goes_before(world: World) -> None:
    agent = await world.agent()
    command = 'test -s "$BAI_TOKEN_FILE" && test -S "$BAI_MANAGER_SOCKET" && test "$BACKEND_ENDPOINT" = http://mine'
    environ = {**world.bench.environ, "BACKEND_ENDPOINT": "http://mine"}
    wanted = want(world, command=command, environ=environ, access_token="token-1")
    agent.wanted(Wanted([wanted], complete=True))
    assert (await world.status(wanted.kernel_id, KernelStatus.TERMINATED)).exit_code == 0


@pytest.mark.asyncio
async def test_a_session_that_asked_for_a_door_that_is_not_here_ends(world: World) -> None:
    agent = await world.agent()
    wanted = want(world, doors=["hub", "mail"])
    agent.wanted(Wanted([wanted], complete=True))
    ended = await world.status(wanted.kernel_id, KernelStatus.ERROR)
    assert ended.reason == Reason.of("door-missing", agent="lab-1", door="mail")
    assert await world.bench.runtime.list_ours() == []


@pytest.mark.asyncio
async def test_a_session_whose_bootstrap_script_fails_is_not_started(world: World) -> None:
    agent = await world.agent()
    wanted = want(world, bootstrap="echo no such dataset; exit 4")
    agent.wanted(Wanted([wanted], complete=True))
    ended = await world.status(wanted.kernel_id, KernelStatus.ERROR)
    assert ended.reason is not None
    assert ended.reason.text == 'The bootstrap script failed with code 4. Last line: "no such dataset".'
    assert await world.bench.runtime.list_ours() == []


@pytest.mark.asyncio
@pytest.mark.parametrize(("code", "reason"), [(0, "task-finished"), (7, "task-failed")])
async def test_a_batch_session_ends_with_its_command_and_its_log_is_told(world: World, code: int, reason: str) -> None:
    agent = await world.agent()
    wanted = want(world, bootstrap="echo first", command=f"echo second; exit {code}")
    agent.wanted(Wanted([wanted], complete=True))
    ended = await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    assert ended.reason is not None
    assert (ended.reason.code, ended.exit_code, ended.log) == (reason, code, "first\nsecond\n")
    assert await world.bench.runtime.list_ours() == []


@pytest.mark.asyncio
async def test_logs_of_many_ended_sessions_do_not_make_a_message_too_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bai_agent.book.HELLO_LOG_BYTES", len(json.dumps("printed\n")) + 1)
    agent = await world.agent()
    wanted = [want(world, command="echo printed") for _ in range(2)]
    agent.wanted(Wanted(wanted, complete=True))
    for one in wanted:
        assert (await world.status(one.kernel_id, KernelStatus.TERMINATED)).log == "printed\n"
    assert sorted(str(report.log) for report in agent.reports()) == ["None", "printed\n"]


@pytest.mark.asyncio
async def test_jupyter_kernels_are_told_why_their_container_ended(world: World) -> None:
    agent = await world.agent()
    wanted = want(world)
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    os.kill(json.loads((world.bench.folder(wanted.kernel_id) / "process.json").read_text())["pid"], signal.SIGKILL)
    ended = await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    assert ended.reason is not None
    assert agent.jupyter.told[wanted.kernel_id] == ended.reason


@pytest.mark.asyncio
async def test_a_command_is_not_run_again_by_the_next_agent(world: World) -> None:
    first = await world.agent()
    wanted = want(world, command="echo begun >> begun; while test ! -e go; do sleep 0.05; done")
    first.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    scratch = world.bench.folder(wanted.kernel_id) / "scratch"
    await _until(lambda: (scratch / "begun").exists() and "command" in first.book.states[wanted.kernel_id].programs)
    await world.end_agent()

    second = await world.agent()
    await quiet(second)
    assert (scratch / "begun").read_text() == "begun\n"
    (scratch / "go").touch()
    ended = await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    assert ended.reason is not None
    assert ended.reason.code == "task-failed"  # not our child, so nobody knows its code: that is no success


@pytest.mark.asyncio
async def test_killed_while_ending_with_its_command_the_next_agent_tells_its_code(world: World) -> None:
    first = await world.agent(RuntimeDiesAfter, "stop")
    wanted = want(world, command="exit 7")
    first.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    await _until(lambda: first.book.states[wanted.kernel_id].command_code == 7 and not first._looks._tasks)
    await world.end_agent()

    await world.agent()
    ended = await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    assert (ended.exit_code, ended.reason and ended.reason.code) == (7, "task-failed")


@pytest.mark.asyncio
@pytest.mark.parametrize("step", ["", "stop", "start"])
async def test_a_restart_keeps_the_files_and_runs_the_bootstrap_script_again(world: World, step: str) -> None:
    agent = await world.agent()
    wanted = want(world, bootstrap="echo begun >> begun")
    agent.wanted(Wanted([wanted], complete=True))
    before = await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    again = Wanted([replace(wanted, restarts=1)], complete=True)
    if step:  # killed on the way, after that step
        await world.end_agent()
        agent = await world.agent(RuntimeDiesAfter, step)
        await quiet(agent)
        agent.wanted(again)
        await quiet(agent)
        await world.end_agent()
        agent = await world.agent()
    agent.wanted(again)
    await _until(lambda: (last := world.last(wanted.kernel_id)) and last.restarts == 1 and last.status == "RUNNING")
    last = world.last(wanted.kernel_id)
    assert last is not None
    assert last.runtime_ref == before.runtime_ref
    assert (world.bench.folder(wanted.kernel_id) / "scratch" / "begun").read_text() == "begun\n" * 2
    assert len(await world.bench.runtime.list_ours()) == 1
    assert wanted.kernel_id in agent.jupyter.stopped or step  # type: ignore[attr-defined]


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_container_killed_long_after_something_in_it_ran_out_of_memory(world: World, monkeypatch: Any) -> None:
    """The engine's word for that never goes away."""
    agent = await world.agent()
    kernel_id = (wanted := want(world)).kernel_id
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(kernel_id, KernelStatus.RUNNING)

    async def why(exit_code: int) -> str:
        return (await agent._ends.why(kernel_id, replace(ENDED, oom=True, exit_code=exit_code))).code

    assert (await why(137), await why(143)) == ("oom-killed", "killed-outside")
    await agent._ends.note_out_of_memory(kernel_id)
    assert await why(137) == "oom-killed"
    monkeypatch.setattr("bai_agent.ends._OOM_EXPLAINS_S", 0)  # that was long ago
    assert await why(137) == "killed-outside"


# Folders that come and go


def folders_of(world: World, *names: str) -> list[MountWant]:
    for name in names:
        (world.bench.volume / name).mkdir(exist_ok=True)
    return [world.bench.mount(name, name) for name in names]


def seen(world: World, kernel_id: KernelId) -> dict[str, str]:
    """``{name in the home: name of the folder on the volume}``"""
    links = (world.bench.folder(kernel_id) / "scratch").iterdir()
    return {link.name: link.readlink().name for link in links if link.is_symlink()}


async def settled(world: World, kernel_id: KernelId, number: int) -> KernelReport:
    await _until(lambda: (last := world.last(kernel_id)) is not None and last.mount_changes == number)
    last = world.last(kernel_id)
    assert last is not None
    return last


@pytest.mark.asyncio
@pytest.mark.parametrize("killed", [False, True])
async def test_folders_are_attached_and_detached_also_by_the_next_agent(world: World, killed: bool) -> None:
    one, two, three = folders_of(world, "one", "two", "three")
    agent = await world.agent(RuntimeDiesAfter, "change_mounts" if killed else "")
    wanted = want(world, mounts=[one, two])
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    assert seen(world, wanted.kernel_id) == {"one": "one", "two": "two"}
    (world.bench.volume / "one" / "file").write_text("kept")
    changed = replace(wanted, mounts=[two, three], mount_changes=1)
    agent.wanted(Wanted([changed], complete=False))
    if killed:
        await quiet(agent)
        assert world.last(wanted.kernel_id).mount_changes == 0  # type: ignore[union-attr]
        await world.end_agent()
        await world.agent()
    last = await settled(world, wanted.kernel_id, 1)
    assert (last.status, last.refused_mounts) == (KernelStatus.RUNNING, {})
    assert seen(world, wanted.kernel_id) == {"two": "two", "three": "three"}
    assert (world.bench.volume / "one" / "file").read_text() == "kept"


@pytest.mark.asyncio
async def test_a_folder_that_cannot_be_had_is_refused_once_and_the_session_goes_on(world: World) -> None:
    agent = await world.agent()
    (one,) = folders_of(world, "one")
    missing = world.bench.mount("missing", "missing")
    wanted = want(world, mounts=[one])
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    scratch = world.bench.folder(wanted.kernel_id) / "scratch"
    (scratch / "files").mkdir()
    (scratch / "files" / "mine").touch()
    (files,) = folders_of(world, "files")
    agent.wanted(Wanted([replace(wanted, mounts=[one, missing, files], mount_changes=1)], complete=False))
    last = await settled(world, wanted.kernel_id, 1)
    assert last.status is KernelStatus.RUNNING
    assert {target: reason.code for target, reason in last.refused_mounts.items()} == {
        "/home/work/missing": "mount-failed",
        "/home/work/files": "mount-failed",
    }
    assert seen(world, wanted.kernel_id) == {"one": "one"}
    assert (scratch / "files" / "mine").exists()
    (world.bench.volume / "missing").mkdir()
    agent._looks.now(wanted.kernel_id)
    await quiet(agent)
    assert seen(world, wanted.kernel_id) == {"one": "one"}
    agent.wanted(Wanted([replace(wanted, mounts=[one, missing], mount_changes=2)], complete=False))
    assert (await settled(world, wanted.kernel_id, 2)).refused_mounts == {}
    assert seen(world, wanted.kernel_id) == {"one": "one", "missing": "missing"}


@pytest.mark.asyncio
async def test_a_folder_that_is_there_already_is_not_touched(world: World) -> None:
    """Not on record: put there by an agent that was killed, or that knew nothing of records."""
    agent = await world.agent()
    (one,) = folders_of(world, "one")
    wanted = want(world, mounts=[one])
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    agent.book.change(wanted.kernel_id, mounted=[])
    await world.end_agent()
    link = (world.bench.folder(wanted.kernel_id) / "scratch" / "one").lstat().st_ctime_ns
    agent = await world.agent()
    await quiet(agent)
    assert agent.book.states[wanted.kernel_id].mounted == [one]
    assert (world.bench.folder(wanted.kernel_id) / "scratch" / "one").lstat().st_ctime_ns == link


@pytest.mark.asyncio
async def test_a_released_folder_waits_for_the_manager_s_word_and_not_for_ever(world: World, monkeypatch: Any) -> None:
    agent = await world.agent()
    one, two = folders_of(world, "one", "two")
    wanted = want(world, mounts=[one, two])
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)

    async def released_and_looked_at() -> dict[str, str]:
        await agent.release_mount(wanted.kernel_id, one.target, is_forced=True)
        agent.wanted(Wanted([wanted], complete=True))
        agent._looks.now(wanted.kernel_id)
        await quiet(agent)
        return seen(world, wanted.kernel_id)

    assert await released_and_looked_at() == {"two": "two"}
    again = replace(wanted, mounts=[one, two], mount_changes=2)  # detached by then, and attached once more
    agent.wanted(Wanted([again], complete=False))
    await settled(world, wanted.kernel_id, 2)
    assert seen(world, wanted.kernel_id) == {"one": "one", "two": "two"}
    wanted = again
    monkeypatch.setattr("bai_agent.mounting._RELEASED_S", 0)  # the manager has died meanwhile
    assert await released_and_looked_at() == {"one": "one", "two": "two"}


class MountsAreFixed(ProcessRuntime):
    """As with an engine whose agent is not root."""

    async def change_mounts(self, ref: str, *changes: Any, **options: Any) -> dict[str, str]:
        raise RuntimeFault(Reason.of("mounts-fixed", agent="lab-1", cause="it does not run as root"))


@pytest.mark.asyncio
async def test_where_mounts_are_fixed_that_is_said_and_sessions_run(world: World) -> None:
    agent = await world.agent(MountsAreFixed)
    one, two = folders_of(world, "one", "two")
    wanted = want(world, mounts=[one])
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    agent.wanted(Wanted([replace(wanted, mounts=[one, two], mount_changes=1)], complete=False))
    last = await settled(world, wanted.kernel_id, 1)
    assert last.refused_mounts["/home/work/two"].text == (
        "lab-1 cannot change the folders of a session that runs: it does not run as root. "
        "Start the session again with the folders that you want."
    )
    assert last.status is KernelStatus.RUNNING


class NothingHolds(Holding):
    """Limits never come into force."""

    def hold(self, place: Path, held: Any, pid: int) -> None:
        raise NotHeld("the driver refused")


class HeldPids(Holding):
    """Remembers for which main processes limits were put in force, and let go of."""

    events: ClassVar[list[tuple[str, int]]] = []

    def hold(self, place: Path, held: Any, pid: int) -> None:
        self.events.append(("hold", pid))

    def let_go(self, held: Any, pid: int) -> None:
        self.events.append(("let go", pid))


def want_of_a_gpu(world: World, **changes: Any) -> Any:
    return world.bench.want(slots=ResourceSlots.parse({"cuda.shares": "0.5"}), **changes)


@pytest.mark.asyncio
async def test_a_session_that_cannot_be_held_to_its_share_never_runs_anything(world: World) -> None:
    reconciler = await world.agent(holding_class=NothingHolds)
    wanted = want_of_a_gpu(world, command="touch /home/work/ran", bootstrap="touch /home/work/began")
    other = want(world)
    reconciler.wanted(Wanted([wanted, other], complete=True))
    ended = await world.status(wanted.kernel_id, KernelStatus.ERROR)
    assert ended.reason is not None
    assert ended.reason.text == (
        "lab-1 could not hold the session to its share of a GPU: the driver refused. It was not started."
    )
    await world.status(other.kernel_id, KernelStatus.RUNNING)  # who has no share is not asked
    told = [report.status for report in world.told if report.kernel_id == wanted.kernel_id]
    assert KernelStatus.RUNNING not in told
    assert wanted.kernel_id not in reconciler.jupyter.asked  # type: ignore[attr-defined]
    assert not (await world.bench.runtime.list_ours())[1:]


@pytest.mark.asyncio
async def test_limits_are_put_in_force_for_each_main_process_before_anything_runs(world: World) -> None:
    HeldPids.events.clear()
    reconciler = await world.agent(holding_class=HeldPids)
    wanted = want_of_a_gpu(world)
    reconciler.wanted(Wanted([wanted], complete=True))
    assert reconciler.open_ref_of(wanted.kernel_id) is None
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    assert reconciler.open_ref_of(wanted.kernel_id) == wanted.kernel_id
    first = await world.bench.runtime.main_pid(wanted.kernel_id)
    assert HeldPids.events == [("hold", first)]

    reconciler.wanted(Wanted([replace(wanted, restarts=1)], complete=False))
    async with asyncio.timeout(30):
        while (last := world.last(wanted.kernel_id)) is None or (last.restarts, last.status) != (1, "RUNNING"):
            world.arrived.clear()
            await world.arrived.wait()
    second = await world.bench.runtime.main_pid(wanted.kernel_id)
    assert second != first
    assert HeldPids.events == [("hold", first), ("let go", first), ("hold", second)]

    await world.end_agent()  # the next one cannot know that they were
    again = await world.agent(holding_class=HeldPids)
    again.wanted(Wanted([replace(wanted, restarts=1)], complete=True))
    async with asyncio.timeout(30):
        while HeldPids.events[3:] != [("hold", second)]:
            await asyncio.sleep(0.02)


@pytest.mark.asyncio
async def test_a_session_without_room_is_told_so_in_figures(world: World) -> None:
    reconciler = await world.agent()
    wants = [want_of_a_gpu(world) for _ in range(3)]
    reconciler.wanted(Wanted(wants, complete=True))
    ended = await world.status(wants[2].kernel_id, KernelStatus.ERROR)
    assert ended.reason == Reason.of(
        "devices-taken", agent="lab-1", slot="cuda.shares", asked="0.5", free="0", total="1"
    )
