"""Creating, finding, ending and refusing sessions, over real HTTP with an agent that speaks real messages."""

import asyncio

import pytest

from bai_jupyter.common.slots import ResourceSlots, SlotLimits
from bai_jupyter.manager.db import admission, policies


@pytest.mark.asyncio
async def test_from_create_to_the_end(agent, admin):
    created = await admin.create("my-work", resources={"cpu": "2", "mem": "4g"})
    assert created["created"] is True
    assert created["servicePorts"] == [{"name": "ttyd", "protocol": "http", "ports": [7681]}]
    view = await admin.until_status("my-work", "RUNNING")
    assert view["id"] == created["sessionId"]
    assert view["slots"] == {"cpu": "2", "mem": str(4 * 1024**3)}
    assert (view["agent"], view["runtime"], view["isolated"], view["unreachable"]) == ("lab-1", "docker", True, False)
    assert view["reason"]["text"] == "Running on lab-1."
    assert view["mounts"] == [{"folder": None, "name": "home", "target": "/home/work/home", "read_only": False}]
    assert (await admin.get("/agents"))["agents"][0]["used"] == view["slots"]

    ended = await admin.call("DELETE", "/session/my-work")
    assert (ended.status, ended.json["stats"]["status"]) == (200, "terminated")
    view = await admin.until_status(created["sessionId"], "TERMINATED")
    assert view["reason"]["text"] == "Ended by admin."
    assert (await admin.get("/agents"))["agents"][0]["used"] == {}
    assert (await admin.get("/sessions"))["sessions"] == []
    assert len((await admin.get("/sessions?status=TERMINATED"))["sessions"]) == 1


@pytest.mark.asyncio
async def test_a_client_of_the_first_version_uses_its_own_words(agent, admin):
    async def call(method, path, body=None):
        return await admin.call(method, path, body, version="v4.20181215")

    config = {"resources": {"cpu": "1", "mem": "256m"}}
    body = {"lang": "bai/python:test", "clientSessionToken": "old-work", "config": config}
    made = await call("POST", "/kernel", body)
    assert (made.status, made.json["created"]) == (201, True)
    await admin.until_status("old-work", "RUNNING")
    again = await call("POST", "/kernel", body)
    assert (again.status, again.json["created"], again.json["kernelId"]) == (201, False, made.json["kernelId"])
    assert (await call("GET", "/kernel/old-work")).json["lang"] == "bai/python:test"
    assert (await call("DELETE", "/kernel/old-work")).status == 200
    await admin.until_status(made.json["kernelId"], "TERMINATED")


@pytest.mark.asyncio
async def test_hundred_at_once_where_there_is_room_for_eight(agent, admin, helpers):
    await asyncio.gather(*(admin.create(f"work-{number:03}") for number in range(100)))

    async def running():
        return len((await admin.get("/sessions?status=RUNNING"))["sessions"]) >= 8

    await helpers.wait_until(running, "eight running")
    views = (await admin.get("/sessions"))["sessions"]
    assert sorted({view["status"] for view in views}) == ["PENDING", "RUNNING"]
    assert sum(view["status"] == "RUNNING" for view in views) == 8
    assert (await admin.get("/agents"))["agents"][0]["used"]["cpu"] == "8"
    waiting = [view for view in views if view["status"] == "PENDING"]

    async def all_have_a_place():
        views = (await admin.get("/sessions?status=PENDING"))["sessions"]
        return sorted(view["queue"]["position"] for view in views if view["queue"]) == list(range(1, 93))

    await helpers.wait_until(all_have_a_place, "92 places in the queue")
    assert len(waiting) == 92
    first = next(view for view in views if view["status"] == "RUNNING")
    await admin.call("DELETE", f"/session/{first['id']}")
    await admin.until_status(first["id"], "TERMINATED")
    await helpers.wait_until(running, "the next one running")
    assert len((await admin.get("/sessions?status=PENDING"))["sessions"]) == 91


