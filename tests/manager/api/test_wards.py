"""A service acts for its wards, in their name and never as more than a user."""

import asyncio
import json
from dataclasses import replace

import pytest

from bai_jupyter.client import ClientConfig, ManagerClient
from bai_jupyter.common.errors import BadRequest

pytestmark = pytest.mark.asyncio
KEYS = "query($email: String) {keypairs(email: $email) {access_key secret_key}}"


async def test_ward_is_made_at_first_and_then_acted_for(manager, agent, admin, make_hub, gql):
    hub = await make_hub()
    made = await hub.post("/wards", {"name": "alice", "email": "alice@uni.example"})
    assert (made["name"], made["email"], made["created"]) == ("alice", "alice@uni.example", True)
    again = await hub.post("/wards", {"name": "alice"}, 200)
    assert (again["id"], again["created"]) == (made["id"], False)
    auth = await hub.get("/auth?on_behalf_of=alice")
    assert auth["user"] == {"id": made["id"], "name": "alice", "role": "user"}
    body = {"name": "from-hub", "image": agent.facts["images"][0].name, "enqueueOnly": True}
    await hub.post("/session?on_behalf_of=alice", body)
    view = await hub.get("/session/from-hub?on_behalf_of=alice")
    assert view["userId"] == made["id"]
    assert (await admin.session(view["id"]))["userId"] == made["id"]


