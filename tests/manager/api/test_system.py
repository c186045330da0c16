"""What superadmins do to the cluster as a whole: pause it, announce, let agents run empty; and what is on record."""

import pytest
from real_manager import show_page

from bai_jupyter.common.slots import ResourceSlots

pytestmark = pytest.mark.asyncio


async def test_frozen_manager_places_nothing_and_keeps_everybody_s_place(agent, admin, make_user, helpers):
    alice = await make_user("alice")
    await alice.create("runs-on")
    await alice.until_status("runs-on", "RUNNING")
    await alice.create("waits-on", resources={"cpu": "8", "mem": "1g"})
    assert (await admin.call("PUT", "/manager/status", {"status": "frozen"})).status == 204
    assert (await admin.get("/manager/status"))["status"] == "frozen"
    refused = await alice.create("new-work", status=503)
    assert refused["type"].endswith("/server-frozen")
    assert refused["msg"].startswith("New sessions are paused by admin since 2")
    dry = await alice.post("/resource/dry-run", {"image": helpers.image.name}, 200)
    assert (dry["verdict"], dry["reason"]["code"]) == ("refused", "frozen")
    assert (await alice.create("runs-on"))["created"] is False
    await alice.call("DELETE", "/session/runs-on")

    async def is_told():
        view = await alice.session("waits-on")
        return view["reason"]["code"] == "frozen" and view["queue"]["position"] == 1

    await helpers.wait_until(is_told, "the waiting session told")
    assert (await admin.call("PUT", "/manager/status", {"status": "running"})).status == 204
    await alice.until_status("waits-on", "RUNNING")


async def test_freezing_may_end_all(agent, admin, make_user):
    alice = await make_user("alice")
    await alice.create("her-work")
    await alice.until_status("her-work", "RUNNING")
    await admin.call("PUT", "/manager/status", {"status": "frozen", "force_kill": True})
    await alice.until_status("her-work", "TERMINATED")


async def test_excluded_agents_get_nothing_new(manager, agent, admin, make_agent, helpers):
    await admin.create("stays-there")
    await admin.until_status("stays-there", "RUNNING")
    assert (await admin.call("POST", "/manager/scheduler/operation", operation("exclude", "lab-1"))).status == 204
    (shown,) = (await admin.get("/agents"))["agents"]
    assert shown["schedulable"] is False
    presets = (await admin.post("/resource/check-presets", status=200))["presets"]
    assert not any(one["allocatable"] for one in presets)
    await admin.create("has-to-wait")

    async def is_told():
        return (await admin.session("has-to-wait"))["reason"]["code"] == "draining"

    await helpers.wait_until(is_told, "the waiting session told")
    token = (await admin.post("/agents/join-tokens", {}))["token"]
    other = make_agent(manager.endpoint, token, name="lab-2", slots=ResourceSlots.parse({"cpu": 1, "mem": "2g"}))
    await other.connect()
    assert (await admin.until_status("has-to-wait", "RUNNING"))["agent"] == "lab-2"
    assert (await admin.session("stays-there"))["status"] == "RUNNING"
    await admin.create("back-there")
    assert (await admin.call("POST", "/manager/scheduler/operation", operation("include", "lab-1"))).status == 204
    assert (await admin.until_status("back-there", "RUNNING"))["agent"] == "lab-1"
    answer = await admin.call("POST", "/manager/scheduler/operation", operation("exclude", "lab-1", "nosuch"))
    assert answer.status == 404
    assert all(one["schedulable"] for one in (await admin.get("/agents"))["agents"])


async def test_superadmins_are_told_of_an_engine_that_does_not_answer(manager, agent, admin, make_user, helpers):
    async def told(signed):
        return (await signed.get("/agents"))["agents"][0]["engine_trouble"]

    alice = await make_user("alice")
    assert await told(admin) is None
    agent.engine_trouble = "The container engine on lab-1 does not answer: gone. Tell your admin."
    await helpers.wait_until(lambda: manager.registry.engine_trouble(agent.agent_id), "a heartbeat")
    assert (await told(admin), await told(alice)) == (agent.engine_trouble, None)
    await agent.close()
    await helpers.wait_until(lambda: not manager.registry.is_reachable(agent.agent_id), "the agent's silence")
    assert await told(admin) is None  # what it told is not known to be so still


