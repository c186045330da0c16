"""What must be so before anything of a session runs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from agent.process_agents import World, agents_on, quiet, want, want_of_a_gpu
from bai_agent.runtimes.base import INSIDE_RUN
from bai_agent.shares.holding import Holding, NotHeld

from bai_jupyter.common.messages import (
    FileWant,
    Wanted,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus


@pytest_asyncio.fixture
async def world(process_bench: Any) -> AsyncIterator[World]:
    async with agents_on(process_bench) as made:
        yield made


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
