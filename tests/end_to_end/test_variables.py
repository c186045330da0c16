"""Variables of a kernel are saved, and restored into kernels of the same owner, in clusters of real processes."""

import asyncio
import json
import os
import signal

import pytest
from end_to_end.kernels import WAIT_S, Kernel, kernel_of

from bai_jupyter.cli import images
from bai_jupyter.client import ManagerClient
from bai_jupyter.common.errors import BaiError

pytestmark = pytest.mark.asyncio

FILLED = """
import collections, os, threading
os.makedirs('there', exist_ok=True); os.chdir('there')
class Point:
    def __init__(self, x): self.x = x
    def moved(self): return Point(self.x + step)
step = 5
def twice(n): return 2 * n + step
shared = ['one']
both = {'a': shared, 'points': [Point(1), Point(2)]}
lock = threading.Lock()
opened = open('/etc/hostname')
"""
SEEN = """
step = 6
print(both['a'] is shared, both['points'][1].moved().x, twice(1), type(both['points'][0]) is Point,
      os.path.basename(os.getcwd()), collections.Counter('aa')['a'], 'lock' in globals())
"""
RESTORED = "True 8 8 True there 2 False\n"
FRAMES = """
import matplotlib; matplotlib.use('agg')
import numpy as np, pandas as pd, matplotlib.pyplot as plt
frame = pd.DataFrame({'a': [1.0, 2.0, 3.0], 'when': pd.date_range('2026-01-01', periods=3), 'c': list('xyz')})
frame = frame.set_index('c')
grouped, matrix = frame.a.rolling(2).mean(), np.arange(12.0).reshape(3, 4).T
figure, axes = plt.subplots()
line, = axes.plot(frame.a, frame.a ** 2)
title = axes.set_title('squares')
opened = open('/etc/hostname')
def pixels(of):
    of.canvas.draw()
    return bytes(of.canvas.buffer_rgba())
drawn, copy = pixels(figure), frame.copy()
"""
SEEN_FRAMES = """
print(frame.equals(copy), (matrix == np.arange(12.0).reshape(3, 4).T).all(), len(frame),
      list(map(float, line.get_ydata())), pixels(figure) == drawn, line in axes.lines and axes.figure is figure)
"""
SMALL = {"bai_resources": {"cpu": "1", "mem": "512m"}}
BOTH = {"local", "second"}
LIMIT = (
    "mutation($props: ModifyKeyPairResourcePolicyInput!)"
    '{modify_keypair_resource_policy(name: "default", props: $props) {ok msg}}'
)


