"""Joining, coming back, reports in any order, silence, faults: over the real WebSocket."""

import json

import pytest

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import KernelStatus
from bai_jupyter.manager.db import admission
from bai_jupyter.manager.db import tables as t


@pytest.mark.asyncio
async def test_join_token_is_good_once(manager, admin, make_agent):
    first = make_agent(manager.endpoint)
    await first.connect()
    second = make_agent(manager.endpoint, name="lab-2")
    await second.connect()
    assert first.credential is not None
    assert second.refused.code == "agent-denied"
    assert [one["name"] for one in (await admin.get("/agents"))["agents"]] == ["lab-1"]


@pytest.mark.asyncio
async def test_join_tokens_of_the_api(manager, admin, make_agent):
    token = (await admin.post("/agents/join-tokens", {"uses": 2}))["token"]
    for name in ("lab-1", "lab-2", "lab-3"):
        one = make_agent(manager.endpoint, token, name=name)
        await one.connect()
        assert (one.refused is None) == (name != "lab-3")
    rows = await manager.store.read(lambda conn: conn.execute(t.join_tokens.select()).all())
    assert token not in repr(rows)


@pytest.mark.asyncio
async def test_an_expired_token_and_a_wrong_credential_are_refused(manager, make_agent):
    await manager.services.agents.add_join_token("old", "default", 1, -1, None)
    for one in (make_agent(manager.endpoint, "old"), make_agent(manager.endpoint, None)):
        one.credential = "invented"
        await one.connect()
        assert one.refused.code == "agent-denied"


@pytest.mark.asyncio
async def test_other_protocol_is_refused_with_a_sentence(manager, make_agent):
    one = make_agent(manager.endpoint, protocol=99)
    await one.connect()
    assert "speaks protocol 99, the manager 1. Update the manager." in one.refused.text


@pytest.mark.asyncio
async def test_credential_is_stored_as_a_hash(manager, agent):
    rows = await manager.store.read(lambda conn: conn.execute(t.agents.select()).all())
    assert agent.credential not in repr(rows)


@pytest.mark.asyncio
async def test_a_second_link_replaces_the_first(manager, agent, make_agent, helpers):
    second = make_agent(manager.endpoint, None)
    second.credential = agent.credential
    await second.connect()
    assert second.agent_id == agent.agent_id
    assert second.credential == agent.credential
    await helpers.wait_until(lambda: not agent.linked.is_set(), "the first link closed")
    assert [link.is_ready for link in manager.registry.links()] == [True]


@pytest.mark.asyncio
async def test_an_old_report_is_ignored(agent, admin, helpers):
    agent.hold_at = KernelStatus.CREATING
    created = await admin.create("my-work")
    await admin.until_status("my-work", "CREATING")
    (kernel_id,) = agent.kernels
    revision = agent.kernels[kernel_id].revision
    await agent.report(kernel_id, KernelStatus.RUNNING, revision=revision + 5)
    await admin.until_status("my-work", "RUNNING")
    await agent.report(kernel_id, KernelStatus.TERMINATED, revision=revision + 3)
    # A later report of another kind proves that the old one was read and passed over.
    await agent.report(kernel_id, KernelStatus.RUNNING, revision=revision + 6, reason=Reason.of("other", text="seen"))

    async def seen():
        return (await admin.session(created["sessionId"]))["reason"]["text"] == "seen"

    await helpers.wait_until(seen, "the newest report")
    assert (await admin.session("my-work"))["status"] == "RUNNING"


@pytest.mark.asyncio
async def test_what_is_not_ours_is_forgotten_and_nonsense_is_survived(manager, agent, admin, helpers):
    await agent._socket.write_message("not json")
    await agent._socket.write_message(json.dumps({"type": "Heartbeat", "stats": 7}))
    from bai_jupyter.common.messages import KernelReport

    await agent.send(KernelReport("unknown", "unknown", KernelStatus.TERMINATED, 1))
    await helpers.wait_until(lambda: agent.forgotten == ["unknown"], "Forget")


@pytest.mark.asyncio
async def test_end_is_recorded_before_it_is_forgotten(manager, agent, admin, helpers):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    (kernel_id,) = agent.kernels
    await admin.call("DELETE", "/session/my-work")
    await helpers.wait_until(lambda: agent.forgotten == [kernel_id], "Forget")
    assert (await admin.session("my-work"))["status"] == "TERMINATED"


