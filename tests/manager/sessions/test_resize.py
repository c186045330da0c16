"""CPU and memory of running sessions are changed within all limits, whoever asks at once and whatever is killed."""

import asyncio
import random
from datetime import UTC, datetime

import pytest

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots, SlotLimits
from bai_jupyter.manager.db import admission, people, policies
from bai_jupyter.manager.db.records import PolicyRecord

pytestmark = pytest.mark.asyncio
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 1024**3


async def running(signed, name="work", **resources):
    await signed.create(name, resources={"cpu": "2", "mem": "2g", **resources})
    return await signed.until_status(name, "RUNNING")


async def resize(signed, name="work", status=200, **resources):
    answer = await signed.call("POST", f"/session/{name}/resize", {"resources": resources})
    assert answer.status == status, (answer.status, answer.body)
    return answer.json if status == 200 else answer.json["data"]["reason"]


async def foreseen(signed, **resources):
    answer = await signed.post("/session/work/resize/dry-run", {"resources": resources}, 200)
    return answer["verdict"], (answer["reason"] or {}).get("code"), answer["slots"]


async def held(manager, agent):
    """What counters hold of the agent."""
    used = await manager.store.read(admission.load_used, [f"agent:{agent.agent_id}"])
    return admission.from_quanta(used[f"agent:{agent.agent_id}"])


async def bind(manager, signed, **slots):
    user_id = (await signed.get("/auth"))["user"]["id"]
    policy = PolicyRecord("tight", total_slots=SlotLimits.parse(slots), created_at=NOW)
    await manager.store.write(policies.add, policy)
    await manager.store.write(people.change_user, user_id, {"resource_policy": "tight"}, NOW)


async def test_what_it_would_come_to_is_told_and_not_done(manager, agent, make_user, helpers):
    alice, bob = await make_user("alice"), await make_user("bob")
    await running(alice)
    assert await foreseen(alice, cpu="8") == ("now", None, {"cpu": "8", "mem": str(2 * GIB)})
    await running(bob, "other", cpu="5")
    assert await foreseen(alice, cpu="4") == ("refused", "resize-no-room", None)
    agent.figures = {"mem_used_bytes": float(GIB)}
    kernel_id = (await alice.session("work"))["containerId"]
    await helpers.wait_until(lambda: manager.registry.stats(agent.agent_id, kernel_id) == agent.figures)
    assert await foreseen(alice, mem="512m") == ("refused", "resize-in-use", None)
    await bind(manager, alice, cpu="2")
    assert await foreseen(alice, cpu="2.5") == ("refused", "over-quota", None)
    assert (await alice.session("work"))["slots"] == {"cpu": "2", "mem": str(2 * GIB)}
    assert await held(manager, agent) == ResourceSlots.parse({"cpu": 7, "mem": "4g"})
    assert await manager.store.write(admission.recount) == []
    assert (await bob.call("POST", "/session/work/resize/dry-run", {"resources": {"cpu": "1"}})).status == 404
    assert (await alice.call("POST", "/session/work/resize/dry-run", {"resources": {"cpu": "x"}})).status == 400


async def test_up_and_down(manager, admin, agent, make_user):
    alice = await make_user("alice")
    view = await running(alice)
    grown = await resize(alice, cpu="3", mem="4g")
    assert grown["slots"] == {"cpu": "3", "mem": str(4 * GIB)}
    assert grown["status"] == "RUNNING"
    assert agent.sizes[view["containerId"]] == ResourceSlots.parse({"cpu": 3, "mem": "4g"})
    assert await held(manager, agent) == ResourceSlots.parse({"cpu": 3, "mem": "4g"})
    shrunk = await resize(alice, cpu="0.5")
    assert shrunk["slots"] == {"cpu": "0.5", "mem": str(4 * GIB)}
    assert await held(manager, agent) == ResourceSlots.parse({"cpu": "0.5", "mem": "4g"})
    assert await manager.store.write(admission.recount) == []
    await alice.call("DELETE", "/session/work")
    await alice.until_status("work", "TERMINATED")
    assert await held(manager, agent) == ResourceSlots()
    assert await manager.store.write(admission.recount) == []


