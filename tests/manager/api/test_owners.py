"""What admins ask of somebody else's sessions, by a keypair of theirs: the client's ``--owner``."""

import pytest
from fakes_agent import IMAGE

pytestmark = pytest.mark.asyncio

MAKE_POLICY = """mutation($name: String!) {create_keypair_resource_policy(name: $name, props: {
    total_resource_slots: "{\\"cpu\\": \\"1\\"}", default_for_unspecified: "UNLIMITED", max_concurrent_sessions: 5,
    idle_timeout: 0, max_containers_per_session: 1, allowed_vfolder_hosts: "{}"}) {ok msg}}"""
BIND = 'mutation($key: String!) {modify_keypair(access_key: $key, props: {resource_policy: "one"}) {ok msg}}'
REFUSED = [
    ("POST", "/session", {"name": "theirs", "image": IMAGE.name, "enqueueOnly": True}),
    ("GET", "/session/theirs", None),
    ("DELETE", "/session/theirs", None),
    ("GET", "/session/theirs/logs", None),
    ("POST", "/session/theirs/resize", {"resources": {"cpu": "2"}}),
    ("GET", "/stream/session/theirs/pty", None),
    ("GET", "/events/session?sessionName=theirs", None),
    ("GET", "/template/session", None),
    ("POST", "/resource/dry-run", {"image": IMAGE.name}),
]


def of(path, key):
    return f"{path}{'&' if '?' in path else '?'}owner_access_key={key}"


async def test_an_admin_makes_sees_and_ends_it(manager, agent, admin, make_user):
    alice, boss = await make_user("alice"), await make_user("boss", "admin")
    body = {"name": "theirs", "image": IMAGE.name, "enqueueOnly": True}
    for asks in (admin, boss):
        made = await asks.post("/session", {**body, "owner_access_key": alice.access_key})
        assert (await alice.session("theirs"))["id"] == made["sessionId"]
        assert (await asks.get(of("/session/theirs", alice.access_key)))["id"] == made["sessionId"]
        assert (await asks.call("GET", "/session/theirs")).status == 404  # by name it is their own
        assert (await asks.call("DELETE", of("/session/theirs", alice.access_key))).status == 200
        assert (await alice.session(made["sessionId"]))["reason"]["code"] == "user-requested"


async def test_what_counts_is_the_owners(agent, admin, make_user, gql):
    alice = await make_user("alice")
    await gql(admin, MAKE_POLICY, name="one")
    bound = await gql(admin, BIND, key=alice.access_key)
    assert bound["modify_keypair"]["ok"], bound
    config = {"resources": {"cpu": "2", "mem": "1g"}}
    body = {"name": "theirs", "image": IMAGE.name, "config": config, "enqueueOnly": True}
    await admin.post("/session", {**body, "owner_access_key": alice.access_key}, 412)
    await admin.post("/session", body)


async def test_the_audit_trail_names_both(manager, agent, admin, make_user):
    alice = await make_user("alice")
    await admin.post(
        "/session", {"name": "theirs", "image": IMAGE.name, "enqueueOnly": True, "owner_access_key": alice.access_key}
    )

    def last(conn):
        return conn.exec_driver_sql("SELECT user_id, access_key, action FROM audit ORDER BY id DESC").first()

    owner = (await alice.get("/auth"))["user"]["id"]
    assert tuple(await manager.store.read(last)) == (owner, admin.access_key, "POST session:create")


@pytest.mark.parametrize(("method", "path", "body"), REFUSED)
async def test_nobody_else(agent, admin, make_user, gql, method, path, body):
    """One without the right, one of another domain, and one whose owner is above: as if there were no such keypair."""
    alice, bob, boss = await make_user("alice"), await make_user("bobby"), await make_user("boss", "admin")
    made = await gql(admin, 'mutation {create_domain(name: "other", props: {}) {ok msg}}')
    assert made["create_domain"]["ok"], made
    far = await make_user("far", "admin", domain="other")
    await alice.post("/session", {"name": "theirs", "image": IMAGE.name, "enqueueOnly": True})
    missing = await bob.call(method, of(path, "MISSING"), body)
    assert missing.status == 404
    for asks, key in ((bob, alice.access_key), (far, alice.access_key), (boss, admin.access_key)):
        answer = await asks.call(method, of(path, key), body)
        assert (answer.status, answer.body.replace(key.encode(), b"MISSING")) == (404, missing.body)


@pytest.mark.parametrize("owner", [["AKIAX"], {}, 5, True, "\ud800"], ids=repr)
async def test_what_is_no_keypair_means_nobody(agent, admin, owner):
    """Least of all oneself: that would end another session than was meant."""
    await admin.post("/session", {"name": "mine", "image": IMAGE.name, "enqueueOnly": True})
    refused = await admin.call("DELETE", "/session/mine", {"owner_access_key": owner})
    assert refused.status == 400, refused.body
    assert (await admin.session("mine"))["status"] not in ("TERMINATING", "TERMINATED", "CANCELLED")