async def test_the_same_ward_made_by_many_at_once_is_made_once(make_hub):
    hub = await make_hub()
    answers = await asyncio.gather(*(hub.call("POST", "/wards", {"name": "alice"}) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert len({answer.json["id"] for answer in answers}) == 1


async def test_audit_trail_names_user_and_service(manager, agent, make_hub):
    hub = await make_hub()
    made = await hub.post("/wards", {"name": "alice"})
    await hub.post(
        "/session?on_behalf_of=alice", {"name": "from-hub", "image": agent.facts["images"][0].name, "enqueueOnly": True}
    )

    def last(conn):
        return conn.exec_driver_sql("SELECT user_id, access_key, action FROM audit ORDER BY id DESC").first()

    assert tuple(await manager.store.read(last)) == (made["id"], hub.access_key, "POST session:create")


async def test_service_is_nobody_by_itself(agent, make_hub):
    hub = await make_hub()
    assert "X-RateLimit-Limit" not in (await hub.call("GET", "/auth")).headers  # it speaks for many
    assert (await hub.get("/auth"))["user"]["role"] == "service"
    for method, path in [("GET", "/sessions"), ("POST", "/session"), ("POST", "/admin/gql"), ("GET", "/agents")]:
        assert (await hub.call(method, path, {} if method == "POST" else None)).status == 403, path


async def test_service_acts_for_nobody_else(manager, admin, make_hub, make_user, gql):
    hub, other_hub = await make_hub(), await make_hub("hub-2")
    await make_user("bob")
    await other_hub.post("/wards", {"name": "carol"})
    missing = await hub.call("GET", "/auth?on_behalf_of=nobody")
    assert missing.status == 404
    for name in ("bob", "carol", "admin"):
        answer = await hub.call("GET", f"/auth?on_behalf_of={name}")
        assert (answer.status, answer.body.replace(name.encode(), b"nobody")) == (404, missing.body)
        assert (await hub.call("POST", "/wards", {"name": name})).status == 403
    bob = await make_user("bobby")
    assert (await bob.call("GET", "/auth?on_behalf_of=carol")).status == 403
    assert (await admin.call("GET", "/auth?on_behalf_of=carol")).status == 403


async def test_admin_gives_and_takes_wards(admin, make_hub, make_user):
    hub = await make_hub()
    bob = await make_user("bob")
    assert (await admin.call("PUT", f"/wards/{hub.access_key}/admin")).status == 400
    assert (await admin.call("PUT", f"/wards/{bob.access_key}/bob")).status == 404
    assert (await admin.call("PUT", f"/wards/{hub.access_key}/nobody")).status == 404
    assert (await admin.call("PUT", f"/wards/{hub.access_key}/bob")).status == 204
    assert (await hub.get("/auth?on_behalf_of=bob"))["user"]["name"] == "bob"
    assert (await admin.call("DELETE", f"/wards/{hub.access_key}/bob")).status == 204
    assert (await hub.call("GET", "/auth?on_behalf_of=bob")).status == 404


async def test_a_service_does_not_decide_for_its_wards_who_acts_for_them(agent, make_hub):
    hub, other = await make_hub(), await make_hub("hub-2")
    await hub.post("/wards", {"name": "alice"})
    for key in (hub.access_key, other.access_key):
        for method in ("PUT", "DELETE"):
            assert (await hub.call(method, f"/wards/{key}/alice?on_behalf_of=alice")).status == 403
    assert (await other.call("GET", "/auth?on_behalf_of=alice")).status == 404


async def test_users_decide_for_themselves_who_acts_for_them(admin, make_hub, make_user):
    hub = await make_hub()
    bob, carol = await make_user("bob"), await make_user("carol")
    assert (await bob.call("PUT", f"/wards/{hub.access_key}/carol")).status == 403
    missing = await bob.call("PUT", "/wards/AKIA0/bob")
    assert missing.status == 404
    for key in (carol.access_key, admin.access_key):  # whose they are is not told
        answer = await bob.call("PUT", f"/wards/{key}/bob")
        assert (answer.status, answer.body.replace(key.encode(), b"AKIA0")) == (404, missing.body)
    assert (await bob.call("PUT", f"/wards/{hub.access_key}/bob")).status == 204
    assert (await hub.get("/auth?on_behalf_of=bob"))["user"]["name"] == "bob"
    assert (await bob.call("DELETE", f"/wards/{hub.access_key}/bob")).status == 204
    assert (await hub.call("GET", "/auth?on_behalf_of=bob")).status == 404


async def test_ward_who_becomes_an_admin_or_is_shut_out_is_not_acted_for(admin, make_hub, gql):
    hub = await make_hub()
    await hub.post("/wards", {"name": "alice"})
    modify = 'mutation($props: ModifyUserInput!) {modify_user(email: "alice@wards.localhost", props: $props) {ok msg}}'
    await gql(admin, modify, props={"role": "admin"})
    keys = (await gql(admin, KEYS, email="alice@wards.localhost"))["keypairs"]
    promote = "mutation($key: String!) {modify_keypair(access_key: $key, props: {is_admin: true}) {ok msg}}"
    await gql(admin, promote, key=keys[0]["access_key"])
    assert (await hub.call("GET", "/auth?on_behalf_of=alice")).status == 403
    await gql(admin, modify, props={"role": "user", "status": "inactive"})
    assert (await hub.call("GET", "/auth?on_behalf_of=alice")).status == 403


async def test_our_client_acts_for_a_ward(manager, agent, make_hub):
    hub = await make_hub()
    config = ClientConfig(manager.endpoint, hub.access_key, hub.secret_key)
    async with ManagerClient(config) as service:
        assert (await service.make_ward("alice"))["created"]
    async with ManagerClient(replace(config, on_behalf_of="alice")) as ward:
        assert (await ward.whoami())["name"] == "alice"
        assert await ward.graphql("{user {username}}") == {"user": {"username": "alice"}}
        with pytest.raises(BadRequest, match="A page has"):
            await ward.graphql("{user_list(limit: 0, offset: 0) {total_count}}")


async def test_name_of_the_ward_is_signed(admin, make_hub):
    hub = await make_hub()
    await hub.post("/wards", {"name": "alice"})
    await hub.post("/wards", {"name": "carol"})
    request = hub.request("GET", "/auth?on_behalf_of=alice")
    request.url = request.url.replace("alice", "carol")
    assert (await hub.http.fetch(request, raise_error=False)).code == 401


async def test_secret_keys_of_wards_stay_with_them(admin, make_hub, gql):
    hub = await make_hub()
    await hub.post("/wards", {"name": "alice"})
    answer = await hub.post("/admin/gql?on_behalf_of=alice", {"query": "{keypair {access_key secret_key}}"}, 200)
    assert answer["data"]["keypair"]["secret_key"] is None
    assert json.dumps(answer).count("AKIA") == 1


async def test_of_the_service_s_projects_a_ward_is_in_those_that_were_named_last(admin, make_hub, gql):
    hub = await make_hub()
    service_id = (await hub.get("/auth"))["user"]["id"]
    create = 'mutation($name: String!) {create_group(name: $name, props: {domain_name: "default"}) {group {id}}}'
    add = 'mutation($id: UUID!, $users: [String!]) {modify_group(gid: $id, props: {user_update_mode: "add", '
    add += "user_uuids: $users}) {ok msg}}"
    for name, users in (("vision", [service_id]), ("nlp", [service_id]), ("secret", [])):
        project = (await gql(admin, create, name=name))["create_group"]["group"]["id"]
        assert (await gql(admin, add, id=project, users=users))["modify_group"]["ok"]

    async def projects() -> set[str]:
        query = "{user {groups {name}}}"
        data = (await hub.post("/admin/gql?on_behalf_of=alice", {"query": query}, 200))["data"]
        return {one["name"] for one in data["user"]["groups"]} - {"default"}

    await hub.post("/wards", {"name": "alice"})
    assert await projects() == {"vision", "nlp"}
    for named, expected in ((["vision"], {"vision"}), (None, {"vision"}), (["nlp"], {"nlp"}), ([], set())):
        await hub.post("/wards", {"name": "alice", "projects": named}, 200)
        assert await projects() == expected
    assert (await hub.call("POST", "/wards", {"name": "alice", "projects": ["secret"]})).status == 404


async def test_wards_projects_are_the_service_s(admin, make_hub, gql):
    hub = await make_hub()
    refused = await hub.call("POST", "/wards", {"name": "alice", "projects": ["secret-project"]})
    assert (refused.status, refused.json["data"]["reason"]["code"]) == (404, "project-unknown")


MAKE_POLICY = """mutation($name: String!) {create_keypair_resource_policy(name: $name, props: {
    default_for_unspecified: "UNLIMITED", total_resource_slots: "{}", max_session_lifetime: 0,
    max_concurrent_sessions: 3, max_containers_per_session: 1, idle_timeout: 0, allowed_vfolder_hosts: "{}",
    max_vfolder_count: 0, max_vfolder_size: 0}) {ok msg}}"""
SET_POLICY = """mutation($key: String!, $policy: String!) {modify_keypair(access_key: $key,
    props: {resource_policy: $policy}) {ok msg}}"""
DELETE_POLICY = "mutation($name: String!) {delete_keypair_resource_policy(name: $name) {ok msg}}"


async def test_a_service_gives_its_wards_the_policies_that_an_admin_lets_it_give(
    manager, admin, make_hub, make_user, gql
):
    hub, other = await make_hub(), await make_hub("hub-2")
    for name in ("student", "staff", "vip"):
        assert (await gql(admin, MAKE_POLICY, name=name))["create_keypair_resource_policy"]["ok"]
    for policy in ("student", "no-such"):
        refused = await hub.call("POST", "/wards", {"name": "alice", "policy": policy})
        assert (refused.status, refused.json["data"]["reason"]["code"]) == (403, "policy-not-allowed")
        assert "It may give: default." in refused.json["msg"]

    bob = await make_user("bob")
    for caller in (hub, bob):
        assert (await caller.call("PUT", f"/wards/{hub.access_key}/policies/student")).status == 403
    assert (await admin.call("PUT", f"/wards/{bob.access_key}/policies/student")).status == 404
    assert (await admin.call("PUT", f"/wards/{hub.access_key}/policies/no-such")).status == 404
    for policy in ("student", "staff"):
        assert (await admin.call("PUT", f"/wards/{hub.access_key}/policies/{policy}")).status == 204

    made = await hub.post("/wards", {"name": "alice", "policy": "student"})
    assert (made["policy"], made["created"]) == ("student", True)
    for policy, found in (("staff", "staff"), (None, "staff"), ("default", "default"), ("student", "student")):
        assert (await hub.post("/wards", {"name": "alice", "policy": policy}, 200))["policy"] == found
    query = "query($email: String) {keypairs(email: $email) {access_key resource_policy}}"
    (keypair,) = (await gql(admin, query, email="alice@wards.localhost"))["keypairs"]
    assert keypair["resource_policy"] == "student"
    assert (await other.call("POST", "/wards", {"name": "carol", "policy": "student"})).status == 403

    def given(conn):
        query = "SELECT target, access_key FROM audit WHERE action = 'POST policy:give' ORDER BY id"
        return [tuple(row) for row in conn.exec_driver_sql(query)]

    names = ("student", "staff", "default", "student")
    assert await manager.store.read(given) == [(f"alice/{name}", hub.access_key) for name in names]

    # What an admin has given besides is not the service's matter.
    assert (await gql(admin, SET_POLICY, key=keypair["access_key"], policy="vip"))["modify_keypair"]["ok"]
    assert (await hub.post("/wards", {"name": "alice", "policy": "student"}, 200))["policy"] == "vip"

    # No longer, and no more once it is another policy of that name.
    assert (await admin.call("DELETE", f"/wards/{hub.access_key}/policies/staff")).status == 204
    assert (await hub.call("POST", "/wards", {"name": "alice", "policy": "staff"})).status == 403
    assert (await gql(admin, DELETE_POLICY, name="student"))["delete_keypair_resource_policy"]["ok"]
    assert (await gql(admin, MAKE_POLICY, name="student"))["create_keypair_resource_policy"]["ok"]
    assert (await hub.call("POST", "/wards", {"name": "alice", "policy": "student"})).status == 403
