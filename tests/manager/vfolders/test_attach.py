"""Folders of sessions that run: attached, detached, and taken away when their owner may not use them any more."""

import asyncio

import pytest
from fakes_agent import IMAGE

from bai_jupyter.common.reasons import Reason

pytestmark = pytest.mark.asyncio


async def running(client, name="work", **config):
    await client.create(name, **config)
    return await client.until_status(name, "RUNNING")


async def waiting(client, **config):
    body = {"name": "waits", "image": IMAGE.name, "enqueueOnly": True, "starts_at": "2h"}
    return await client.post("/session", {**body, "config": {"resources": {"cpu": "1", "mem": "1g"}, **config}})


async def attach(client, folder, session="work", status=200, **how):
    answer = await client.call("POST", f"/session/{session}/attach-folder", {"folder": folder, **how})
    assert answer.status == status, (answer.status, answer.body)
    return answer.json if status == 200 else answer.json["data"]["reason"]


async def detach(client, folder, session="work", status=200, **how):
    answer = await client.call("POST", f"/session/{session}/detach-folder", {"folder": folder, **how})
    assert answer.status == status, (answer.status, answer.body)
    return answer.json if status == 200 else answer.json["data"]["reason"]


async def share(owner, guest, name, perm):
    made = await owner.post("/folders", {"name": name})
    await owner.post(f"/folders/{name}/invite", {"perm": perm, "user_ids": ["alice@localhost"]})
    (invitation,) = (await guest.get("/folders/invitations/list"))["invitations"]
    await guest.post("/folders/invitations/accept", {"inv_id": invitation["id"]}, status=200)
    return made["id"]


def mounts_of(view):
    return {one["name"]: (one["target"], one["read_only"]) for one in view["mounts"]}


def wanted(agent):
    (want,) = agent.wants.values()
    return {one.name: one.read_only for one in want.mounts}


async def test_attached_and_detached(agent, admin, make_user):
    alice = await make_user("alice")
    await alice.post("/folders", {"name": "data"})
    made = await alice.post("/folders", {"name": "more"})
    await running(alice)
    assert mounts_of(await attach(alice, "data")) == {
        "home": ("/home/work/home", False),
        "data": ("/home/work/data", False),
    }
    view = await attach(alice, made["id"], path="deep/er", permission="ro")
    assert mounts_of(view)["more"] == ("/home/work/deep/er", True)
    assert {one["name"]: one["folder"] for one in view["mounts"]}["more"] == made["id"]
    assert wanted(agent) == {"home": False, "data": False, "more": True}
    assert mounts_of(await detach(alice, made["id"])).keys() == {"home", "data"}
    assert mounts_of(await detach(alice, "/home/work/data", force=True)).keys() == {"home"}
    released = [call.params for call in agent.calls if call.method == "release_mount"]
    assert [(one["target"], one["force"]) for one in released] == [
        ("/home/work/deep/er", False),
        ("/home/work/data", True),
    ]
    assert wanted(agent) == {"home": False}


async def test_refusals_change_nothing(agent, admin, make_user):
    alice, bob = await make_user("alice"), await make_user("bob")
    await bob.post("/folders", {"name": "theirs"})
    await alice.post("/folders", {"name": "data"})
    await alice.post("/folders", {"name": "other"})
    await share(admin, alice, "reading", "ro")
    await running(alice, mounts=["data"])
    for ref in ("theirs", "nothing"):
        assert (await attach(alice, ref, status=404))["code"] == "folder-denied"
    assert (await attach(alice, "data", status=400))["code"] == "folder-attached"
    assert (await attach(alice, "other", status=400, path="data/x"))["code"] == "mount-clash"
    assert (await attach(alice, "other", status=400, path="/etc"))["code"] == "bad-value"
    assert (await attach(alice, "other", status=400, permission="all"))["code"] == "bad-value"
    assert (await attach(alice, "reading", status=403, permission="rw"))["code"] == "folder-ro"
    assert (await detach(alice, "other", status=404))["code"] == "not-attached"
    assert (await detach(alice, "data", status=400, force="x"))["code"] == "bad-value"
    # A session of somebody else is the same as one that there is not.
    for change in (attach, detach):
        theirs, missing = await change(bob, "theirs", status=404), await change(bob, "theirs", "none", status=404)
        assert theirs["code"] == missing["code"] == "not-found"
    await waiting(alice)
    assert (await attach(alice, "other", "waits", status=400))["code"] == "not-running"
    assert wanted(agent) == {"home": False, "data": False}


async def test_what_the_agent_cannot_mount_is_not_on_the_record(agent, admin):
    await admin.post("/folders", {"name": "data"})
    await running(admin)
    why = Reason.of("mount-failed", folder="data", agent="lab-1", cause="it rains")
    agent.refused_mounts = {"/home/work/data": why}
    assert (await attach(admin, "data", status=400))["text"] == why.text
    assert "data" not in mounts_of(await admin.session("work"))
    agent.refused_mounts = {}
    assert "data" in mounts_of(await attach(admin, "data"))


