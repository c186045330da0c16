"""Running sessions in a cluster of real processes: idle ones are stopped, and their resources change while they run."""

import asyncio
import json
import signal

import pytest
from end_to_end.kernels import WAIT_S, kernel_of

from bai_jupyter.client import ManagerClient, SessionRequest
from bai_jupyter.common.errors import BaiError

pytestmark = pytest.mark.asyncio
GIB = 1024**3
LIMIT = (
    "mutation($props: ModifyKeyPairResourcePolicyInput!)"
    '{modify_keypair_resource_policy(name: "default", props: $props) {ok msg}}'
)


async def limit(client, **limits):
    limited = await client.request("POST", "/admin/gql", {"query": LIMIT, "variables": {"props": limits}})
    assert limited["data"]["modify_keypair_resource_policy"]["ok"], limited


async def test_a_cell_behind_a_closed_tab_is_spared_and_what_is_idle_is_stopped(cluster):
    async with kernel_of(cluster) as kernel, ManagerClient(cluster.config) as client:
        (busy,) = await client.list_sessions()
        for change in (client.resize(busy["id"], {"cpu": "2"}), client.suspend(busy["id"])):
            with pytest.raises(BaiError, match="runs sessions without containers"):
                await change
        kernel.client.execute("import time\nprint('on', flush=True)\ntime.sleep(3600)")
        while (await kernel.client.get_iopub_msg(timeout=WAIT_S))["msg_type"] != "stream":
            pass
        kernel.client.stop_channels()  # the tab is closed
        idle = await client.create_session(SessionRequest(name="nobody-there", image=busy["image"]))
        await client.wait_for(idle["sessionId"])
        await limit(client, idle_timeout=4)

        async def is_stopped(session_id, code):
            return (await client.get_session(session_id))["reason"]["code"] == code

        await cluster.until(lambda: is_stopped(idle["sessionId"], "idle-timeout"))
        view = await client.get_session(busy["id"])
        assert view["status"] == "RUNNING"
        assert view["idleChecks"]["network_timeout"]["extra"]["running"] is True
        (process,) = view["jupyterKernels"]
        await client.interrupt_jupyter_kernel(busy["id"], process["id"])
        await cluster.until(lambda: is_stopped(busy["id"], "idle-timeout-saved"))
        ended = await client.get_session(busy["id"])
        assert "a cell, or a job in a terminal" in ended["reason"]["text"]


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [{"runtime": "docker"}], indirect=True)
async def test_a_running_session_is_resized_suspended_and_woken(cluster, docker_client):
    async with kernel_of(cluster) as kernel, ManagerClient(cluster.config) as client:
        (view,) = await client.list_sessions()
        container = docker_client.containers.get(f"bai-{view['containerId']}")

        def size():
            container.reload()
            host = container.attrs["HostConfig"]
            return host["NanoCpus"] / 10**9, host["Memory"]

        await kernel.run("x = bytearray(300 << 20)")
        await client.resize(view["id"], {"cpu": "2", "mem": "3g"})
        assert size() == (2, 3 * GIB)

        async def uses_memory():
            return ((await client.get_session(view["id"]))["liveStat"] or {}).get("mem_used_bytes", 0) > 300 << 20

        await cluster.until(uses_memory)
        with pytest.raises(BaiError, match=r"uses [\d.]+ MiB of memory now"):
            await client.resize(view["id"], {"mem": "200m"})
        assert size() == (2, 3 * GIB)
        assert (await client.resize(view["id"], {"mem": "1g"}))["slots"]["mem"] == str(GIB)
        assert await kernel.run("print(len(x))") == f"{300 << 20}\n"

        # Asked for while the agent does not listen, and that is killed before it does.
        cluster.signal("agent", signal.SIGSTOP)
        change = asyncio.create_task(client.resize(view["id"], {"cpu": "1", "mem": "2g"}))

        async def is_asked():
            return (await client.get_session(view["id"]))["slots"]["cpu"] == "1"

        await cluster.until(is_asked)
        for name in ("agent", "manager"):
            cluster.kill(name)
        with pytest.raises(BaiError):
            await change
        await cluster.revive()

        async def is_done():
            return size() == (1, 2 * GIB)

        await cluster.until(is_done)
        assert await kernel.run("print(len(x))") == f"{300 << 20}\n"
        state = json.loads(next((cluster.folder / "agent" / "kernels").glob("*/state.json")).read_text())
        assert state["report"]["devices"]["mem"] == {"mem": str(2 * GIB)}

        # Suspended.
        def is_frozen():
            container.reload()
            return container.status == "paused"

        kernel.client.execute("input('wait for me ')", allow_stdin=True)
        await kernel.client.get_stdin_msg(timeout=WAIT_S)
        while (await kernel.client.get_iopub_msg(timeout=WAIT_S))["content"].get("execution_state") != "busy":
            pass  # what has come to us is on the tape
        with pytest.raises(BaiError, match="what runs is not suspended"):
            await client.suspend(view["id"])
        assert not is_frozen()
        kernel.client.input("here")

        async def suspends():
            return (await client.suspend(view["id"]))["suspended"]

        await cluster.until(suspends)  # as soon as that cell is done
        assert is_frozen()
        cluster.kill("agent")  # the next one finds it as it is
        links = cluster.log("agent").count("linked to")
        await cluster.revive()
        await cluster.until(lambda: cluster.is_linked_after(links))
        assert is_frozen()
        assert (await client.get_session(view["id"]))["suspended"] is True
        assert await kernel.run("print(len(x))") == f"{300 << 20}\n"
        assert not is_frozen()

        async def is_suspended_by_policy():
            return (await client.get_session(view["id"]))["reason"]["code"] == "idle-suspended"

        await limit(client, suspend_after=4)
        await cluster.until(is_suspended_by_policy)
        assert is_frozen()
        await limit(client, suspend_after=0)
        assert await kernel.run("print(len(x))") == f"{300 << 20}\n"
        assert not is_frozen()

        await cluster.until(suspends)
        process = await client.create_jupyter_kernel(view["id"], "python3", "key")

        async def runs():
            return (await client.get_jupyter_kernel(view["id"], process["id"]))["status"] == "running"

        await cluster.until(runs)  # anything that is wanted of it wakes it
        await cluster.until(suspends)
        await client.destroy_session(view["id"])
        await client.wait_for(view["id"], ["TERMINATED"])