@pytest.mark.asyncio
async def test_quota_is_never_passed_under_load(manager, agent, admin, helpers):
    limits = ResourceSlots.parse({"cpu": 3})
    await manager.store.write(policies.change, "default", {"total_slots": limits})
    await asyncio.gather(*(admin.create(f"work-{number}") for number in range(20)))

    async def settled():
        views = (await admin.get("/sessions?status=PENDING"))["sessions"]
        return len(views) == 17 and all(view["reason"]["code"] == "quota-wait" for view in views)

    await helpers.wait_until(settled, "17 waiting for quota")
    others = [view for view in (await admin.get("/sessions"))["sessions"] if view["status"] != "PENDING"]
    assert len(others) == 3
    assert await manager.store.write(admission.recount) == []


@pytest.mark.asyncio
async def test_same_name_is_reused_and_other_image_refused(agent, admin):
    first = await admin.create("my-work")
    second = await admin.create("my-work")
    assert second["sessionId"] == first["sessionId"]
    assert second["created"] is False
    await admin.create("my-work", reuseIfExists=False, status=400)
    await admin.post("/images", {"name": "bai/other:test"})
    answer = await admin.call("POST", "/session", {"name": "my-work", "image": "bai/other:test"})
    assert answer.status == 400
    assert answer.json["type"].endswith("/session-already-exists")
    assert answer.json["data"]["reason"]["code"] == "name-taken"


@pytest.mark.asyncio
async def test_twenty_of_one_name_are_one_session(agent, admin):
    answers = await asyncio.gather(*(admin.create("my-work") for _ in range(20)))
    assert len({answer["sessionId"] for answer in answers}) == 1
    assert sum(answer["created"] for answer in answers) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"image": "no/such:image"}, 404, "image-unknown"),
        ({"name": "x"}, 400, "bad-value"),
        ({"name": "../../etc"}, 400, "bad-value"),
        ({"type": "inference"}, 400, "bad-value"),
        ({"type": "batch"}, 400, "bad-value"),
        ({"startupCommand": "date"}, 400, "bad-value"),
        ({"clusterSize": 0}, 400, "bad-value"),
        ({"config": {"clusterSize": 2.5}}, 400, "bad-value"),
        ({"maxWaitSeconds": -1}, 400, "bad-value"),
        ({"maxWaitSeconds": 1e99}, 400, "bad-value"),
        ({"config": {"agentList": ["lab-1"]}}, 400, "bad-value"),
        ({"starts_at": "tomorrow"}, 400, "bad-value"),
        ({"starts_at": "999999999d"}, 400, "bad-value"),
        ({"dependencies": ["nothing"]}, 404, "not-found"),
        ({"dependencies": "nothing"}, 400, "bad-value"),
        ({"tag": "x" * 65}, 400, "bad-value"),
        ({"callback_url": "ftp://example.com/"}, 400, "bad-value"),
        ({"callback_url": "https://user:secret@example.com/"}, 400, "bad-value"),
        ({"bootstrap_script": 5}, 400, "bad-value"),
        ({"config": {"preopen_ports": [80]}}, 400, "bad-value"),
        ({"config": {"preopen_ports": "8080"}}, 400, "bad-value"),
        ({"config": {"preopen_ports": ["9" * 5000]}}, 400, "bad-value"),
        ({"config": {"resource_opts": {"shmem": []}}}, 400, "bad-value"),
        ({"config": {"scalingGroup": "nowhere"}}, 404, "group-unknown"),
        ({"config": {"preset": "huge"}}, 404, "preset-unknown"),
        ({"config": {"resources": {"cpu": "99"}}}, 400, "too-big"),
        ({"config": {"resources": {"cpu": "-1"}}}, 400, "bad-value"),
        ({"config": {"resources": {"cpu": "0"}}}, 400, "bad-value"),
        ({"config": {"resources": {"cpu": "1.00001"}}}, 400, "bad-value"),
        ({"config": {"resources": {"cpu": "1e30"}}}, 400, "bad-value"),
        ({"config": {"resources": {"tpu.device": 1}}}, 400, "slot-unknown"),
        ({"config": {"preset": "gpu"}}, 400, "slot-unknown"),
        ({"config": {"resources": {"cuda.device": 1, "cuda.shares": "0.5"}}}, 400, "parts-and-whole"),
        ({"config": {"resources": {"rocm.device": 1, "cuda.shares": "0.5"}}}, 400, "slot-unknown"),
        ({"config": {"resource_opts": {"shmem": "64g"}}}, 400, "shm-too-big"),
        ({"config": {"mounts": ["nothing"]}}, 404, "folder-denied"),
        ({"config": {"mount_map": {"home": "/etc"}, "mounts": "home"}}, 400, "bad-value"),
        ({"config": {"environ": {"A=B": "c"}}}, 400, "bad-value"),
    ],
)
async def test_refusals_leave_nothing_behind(agent, admin, change, status, code):
    answer = await admin.call("POST", "/session", {"name": "my-work", "image": agent.facts["images"][0].name, **change})
    assert (answer.status, answer.json["data"]["reason"]["code"]) == (status, code)
    assert (await admin.get("/sessions"))["sessions"] == []
    if code == "not-found":
        return  # a dry run asks for room only
    dry = (
        await admin.post(
            "/resource/dry-run", {"name": "my-work", "image": agent.facts["images"][0].name, **change}, 200
        )
        if (code != "bad-value")
        else None
    )
    assert dry is None or (dry["verdict"], dry["reason"]["code"]) == ("refused", code)