async def test_a_folder_in_use_is_kept(agent, admin):
    await admin.post("/folders", {"name": "data"})
    await running(admin, mounts=["data"])
    agent.call_errors["release_mount"] = Reason.of("folder-busy", path="/home/work/data", users="python3 (17)")
    assert (await detach(admin, "data", status=400))["text"].startswith("/home/work/data is in use: python3 (17).")
    assert "data" in mounts_of(await admin.session("work"))


async def test_an_agent_that_was_away_is_told_when_it_is_back(agent, admin, helpers):
    await admin.post("/folders", {"name": "data"})
    await running(admin)
    agent.keep_mounts = True
    change = asyncio.create_task(attach(admin, "data"))
    await helpers.wait_until(lambda: "data" in wanted(agent))
    await agent.close()
    agent.keep_mounts = False
    await agent.connect()
    assert "data" in mounts_of(await change)


async def test_many_changes_at_once_are_all_made(agent, admin):
    names = [f"data-{number}" for number in range(12)]
    for name in names:
        await admin.post("/folders", {"name": name})
    await running(admin)
    await asyncio.gather(*(attach(admin, name) for name in names))
    assert wanted(agent).keys() == {"home", *names} == mounts_of(await admin.session("work")).keys()
    await asyncio.gather(*(detach(admin, name) for name in names[1:]))
    assert wanted(agent).keys() == {"home", names[0]}


async def test_what_is_taken_back_is_taken_from_sessions(agent, admin, make_user, helpers):
    """Also from one that waits still, and rights to write."""
    alice = await make_user("alice")
    unshared, weaker, trashed = [await share(admin, alice, name, "rw") for name in ("one", "two", "three")]
    names = ["one", "two", "three"]
    await running(alice, mounts=names)
    await waiting(alice, mounts=names)
    user_id = (await alice.get("/auth"))["user"]["id"]
    await admin.post("/folders/_/shared", {"vfolder": weaker, "user": user_id, "perm": "ro"}, status=200)
    await helpers.wait_until(lambda: wanted(agent) == {"home": False, "one": False, "two": True, "three": False})
    await admin.post("/folders/_/shared", {"vfolder": unshared, "user": user_id, "perm": None}, status=200)
    await helpers.wait_until(lambda: "one" not in wanted(agent))
    assert (await admin.call("DELETE", f"/folders/{trashed}")).status == 204
    await helpers.wait_until(lambda: wanted(agent) == {"home": False, "two": True})
    for name in ("work", "waits"):
        assert mounts_of(await alice.session(name)) == {
            "home": ("/home/work/home", False),
            "two": ("/home/work/two", True),
        }


async def test_ones_own_trash_stays_where_it_is_mounted_and_is_not_purged(agent, admin):
    made = await admin.post("/folders", {"name": "data"})
    await running(admin, mounts=["data"])
    assert (await admin.call("DELETE", "/folders/data")).status == 204
    assert "data" in wanted(agent)
    refused = await admin.call("POST", f"/folders/{made['id']}/purge", {})
    assert (refused.status, refused.json["data"]["reason"]["code"]) == (400, "folder-mounted")
    await detach(admin, "data")
    assert (await admin.call("POST", f"/folders/{made['id']}/purge", {})).status == 204


async def test_who_leaves_a_project_loses_its_folders(agent, admin, make_user, gql, helpers):
    alice = await make_user("alice")
    made = await admin.post("/folders", {"name": "ours", "group": "default"})
    await running(alice, mounts=[made["id"]])
    assert "ours" in wanted(agent)
    leave = (
        "mutation($gid: UUID!, $users: [String!]) {modify_group(gid: $gid, "
        'props: {user_update_mode: "remove", user_uuids: $users}) {ok msg}}'
    )
    user_id = (await alice.get("/auth"))["user"]["id"]
    project = (await admin.get("/folders/ours"))["group"]
    assert (await gql(admin, leave, gid=project, users=[user_id]))["modify_group"]["ok"]
    await helpers.wait_until(lambda: "ours" not in wanted(agent))


async def test_sessions_of_the_old_owner_lose_a_folder_that_is_handed_over(agent, admin, make_user, helpers):
    alice = await make_user("alice")
    folder = await share(admin, alice, "data", "ro")
    await running(admin, "theirs", mounts=["data"])
    await running(alice, "hers", mounts=["data"])
    change = {"vfolder": folder, "user_email": "alice@localhost"}
    await admin.post("/folders/_/change-ownership", change, status=200)
    assert mounts_of(await admin.session("theirs")).keys() == {"home"}
    assert mounts_of(await alice.session("hers"))["data"] == ("/home/work/data", True)
    await helpers.wait_until(lambda: sorted(len(want.mounts) for want in agent.wants.values()) == [1, 2])
