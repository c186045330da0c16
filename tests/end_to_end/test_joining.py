"""Kernels that join a session which is there already."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from end_to_end.runtimes import on_both_runtimes
from jupyter_client.manager import AsyncKernelManager

from bai_jupyter.client import ManagerClient, SessionRequest

pytestmark = pytest.mark.asyncio

WAIT_S = 60
SMALL = {"cpu": "1", "mem": "512m"}
WHERE = "import os, socket; print(socket.gethostname(), os.environ['BACKENDAI_KERNEL_ID'])"


async def run(client: Any, code: str) -> str:
    out: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            out.append(message["content"]["text"])

    await client.execute_interactive(code, output_hook=hear, timeout=WAIT_S)
    return "".join(out)


async def start(cluster: Any, **options: Any) -> AsyncKernelManager:
    names = await cluster.write_kernelspecs()
    manager = AsyncKernelManager(kernel_name=next(name for name in names if name.endswith("python3")))
    try:
        await manager.start_kernel(cwd=str(cluster.home), **options)
    except BaseException:
        manager.context.destroy(linger=0)
        raise
    return manager


@asynccontextmanager
async def joined(cluster: Any, session: str) -> AsyncIterator[Any]:
    manager = await start(cluster, bai_session=session)
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=WAIT_S)
        yield client
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        manager.context.destroy(linger=0)


@asynccontextmanager
async def session_of(cluster: Any, name: str) -> AsyncIterator[ManagerClient]:
    """A running session of that name."""
    async with ManagerClient(cluster.config) as client:
        image = (await client.list_images())[0]["name"]
        created = await client.create_session(SessionRequest(name, image, resources=SMALL))
        await client.wait_for(created["sessionId"], timeout_s=WAIT_S)
        yield client


@on_both_runtimes
async def test_two_kernels_in_one_session_share_its_container_and_end_alone(cluster):
    async with session_of(cluster, "shared") as client, joined(cluster, "shared") as stays:
        async with joined(cluster, "shared") as goes:
            assert await run(goes, WHERE) == await run(stays, WHERE)
            await run(goes, "open(os.path.expanduser('~/left'), 'w').write('by the other')")

        async def one_is_left() -> bool:
            view = await client.get_session("shared")
            assert view["status"] == "RUNNING"
            return [kernel["status"] for kernel in view["jupyterKernels"]].count("running") == 1

        await cluster.until(one_is_left)
        assert await run(stays, "print(open(os.path.expanduser('~/left')).read())") == "by the other\n"
        assert [one["name"] for one in await client.list_sessions()] == ["shared"]


async def test_a_session_that_has_ended_is_not_joined_and_nothing_is_started(cluster):
    async with session_of(cluster, "over") as client:
        session_id = (await client.get_session("over"))["id"]
        await client.destroy_session("over")

        async def is_over() -> bool:
            return not await client.list_sessions()

        await cluster.until(is_over)
        with pytest.raises(Exception, match="Session over is ended; this needs a running one"):
            await start(cluster, bai_session=session_id)
        with pytest.raises(Exception, match="There is no session nowhere that you can see"):
            await start(cluster, bai_session="nowhere")
        assert await client.list_sessions() == []


async def test_a_session_that_waits_is_not_joined(cluster):
    async with ManagerClient(cluster.config) as client:
        image = (await client.list_images())[0]["name"]
        cores = next(agent["slots"]["cpu"] for agent in await client.list_agents())
        for name in ("first", "second"):
            await client.create_session(SessionRequest(name, image, resources={"cpu": cores, "mem": "512m"}))

        async def first_runs() -> bool:
            return bool((await client.get_session("first"))["status"] == "RUNNING")

        await cluster.until(first_runs)
        with pytest.raises(Exception, match="Session second is queued; this needs a running one"):
            await start(cluster, bai_session="second")
        assert (await client.get_session("second"))["jupyterKernels"] == []


async def test_another_users_session_is_one_that_is_not_there(cluster, monkeypatch):
    async with session_of(cluster, "theirs") as client:
        session_id = (await client.get_session("theirs"))["id"]

        async def somebody_else(_: ManagerClient) -> dict[str, str]:
            await asyncio.sleep(0)
            return {"id": "somebody-else", "name": "eve", "role": "superadmin"}

        # These clusters have one user; as a superadmin, who sees all sessions, it is not this one's owner.
        monkeypatch.setattr(ManagerClient, "whoami", somebody_else)
        with pytest.raises(Exception, match=f"There is no session {session_id} that you can see"):
            await start(cluster, bai_session=session_id)
        assert (await client.get_session("theirs"))["jupyterKernels"] == []
