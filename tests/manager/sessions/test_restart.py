"""kill -9 of the manager, with sessions in every status: everything is still there, and goes on."""

import signal
import stat
from contextlib import suppress

import pytest
import pytest_asyncio

from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import KernelStatus

BEGUN = {
    "preparing": KernelStatus.PREPARING,
    "pulling": KernelStatus.PULLING,
    "creating": KernelStatus.CREATING,
    "running": KernelStatus.RUNNING,
    "terminating": KernelStatus.RUNNING,
}


@pytest_asyncio.fixture
async def admin(manager_process, data_dir, helpers):
    await manager_process.start()
    credentials = helpers.credentials(data_dir)
    client = helpers.client(manager_process.endpoint, credentials["access_key"], credentials["secret_key"])
    yield client
    client.close()


async def statuses(client):
    return {view["name"]: view["status"] for view in (await client.get("/sessions"))["sessions"]}


@pytest.mark.asyncio
async def test_every_status_survives_and_converges(manager_process, admin, make_agent, helpers):
    agent = make_agent(manager_process.endpoint, slots=ResourceSlots.parse({"cpu": 6, "mem": "32g"}))
    await agent.stay_connected()
    await admin.post("/images", {"name": helpers.image.name})
    agent.hold_at, agent.keep_ending = None, True
    for name in (*BEGUN, "scheduled", "pending"):
        await admin.create(name)
    await helpers.wait_until(lambda: len(agent.wants) == 6, "six kernels wanted")
    names = {want.session_name: kernel_id for kernel_id, want in agent.wants.items()}
    for name, status in BEGUN.items():
        await agent.begin(names[name], status)
    await admin.until_status("terminating", "RUNNING")
    await admin.call("DELETE", "/session/terminating")
    expected = {name: name.upper() for name in (*BEGUN, "scheduled", "pending")}

    async def as_named():
        return await statuses(admin) == expected

    await helpers.wait_until(as_named, "each session in its status")

    manager_process.kill()
    await helpers.wait_until(lambda: not agent.linked.is_set(), "the link gone")
    await manager_process.start()
    await agent.linked.wait()
    assert await statuses(admin) == expected
    assert (await admin.get("/agents"))["agents"][0]["used"]["cpu"] == "6"

    agent.hold_at, agent.keep_ending = KernelStatus.RUNNING, False
    await agent.proceed()

    async def all_run():
        found = await statuses(admin)
        return "terminating" not in found and set(found.values()) == {"RUNNING"} and len(found) == 6

    await helpers.wait_until(all_run, "all running, the last one in the freed place")
    assert (await admin.get("/agents"))["agents"][0]["used"]["cpu"] == "6"


@pytest.mark.asyncio
async def test_what_ended_meanwhile_is_told_when_the_agent_is_back(manager_process, admin, make_agent, helpers):
    agent = make_agent(manager_process.endpoint)
    await agent.stay_connected()
    await admin.post("/images", {"name": helpers.image.name})
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    manager_process.kill()
    (kernel_id,) = agent.kernels
    await helpers.wait_until(lambda: not agent.linked.is_set(), "the link gone")
    with suppress(Exception):
        await agent.report(kernel_id, KernelStatus.TERMINATED)
    await manager_process.start()
    await admin.until_status("my-work", "TERMINATED")
    await helpers.wait_until(lambda: agent.forgotten == [kernel_id], "Forget")


@pytest.mark.asyncio
async def test_stops_cleanly_and_keeps_its_credentials(manager_process, admin, data_dir, helpers):
    before = helpers.credentials(data_dir)
    assert manager_process.kill(signal.SIGTERM) == 0
    await manager_process.start()
    assert helpers.credentials(data_dir) == before
    assert (await admin.get("/auth"))["authorized"] == "yes"
    assert manager_process.kill(signal.SIGINT) == 0
    for path in (data_dir / "master.key", data_dir.parent / "credentials.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


@pytest.mark.asyncio
async def test_a_lost_credentials_file_is_written_again_and_a_lost_key_is_said(
    manager_process, admin, data_dir, helpers
):
    before = helpers.credentials(data_dir)
    manager_process.kill()
    (data_dir.parent / "credentials.json").unlink()
    await manager_process.start()
    assert helpers.credentials(data_dir) == before
    manager_process.kill()
    (data_dir / "master.key").rename(data_dir / "elsewhere")
    with pytest.raises(AssertionError, match="the manager ended"):
        await manager_process.start()
    assert not (data_dir / "master.key").exists()


@pytest.mark.asyncio
async def test_one_manager_for_each_folder(manager_process, admin):
    second = type(manager_process)(manager_process.data_dir, 0)
    with pytest.raises(AssertionError, match="the manager ended"):
        await second.start()