async def test_refusals_name_the_figures_and_change_nothing(manager, admin, agent, make_user, helpers):
    alice, bob = await make_user("alice"), await make_user("bob")
    await bind(manager, alice, cpu=4, mem="30g")
    await running(alice)
    refused = await resize(alice, status=412, cpu="5")
    assert refused["text"].startswith("Your user alice allows 4 CPU; 2 in use, asked for 3: 1 too much.")
    await running(bob, "other", cpu="1")
    refused = await resize(bob, "other", status=412, cpu="7")
    assert refused["text"].startswith("lab-1 has 5 of its 8 CPU free; asked for 7, 6 more than the session has.")
    agent.figures = {"mem_used_bytes": float(GIB)}
    (kernel_id, _) = agent.kernels
    await helpers.wait_until(lambda: manager.registry.stats(agent.agent_id, kernel_id) == agent.figures)
    refused = await resize(alice, status=400, mem="512m")
    assert refused["text"].startswith("The session uses 1 GiB of memory now")
    assert (await resize(alice, status=400, mem="64m"))["code"] in ("shm-too-big", "resize-in-use")
    assert (await resize(alice, status=400, **{"cuda.shares": "1"}))["code"] == "resize-what"
    for wrong in ({"cpu": "0"}, {"cpu": "-1"}, {"mem": "1k"}):
        assert (await alice.call("POST", "/session/work/resize", {"resources": wrong})).status == 400
    assert (await bob.call("POST", "/session/work/resize", {"resources": {"cpu": "1"}})).status == 404
    assert (await bob.call("POST", "/session/none-such/resize", {"resources": {"cpu": "1"}})).status == 404
    assert await held(manager, agent) == ResourceSlots.parse({"cpu": 3, "mem": "4g"})
    assert {want.resizes for want in agent.wants.values()} == {0}


async def test_what_the_agent_refuses_is_as_it_was(manager, admin, agent, make_user):
    alice = await make_user("alice")
    await running(alice)
    agent.resize_refused = Reason.of("resize-in-use", used="1.5 GiB", asked="1 GiB")
    for resources in ({"mem": "1g"}, {"cpu": "4"}):
        refused = await resize(alice, status=400, **resources)
        assert refused["text"].startswith("The session uses 1.5 GiB of memory now")
        assert (await alice.session("work"))["slots"] == {"cpu": "2", "mem": str(2 * GIB)}
        assert await held(manager, agent) == ResourceSlots.parse({"cpu": 2, "mem": "2g"})
    agent.resize_refused = None
    assert (await resize(alice, cpu="4"))["slots"]["cpu"] == "4"
    assert await manager.store.write(admission.recount) == []


async def test_what_is_given_up_is_counted_until_it_is_gone(manager, admin, agent, make_user, make_agent, helpers):
    """And an agent that was away, as after kill -9, makes the change when it is back."""
    alice = await make_user("alice")
    await running(alice)
    agent.keep_size = True
    change = asyncio.create_task(resize(alice, cpu="4", mem="1g"))
    (kernel_id,) = agent.kernels
    await helpers.wait_until(lambda: agent.wants[kernel_id].resizes == 1)
    assert await held(manager, agent) == ResourceSlots.parse({"cpu": 4, "mem": "2g"})
    assert await manager.store.write(admission.recount) == []
    await agent.close()
    agent.keep_size = False
    await agent.connect()
    assert (await change)["slots"] == {"cpu": "4", "mem": str(GIB)}
    assert await held(manager, agent) == ResourceSlots.parse({"cpu": 4, "mem": "1g"})


@pytest.mark.parametrize("limited", ["agent", "user"])
async def test_fifty_at_once_never_over_commit(manager, admin, agent, make_user, limited):
    alice = await make_user("alice")
    if limited == "user":
        await bind(manager, alice, cpu=6, mem="20g")
    names = [f"work-{number}" for number in range(4)]
    await asyncio.gather(*(running(alice, name, cpu="1", mem="1g") for name in names))
    total = ResourceSlots.parse({"cpu": 6, "mem": "20g"} if limited == "user" else {"cpu": 8, "mem": "32g"})
    rng, seen = random.Random(7), []  # noqa: S311 - the same each time

    async def ask():
        body = {"resources": {"cpu": str(rng.randint(1, 4)), "mem": f"{rng.randint(1, 12)}g"}}
        answer = await alice.call("POST", f"/session/{rng.choice(names)}/resize", body)
        seen.append(await held(manager, agent))
        return answer.status

    statuses = await asyncio.gather(*(ask() for _ in range(50)))
    assert set(statuses) == {200, 412}
    assert all(one.fits(total) for one in seen)
    views = [await alice.session(name) for name in names]
    shown = sum((ResourceSlots.parse(view["slots"]) for view in views), ResourceSlots())
    assert shown == sum(agent.sizes.values(), ResourceSlots()) == await held(manager, agent)
    assert await manager.store.write(admission.recount) == []


async def test_a_session_without_a_container_of_its_own_is_not_changed(manager, admin, make_agent, helpers):
    one = make_agent(manager.endpoint, runtime="process", isolated=False)
    await one.connect()
    await admin.post("/images", {"name": helpers.image.name})
    await running(admin)
    assert (await resize(admin, status=400, cpu="1"))["code"] == "resize-runtime"