async def test_a_kernel_is_saved_and_woken(cluster):
    async with kernel_of(cluster) as kernel, ManagerClient(cluster.config) as client:
        (view,) = await client.list_sessions()
        (process,) = view["jupyterKernels"]
        with pytest.raises(BaiError, match=r"No variables of session .* are saved"):
            await client.wake(view["id"])
        await kernel.run(FILLED)
        await kernel.run("['shown', twice(0)]")
        count = await kernel.run("print(len(In))")
        (saved,) = await client.save(view["id"])
        assert await kernel.run("print(len(In) - 1)") == count  # nobody sees that anything was run
        assert (saved["jupyter_kernel_id"], saved["refused"]) == (process["id"], None)
        assert {one["name"]: one["why"] for one in saved["left_out"]} == {"lock": "a lock", "opened": "an open file"}
        folder = cluster.home / ".bai" / "variables" / view["id"] / process["id"]
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
        assert set(modes.values()) == {0o600}
        assert len(modes) == 2
        if os.geteuid() == 0:
            assert {path.stat().st_uid for path in folder.iterdir()} == {1000}

        # Under a running cell nothing is saved, and what was saved before stays.
        before = (folder / "manifest.json").read_bytes()
        kernel.client.execute("input('wait for me ')", allow_stdin=True)
        await kernel.client.get_stdin_msg(timeout=WAIT_S)
        while (await kernel.client.get_iopub_msg(timeout=WAIT_S))["content"].get("execution_state") != "busy":
            pass
        with pytest.raises(BaiError, match="not saved under what runs"):
            await client.save(view["id"])
        kernel.client.input("here")
        assert (folder / "manifest.json").read_bytes() == before

        await kernel.run("step = shared = both = None")
        await client.wake(view["id"])
        assert "lock (a lock)" in await _woken(client, view["id"], kernel)
        assert await kernel.run(SEEN) == RESTORED
        assert "both" in await kernel.run("%who")
        assert await kernel.run("print(Out[2], _2 is Out[2], In[2], len(In))") == (
            "['shown', 5] True ['shown', twice(0)] 7\n"  # the sixth: three were run before it was saved
        )

        # A restart as ever begins with nothing.
        await client.restart_jupyter_kernel(view["id"], process["id"])

        async def is_new():
            (now,) = (await client.get_session(view["id"]))["jupyterKernels"]
            is_followed = kernel.manager.provisioner.generation == now["generation"]
            return now["status"] == "running" and now["reason"] is None and is_followed

        await cluster.until(is_new)
        assert await kernel.run("print('both' in globals())") == "False\n"


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [{"runtime": "docker"}], indirect=True)
async def test_another_session_wakes_with_it_after_both_were_killed(cluster):
    async with ManagerClient(cluster.config) as client:
        async with kernel_of(cluster) as kernel:
            (first,) = await client.list_sessions()
            await kernel.run(FILLED)
            await client.save(first["id"])
        await client.wait_for(first["id"], ["TERMINATED"])
        for name in ("agent", "manager"):
            cluster.kill(name, signal.SIGKILL)
        await cluster.revive()
        async with kernel_of(cluster) as kernel:
            (second,) = await client.list_sessions()
            assert second["id"] != first["id"]
            await client.wake(second["id"], source=first["id"])
            assert "opened (an open file)" in await _woken(client, second["id"], kernel)
            assert await kernel.run(SEEN) == RESTORED


async def test_another_agent_wakes_with_what_is_saved_before_an_idle_session_is_stopped(cluster):
    await _moves(cluster, SMALL, FILLED, SEEN, RESTORED, {"lock", "opened"})


@pytest.mark.soak
@pytest.mark.docker
@pytest.mark.parametrize("cluster", [{"runtime": "docker"}], indirect=True)
async def test_dataframes_and_figures_wake_on_another_agent(cluster):
    image = images.build(["python"])[0]
    await cluster.add_image(image)
    options = {"bai_image": image, "bai_resources": {"cpu": "1", "mem": "512m"}}
    await _moves(cluster, options, FRAMES, SEEN_FRAMES, "True True 3 [1.0, 4.0, 9.0] True True\n", {"opened"})


@pytest.mark.soak
@pytest.mark.docker
@pytest.mark.parametrize("cluster", [{"runtime": "docker"}], indirect=True)
async def test_an_r_kernel_is_saved_and_woken_by_another_agent_process(cluster):
    image = images.build(["r"])[0]
    await cluster.add_image(image)
    async with kernel_of(cluster, "ir", bai_image=image) as kernel, ManagerClient(cluster.config) as client:
        (view,) = await client.list_sessions()
        await kernel.run('x <- 5; opened <- file("/dev/null", "r"); library(splines)')

        async def is_saved():
            (saved,) = await client.save(view["id"])
            return saved["refused"] is None and [one["name"] for one in saved["left_out"]] == ["opened"]

        assert await is_saved()
        cluster.kill("agent", signal.SIGKILL)
        cluster.start("agent")
        await cluster.until(is_saved)
        await client.wake(view["id"])
        assert "opened (a connection)" in await _woken(client, view["id"], kernel)
        seen = await kernel.run('cat(x, exists("opened"), "package:splines" %in% search())')
        assert seen == "5 FALSE TRUE"


