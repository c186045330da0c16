"""Folders that come to running sessions and go: whole path, real containers, and what is killed on the way."""

import asyncio
import io
import signal
from pathlib import Path

import pytest
from end_to_end.kernels import kernel_of

from bai_jupyter.client import ManagerClient
from bai_jupyter.common.errors import BaiError

pytestmark = pytest.mark.asyncio

TRY_TO_WRITE = """
import ctypes, os
try:
    open("/home/work/reading/x", "w")
except OSError as error:
    print(error.strerror)
libc = ctypes.CDLL(None, use_errno=True)
for flags in (32, 32 | 4096):  # remount; remount of a bind
    assert libc.mount(b"none", b"/home/work/reading", None, flags, None) == -1
    print(os.strerror(ctypes.get_errno()))
assert libc.umount2(b"/home/work/reading", 2) == -1
print(os.strerror(ctypes.get_errno()))
"""
USE_IT = """
import subprocess
child = subprocess.Popen(["sleep", "1000"], cwd="/home/work/reading")
x = 42
"""


async def make(client, *names):
    for name in names:
        await client.create_folder(name, "local:data")
        await client.upload(name, "file", io.BytesIO(name.encode()), len(name))


def attached(container):
    """What is mounted in the home of a container, and whether it can be written."""
    container.reload()
    lines = Path(f"/proc/{container.attrs['State']['Pid']}/mountinfo").read_text().splitlines()
    found = {words[4]: words[5].split(",")[0] for words in map(str.split, lines)}
    return {path.removeprefix("/home/work/"): how for path, how in found.items() if path.startswith("/home/work/")}


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [{"runtime": "docker"}], indirect=True)
async def test_folders_of_a_container_that_runs(cluster, docker_client):
    async with kernel_of(cluster) as kernel, ManagerClient(cluster.config) as client:
        await make(client, "data", "reading", "late")
        (view,) = await client.list_sessions()
        session, container = view["id"], docker_client.containers.get(f"bai-{view['containerId']}")
        assert attached(container) == {"home": "rw"}

        # Attached: read and written on both sides.
        await client.attach_folder(session, "data", "deep/er")
        await kernel.run("import os; os.chdir('/home/work')")
        assert await kernel.run("f = open('deep/er/file'); print(f.read())") == "data\n"
        assert await kernel.run("print(open('deep/er/new', 'w').write('!'))") == "1\n"
        assert {one["name"] for one in (await client.list_files("data", ""))["items"]} == {"file", "new"}

        # Read-only is, whatever is tried inside.
        await client.attach_folder(session, "reading", read_only=True)
        denied = "Operation not permitted\n"
        assert await kernel.run(TRY_TO_WRITE) == "Read-only file system\n" + 3 * denied

        # In use: refused and kept, or by force what uses it is ended, and nothing else.
        with pytest.raises(BaiError, match=r"/home/work/deep/er is in use: python[\d.]* \(\d+\)"):
            await client.detach_folder(session, "data")
        assert attached(container) == {"home": "rw", "deep/er": "rw", "reading": "ro"}
        await kernel.run(USE_IT)
        with pytest.raises(BaiError, match=r"is in use: sleep \(\d+\)"):
            await client.detach_folder(session, "reading")
        await client.detach_folder(session, "reading", force=True)
        assert await kernel.run("print(child.wait(), x, open('deep/er/file').read())") == "-9 42 data\n"
        await kernel.run("f.close()")
        await client.detach_folder(session, "data")
        assert attached(container) == {"home": "rw"}
        assert "FileNotFoundError" in await kernel.run("open('/home/work/deep/er/file', 'w')")
        assert {one["name"] for one in (await client.list_files("data", ""))["items"]} == {"file", "new"}

        # Asked for while the agent does not listen, and that is killed before it does.
        cluster.signal("agent", signal.SIGSTOP)
        change = asyncio.create_task(client.attach_folder(session, "late"))

        async def is_asked():
            return "late" in {one["name"] for one in (await client.get_session(session))["mounts"]}

        await cluster.until(is_asked)
        for name in ("agent", "manager"):
            cluster.kill(name)
        with pytest.raises(BaiError):
            await change
        await cluster.revive()

        async def is_there():
            return attached(container) == {"home": "rw", "late": "rw"}

        await cluster.until(is_there)
        assert await kernel.run("print(open('late/file').read(), x)") == "late 42\n"

        # A restart gives it what is attached now, also if what was there before is gone for good.
        await client.delete_folder("data")
        trashed = next(one for one in await client.list_folders() if one["name"] == "data")
        await client.purge_folder(trashed["id"])
        await client.request("PATCH", f"/session/{session}")

        async def has_restarted():
            (again,) = await client.list_sessions()
            return again["status"] == "RUNNING" and await is_there()

        await cluster.until(has_restarted)
        await client.detach_folder(session, "late")
        assert attached(container) == {"home": "rw"}
        assert (await client.list_files("late", ""))["total"] == 1


async def test_folders_of_a_session_without_a_container(cluster):
    async with kernel_of(cluster) as kernel, ManagerClient(cluster.config) as client:
        await make(client, "data")
        (view,) = await client.list_sessions()
        await client.attach_folder(view["id"], "data")
        show = (
            "from pathlib import Path; place = Path.home() / 'data/file'; print(place.exists() and place.read_text())"
        )
        assert await kernel.run(show) == "data\n"
        await client.detach_folder(view["id"], "data")
        assert await kernel.run(show) == "False\n"
        assert (await client.list_files("data", ""))["total"] == 1
