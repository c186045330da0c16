"""Batch sessions, restarts and forced ends with real containers."""

from typing import Any

import pytest
from end_to_end.runtimes import on_both_runtimes

from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, on_both_runtimes]


async def create(client: ManagerClient, name: str, **body: Any) -> Any:
    image = (await client.list_images())[0]["name"]
    config = {"resources": {"cpu": "1", "mem": "256m"}}
    return await client.request(
        "POST", "/session", {"name": name, "image": image, "enqueueOnly": True, "config": config, **body}
    )


async def until_status(cluster: Any, client: ManagerClient, session: str, status: str) -> Any:
    async def is_there() -> bool:
        return (await client.get_session(session))["status"] == status

    await cluster.until(is_there)
    return await client.get_session(session)


async def test_batch_sessions_one_after_the_other(cluster: Any) -> None:
    async with ManagerClient(cluster.config) as client:
        batch = {"type": "batch", "bootstrap_script": "echo step1 > home/step1\necho prepared"}
        first = await create(client, "first-step", **batch, startupCommand="cat home/step1; test -e home/step1")
        second = await create(client, "next-step", **batch, startupCommand="exit 3", dependencies=["first-step"])
        view = await until_status(cluster, client, second["sessionId"], "TERMINATED")
        assert (view["result"], view["exitCode"], view["reason"]["text"]) == ("failure", 3, "Failed with code 3.")
        view = await client.get_session(first["sessionId"])
        assert (view["status"], view["result"], view["exitCode"]) == ("TERMINATED", "success", 0)
        assert (await client.logs(first["sessionId"])).split() == ["prepared", "step1"]


async def test_a_restart_keeps_files_and_a_forced_end_leaves_nothing(cluster: Any) -> None:
    async with ManagerClient(cluster.config) as client:
        created = await create(client, "my-work", bootstrap_script="echo begun >> home/begun")
        await until_status(cluster, client, "my-work", "RUNNING")
        (kernelspec, *_) = (await client.list_images())[0]["kernelspecs"]
        kernel = await client.create_jupyter_kernel("my-work", kernelspec["name"], "key")

        async def kernel_runs() -> bool:
            return (await client.get_jupyter_kernel("my-work", kernel["id"]))["status"] == "running"

        await cluster.until(kernel_runs)
        await client.request("PATCH", f"/session/{created['sessionId']}")
        await until_status(cluster, client, "my-work", "RUNNING")
        await cluster.until(kernel_runs)
        assert (await client.get_jupyter_kernel("my-work", kernel["id"]))["generation"] == 2
        assert (cluster.home / "begun").read_text() == "begun\n" * 2

        await client.destroy_session("my-work", forced=True)
        assert (await client.get_session(created["sessionId"]))["status"] == "TERMINATED"

        async def nothing_is_left() -> bool:
            (agent,) = await client.list_agents()
            return agent["used"] == {}

        await cluster.until(nothing_is_left)
