"""Figures of devices: in metrics, in agents' views, in sessions' live figures; and who sees them."""

import json
import re
from decimal import Decimal

import pytest

from bai_jupyter.common.messages import DeviceFacts, Heartbeat
from bai_jupyter.common.slots import ResourceSlots

pytestmark = pytest.mark.asyncio

TOKEN = "a-token-long-enough"
GPU = DeviceFacts("GPU-1", "rocm", 'AMD "MI300X"', ResourceSlots({"rocm.device": 1}), mem_bytes=192 << 30)
BROKEN = DeviceFacts("GPU-2", "rocm", "AMD MI300X", ResourceSlots(), health="fell off the bus")
FIGURES = {"util_pct": 42.0, "mem_used_bytes": 2.0**30, "mem_total_bytes": 2.0**32, "power_w": 550.5, "energy_j": 9.5}
OF_SESSION = {f"rocm_{name}": value for name, value in FIGURES.items()}


@pytest.fixture
def manager_options(tmp_path):
    file = tmp_path / "metrics-token"
    file.write_text(f"{TOKEN}\n")
    return {"metrics_token_file": str(file), "heartbeat_s": 60.0}  # the agent below speaks for itself


@pytest.fixture
def make_measuring_agent(manager, admin, make_agent, helpers):
    async def make():
        slots = ResourceSlots({"cpu": 8, "mem": 32 << 30, "rocm.device": 1})
        one = make_agent(manager.endpoint, name="lab-1", slots=slots, devices=[GPU, BROKEN])
        await one.connect()
        await admin.post("/images", {"name": helpers.image.name})
        return one

    return make


async def beat(agent, admin, helpers):
    """A heartbeat with figures, once the manager has dealt with it."""
    sessions = {kernel_id: {"cpu_used_s": 1.0, "mem_used_bytes": 5.0, **OF_SESSION} for kernel_id in agent.kernels}

    async def is_told():
        await agent.send(Heartbeat(sessions, {"GPU-1": FIGURES}))
        (shown,) = (await admin.get("/agents"))["agents"]
        return shown["devices"][0]["figures"]

    await helpers.wait_until(is_told, "the figures told")


async def read(admin, headers=None):
    answer = await admin.http.fetch(f"{admin.endpoint}/metrics", headers=headers or {}, raise_error=False)
    return answer.code, answer.headers["Content-Type"], answer.body.decode()


