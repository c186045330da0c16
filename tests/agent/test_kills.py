"""An agent that is killed at any step of a resize, or of a save: the next one ends it, and nothing counts twice."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from agent.agents import DEADLINE_S, World, agents_on, die_after
from bai_agent import asking, folders
from bai_agent.runtimes.base import RuntimeFault, Size

from bai_jupyter.common.ids import JupyterKernelId, new_kernel_id, new_session_id
from bai_jupyter.common.messages import JupyterKernelWant, KernelReport, Wanted
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus

pytestmark = [pytest.mark.docker, pytest.mark.asyncio]
MIB = 1024**2
SMALL, LARGE = ({"cpu": "0.5", "mem": "128m"}, {"cpu": "1", "mem": "256m"})


@pytest_asyncio.fixture
async def world(docker_bench: Any, docker_client: Any) -> AsyncIterator[World]:
    async with agents_on(docker_bench, docker_client.images.get(docker_bench.image).id) as made:
        yield made


@pytest.mark.parametrize("before", [SMALL, pytest.param(LARGE, marks=pytest.mark.soak)], ids=["grows", "shrinks"])
@pytest.mark.parametrize(
    ("owner", "step"), [("containers", "_hold_pooled"), ("runtime", "resize"), ("readiness", "_has_folders")]
)
async def test_an_agent_is_killed_after_a_step_of_a_resize(
    world: World, docker_client: Any, monkeypatch: pytest.MonkeyPatch, owner: str, step: str, before: dict[str, str]
) -> None:
    after = LARGE if before is SMALL else SMALL
    want = world.want(slots=ResourceSlots.parse(before), mounts=[])
    world.reconciler.wanted(Wanted([want], complete=True))
    ref = (await world.status(want.kernel_id, KernelStatus.RUNNING)).runtime_ref
    pid = docker_client.api.inspect_container(ref)["State"]["Pid"]

    owners = {
        "containers": world.reconciler._containers,
        "runtime": world.runtime,
        "readiness": world.reconciler._readiness,
    }
    died = die_after(monkeypatch, owners[owner], step)
    resized = replace(want, slots=ResourceSlots.parse(after), resizes=1)
    world.reconciler.wanted(Wanted([resized], complete=False))
    async with asyncio.timeout(DEADLINE_S):
        await died.wait()
    await world.kill()
    world.told.clear()

    await world.agent()
    world.reconciler.wanted(Wanted([resized], complete=True))
    told = await world.until(want.kernel_id, lambda told: told.resizes == 1)
    assert (told.status, told.runtime_ref, told.refused) == (KernelStatus.RUNNING, ref, None)
    assert told.slots == resized.slots
    size = Size(Decimal(after["cpu"]), int(resized.slots["mem"]))
    assert (await world.runtime.inspect(ref)).size == size
    assert docker_client.api.inspect_container(ref)["State"]["Pid"] == pid
    assert told.devices["mem"] == {"mem": str(size.mem_bytes)}
    assert sum(map(Decimal, told.devices["cpu"].values())) == size.cpu
    assert world.reconciler.held() == {want.kernel_id: told.devices}


@pytest.mark.parametrize("pin", [False, True], ids=["pooled", "pinned"])
async def test_cores_of_a_suspended_session_are_shared_once_it_goes_on(
    world: World, docker_client: Any, pin: bool
) -> None:
    """Also by an agent that was killed meanwhile, and no others get them then."""
    world.pin, everything = pin, Decimal(len(os.sched_getaffinity(0)))
    await world.kill()
    await world.agent()
    slots = ResourceSlots({"cpu": everything, "mem": Decimal(128 * MIB)})
    first, second, third = (replace(world.want(slots=slots, mounts=[]), kernel_id=new_kernel_id()) for _ in range(3))
    second = replace(second, session_id=new_session_id())
    third = replace(third, session_id=new_session_id())
    world.reconciler.wanted(Wanted([first], complete=True))
    await world.status(first.kernel_id, KernelStatus.RUNNING)
    await world.reconciler.suspend(first.kernel_id)
    world.reconciler.wanted(Wanted([first, second], complete=True))
    await world.status(second.kernel_id, KernelStatus.RUNNING)
    await world.kill()

    await world.agent()
    await world.reconciler.resume(first.kernel_id)
    world.reconciler.wanted(Wanted([first, second, third], complete=True))
    assert (await world.status(third.kernel_id, KernelStatus.ERROR)).reason.code == "devices-taken"
    world.reconciler.forget([third.kernel_id])
    del world.told[third.kernel_id]
    resized = replace(first, slots=ResourceSlots({"cpu": everything - 1, "mem": Decimal(192 * MIB)}), resizes=1)
    world.reconciler.wanted(Wanted([resized], complete=False))
    told = await world.until(first.kernel_id, lambda told: told.resizes == 1)
    assert (told.refused, told.slots) == (None, resized.slots)
    assert sum(map(Decimal, told.devices["cpu"].values())) == everything - 1
    if pin:
        host = docker_client.api.inspect_container(told.runtime_ref)["HostConfig"]
        assert len(host["CpusetCpus"].split(",")) == everything - 1


async def test_the_containers_of_a_session_are_resized_all_or_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = ResourceSlots.parse(SMALL), ResourceSlots.parse(LARGE)
    main = world.want(slots=small, mounts=[])
    wants = [main, replace(main, kernel_id=new_kernel_id())]
    world.reconciler.wanted(Wanted(wants, complete=True))
    refs = [(await world.status(one.kernel_id, KernelStatus.RUNNING)).runtime_ref for one in wants]

    # Killed when one of them has grown.
    grown = [replace(one, slots=large, resizes=1) for one in wants]
    with monkeypatch.context() as patched:
        died = die_after(patched, world.runtime, "resize")
        world.reconciler.wanted(Wanted(grown, complete=False))
        async with asyncio.timeout(DEADLINE_S):
            await died.wait()
        await world.kill()
    await world.agent()
    world.reconciler.wanted(Wanted(grown, complete=True))
    for one in grown:
        told = await world.until(one.kernel_id, lambda told: told.resizes == 1)
        assert (told.slots, told.refused) == (large, None)

    # The engine refuses the other one.
    resize, stuck = world.runtime.resize, Reason.of("other", text="stuck")
    asked: list[Size] = []

    async def resize_one(ref: str, size: Size) -> None:
        asked.append(size)
        if len(asked) == 2:
            raise RuntimeFault(stuck)
        await resize(ref, size)

    monkeypatch.setattr(world.runtime, "resize", resize_one)
    world.reconciler.wanted(Wanted([replace(one, slots=small, resizes=2) for one in wants], complete=False))
    for one, ref in zip(wants, refs, strict=True):
        told = await world.until(one.kernel_id, lambda told: told.resizes == 2)
        assert (told.slots, told.refused) == (large, stuck)
        assert (await world.runtime.inspect(ref)).size == Size(Decimal(1), 256 * MIB)
        assert told.devices["mem"] == {"mem": str(256 * MIB)}
    assert len(asked) == 3


@pytest.mark.parametrize(
    "step", ["replace_private", pytest.param("run_silently", marks=pytest.mark.soak)], ids=["told", "saved"]
)
async def test_an_agent_is_killed_after_a_step_of_a_save(
    world: World, docker_client: Any, python_image: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """While the kernel saves it is killed in ``test_variables.py`` of a whole cluster."""
    folder = "/home/work/.bai/variables/s/k"
    kernel = JupyterKernelWant(JupyterKernelId("k" * 8), 1, "python3", "/home/work", {}, "key", save_to=folder)
    image = {"image": python_image, "image_digest": docker_client.images.get(python_image).id}
    slots = ResourceSlots.parse({"cpu": "1", "mem": "256m"})
    want = world.want(**image, slots=slots, mounts=[], jupyter_kernels=[kernel])
    world.reconciler.wanted(Wanted([want], complete=True))
    await world.until(want.kernel_id, _kernel_runs)
    ref = world.reconciler.ref_of(want.kernel_id)

    owner = asking if step == "run_silently" else folders
    with monkeypatch.context() as patched:
        died = die_after(patched, owner, step)
        saving = asyncio.create_task(world.jupyter.save(want.kernel_id, 60))
        async with asyncio.timeout(DEADLINE_S):
            await died.wait()
        with pytest.raises(asyncio.CancelledError):
            await saving
        await world.kill()

    await world.agent()
    await world.until(want.kernel_id, _kernel_runs)
    (said,) = await world.jupyter.save(want.kernel_id, 60)
    assert said["refused"] is None
    saved = world.bench.folder(want.kernel_id) / "scratch" / ".bai" / "variables" / "s" / "k"
    manifest = json.loads((saved / "manifest.json").read_text())
    assert {path.name for path in saved.iterdir()} == {"manifest.json", manifest["data"]}
    assert world.reconciler.ref_of(want.kernel_id) == ref


def _kernel_runs(told: KernelReport) -> bool:
    return [one.status for one in told.jupyter_kernels] == [JupyterKernelStatus.RUNNING]
