"""The reconciler: a kill between any two steps converges to the same end."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from agent.process_agents import RuntimeDiesAfter, World, agents_on, quiet, until, want, want_of_a_gpu
from bai_agent.devices.base import DeviceFault
from bai_agent.devices.mock import MockPlugin
from bai_agent.runtimes.base import Progress, RuntimeFault
from bai_agent.runtimes.process import ProcessRuntime
from bai_agent.state import KernelState, StateFolder

from bai_jupyter.common.ids import JupyterKernelId, new_kernel_id
from bai_jupyter.common.messages import (
    JupyterKernelWant,
    KernelReport,
    Wanted,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target


@pytest_asyncio.fixture
async def world(process_bench: Any) -> AsyncIterator[World]:
    async with agents_on(process_bench) as made:
        yield made


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

    async def inspect(self, ref: str) -> Any:
        found = await super().inspect(ref)
        return found and replace(found, paused=ref in self.frozen)

    async def stop(self, ref: str) -> None:
        assert ref not in self.frozen, "what is frozen hears no signal"
        await super().stop(ref)

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
async def test_a_frozen_session_that_the_agent_ends_is_thawed_before(world: World) -> None:
    agent = await world.agent(RuntimeFreezes)
    wanted = want(world, slots=ResourceSlots())
    agent.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    await agent.suspend(wanted.kernel_id)
    agent.end_for(wanted.kernel_id, Reason.of("other", text="It holds too much."))
    ended = await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    assert ended.reason is not None
    assert ended.reason.text == "It holds too much."


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


@pytest.mark.asyncio
async def test_a_command_finds_its_way_to_the_manager_and_what_its_user_gave_goes_before(world: World) -> None:
    agent = await world.agent()
    command = 'test -s "$BAI_TOKEN_FILE" && test -S "$BAI_MANAGER_SOCKET" && test "$BACKEND_ENDPOINT" = http://mine'
    environ = {**world.bench.environ, "BACKEND_ENDPOINT": "http://mine"}
    wanted = want(world, command=command, environ=environ, access_token="token-1")
    agent.wanted(Wanted([wanted], complete=True))
    assert (await world.status(wanted.kernel_id, KernelStatus.TERMINATED)).exit_code == 0


@pytest.mark.asyncio
async def test_a_command_is_not_run_again_by_the_next_agent(world: World) -> None:
    first = await world.agent()
    wanted = want(world, command="echo begun >> begun; while test ! -e go; do sleep 0.05; done")
    first.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    scratch = world.bench.folder(wanted.kernel_id) / "scratch"
    await until(lambda: (scratch / "begun").exists() and "command" in first.book.states[wanted.kernel_id].programs)
    await world.end_agent()

    second = await world.agent()
    await quiet(second)
    assert (scratch / "begun").read_text() == "begun\n"
    (scratch / "go").touch()
    ended = await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    assert ended.reason is not None
    assert ended.reason.code == "task-failed"  # not our child, so nobody knows its code: that is no success


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
    await until(lambda: (last := world.last(wanted.kernel_id)) and last.restarts == 1 and last.status == "RUNNING")
    last = world.last(wanted.kernel_id)
    assert last is not None
    assert last.runtime_ref == before.runtime_ref
    assert (world.bench.folder(wanted.kernel_id) / "scratch" / "begun").read_text() == "begun\n" * 2
    assert len(await world.bench.runtime.list_ours()) == 1
    assert wanted.kernel_id in agent.jupyter.stopped or step  # type: ignore[attr-defined]


@pytest.mark.asyncio
async def test_a_session_without_room_is_told_so_in_figures(world: World) -> None:
    reconciler = await world.agent()
    wants = [want_of_a_gpu(world) for _ in range(3)]
    reconciler.wanted(Wanted(wants, complete=True))
    ended = await world.status(wants[2].kernel_id, KernelStatus.ERROR)
    assert ended.reason == Reason.of(
        "devices-taken", agent="lab-1", slot="cuda.shares", asked="0.5", free="0", total="1"
    )