def operation(what, *agents):
    return {"op": f"{what}-agents", "args": list(agents)}


async def test_announcement(admin, make_user):
    alice = await make_user("alice")
    assert await alice.get("/manager/announcement") == {"enabled": False, "message": ""}
    message = {"enabled": True, "message": "Back at *nine*."}
    assert (await admin.call("POST", "/manager/announcement", message)).status == 204
    assert await alice.get("/manager/announcement") == message
    await admin.call("POST", "/manager/announcement", {"enabled": False})
    assert (await alice.get("/manager/announcement"))["enabled"] is False


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/manager/status", {"status": "sleeping"}),
        ("POST", "/manager/announcement", {"enabled": True}),
        ("POST", "/manager/scheduler/operation", {"op": "dance", "args": []}),
        ("POST", "/manager/scheduler/operation", {"op": "include-agents", "args": "lab-1"}),
        ("POST", "/manager/scheduler/operation", {"op": "exclude-agents", "args": [], "by": "tea"}),
        ("POST", "/manager/scheduler/operation", {"op": "exclude-agents", "args": [], "by": "2020-01-01T18:00Z"}),
        ("POST", "/manager/scheduler/operation", {"op": "exclude-agents", "args": [], "by": "0s"}),
        ("POST", "/manager/scheduler/operation", {"op": "exclude-agents", "args": [], "by": "999999999d"}),
        ("GET", "/audit?limit=x", None),
        ("GET", "/audit?limit=0", None),
        ("GET", f"/audit?limit={'9' * 5000}", None),
        ("GET", "/audit?filter=x", None),
        ("GET", "/logs/error?page_no=0", None),
    ],
)
async def test_what_cannot_be_meant(admin, make_user, method, path, body):
    assert (await admin.call(method, path, body)).status == 400
    if method != "GET":
        assert (await (await make_user("alice")).call(method, path, body)).status == 403


async def test_errors_can_be_read_afterwards(admin, make_user, monkeypatch):
    def explode(_conn, _name):
        raise RuntimeError("what went wrong")

    assert await admin.get("/logs/error") == {"logs": [], "count": 0}
    monkeypatch.setattr("bai_jupyter.manager.db.settings.load", explode)
    assert (await admin.call("GET", "/manager/announcement")).status == 500
    assert (await admin.call("GET", "/manager/announcement")).status == 500
    shown = await admin.get("/logs/error?page_size=1&page_no=2")
    assert (len(shown["logs"]), shown["count"]) == (1, 2)
    assert shown["logs"][0]["severity"] == "error"
    assert "/manager/announcement failed" in shown["logs"][0]["message"]
    assert "what went wrong" in shown["logs"][0]["traceback"]
    assert (await admin.get("/logs/error?page_no=3"))["logs"] == []
    assert (await (await make_user("alice")).call("GET", "/logs/error")).status == 403


async def test_a_terminal_that_is_opened_is_in_the_audit_trail(agent, admin):
    agent.on_stream = show_page
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    (await admin.connect("/stream/session/my-work/pty")).close()
    (entry,) = (await admin.get("/audit?limit=1"))["entries"]
    assert (entry["action"], entry["target"], entry["result"]) == ("GET session:terminal", "my-work", 101)


async def test_audit_trail(agent, admin, make_user):
    alice = await make_user("alice")
    await alice.create("her-work")
    await alice.create("no-work", status=404, image="no/such")
    await admin.post("/agents/join-tokens", {})
    own = await alice.get("/audit")
    assert [(one["action"], one["result"]) for one in own["entries"]] == [
        ("POST session:create", 404),
        ("POST session:create", 201),
    ]
    assert {one["access_key"] for one in own["entries"]} == {alice.access_key}
    everything = await admin.get("/audit?limit=1")
    assert (everything["entries"][0]["action"], everything["total_count"]) == ("POST agent:join", 4)
    failed = await admin.get("/audit?filter=result%20%3E%3D%20400&order=at")
    assert [one["result"] for one in failed["entries"]] == [404]
