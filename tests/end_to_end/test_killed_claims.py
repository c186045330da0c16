"""A real agent that is killed (SIGKILL) at each step of a claim of a container started ahead, and of a resize."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from end_to_end.cluster import Cluster
from loopback import free_port

from bai_jupyter.client import ManagerClient, SessionRequest

pytestmark = [pytest.mark.docker, pytest.mark.asyncio, pytest.mark.soak, pytest.mark.timeout(600)]
PROGRAM = Path(__file__).with_name("dying_agent.py")
SIZE = {"cpu": "1", "mem": "128m"}


class Mortal(Cluster):
    """``dies_after``: the step, and for which time it is done, after which the agent that is started next dies."""

    dies_after: tuple[str, int] | None = None

    def _command(self, name: str) -> list[str]:
        command = super()._command(name)
        if name != "agent" or self.dies_after is None:
            return command
        step, nth = self.dies_after
        at = command.index("bai_agent")
        return [*command[: at - 1], str(PROGRAM), step, str(nth), *command[at + 1 :]]

    async def until_killed(self) -> None:
        async def has_ended() -> bool:
            return self._processes["agent"].poll() is not None

        await self.until(has_ended)
        assert self._processes.pop("agent").returncode == -signal.SIGKILL


@pytest_asyncio.fixture
async def mortal(tmp_path: Path, docker_client: Any, python_image: str) -> AsyncIterator[Mortal]:
    cluster = Mortal(tmp_path, free_port(), "docker", warm_pool_mem="256m")
    try:
        cluster.start("manager")
        cluster.start("agent")
        await cluster.ready()
        await cluster.add_image(python_image)
        yield cluster
        await cluster.end_sessions()
    finally:
        cluster.dies_after = None
        cluster.stop()
        cluster.clean_up()


async def start(client: ManagerClient, name: str, image: str) -> str:
    created = await client.create_session(SessionRequest(name=name, image=image, resources=SIZE))
    return str(created["sessionId"])


def amounts(agent: dict[str, Any]) -> dict[str, float]:
    """What is counted as used of it."""
    return {slot: float(amount) for slot, amount in agent["used"].items() if float(amount)}


def ready(cluster: Mortal) -> list[Path]:
    """Folders of those started ahead that nobody has: a claimed one's is a link."""
    return [path for path in (cluster.folder / "agent" / "spares").glob("*") if not path.is_symlink()]


@pytest.mark.parametrize(
    ("step", "nth"),
    [("_keep", 1), ("_move", 1), ("_move", 2), ("_link", 1), ("_request", 1), ("resize", 1), ("_keep", 2)],
)
async def test_killed_at_a_step_of_a_claim(
    mortal: Mortal, docker_client: Any, python_image: str, step: str, nth: int
) -> None:
    async with ManagerClient(mortal.config) as client:
        mortal.kill("agent")
        # The first session starts cold, and asks for what the second is given; ``_request`` is a step of both.
        mortal.dies_after = (step, nth + (step == "_request"))
        mortal.start("agent")
        await start(client, "first", python_image)
        await client.wait_for("first")

        async def stands_ready() -> bool:
            return "started ahead" in mortal.log("agent")

        await mortal.until(stands_ready)
        await start(client, "second", python_image)
        await mortal.until_killed()

        mortal.dies_after = None
        mortal.start("agent")
        views = []
        for name in ("first", "second"):
            await client.wait_for(name)
            views.append(await client.get_session(name))
        kernels = {view["containerId"] for view in views}
        assert {path.name for path in (mortal.folder / "agent" / "kernels").iterdir()} == kernels

        (agent,) = await client.list_agents()
        assert amounts(agent) == {"cpu": 2, "mem": 256 * 1024**2}
        own_id = (mortal.folder / "agent" / "agent-id").read_text().strip()
        mine = {"label": f"bai.agent-id={own_id}"}

        async def nothing_is_left() -> bool:
            """But the two containers, and what stands ready by now."""
            there = docker_client.containers.list(all=True, filters=mine)
            return len(there) == len(kernels) + len(ready(mortal))

        await mortal.until(nothing_is_left)
        await mortal.end_sessions()
        (agent,) = await client.list_agents()
        assert amounts(agent) == {}

        async def only_spares_are_left() -> bool:
            there = docker_client.containers.list(all=True, filters=mine)
            is_gone = not list((mortal.folder / "agent" / "kernels").iterdir())
            return is_gone and len(there) == len(ready(mortal)) == len(list((mortal.folder / "agent/spares").iterdir()))

        await mortal.until(only_spares_are_left)


@pytest.mark.parametrize(("step", "nth"), [("_hold_pooled", 1), ("resize", 1)])
async def test_killed_at_a_step_of_a_resize(mortal: Mortal, python_image: str, step: str, nth: int) -> None:
    async with ManagerClient(mortal.config) as client:
        mortal.kill("agent")
        mortal.dies_after = (step, nth)
        mortal.start("agent")
        await start(client, "first", python_image)
        await client.wait_for("first")
        before = await client.get_session("first")
        larger = {"resources": {"cpu": "2", "mem": "192m"}}
        answer = client.request("POST", "/session/first/resize", larger, timeout_s=120)
        asked = asyncio.create_task(answer)
        await mortal.until_killed()
        mortal.dies_after = None
        mortal.start("agent")

        async def has_grown() -> bool:
            (agent,) = await client.list_agents()
            return amounts(agent) == {"cpu": 2, "mem": 192 * 1024**2}

        await mortal.until(has_grown)
        await asyncio.gather(asked, return_exceptions=True)
        after = await client.get_session("first")
        assert (after["status"], after["containerId"]) == ("RUNNING", before["containerId"])
        assert after["slots"] == {"cpu": "2", "mem": str(192 * 1024**2)}
