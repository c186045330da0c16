"""Folders of containers that come and go while they run."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from agent.process_agents import RuntimeDiesAfter, World, agents_on, quiet, until, want
from bai_agent.runtimes.base import RuntimeFault
from bai_agent.runtimes.process import ProcessRuntime

from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import (
    KernelReport,
    MountWant,
    Wanted,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus


@pytest_asyncio.fixture
async def world(process_bench: Any) -> AsyncIterator[World]:
    async with agents_on(process_bench) as made:
        yield made


def folders_of(world: World, *names: str) -> list[MountWant]:
    for name in names:
        (world.bench.volume / name).mkdir(exist_ok=True)
    return [world.bench.mount(name, name) for name in names]


def seen(world: World, kernel_id: KernelId) -> dict[str, str]:
    """``{name in the home: name of the folder on the volume}``"""
    links = (world.bench.folder(kernel_id) / "scratch").iterdir()
    return {link.name: link.readlink().name for link in links if link.is_symlink()}


async def settled(world: World, kernel_id: KernelId, number: int) -> KernelReport:
    await until(lambda: (last := world.last(kernel_id)) is not None and last.mount_changes == number)
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
