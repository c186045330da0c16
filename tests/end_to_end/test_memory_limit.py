"""A cell that wants more memory than its session has waits for its user: more, an interrupt, or the end."""

import os

import pytest
from bai_agent.runtimes import cgroups
from end_to_end.kernels import WAIT_S, kernel_of

from bai_jupyter.client import ManagerClient
from bai_jupyter.common.errors import BaiError

SMALL = {"cpu": "1", "mem": "256m"}
LARGE_VALUE = "y = bytearray(400 << 20)"
MANY_VALUES = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"
HELD = r"^The session is held at its memory limit, so nothing new can run in it now\. Give it more"
TOO_MUCH = (
    r"^local has [\d.]+ [MG]iB of its [\d.]+ GiB memory free; asked for 97\.7 TiB, 97\.7 TiB more than the session "
    r"has\. Ask for less, or start it again elsewhere\.$"
)

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.docker,
    pytest.mark.skipif(
        cgroups.memory_limit(os.getpid()) is None, reason="a host with cgroup version 2 cannot make processes wait"
    ),
]


def with_hold(hold_s):
    return pytest.mark.parametrize("cluster", [{"runtime": "docker", "hold_s": hold_s}], indirect=True)


class Session:
    """The one session of a cluster, as its user sees it."""

    def __init__(self, cluster, client):
        self._cluster, self.client = cluster, client

    async def view(self):
        (view,) = await self.client.list_sessions()
        return await self.client.get_session(view["id"])

    async def until(self, code):
        """Until that is the session's reason; its sentence."""
        found = {}

        async def is_so():
            found.update((await self.view())["reason"])
            return found["code"] == code

        await self._cluster.until(is_so)
        return found["text"]

    async def is_held(self):
        """Once it is; False if its Jupyter kernel ended before: what the one before needed may not be free yet."""
        view = {}

        async def is_either():
            view.update(await self.view())
            return view["reason"]["code"] == "held" or view["jupyterKernels"][0]["status"] == "dead"

        await self._cluster.until(is_either)
        return view["reason"]["code"] == "held"

    async def starts(self):
        """Of whatever starts something in it: a command, a look at its files, its terminal."""
        session_id = (await self.view())["id"]
        return (
            self.client.open_command(session_id, ["true"]),
            self.client.request("GET", f"/session/{session_id}/files"),
            self.client.open_terminal(session_id),
        )

    async def interrupt(self):
        view = await self.view()
        await self.client.interrupt_jupyter_kernel(view["id"], view["jupyterKernels"][0]["id"])

    async def kernels_end(self):
        """The reason of its Jupyter kernel's end."""
        found = {}

        async def is_over():
            (kernel,) = (await self.view())["jupyterKernels"]
            found.update(kernel["reason"] or {})
            return kernel["status"] == "dead"

        await self._cluster.until(is_over)
        return found


@with_hold(600)
async def test_a_cell_goes_on_when_its_session_grows(cluster):
    async with kernel_of(cluster, bai_resources=SMALL) as kernel, ManagerClient(cluster.config) as client:
        session = Session(cluster, client)
        pid = await kernel.run("import os; x = 'kept'; print(os.getpid())")
        kernel.client.execute(f"{LARGE_VALUE}\nz = 'after'")
        text = await session.until("held")
        assert text.startswith("Held at its memory limit: ")
        assert " of 256 MiB. Grow it, interrupt, or end it before " in text
        links = cluster.log("agent").count("linked to")
        cluster.kill("agent")  # the next one finds it as it is
        await cluster.revive()
        await cluster.until(lambda: cluster.is_linked_after(links))
        await session.until("held")
        for start in await session.starts():
            with pytest.raises(BaiError, match=HELD):
                await start
        with pytest.raises(BaiError, match=TOO_MUCH):
            await client.resize((await session.view())["id"], {"mem": "100000g"})
        assert (await session.view())["reason"]["code"] == "held"
        await client.resize((await session.view())["id"], {"mem": "1g"})
        assert await kernel.run("print(x, z, len(y) >> 20, os.getpid())") == f"kept after 400 {pid}"
        await session.until("running")


@with_hold(600)
async def test_an_interrupt_has_room_and_what_uses_that_up_is_killed(cluster):
    async with kernel_of(cluster, bai_resources=SMALL) as kernel, ManagerClient(cluster.config) as client:
        session = Session(cluster, client)
        await kernel.run("x = 'kept'")
        message_id = kernel.client.execute(MANY_VALUES)
        await session.until("held")
        await session.interrupt()
        reply = await kernel.client.get_shell_msg(timeout=WAIT_S)
        assert reply["parent_header"]["msg_id"] == message_id
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert await kernel.run("kept.clear(); print(x)") == "kept\n"
        await session.until("running")
        kernel.client.execute(LARGE_VALUE)
        if await session.is_held():
            await session.interrupt()
        assert (await session.kernels_end())["code"] == "oom-killed"


@with_hold(1)
async def test_who_is_not_helped_in_time_is_killed(cluster):
    async with kernel_of(cluster, bai_resources=SMALL) as kernel, ManagerClient(cluster.config) as client:
        kernel.client.execute(LARGE_VALUE)
        end = await Session(cluster, client).kernels_end()
        assert (end["code"], end["params"]["limit"]) == ("oom-killed", "256 MiB")
