"""Folders in sessions: which are mounted where, how, and on which agents."""

import pytest

pytestmark = pytest.mark.asyncio


async def mounts_of(client, **config):
    await client.create("my-work", **config)
    view = await client.until_status("my-work", "RUNNING")
    return {one["name"]: (one["target"], one["read_only"]) for one in view["mounts"]}


async def refused(client, status, **config):
    answer = await client.call("POST", "/session", {"name": "my-work", "image": "bai/python:test", "config": config})
    assert answer.status == status, (answer.status, answer.body)
    return answer.json["data"]["reason"]["code"]


async def share(owner, guest, name, perm):
    await owner.post("/folders", {"name": name})
    await owner.post(f"/folders/{name}/invite", {"perm": perm, "user_ids": ["alice@localhost"]})
    (invitation,) = (await guest.get("/folders/invitations/list"))["invitations"]
    await guest.post("/folders/invitations/accept", {"inv_id": invitation["id"]}, status=200)


async def test_by_name_by_id_and_at_a_path(agent, admin):
    ids = {name: (await admin.post("/folders", {"name": name}))["id"] for name in ("one", "two", "three", "four")}
    mounts = ["one", ids["two"], "three:deep/er", "four", ids["four"]]
    found = await mounts_of(admin, mounts=mounts, mount_map={"four": "/home/work/f"})
    assert found == {
        "home": ("/home/work/home", False),
        "one": ("/home/work/one", False),
        "two": ("/home/work/two", False),
        "three": ("/home/work/deep/er", False),
        "four": ("/home/work/f", False),
    }
    (want,) = agent.wants.values()
    (mount,) = [one for one in want.mounts if one.name == "two"]
    assert (mount.volume, mount.subpath.replace("-", "")) == ("local:data", f".vfolders/{ids['two']}")


async def test_read_only_by_wish(agent, admin):
    await admin.post("/folders", {"name": "data"})
    found = await mounts_of(admin, mounts=["data"], mount_options={"data": {"type": "bind", "permission": "ro"}})
    assert found["data"] == ("/home/work/data", True)


async def test_shared_folders_as_they_were_shared(agent, admin, make_user):
    alice = await make_user("alice")
    await share(admin, alice, "reading", "ro")
    await share(admin, alice, "writing", "rw")
    wish = {"reading": {"permission": "rw"}}
    assert await refused(alice, 403, mounts=["reading"], mount_options=wish) == "folder-ro"
    found = await mounts_of(alice, mounts=["reading", "writing"])
    assert (found["reading"][1], found["writing"][1]) == (True, False)


async def test_dot_folders_are_mounted_for_their_owner_alone(agent, admin, make_user):
    """Else a guest's shell would start with what somebody else wrote."""
    alice = await make_user("alice")
    await share(admin, alice, ".config", "rw")
    assert ".config" in await mounts_of(admin)
    assert ".config" not in await mounts_of(alice)


async def test_what_cannot_be_mounted(agent, admin, make_user):
    alice = await make_user("alice")
    theirs = await admin.post("/folders", {"name": "theirs"})
    await alice.post("/folders", {"name": "gone"})
    await alice.call("DELETE", "/folders/gone")
    for ref in ("theirs", theirs["id"], "gone", "nothing"):
        assert await refused(alice, 404, mounts=[ref]) == "folder-denied"
    await alice.post("/folders", {"name": "one"})
    await alice.post("/folders", {"name": "two"})
    same = {"one": "/home/work/x", "two": "/home/work/x/y"}
    assert await refused(alice, 400, mounts=["one", "two"], mount_map=same) == "mount-clash"
    assert await refused(alice, 400, mounts=["one"], mount_map={"one": "/etc"}) == "bad-value"
    assert await refused(alice, 400, mounts=["one"], mount_map={"one": "home/one"}) == "bad-value"
    assert await refused(alice, 400, mounts=["one"], mount_options={"one": {"permission": "all"}}) == "bad-value"
    assert await refused(alice, 400, mounts=["one"], mount_options=["one"]) == "bad-value"


async def test_a_session_goes_where_its_folders_are(agent, admin, manager, make_agent):
    await admin.post("/folders", {"name": "data"})
    for number in (2, 3):
        other = make_agent(manager.endpoint, None, name=f"lab-{number}", volumes=["local:home"])
        other.join_token = (await admin.post("/agents/join-tokens"))["token"]
        await other.connect()
    for number in range(3):
        await admin.create(f"my-work-{number}", mounts=["data"])
        assert (await admin.until_status(f"my-work-{number}", "RUNNING"))["agent"] == "lab-1"


async def test_a_folder_on_no_agents_volume_is_told(admin, agent, manager, make_agent):
    await admin.post("/folders", {"name": "data"})
    await agent.close()
    agent.facts["volumes"] = ["local:home"]
    await agent.connect()
    assert await refused(admin, 400, mounts=["data"]) == "volume-missing"


async def test_a_session_waits_for_a_volume_and_says_so(admin, agent, helpers):
    await admin.post("/folders", {"name": "data"})
    await admin.create("in-the-way", resources={"cpu": "8", "mem": "1g"})
    await admin.until_status("in-the-way", "RUNNING")
    await admin.create("my-work", mounts=["data"])
    await agent.close()
    agent.facts["volumes"] = ["local:home"]
    await agent.connect()

    async def is_told():
        reason = (await admin.session("my-work"))["reason"]
        return reason if reason["code"] == "volume-missing" else None

    told = await helpers.wait_until(is_told, "the reason")
    assert told["params"] == {"folder": "data", "volume": "local:data", "group": "default"}
