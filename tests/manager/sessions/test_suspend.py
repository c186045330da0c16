"""Sessions are suspended and go on by their owners' word; what an agent refuses, and strangers, change nothing."""

import asyncio
import random

import pytest

from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.db import admission, agents

pytestmark = pytest.mark.asyncio


async def of_agent(manager):
    (record,) = await manager.store.read(agents.list_agents)
    assert await manager.store.write(admission.recount) == []
    return record.used["cpu"], record.free["cpu"]


async def cpu_of_owner(manager, signed):
    user_id = (await signed.get("/auth"))["user"]["id"]
    used = await manager.store.read(admission.load_used, [f"user:{user_id}"])
    return admission.from_quanta(used[f"user:{user_id}"])["cpu"]


async def has_ended(signed, name):
    return (await signed.session(name))["status"] in ("TERMINATED", "CANCELLED")


async def until_it_waits(helpers, signed, name):
    async def waits():
        view = await signed.session(name)
        return view if (view["status"], view["reason"]["code"]) == ("PENDING", "no-room") else None

    return await helpers.wait_until(waits)


async def test_suspended_and_resumed(manager, admin, agent, make_user):
    alice, bob = await make_user("alice"), await make_user("bob")
    await alice.create("work")
    view = await alice.until_status("work", "RUNNING")
    for name in ("work", "none-such", view["id"]):
        for what in ("suspend", "resume"):
            assert (await bob.call("POST", f"/session/{name}/{what}", {})).status == 404
    suspended = await alice.post("/session/work/suspend", status=200)
    assert (suspended["status"], suspended["suspended"]) == ("RUNNING", True)
    assert suspended["reason"]["code"] == "suspended"
    assert suspended["slots"] == view["slots"]  # it keeps what it holds
    resumed = await alice.post("/session/work/resume", status=200)
    assert (resumed["suspended"], resumed["reason"]["code"]) == (False, "running")


async def test_what_runs_is_not_suspended(manager, admin, agent):
    await admin.create("work")
    view = await admin.until_status("work", "RUNNING")
    agent.call_errors["suspend"] = Reason.of("suspend-busy")
    refused = await admin.post("/session/work/suspend", status=400)
    assert refused["data"]["reason"]["code"] == "suspend-busy"
    del agent.call_errors["suspend"]
    command = manager.streams.traffic.stream(view["containerId"], "command")
    assert (await admin.post("/session/work/suspend", status=400))["data"]["reason"]["code"] == "suspend-busy"
    command.ended()
    await admin.post("/session/work/suspend", status=200)


async def test_only_a_running_session_can_be(manager, admin, agent):
    agent.hold_at = None
    await admin.create("work")
    assert (await admin.post("/session/work/suspend", status=400))["data"]["reason"]["code"] == "not-running"


async def test_its_cores_are_lent_and_waking_is_never_refused(manager, admin, agent, make_user, helpers):
    alice, bob = await make_user("alice"), await make_user("bob")
    await alice.create("work", resources={"cpu": "6", "mem": "2g"})
    await alice.until_status("work", "RUNNING")
    await bob.create("other", resources={"cpu": "6", "mem": "2g"})
    await until_it_waits(helpers, bob, "other")

    await alice.post("/session/work/suspend", status=200)
    await bob.until_status("other", "RUNNING")  # nobody had to ask again
    assert await of_agent(manager) == (6, 2)
    assert await cpu_of_owner(manager, alice) == 6
    assert (await alice.session("work"))["slots"]["cpu"] == "6"

    # While it is frozen its agent comes back, and tells all anew.
    await agent.close()
    await agent.connect()
    assert await of_agent(manager) == (6, 2)

    await alice.post("/session/work/resume", status=200)
    assert await of_agent(manager) == (12, 0)
    shown = (await admin.post("/resource/check-presets", {"group": "default"}, 200))["scaling_group_remaining"]
    assert shown["cpu"] == "0"
    await bob.create("third", resources={"cpu": "1", "mem": "1g"})
    await until_it_waits(helpers, bob, "third")
    # Its memory may change, its CPU only to less.
    grown = await alice.post("/session/work/resize", {"resources": {"mem": "3g"}}, status=200)
    assert grown["slots"]["cpu"] == "6"
    refused = await alice.post("/session/work/resize", {"resources": {"cpu": "7"}}, status=412)
    assert refused["data"]["reason"]["code"] == "resize-no-room"

    await alice.call("DELETE", "/session/work")
    await alice.until_status("work", "TERMINATED")
    await bob.until_status("third", "RUNNING")
    assert await of_agent(manager) == (7, 1)


async def test_one_that_ends_frozen_or_is_resized_frozen_is_counted_once(manager, admin, agent):
    await admin.create("ends", resources={"cpu": "3", "mem": "1g"})
    await admin.create("grows", resources={"cpu": "2", "mem": "1g"})
    for name in ("ends", "grows"):
        await admin.until_status(name, "RUNNING")
        await admin.post(f"/session/{name}/suspend", status=200)
    assert await of_agent(manager) == (0, 8)
    await admin.call("DELETE", "/session/ends")
    await admin.until_status("ends", "TERMINATED")
    assert await of_agent(manager) == (0, 8)
    await admin.post("/session/grows/resize", {"resources": {"cpu": "8"}}, status=200)
    await admin.post("/session/grows/resume", status=200)
    assert await of_agent(manager) == (8, 0)
    await admin.call("DELETE", "/session/grows")
    await admin.until_status("grows", "TERMINATED")
    assert await of_agent(manager) == (0, 8)


async def test_wakes_and_placements_that_race_use_no_more_than_what_was_lent(manager, admin, agent, helpers):
    order = random.Random(7)  # noqa: S311 - an order, no secret
    sleepers, others = [f"sleeper-{n}" for n in range(4)], [f"other-{n}" for n in range(6)]
    for name in sleepers:
        await admin.create(name, resources={"cpu": "2", "mem": "1g"})
        await admin.until_status(name, "RUNNING")
        await admin.post(f"/session/{name}/suspend", status=200)
    calls = [lambda name=name: admin.post(f"/session/{name}/resume", status=200) for name in sleepers]
    calls += [lambda name=name: admin.create(name, resources={"cpu": "2", "mem": "1g"}) for name in others]
    order.shuffle(calls)
    await asyncio.gather(*(call() for call in calls))
    used, _ = await of_agent(manager)
    assert 8 <= used <= 16
    for name in sleepers + others:
        await admin.call("DELETE", f"/session/{name}")
    for name in sleepers + others:
        await helpers.wait_until(lambda name=name: has_ended(admin, name))
    assert await of_agent(manager) == (0, 8)