@pytest.mark.asyncio
async def test_more_than_the_policy_allows_is_refused_with_figures(manager, agent, admin):
    limits = ResourceSlots.parse({"mem": "1g"})
    await manager.store.write(policies.change, "default", {"total_slots": limits})
    body = {"name": "my-work", "image": agent.facts["images"][0].name, "config": {"resources": {"cpu": 1, "mem": "3g"}}}
    answer = await admin.call("POST", "/session", body)
    assert answer.status == 412
    assert "allows 1 GiB memory" in answer.json["msg"]
    assert "2 GiB too much" in answer.json["msg"]


@pytest.mark.asyncio
async def test_preset_default_and_given_slots(agent, admin):
    by_preset = await admin.create("by-preset", resources=None, preset="small")
    given = await admin.create("given-too", resources={"cpu": "3"}, preset="small")
    neither = await admin.create("neither", resources={})
    cpus = [(await admin.session(one["sessionId"]))["slots"]["cpu"] for one in (by_preset, given, neither)]
    assert cpus == ["1", "3", "1"]


@pytest.mark.asyncio
async def test_without_any_agent_it_waits_with_a_reason(manager, agent, admin, helpers, make_agent):
    agent.drop_link()
    await helpers.wait_until(lambda: not manager.registry.links(), "the link gone")
    await admin.create("my-work")

    async def says_why():
        return (await admin.session("my-work"))["reason"]["code"] == "no-agent"

    await helpers.wait_until(says_why, "reason no-agent")
    assert (await admin.session("my-work"))["queue"]["position"] == 1
    await agent.connect()
    await admin.until_status("my-work", "RUNNING")


@pytest.mark.asyncio
async def test_a_waiting_session_is_cancelled_at_once(agent, admin):
    await admin.create("big-one", resources={"cpu": "8", "mem": "1g"})
    await admin.until_status("big-one", "RUNNING")
    waiting = await admin.create("later")
    await admin.call("DELETE", "/session/later")
    view = await admin.session(waiting["sessionId"])
    assert (view["status"], view["reason"]["text"]) == ("CANCELLED", "Cancelled by admin.")


@pytest.mark.asyncio
async def test_waiting_for_running(agent, admin):
    body = {"name": "my-work", "image": agent.facts["images"][0].name, "maxWaitSeconds": 10}
    assert (await admin.post("/session", body))["status"] == "RUNNING"
    agent.hold_at = None
    body = {**body, "name": "other-work", "maxWaitSeconds": 0.1}
    assert (await admin.post("/session", body))["status"] == "TIMEOUT"


@pytest.mark.asyncio
async def test_rename_and_old_prefix(agent, admin):
    created = await admin.create("my-work")
    assert (await admin.call("POST", "/kernel/my-work/rename?name=new-name")).status == 204
    assert (await admin.get("/kernel/new-name"))["id"] == created["sessionId"]
    await admin.create("other-work")
    refused = await admin.call("POST", "/session/other-work/rename?name=new-name")
    assert (refused.status, refused.json["data"]["reason"]["code"]) == (400, "name-in-use")