async def _moves(cluster, options, filled, seen, restored, left_out):
    """A session is stopped for being idle; one on another agent, with more cores, goes on with its variables."""
    async with ManagerClient(cluster.config) as client:
        async with kernel_of(cluster, **options) as kernel:
            (first,) = await client.list_sessions()
            assert await kernel.run(filled) == ""
            await client.request("POST", "/admin/gql", _idle_after(seconds=2))

            async def is_stopped():
                return (await client.get_session(first["id"]))["status"] == "TERMINATED"

            await cluster.until(is_stopped)
        reason = (await client.get_session(first["id"]))["reason"]
        assert reason["code"] == "idle-timeout-saved"
        assert f"bai session wake NEW --from {first['id']}" in reason["text"]
        await client.request("POST", "/admin/gql", _idle_after(seconds=0))
        cluster.join_token = await client.create_join_token("default", 1, 600)
        cluster.start("second")

        async def has_joined():
            return {agent["name"] for agent in await client.list_agents() if agent["status"] == "ALIVE"} == BOTH

        await cluster.until(has_joined)
        await client.set_schedulable(["local"], False)
        larger = {**options, "bai_resources": {**options["bai_resources"], "cpu": "2"}}
        async with kernel_of(cluster, **larger) as kernel:
            (second,) = await client.list_sessions()
            await client.wake(second["id"], source=first["id"])
            text = await _woken(client, second["id"], kernel)
            assert {name for name in ("lock", "opened", "both", "frame") if f"{name} (" in text} == left_out
            assert await kernel.run(seen) == restored
            assert second["agent"] == "second"


def _idle_after(seconds):
    return {"query": LIMIT, "variables": {"props": {"idle_timeout": seconds}}}


async def test_an_agent_that_is_killed_meanwhile_leaves_one_whole_save(cluster):
    async with kernel_of(cluster) as kernel, ManagerClient(cluster.config) as client:
        (view,) = await client.list_sessions()
        (process,) = view["jupyterKernels"]
        await kernel.run("x = 1")
        await client.save(view["id"])
        await kernel.run(
            "import os, time\n"
            "class Slow:\n"
            "    def __reduce__(self):\n"
            "        open('begun', 'w').close()\n"
            "        while not os.path.exists('go on'): time.sleep(0.01)\n"
            "        return (int, (7,))\n"
            "x, slow, here = 2, Slow(), os.getcwd()"
        )
        folder = cluster.home / ".bai" / "variables" / view["id"] / process["id"]
        before = json.loads((folder / "manifest.json").read_text())
        saving = asyncio.create_task(client.save(view["id"]))

        async def has_begun():
            return (cluster.home / "begun").exists()

        await cluster.until(has_begun)
        cluster.kill("agent", signal.SIGKILL)
        with pytest.raises(BaiError):
            await saving
        assert json.loads((folder / "manifest.json").read_text()) == before
        assert (folder / before["data"]).exists()
        await cluster.revive()
        (cluster.home / "go on").touch()

        async def is_replaced():
            found = json.loads((folder / "manifest.json").read_text())
            return found != before and {path.name for path in folder.iterdir()} == {"manifest.json", found["data"]}

        await cluster.until(is_replaced)
        await client.wake(view["id"])
        await _woken(client, view["id"], kernel)
        assert await kernel.run("print(x, slow)") == "2 7\n"


async def _woken(client: ManagerClient, session_id: str, kernel: Kernel) -> str:
    """What the session's one kernel says of how it woke, once its client has heard of that."""
    async with asyncio.timeout(WAIT_S):
        while True:
            (process,) = (await client.get_session(session_id))["jupyterKernels"]
            is_followed = kernel.manager.provisioner.generation == process["generation"]
            if process["status"] == "running" and process["reason"] is not None and is_followed:
                return process["reason"]["text"]
            await asyncio.sleep(0.1)