@pytest.mark.asyncio
async def test_a_silent_agent_keeps_its_sessions_and_slots(agent, admin, helpers):
    await admin.create("my-work", resources={"cpu": "8", "mem": "1g"})
    await admin.until_status("my-work", "RUNNING")
    agent.drop_link()

    async def unreachable():
        return (await admin.session("my-work"))["unreachable"]

    await helpers.wait_until(unreachable, "unreachable")
    view = await admin.session("my-work")
    assert (view["status"], view["reason"]["code"]) == ("RUNNING", "unreachable")

    async def lost():
        return (await admin.get("/agents"))["agents"][0]["status"] == "LOST"

    await helpers.wait_until(lost, "agent LOST")
    assert (await admin.get("/agents"))["agents"][0]["used"]["cpu"] == "8"
    assert (await admin.call("GET", "/session/my-work/logs")).status == 503
    await agent.connect()
    view = await admin.session("my-work")
    assert (view["status"], view["unreachable"]) == ("RUNNING", False)


@pytest.mark.asyncio
async def test_a_container_that_did_not_survive_the_host_is_over(agent, admin, helpers):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    agent.drop_link()
    agent.kernels.clear()
    agent.wants.clear()
    await agent.connect()
    view = await admin.until_status("my-work", "TERMINATED")
    assert view["reason"]["code"] == "host-restarted"
    assert agent.kernels == {}


@pytest.mark.asyncio
async def test_a_fault_is_tried_on_another_agent_and_then_said(manager, agent, admin, make_agent):
    token = (await admin.post("/agents/join-tokens"))["token"]
    other = make_agent(manager.endpoint, token, name="lab-2")
    await other.connect()
    fault = Reason.of("engine-down", agent="lab-1", cause="no answer")
    agent.fail_with = fault
    for number in range(3):
        await admin.create(f"work-{number}")
    for number in range(3):
        assert (await admin.until_status(f"work-{number}", "RUNNING"))["agent"] == "lab-2"
    assert (await admin.get("/agents"))["agents"][0]["used"] == {}

    other.fail_with = fault
    await admin.create("last-one")
    view = await admin.until_status("last-one", "ERROR")
    assert view["reason"]["code"] == "engine-down"
    assert await manager.store.write(admission.recount) == []


@pytest.mark.asyncio
async def test_pulling_shows_progress(agent, admin, helpers):
    agent.hold_at = None
    await admin.create("my-work")

    async def wants():
        return list(agent.wants)

    (kernel_id,) = await helpers.wait_until(wants, "a wanted kernel")
    await agent.begin(kernel_id, KernelStatus.PREPARING)
    pulling = Reason.of("pulling", image="i", agent="lab-1", pct="40", done="4 GB", total="10 GB")
    await agent.report(kernel_id, KernelStatus.PULLING, reason=pulling)
    assert (await admin.until_status("my-work", "PULLING"))["progress"] == 40


@pytest.mark.asyncio
async def test_ending_while_the_agent_is_away(agent, admin, helpers):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    agent.drop_link()
    await admin.call("DELETE", "/session/my-work")
    assert (await admin.session("my-work"))["status"] == "TERMINATING"
    await agent.connect()
    await admin.until_status("my-work", "TERMINATED")


@pytest.mark.asyncio
async def test_live_figures_come_with_heartbeats(agent, admin, helpers):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")

    async def figures():
        return (await admin.session("my-work"))["liveStat"]

    assert (await helpers.wait_until(figures, "figures"))["cpu_used_s"] == 1.0


@pytest.mark.asyncio
async def test_an_agent_that_does_not_isolate_serves_one_user(manager, admin, make_agent, make_user, helpers):
    from dataclasses import replace

    image = replace(helpers.image, name="process/python", builtin=True)
    facts = {"runtime": "process", "isolated": False, "images": [image], "name": "lab-p"}
    one = make_agent(manager.endpoint, **facts)
    await one.connect()
    alice, bob = await make_user("alice"), await make_user("bob")
    assert [found["name"] for found in (await alice.get("/images"))["images"]] == ["process/python"]
    await alice.create("her-work", image=image.name)
    await alice.until_status("her-work", "RUNNING")
    refused = await bob.call("POST", "/session", {"name": "his-work", "image": image.name})
    assert (refused.status, refused.json["data"]["reason"]["code"]) == (403, "runtime-unsafe")
    await alice.create("more-work", image=image.name)
    await alice.until_status("more-work", "RUNNING")
    for name in ("her-work", "more-work"):
        await alice.call("DELETE", f"/session/{name}")
        await alice.until_status(name, "TERMINATED")
    await bob.create("his-work", image=image.name)
    await bob.until_status("his-work", "RUNNING")


@pytest.mark.asyncio
async def test_an_agent_may_shrink_without_being_over_committed(agent, admin, helpers):
    await admin.create("big-one", resources={"cpu": "6", "mem": "1g"})
    await admin.until_status("big-one", "RUNNING")
    agent.drop_link()
    agent.facts["slots"] = ResourceSlots.parse({"cpu": 4, "mem": "32g"})
    await agent.connect()
    await admin.create("next-one")

    async def told():
        return (await admin.session("next-one"))["reason"]["code"] == "no-room"

    await helpers.wait_until(told, "no room")
    assert (await admin.session("next-one"))["status"] == "PENDING"