@pytest.mark.asyncio
async def test_logs_and_bodies_with_get(agent, admin):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    answer = await admin.call("GET", "/session/my-work/logs", {"ignored": 1})
    assert answer.json == {"result": {"logs": "hello\n"}}


@pytest.mark.asyncio
async def test_dry_run(agent, admin):
    image = agent.facts["images"][0].name
    asked = {"image": image, "config": {"resources": {"cpu": "2", "mem": "1g"}}}
    answer = await admin.post("/resource/dry-run", asked, 200)
    assert (answer["verdict"], answer["slots"]) == ("now", {"cpu": "2", "mem": str(1024**3)})
    await admin.create("big-one", resources={"cpu": "8", "mem": "1g"})
    await admin.until_status("big-one", "RUNNING")
    answer = await admin.post("/resource/dry-run", {"image": image}, 200)
    assert (answer["verdict"], answer["reason"]["code"]) == ("wait", "no-room")
    assert len((await admin.get("/sessions"))["sessions"]) == 1


@pytest.mark.asyncio
async def test_dry_run_of_what_takes_a_session_s_place(manager, agent, admin, make_user):
    image = agent.facts["images"][0].name
    for name in ("big-one", "next"):
        await admin.create(name, resources={"cpu": "8", "mem": "1g"})
    await admin.until_status("big-one", "RUNNING")
    asked = {"image": image, "config": {"resources": {"cpu": "8", "mem": "1g"}}}

    async def code(**more):
        answer = await admin.post("/resource/dry-run", {**asked, **more}, 200)
        return answer["verdict"], (answer["reason"] or {}).get("code")

    assert await code() == ("wait", "no-room")
    assert await code(insteadOf="next") == ("wait", "no-room")
    assert await code(insteadOf="big-one") == ("wait", "no-room")  # next would have it
    await admin.call("DELETE", "/session/next")
    assert await code(insteadOf="big-one") == ("now", None)
    await manager.store.write(policies.change, "default", {"total_slots": SlotLimits.parse({"cpu": 9})})
    assert await code() == ("wait", "quota-wait")
    assert await code(insteadOf="big-one") == ("now", None)
    assert (await admin.session("big-one"))["status"] == "RUNNING"
    assert await manager.store.write(admission.recount) == []
    stranger = await make_user("stranger")
    seen = await stranger.call("POST", "/resource/dry-run", {**asked, "insteadOf": "big-one"})
    missing = await stranger.call("POST", "/resource/dry-run", {**asked, "insteadOf": "not-one"})
    assert seen.status == missing.status == 404
    assert seen.body.replace(b"big-one", b"not-one") == missing.body


@pytest.mark.asyncio
async def test_lists(agent, admin):
    assert [one["name"] for one in (await admin.get("/resource/presets"))["presets"]] == ["small", "medium", "gpu"]
    assert (await admin.get("/resource-groups"))["resource_groups"] == [
        {"name": "default", "selection": "dispersed", "is_active": True}
    ]
    image = (await admin.get("/images"))["images"][0]
    assert (image["name"], image["agents"]) == ("bai/python:test", ["lab-1"])
    assert image["kernelspecs"][0]["name"] == "python3"
    assert (await admin.call("DELETE", "/images/bai/python:test")).status == 204
    assert (await admin.call("DELETE", "/images/bai%2Fpython:test")).status == 404


@pytest.mark.asyncio
async def test_writes_are_in_the_audit_trail(manager, agent, admin):
    from bai_jupyter.manager.db import tables as t

    await admin.create("my-work")
    await admin.create("x", status=400)
    await admin.call("DELETE", "/session/my-work")
    rows = await manager.store.read(lambda conn: conn.execute(t.audit.select().order_by(t.audit.c.id)).all())
    kept = [(row.action, row.result) for row in rows]
    assert kept == [
        ("POST image:manage", 201),
        ("POST session:create", 201),
        ("POST session:create", 400),
        ("DELETE session:end", 200),
    ]
