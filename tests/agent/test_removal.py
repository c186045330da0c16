"""How kernels end, whatever ends them, and what is told of it."""

import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from agent.process_agents import RuntimeDiesAfter, World, agents_on, quiet, until, want
from bai_agent.runtimes.base import UNKNOWN_EXIT, ContainerState, describe_exit

from bai_jupyter.common.messages import (
    Wanted,
)
from bai_jupyter.common.statuses import KernelStatus, Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = ContainerState(running=False, exit_code=137, oom=False, started_at=NOW)


@pytest_asyncio.fixture
async def world(process_bench: Any) -> AsyncIterator[World]:
    async with agents_on(process_bench) as made:
        yield made


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
async def test_killed_while_ending_with_its_command_the_next_agent_tells_its_code(world: World) -> None:
    first = await world.agent(RuntimeDiesAfter, "stop")
    wanted = want(world, command="exit 7")
    first.wanted(Wanted([wanted], complete=True))
    await world.status(wanted.kernel_id, KernelStatus.RUNNING)
    await until(lambda: first.book.states[wanted.kernel_id].command_code == 7 and not first._looks._tasks)
    await world.end_agent()

    await world.agent()
    ended = await world.status(wanted.kernel_id, KernelStatus.TERMINATED)
    assert (ended.exit_code, ended.reason and ended.reason.code) == (7, "task-failed")


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


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "0"), (3, "3"), (137, "137, SIGKILL"), (250, "250"), (UNKNOWN_EXIT, "unknown"), (None, "unknown")],
)
def test_an_exit_code_is_told_with_the_name_of_its_signal(code: int | None, text: str) -> None:
    assert describe_exit(code) == text
