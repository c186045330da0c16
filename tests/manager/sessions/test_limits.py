"""A limit is a limit at each level, also when a hundred ask at once; what is not active or not granted is not there."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest

from bai_jupyter.common.slots import ResourceSlots, SlotLimits
from bai_jupyter.manager.auth.vault import new_keypair
from bai_jupyter.manager.db import admission, groups, people, policies, sessions
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.people import DEFAULT, NewKeypair
from bai_jupyter.manager.db.records import PolicyRecord

pytestmark = pytest.mark.asyncio
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = {
    "sessions": (PolicyRecord("tight", max_sessions=7, created_at=NOW), "sessions-wait"),
    "slots": (PolicyRecord("tight", total_slots=SlotLimits.parse({"cpu": 7}), created_at=NOW), "quota-wait"),
}


@pytest.fixture
def big_agent(manager, admin, make_agent, helpers):
    async def start():
        one = make_agent(manager.endpoint, slots=ResourceSlots.parse({"cpu": 500, "mem": "999g"}))
        await one.connect()
        await admin.post("/images", {"name": helpers.image.name})
        return one

    return start


async def second_key(manager, signed, helpers):
    """Another keypair of the same user."""
    user_id = (await signed.get("/auth"))["user"]["id"]
    access_key, secret_key = new_keypair()
    new = NewKeypair(access_key, manager.vault.seal(secret_key), user_id)
    await manager.store.write(people.add_keypair, new, NOW)
    return helpers.client(manager.endpoint, access_key, secret_key)


async def callers_at(level, manager, make_user, helpers):
    """Two callers who share only this level and those above it, and what to change to bind it."""
    alice = await make_user("alice")
    alice_id = (await alice.get("/auth"))["user"]["id"]
    bind = {"resource_policy": "tight"}
    if level == "keypair":
        return [alice], (people.change_keypair, alice.access_key, bind, NOW)
    if level == "user":
        return [alice, await second_key(manager, alice, helpers)], (people.change_user, alice_id, bind, NOW)
    bob = await make_user("bob")
    project_id = (await manager.store.read(people.usable_projects, alice_id))[DEFAULT]
    if level == "project":
        return [alice, bob], (people.change_project, project_id, bind)
    bob_id = (await bob.get("/auth"))["user"]["id"]
    other = await manager.store.write(people.add_project, "other", DEFAULT, {}, NOW)
    await manager.store.write(people.change_user, bob_id, {"projects": [other]}, NOW)
    return [alice, bob], (people.change_domain, DEFAULT, bind)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("level", ["keypair", "user", "project", "domain"])
async def test_a_hundred_at_once_get_what_the_level_allows(manager, admin, big_agent, make_user, helpers, level, limit):
    await big_agent()
    policy, code = LIMITS[limit]
    await manager.store.write(policies.add, policy)
    callers, change = await callers_at(level, manager, make_user, helpers)
    await manager.store.write(*change)
    each = cycle(callers)
    await asyncio.gather(*(next(each).create(f"work-{number}") for number in range(100)))

    async def settled():
        waiting = (await admin.get("/sessions?status=PENDING&all=true"))["sessions"]
        reasons = [view["reason"] for view in waiting]
        return reasons if len(reasons) == 93 and all(reason["code"] == code for reason in reasons) else None

    reasons = await helpers.wait_until(settled, f"93 waiting for the {level}")
    assert reasons[0]["text"].startswith(f"Your {level} ")
    assert (reasons[0]["params"]["limit"], reasons[0]["params"]["used"]) == ("7", "7")
    others = [one for one in (await admin.get("/sessions?all=true"))["sessions"] if one["status"] != "PENDING"]
    assert len(others) == 7
    assert await manager.store.write(admission.recount) == []
    for caller in callers[1:]:
        caller.close()


async def test_domain_s_own_limit_counts_beside_its_policy(manager, agent, make_user):
    await manager.store.write(
        policies.add, PolicyRecord("wide", total_slots=SlotLimits.parse({"cpu": 4, "mem": "8g"}), created_at=NOW)
    )
    own = {"resource_policy": "wide", "total_slots": {"cpu": "2"}}
    await manager.store.write(people.change_domain, DEFAULT, own)
    alice = await make_user("alice")
    refused = await alice.create("too-many", status=412, resources={"cpu": "3", "mem": "1g"})
    assert refused["msg"].startswith("Your domain default allows 2 CPU; 0 in use, asked for 3")
    refused = await alice.create("too-large", status=412, resources={"cpu": "1", "mem": "9g"})
    assert "allows 8 GiB memory" in refused["msg"]


async def test_limited_policy_forbids_what_it_does_not_name(manager, agent, make_user):
    alice = await make_user("alice")
    values = {"is_limited": True, "total_slots": SlotLimits.parse({"cpu": 4})}
    await manager.store.write(policies.change, DEFAULT, values)
    assert "allows 0 B memory" in (await alice.create("any-memory", status=412))["msg"]


async def test_limit_of_nothing_is_a_limit(manager, agent, make_user):
    await manager.store.write(policies.change, DEFAULT, {"total_slots": SlotLimits.parse({"cpu": 0})})
    alice = await make_user("alice")
    assert "allows 0 CPU" in (await alice.create("any-core", status=412))["msg"]


async def test_what_is_inactive_refuses(manager, agent, make_user):
    alice, bob, carol = [await make_user(name) for name in ("alice", "bob", "carol")]
    bob_id = (await bob.get("/auth"))["user"]["id"]
    await manager.store.write(people.change_keypair, alice.access_key, {"is_active": False}, NOW)
    await manager.store.write(people.change_user, bob_id, {"status": "inactive"}, NOW)
    manager.services.auth.forget()
    for one in (alice, bob):
        answer = await one.call("GET", "/auth")
        assert (answer.status, answer.json["data"]["reason"]["code"]) == (401, "inactive")
    project_id = (await manager.store.read(people.usable_projects, bob_id))[DEFAULT]
    await manager.store.write(people.change_project, project_id, {"is_active": False})
    refused = await carol.create("my-work", status=404)
    assert refused["msg"] == "There is no project default for you. You may use: none."
    await manager.store.write(people.change_domain, DEFAULT, {"is_active": False})
    manager.services.auth.forget()
    assert (await carol.call("GET", "/auth")).status == 401


async def test_what_was_queued_before_does_not_start(manager, admin, big_agent, make_user, helpers):
    alice = await make_user("alice")
    alice_id = (await alice.get("/auth"))["user"]["id"]
    joined = await big_agent()
    joined.drop_link()  # so that both have to wait
    await helpers.wait_until(lambda: manager.registry.link(joined.agent_id) is None, "the link gone")
    await alice.create("her-work")
    await admin.create("my-work")
    await manager.store.write(people.change_user, alice_id, {"status": "inactive"}, NOW)
    await joined.connect()
    await admin.until_status("my-work", "RUNNING")

    async def is_told():
        (waiting,) = (await admin.get("/sessions?all=true&status=PENDING"))["sessions"]
        return waiting["reason"]["text"].startswith("Your user alice (not active) allows 0 sessions")

    await helpers.wait_until(is_told, "her session told why it waits")


async def test_group_s_pending_timeout_cancels(manager, admin, agent):
    created = await admin.create("too-long", resources={"cpu": "8", "mem": "1g"})
    waits = await admin.create("waits-long", resources={"cpu": "8", "mem": "1g"})
    await admin.until_status(created["sessionId"], "RUNNING")
    later = datetime.now(UTC) + timedelta(minutes=2)

    async def expire():
        return await manager.store.write(sessions.settle, waits["sessionId"], later, reachable=True)

    assert await expire() is None
    await manager.store.write(groups.change, DEFAULT, {"pending_timeout_s": 60})
    assert (await expire()).reason.text == "Waited 1 min, the longest group default allows."


async def test_sessions_belong_to_the_project_asked_for(manager, agent, make_user):
    alice = await make_user("alice")
    alice_id = (await alice.get("/auth"))["user"]["id"]
    vision = await manager.store.write(people.add_project, "vision", DEFAULT, {}, NOW)
    body = {"name": "my-work", "image": agent.facts["images"][0].name, "enqueueOnly": True, "group": "vision"}
    refused = await alice.post("/session", body, 404)
    unknown = await alice.post("/session", {**body, "group": "nosuch"}, 404)
    assert refused["msg"].replace("vision", "nosuch") == unknown["msg"]
    await manager.store.write(people.set_members, vision, [alice_id], are_members=True)
    await alice.post("/session", body)
    assert (await alice.session("my-work"))["groupId"] == vision


async def test_groups_that_were_not_granted_do_not_exist(manager, agent, admin, make_user):
    await manager.store.write(groups.revoke, None, f"domain:{DEFAULT}")
    alice = await make_user("alice")
    refused = await alice.create("my-work", status=404)
    unknown = await alice.create("my-work", status=404, scalingGroup="nosuch1")
    assert refused["msg"].replace("default", "nosuch1") == unknown["msg"]
    assert await alice.get("/resource-groups") == {"resource_groups": []}
    assert [one["name"] for one in (await admin.get("/resource-groups"))["resource_groups"]] == [DEFAULT]
    await manager.store.write(groups.grant, DEFAULT, f"keypair:{alice.access_key}")
    assert [one["name"] for one in (await alice.get("/resource-groups"))["resource_groups"]] == [DEFAULT]
    await alice.create("my-work")


async def test_group_takes_only_its_session_types(manager, agent, admin):
    await manager.store.write(groups.change, DEFAULT, {"allowed_session_types": ["batch"]})
    refused = await admin.create("my-work", status=403)
    assert refused["msg"] == "Group default takes batch sessions, not interactive ones. Choose another group."


async def test_purge_leaves_nothing_of_a_user_and_keeps_what_runs(manager, agent, admin, make_user):
    alice = await make_user("alice")
    alice_id = (await alice.get("/auth"))["user"]["id"]
    await alice.create("my-work")
    await alice.until_status("my-work", "RUNNING")
    with pytest.raises(people.BadRequest, match="still has 1 session"):
        await manager.store.write(people.purge_user, alice_id)
    await alice.call("DELETE", "/session/my-work")
    await alice.until_status("my-work", "TERMINATED")
    later = {"type": "batch", "startupCommand": "true", "dependencies": ["my-work"], "name": "later"}
    await alice.post("/session", {**later, "image": agent.facts["images"][0].name, "enqueueOnly": True})
    await alice.until_status("later", "RUNNING")
    await alice.call("DELETE", "/session/later")
    await alice.until_status("later", "TERMINATED")
    rename = t.vfolders.update().where(t.vfolders.c.user_id == alice_id)
    await manager.store.write(lambda conn: conn.execute(rename.values(name="data")))
    with pytest.raises(people.BadRequest, match="still has 1 folder"):
        await manager.store.write(people.purge_user, alice_id)
    await manager.store.write(lambda conn: conn.execute(rename.values(name="home")))
    hers = t.images.update().values(user_id=alice_id)
    await manager.store.write(lambda conn: conn.execute(hers))
    await manager.store.write(people.purge_user, alice_id)
    assert (await admin.get("/images"))["images"] == []
    assert await manager.store.read(lambda conn: conn.execute(t.sessions.select()).all()) == []
    assert await manager.store.write(admission.recount) == []