async def test_metrics_tell_of_devices_and_of_no_session_by_name(make_measuring_agent, admin, make_user, helpers):
    agent = await make_measuring_agent()
    alice = await make_user("alice")
    await alice.create("secret-project", resources={"cpu": "1", "mem": "1g", "rocm.device": "1"})
    await alice.until_status("secret-project", "RUNNING")
    await beat(agent, admin, helpers)
    status, kind, text = await read(admin, {"Authorization": f"Bearer {TOKEN}"})
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    here = 'agent="lab-1",resource_group="default"'
    gpu = f'{here},device="GPU-1",kind="rocm",model="AMD \\"MI300X\\""'
    lines = text.splitlines()
    for line in (
        "# TYPE bai_device_utilization_ratio gauge",
        f"bai_device_utilization_ratio{{{gpu}}} 0.42",
        f"bai_device_memory_used_bytes{{{gpu}}} 1073741824.0",
        f"bai_device_power_watts{{{gpu}}} 550.5",
        "# TYPE bai_device_energy_joules_total counter",
        f"bai_device_energy_joules_total{{{gpu}}} 9.5",
        f"bai_device_healthy{{{gpu}}} 1.0",
        f'bai_device_healthy{{{here},device="GPU-2",kind="rocm",model="AMD MI300X"}} 0.0',
        f'bai_agent_slots{{{here},slot="rocm.device"}} 1.0',
        f'bai_agent_slots_used{{{here},slot="rocm.device"}} 1.0',
        f"bai_agent_memory_used_bytes{{{here}}} 5.0",
        'bai_sessions{resource_group="default",status="RUNNING"} 1.0',
    ):
        assert line in lines
    assert not re.search(r"secret|alice|@", text)
    named = [re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")]
    assert [line.split()[2] for line in lines if line.startswith("# HELP")] == list(dict.fromkeys(named))


async def test_metrics_are_for_superadmins_and_the_token_s_holder(make_measuring_agent, admin, make_user, tmp_path):
    await make_measuring_agent()
    assert (await admin.call("GET", "/metrics")).status == 200
    for role in ("user", "admin"):
        assert (await (await make_user(f"a-{role}", role)).call("GET", "/metrics")).status == 403
    assert (await read(admin))[0] == 401
    wrong, right = {"Authorization": "Bearer another-token-of-some-length"}, {"Authorization": f"Bearer {TOKEN}"}
    assert (await read(admin, wrong))[0] == 401
    (tmp_path / "metrics-token").write_text("exchanged-for-this-one")
    assert (await read(admin, right))[0] == 401
    assert (await read(admin, {"Authorization": "Bearer exchanged-for-this-one"}))[0] == 200
    (tmp_path / "metrics-token").unlink()
    assert (await read(admin, {"Authorization": "Bearer exchanged-for-this-one"}))[0] == 401
    assert (await admin.call("GET", "/metrics")).status == 200


async def test_the_token_opens_nothing_else(manager, admin):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/agents", "/sessions", "/manager/status", "/logs/error"):
        answer = await admin.http.fetch(manager.endpoint + path, headers=headers, raise_error=False)
        assert answer.code == 401, path


async def test_an_owner_sees_their_session_s_figures_and_only_superadmins_those_of_devices(
    make_measuring_agent, admin, make_user, helpers, gql
):
    agent = await make_measuring_agent()
    alice = await make_user("alice")
    made = await alice.create("her-work", resources={"cpu": "1", "mem": "1g", "rocm.device": "1"})
    await alice.until_status("her-work", "RUNNING")
    await beat(agent, admin, helpers)
    live = (await alice.session("her-work"))["liveStat"]
    assert live == {"cpu_used_s": 1.0, "mem_used_bytes": 5.0, "mem_limit_bytes": None, **OF_SESSION}
    (hers,) = (await alice.get("/agents"))["agents"]
    assert [one["figures"] for one in hers["devices"]] == [None, None]
    (ours,) = (await admin.get("/agents"))["agents"]
    assert [one["figures"] for one in ours["devices"]] == [FIGURES, None]
    query = "query {compute_session_list(limit: 1, offset: 0) {items {containers {live_stat}}}}"
    stat = (await gql(alice, query))["compute_session_list"]["items"][0]["containers"][0]["live_stat"]
    found = json.loads(stat)
    assert found["rocm_util"] == {"current": "42.00", "capacity": "100", "pct": "42.00", "unit_hint": "percent"}
    mem = {"current": str(2**30), "capacity": str(2**32), "pct": "25.00", "unit_hint": "bytes"}
    assert found["rocm_mem"] == mem
    assert Decimal(found["cpu_used"]["current"]) == 1000
    await alice.call("DELETE", "/session/her-work")
    last = (await alice.until_status(made["sessionId"], "TERMINATED"))["lastStat"]
    assert (last["rocm_util"], last["rocm_mem"]) == (found["rocm_util"], mem)


async def test_an_agent_that_is_away_tells_nothing_of_its_devices(make_measuring_agent, manager, admin, helpers):
    agent = await make_measuring_agent()
    await beat(agent, admin, helpers)
    await agent.close()
    manager.registry.patience_s = 0.03

    async def is_silent():
        _, _, text = await read(admin, {"Authorization": f"Bearer {TOKEN}"})
        return "bai_device_healthy" in text and "bai_device_utilization_ratio" not in text

    await helpers.wait_until(is_silent, "no figures")
