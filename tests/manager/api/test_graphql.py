"""GraphQL: who sees and changes what, and documents that cannot be run."""

import json
import logging

import pytest

from bai_jupyter.manager.db import vfolders
from bai_jupyter.manager.db.vfolders import Viewer

pytestmark = pytest.mark.asyncio

CREATE_USER = "mutation($email: String!, $props: UserInput!) {create_user(email: $email, props: $props) {ok msg}}"
MODIFY_USER = "mutation($email: String!, $props: ModifyUserInput!) {modify_user(email: $email, props: $props) {ok msg}}"
CREATE_GROUP = """mutation($name: String!, $props: GroupInput!) {
    create_group(name: $name, props: $props) {ok msg group {id name}}}"""
CREATE_KEYPAIR = """mutation($email: String!, $props: KeyPairInput!) {
    create_keypair(user_id: $email, props: $props) {ok msg keypair {access_key secret_key}}}"""
EMAILS = "{users {email}}"


async def refusal(client, document, **variables):
    """What a mutation says that was not done."""
    answer = await client.post("/admin/gql", {"query": document, "variables": variables}, 200)
    (result,) = answer["data"].values()
    assert result["ok"] is False, result
    return result["msg"]


@pytest.fixture
def make_domain_admin(manager, admin, gql, helpers):
    """An admin of the domain ``lab``, which has a user ``eve@lab`` too."""
    clients = []

    async def make():
        await gql(admin, 'mutation {create_domain(name: "lab", props: {}) {ok}}')
        for name, role in (("lab-admin", "admin"), ("eve", "user")):
            props = {"username": name, "password": "correct horse", "role": role, "domain_name": "lab"}
            assert (await gql(admin, CREATE_USER, email=f"{name}@lab", props=props))["create_user"]["ok"]
        keys = await gql(admin, '{keypairs(email: "lab-admin@lab") {access_key secret_key}}')
        keypair = keys["keypairs"][0]
        clients.append(helpers.client(manager.endpoint, keypair["access_key"], keypair["secret_key"]))
        return clients[-1]

    yield make
    for one in clients:
        one.close()


async def test_each_sees_as_far_as_they_reach(admin, make_user, make_domain_admin, gql):
    alice, lab_admin = await make_user("alice"), await make_domain_admin()

    async def sees(client):
        data = await gql(client, "{users {email} keypairs {user_id} domains {name} groups {domain_name name}}")
        assert {one["email"] for one in data["users"]} == {one["user_id"] for one in data["keypairs"]}
        return sorted(one["email"].split("@")[0] for one in data["users"]), [one["name"] for one in data["domains"]]

    assert await sees(admin) == (["admin", "alice", "eve", "lab-admin"], ["default", "lab"])
    assert await sees(lab_admin) == (["eve", "lab-admin"], ["lab"])
    assert await sees(alice) == (["alice"], ["default"])
    for client in (alice, lab_admin):
        data = await gql(client, '{user(email: "admin@localhost") {email} domain(name: "nosuch") {name}}')
        assert data == {"user": None, "domain": None}


async def test_secret_keys_are_for_owners_and_superadmins(admin, make_user, make_domain_admin, gql):
    alice, lab_admin = await make_user("alice"), await make_domain_admin()
    secrets = {one["user_id"]: one["secret_key"] for one in (await gql(admin, KEYPAIRS))["keypairs"]}
    assert all(secrets.values())
    assert (await gql(alice, KEYPAIRS))["keypairs"] == [
        {"user_id": "alice@localhost", "secret_key": alice.secret_key, "is_admin": False}
    ]
    shown = {one["user_id"]: one["secret_key"] for one in (await gql(lab_admin, KEYPAIRS))["keypairs"]}
    assert shown == {"lab-admin@lab": lab_admin.secret_key, "eve@lab": None}


KEYPAIRS = "{keypairs {user_id secret_key is_admin}}"


async def test_users_change_nothing(admin, make_user, gql):
    alice = await make_user("alice")
    for document in (
        'mutation {modify_user(email: "alice@localhost", props: {role: "superadmin"}) {ok msg}}',
        'mutation {create_keypair(user_id: "alice@localhost", props: {}) {ok msg}}',
        'mutation {create_domain(name: "mine", props: {}) {ok msg}}',
        'mutation {modify_keypair_resource_policy(name: "default", props: {max_concurrent_sessions: 99}) {ok msg}}',
        'mutation {associate_scaling_group_with_domain(scaling_group: "default", domain: "default") {ok msg}}',
    ):
        assert "may do this" in await refusal(alice, document)


REFUSAL = "query($email: String!, $props: UserInput!) {user_refusal(email: $email, props: $props)}"


async def test_what_refuses_a_user_is_known_before_and_nothing_is_made(admin, make_user, make_domain_admin, gql):
    await make_user("alice")
    lab_admin = await make_domain_admin()
    project = (await gql(admin, '{groups(domain_name: "lab") {id}}'))["groups"][0]["id"]
    good = {"username": "bob", "password": "correct horse", "domain_name": "lab", "group_ids": [project]}
    asked = [
        (lab_admin, "bob@lab", {}),
        (lab_admin, "bob", {}),
        (lab_admin, "eve@lab", {"username": "other"}),
        (admin, "bob@lab", {"username": "alice"}),
        (admin, "bob@lab", {"password": "short"}),
        (admin, "bob@lab", {"domain_name": "default"}),
        (lab_admin, "bob@lab", {"domain_name": "default"}),
        (lab_admin, "bob@lab", {"role": "superadmin"}),
        (admin, "bob@lab", {"role": "king"}),
        (admin, "bob@lab", {"group_ids": ["00000000-0000-0000-0000-000000000000"]}),
    ]
    before = await gql(admin, EMAILS)
    said = [(await gql(one, REFUSAL, email=email, props=good | more))["user_refusal"] for one, email, more in asked]
    assert await gql(admin, EMAILS) == before
    assert said[0] is None
    for (one, email, more), expected in list(zip(asked, said, strict=True))[1:]:
        assert expected is not None
        assert await refusal(one, CREATE_USER, email=email, props=good | more) == expected
    alice = await make_user("ally")
    answer = await alice.post("/admin/gql", {"query": REFUSAL, "variables": {"email": "x@lab", "props": good}}, 200)
    assert "may do this" in answer["errors"][0]["message"]


async def test_what_is_of_other_domains_is_as_missing_by_its_id(admin, make_user, make_domain_admin, gql):
    """For a domain's admin: neither its name nor its domain is told."""
    alice, lab_admin = await make_user("alice"), await make_domain_admin()
    found = await gql(admin, '{groups(domain_name: "default") {id} user(email: "alice@localhost") {uuid}}')
    mine = (await gql(admin, '{groups(domain_name: "lab") {id}}'))["groups"][0]["id"]
    project, user, missing = found["groups"][0]["id"], found["user"]["uuid"], "00000000-0000-0000-0000-000000000000"
    change = "mutation($gid: UUID!, $props: ModifyGroupInput!) {modify_group(gid: $gid, props: $props) {ok msg}}"

    async def said_of(project, user, key):
        new = {"username": "bob", "password": "correct horse", "group_ids": [project]}
        yield (await gql(lab_admin, REFUSAL, email="bob@lab", props=new))["user_refusal"]
        yield await refusal(lab_admin, CREATE_USER, email="bob@lab", props=new)
        for props in ({"group_ids": [project]}, {"main_access_key": key}):
            yield await refusal(lab_admin, MODIFY_USER, email="eve@lab", props=props)
        for mode in ("add", "remove"):
            members = {"user_update_mode": mode, "user_uuids": [user]}
            yield await refusal(lab_admin, change, gid=mine, props=members)
        yield await refusal(lab_admin, change, gid=project, props={"description": "x"})

    unknown = [one async for one in said_of(missing, missing, "AKIAMISSING")]
    theirs = [one async for one in said_of(project, user, alice.access_key)]
    ids = {project: missing, user: missing, alice.access_key: "AKIAMISSING"}
    for known, other in ids.items():
        theirs = [one.replace(known, other) for one in theirs]
    assert theirs == unknown


async def test_a_password_that_is_refused_is_not_shown(admin, gql):
    long = "correct horse" * 1000
    props = {"username": "kim", "password": long}
    refused = await refusal(admin, CREATE_USER, email="kim@localhost", props=props)
    assert refused == f"A password has 8 to 1024 characters; this one has {len(long)}."
    document = 'query($props: UserInput!) {user_refusal(email: "kim@localhost", props: $props)}'
    assert (await gql(admin, document, props=props))["user_refusal"] == refused
    changed = await refusal(admin, MODIFY_USER, email="admin@localhost", props={"password": long})
    assert changed == refused


@pytest.mark.parametrize("where", ["variables", "document"])
async def test_a_password_of_a_wrong_type_is_in_no_log(admin, caplog, where):
    caplog.set_level(logging.DEBUG)
    if where == "variables":
        props = {"username": "kim", "password": 31415926}
        body = {"query": CREATE_USER, "variables": {"email": "kim@localhost", "props": props}}
    else:
        text = 'mutation {create_user(email: "kim@localhost", props: {username: "kim", password: 31415926}) {ok}}'
        body = {"query": text}
    answer = await admin.post("/admin/graphql", body, 400)
    assert "31415926" in answer["msg"]
    assert "GraphQL-generated error" in caplog.text
    assert "31415926" not in caplog.text


EFFECT = """query($props: ModifyKeyPairResourcePolicyInput!) {
    policy_effect(name: "few", props: $props) {people projects domains above used_up}
}"""


async def test_whom_a_policy_binds_is_counted_once(admin, make_user, gql):
    alice = await make_user("alice")
    await gql(admin, 'mutation {create_keypair_resource_policy(name: "few", props: {}) {ok}}')
    (project,) = (await gql(admin, '{groups(domain_name: "default") {id}}'))["groups"]
    for change in (
        'modify_user(email: "alice@localhost", props: {resource_policy: "few"})',
        f'modify_keypair(access_key: "{alice.access_key}", props: {{resource_policy: "few"}})',
        f'modify_group(gid: "{project["id"]}", props: {{resource_policy: "few"}})',
        'modify_domain(name: "default", props: {resource_policy: "few"})',
    ):
        assert next(iter((await gql(admin, f"mutation {{{change} {{ok msg}}}}")).values()))["ok"], change
    found = (await gql(admin, EFFECT, props={"max_concurrent_sessions": 0}))["policy_effect"]
    assert found == {"people": 1, "projects": 1, "domains": 1, "above": [], "used_up": []}
    answer = await alice.post("/admin/gql", {"query": EFFECT, "variables": {"props": {}}}, 200)
    assert "may do this" in answer["errors"][0]["message"]


async def test_domain_admins_rule_their_domain_and_nothing_above(admin, make_user, make_domain_admin, gql):
    await make_user("alice")
    lab_admin = await make_domain_admin()
    props = {"password": "correct horse", "username": "bob"}
    assert (await gql(lab_admin, CREATE_USER, email="bob@lab", props=props))["create_user"]["ok"]
    made = await gql(admin, '{user(email: "bob@lab") {domain_name role groups {name}}}')
    assert made["user"] == {"domain_name": "lab", "role": "user", "groups": [{"name": "default"}]}
    group = await gql(lab_admin, CREATE_GROUP, name="vision", props={"domain_name": "lab"})
    assert group["create_group"]["group"]["name"] == "vision"
    keypair = await gql(lab_admin, CREATE_KEYPAIR, email="bob@lab", props={"rate_limit": 5000})
    assert keypair["create_keypair"]["keypair"]["secret_key"]

    missing = await refusal(lab_admin, MODIFY_USER, email="nobody@lab", props={})
    assert (await refusal(lab_admin, MODIFY_USER, email="alice@localhost", props={})).replace(
        "alice@localhost", "nobody@lab"
    ) == missing
    for props in ({"role": "superadmin"}, {"role": "service"}, {"resource_policy": "default"}):
        assert "superadmin" in await refusal(lab_admin, MODIFY_USER, email="bob@lab", props=props)
    assert "no domain default" in await refusal(
        lab_admin, MODIFY_USER, email="bob@lab", props={"domain_name": "default"}
    )
    assert "no domain default" in await refusal(lab_admin, CREATE_GROUP, name="x1", props={"domain_name": "default"})
    limits = {"domain_name": "lab", "total_resource_slots": '{"cpu": 99}'}
    assert "superadmin" in await refusal(lab_admin, CREATE_GROUP, name="more", props=limits)
    project = group["create_group"]["group"]["id"]
    modify = "mutation ($gid: UUID!, $props: ModifyGroupInput!) {modify_group(gid: $gid, props: $props) {ok msg}}"
    for limits in ({"total_resource_slots": "{}"}, {"total_resource_slots": "{}", "resource_policy": "default"}):
        assert "superadmin" in await refusal(lab_admin, modify, gid=project, props=limits)
    assert "superadmin" in await refusal(lab_admin, 'mutation {delete_domain(name: "lab") {ok msg}}')
    assert "superadmin" in await refusal(lab_admin, CREATE_KEYPAIR, email="bob@lab", props={"rate_limit": 10**6})


async def test_domain_admin_does_not_touch_a_superadmin_of_the_domain(admin, make_domain_admin, gql):
    lab_admin = await make_domain_admin()
    for role in ("superadmin", "service"):
        await gql(admin, MODIFY_USER, email="eve@lab", props={"role": role})
        assert "no user eve@lab" in await refusal(lab_admin, CREATE_KEYPAIR, email="eve@lab", props={})
    assert "no user eve@lab" in await refusal(
        lab_admin, MODIFY_USER, email="eve@lab", props={"password": "stolen horse"}
    )


async def test_nobody_locks_themselves_out(admin, gql):
    assert "That is you" in await refusal(admin, 'mutation {delete_user(email: "admin@localhost") {ok msg}}')
    assert "That is you" in await refusal(admin, MODIFY_USER, email="admin@localhost", props={"role": "user"})
    off = "mutation($key: String!) {modify_keypair(access_key: $key, props: {is_active: false}) {ok msg}}"
    assert "Use another one" in await refusal(admin, off, key=admin.access_key)


async def test_lists_filter_order_and_page(admin, make_user, gql):
    for name in ("alice", "bob", "carol"):
        await make_user(name)
    document = """query($limit: Int!, $offset: Int!, $filter: String, $order: String) {
        user_list(limit: $limit, offset: $offset, filter: $filter, order: $order) {items {username} total_count}}"""

    async def page(limit=10, offset=0, **window):
        found = (await gql(admin, document, limit=limit, offset=offset, **window))["user_list"]
        return [one["username"] for one in found["items"]], found["total_count"]

    assert await page() == (["admin", "alice", "bob", "carol"], 4)
    assert await page(2, 1, order="-username") == (["bob", "alice"], 4)
    assert await page(1, filter='role == "USER" & email ilike "%o%@%"') == (["bob"], 2)
    for wrong in ({"filter": "role ="}, {"order": "password_hash"}, {"limit": 101}, {"offset": -1}):
        answer = await admin.post(
            "/admin/gql", {"query": document, "variables": {"limit": 10, "offset": 0, **wrong}}, 200
        )
        assert answer["data"] == {"user_list": None}
        assert answer["errors"][0]["path"] == ["user_list"]


async def test_sessions_of_others_are_not_there(agent, admin, make_user, make_domain_admin, gql):
    alice, lab_admin = await make_user("alice"), await make_domain_admin()
    created = await alice.create("her-work")
    one = "query($id: UUID!) {compute_session(id: $id) {name status containers {agent}}}"
    listed = """{compute_session_list(limit: 10, offset: 0, status: "PENDING,PREPARING,RUNNING,RUNNING_DEGRADED")
        {items {name user_email group_name} total_count}}"""
    await alice.until_status("her-work", "RUNNING")
    seen = {"compute_session": {"name": "her-work", "status": "RUNNING", "containers": [{"agent": "lab-1"}]}}
    assert await gql(alice, one, id=created["sessionId"]) == await gql(admin, one, id=created["sessionId"]) == seen
    shown = {"name": "her-work", "user_email": "alice@localhost", "group_name": "default"}
    for client, count in ((admin, 1), (alice, 1), (lab_admin, 0)):
        page = (await gql(client, listed))["compute_session_list"]
        assert page == {"items": [shown] * count, "total_count": count}
    body = {"query": one, "variables": {"id": created["sessionId"]}}
    hidden = await lab_admin.post("/admin/gql", body, 200)
    unknown = await lab_admin.post("/admin/gql", {**body, "variables": {"id": "x" * 36}}, 200)
    assert json.dumps(hidden).replace(created["sessionId"], "x" * 36) == json.dumps(unknown)


async def test_sessions_tell_what_they_were_asked_for_and_how_they_ended(agent, admin, gql, helpers):
    first = await admin.create("first-one")
    batch = {
        "name": "second-one",
        "type": "batch",
        "startupCommand": "true",
        "tag": "night",
        "dependencies": ["first-one"],
    }
    await admin.post("/session", {**batch, "image": helpers.image.name, "enqueueOnly": True})
    await admin.until_status("first-one", "RUNNING")
    await admin.call("DELETE", "/session/first-one")
    await admin.until_status(first["sessionId"], "TERMINATED")
    listed = """{compute_session_list(limit: 2, offset: 0, order: "created_at")
        {items {name type tag startup_command result dependencies {id name} containers {last_stat}}}}"""
    ended, waits = (await gql(admin, listed))["compute_session_list"]["items"]
    assert (ended["result"], waits["result"]) == ("success", "undefined")
    assert json.loads(ended["containers"][0]["last_stat"])["status"] == "terminated"
    assert (waits["type"], waits["tag"], waits["startup_command"]) == ("batch", "night", "true")
    assert waits["dependencies"] == [{"id": first["sessionId"], "name": "first-one"}]
    tagged = """{compute_session_list(limit: 2, offset: 0, filter: "tag == \\"night\\"") {items {name}}}"""
    assert (await gql(admin, tagged))["compute_session_list"]["items"] == [{"name": "second-one"}]


async def test_a_session_s_own_token_stays_out(agent, admin):
    await admin.create("granted", manager_access="self")
    await admin.until_status("granted", "RUNNING")
    token = next(iter(agent.wants.values())).access_token
    request = admin.request("POST", "/admin/gql", {"query": EMAILS})
    request.headers["Authorization"] = f"Bearer {token}"
    assert (await admin.http.fetch(request, raise_error=False)).code == 403


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "The body is"),
        ({"query": "{"}, "cannot be read"),
        ({"query": "{nothing}"}, "Cannot query field 'nothing'"),
        ({"query": "{users {email}}", "variables": [1]}, "The body is"),
        ({"query": "query A {users {email}} query B {users {email}}"}, "must have one operation"),
        ({"query": "{" + " ".join(f"u{n}: users {{email}}" for n in range(21)) + "}"}, "20 things"),
        ({"query": "{users {" + "email " * 4000 + "}}"}, "20000 are allowed"),
        ({"query": "{" + "a{" * 3000 + "}" * 3000 + "}"}, "cannot be read"),
    ],
)
async def test_documents_that_cannot_be_run(admin, body, message):
    answer = await admin.call("POST", "/admin/gql", body)
    assert (answer.status, answer.json["type"].rsplit("/", 1)[1]) == (400, "graphql-error")
    assert message in answer.json["msg"]


async def test_old_clients_get_the_data_alone(admin):
    assert await admin.post("/admin/graphql", {"query": "{user {email}}"}, 200) == {
        "user": {"email": "admin@localhost"}
    }
    refused = await admin.call("POST", "/admin/graphql", {"query": "{user_list(limit: 0, offset: 0) {total_count}}"})
    assert (refused.status, refused.json["type"].rsplit("/", 1)[1]) == (400, "graphql-error")


async def test_schema_can_be_asked_for(admin, gql):
    kinds = (await gql(admin, "{__schema {types {name}}}"))["__schema"]["types"]
    assert {"ComputeSession", "KeyPair", "ScalingGroup"} <= {one["name"] for one in kinds}


async def test_fault_of_ours_has_no_details(admin, monkeypatch):
    def explode(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("bai_jupyter.manager.db.listings.list_domains", explode)
    answer = await admin.post("/admin/gql", {"query": "{domains {name}}"}, 200)
    assert answer["data"] == {"domains": None}
    assert "secret detail" not in json.dumps(answer)


async def test_changes_are_on_record(manager, admin, gql):
    await gql(admin, 'mutation {create_domain(name: "lab", props: {}) {ok}}')
    await refusal(admin, 'mutation {create_domain(name: "lab", props: {}) {ok msg}}')

    def last(conn):
        rows = conn.exec_driver_sql("SELECT action, target, result FROM audit ORDER BY id DESC LIMIT 2")
        return [tuple(row) for row in rows]

    action = "POST graphql create_domain"
    assert await manager.store.read(last) == [(action, "lab", 400), (action, "lab", 200)]


async def test_folders_by_how_one_came_to_them(manager, admin, make_user, gql):
    alice, bob = await make_user("alice"), await make_user("bob")
    bob_id = (await bob.get("/auth"))["user"]["id"]

    def share(conn):
        home = next(one for one in vfolders.list_all(conn, Viewer(bob_id)) if one.user_name == "alice@localhost")
        vfolders.give(conn, home.id, bob_id, "ro")

    await manager.store.write(share)
    document = """query($limit: Int!, $offset: Int!, $filter: String) {
        ROOT(limit: $limit, offset: $offset, filter: $filter) {items {name user_email permission} total_count}}"""

    async def lists(client, root, **window):
        window = {"limit": 10, "offset": 0, **window}
        found = (await gql(client, document.replace("ROOT", root), **window))[root]
        assert len(found["items"]) == min(found["total_count"], window["limit"])
        return [(one["user_email"].split("@")[0], one["permission"]) for one in found["items"]]

    assert await lists(bob, "vfolder_own_list") == [("bob", "wd")]
    assert await lists(bob, "vfolder_invited_list") == [("alice", "ro")]
    assert await lists(bob, "vfolder_project_list") == []
    assert sorted(await lists(bob, "vfolder_list")) == [("alice", "ro"), ("bob", "wd")]
    assert await lists(bob, "vfolder_list", filter='user_email == "bob@localhost"') == [("bob", "wd")]
    assert await lists(alice, "vfolder_list") == [("alice", "wd")]
    assert len(await lists(admin, "vfolder_list")) == 3
    assert len(await lists(admin, "vfolder_list", limit=2)) == 2


async def test_resource_groups_and_what_they_say(agent, admin, make_user, gql):
    create = """mutation($opts: JSONString) {create_scaling_group(name: "gpu", props:
        {driver: "static", scheduler: "lifo", description: "big", scheduler_opts: $opts}) {ok msg}}"""
    options = {"allowed_session_types": ["batch"], "pending_timeout": 60, "config": {"num_retries_to_skip": 3}}
    assert (await gql(admin, create, opts=json.dumps(options)))["create_scaling_group"]["ok"]
    shown = await gql(admin, '{scaling_group(name: "gpu") {scheduler description is_active scheduler_opts}}')
    told = json.loads(shown["scaling_group"].pop("scheduler_opts"))
    assert shown["scaling_group"] == {"scheduler": "lifo", "description": "big", "is_active": True}
    assert told == {**options, "agent_selection_strategy": "dispersed"}
    alice = await make_user("alice")
    assert await gql(alice, "{scaling_groups {name} agents {id}}") == {
        "scaling_groups": [{"name": "default"}],
        "agents": [{"id": "lab-1"}],
    }
    await gql(
        admin, 'mutation {disassociate_scaling_group_with_domain(scaling_group: "default", domain: "default") {ok}}'
    )
    assert await gql(alice, "{scaling_groups {name} agents {id}}") == {"scaling_groups": [], "agents": []}
    assert (await alice.get("/agents")) == {"agents": []}
    assert "1 agent." in await refusal(admin, 'mutation {delete_scaling_group(name: "default") {ok msg}}')
    bad = await refusal(admin, create.replace("gpu", "gpu2"), opts='{"allowed_session_types": ["dance"]}')
    assert "'dance' is not one of" in bad


async def test_images_have_second_names(agent, admin, gql):
    image = agent.facts["images"][0].name
    alias = "mutation($alias: String!, $target: String!) {alias_image(alias: $alias, target: $target) {ok msg}}"
    assert (await gql(admin, alias, alias="py", target=image))["alias_image"]["ok"]
    assert "already" in await refusal(admin, alias, alias="py", target=image)
    assert "already" in await refusal(admin, alias, alias=image, target=image)
    assert "no image nosuch" in await refusal(admin, alias, alias="other", target="nosuch")
    assert (await gql(admin, '{image(reference: "py") {name tag aliases}}'))["image"] == {
        "name": "bai/python",
        "tag": "test",
        "aliases": ["py"],
    }
    await admin.create("by-alias", image="py")
    assert (await admin.session("by-alias"))["image"] == image
    assert (await admin.create("by-alias"))["created"] is False
    assert (await admin.create("by-alias", image="py"))["created"] is False
    gone = 'mutation {dealias_image(alias: "py") {ok msg}}'
    assert (await gql(admin, gone))["dealias_image"]["ok"]
    assert "no image alias py" in await refusal(admin, gone)
    await admin.create("no-alias", image="py", status=404)


async def test_users_and_projects_move_and_go(manager, admin, make_user, gql):
    alice = await make_user("alice")
    user_id = (await alice.get("/auth"))["user"]["id"]
    made = await gql(admin, CREATE_GROUP, name="vision", props={"domain_name": "default"})
    gid = made["create_group"]["group"]["id"]
    join = "mutation($gid: UUID!, $props: ModifyGroupInput!) {modify_group(gid: $gid, props: $props) {ok msg}}"
    for mode, names in (("add", ["default", "vision"]), ("remove", ["default"])):
        assert await gql(admin, join, gid=gid, props={"user_update_mode": mode, "user_uuids": [user_id]})
        groups = (await gql(alice, "{user {groups {name}}}"))["user"]["groups"]
        assert [one["name"] for one in groups] == names
    await gql(admin, MODIFY_USER, email="alice@localhost", props={"group_ids": [gid]})
    assert (await gql(alice, "{groups {name}}"))["groups"] == [{"name": "vision"}]
    assert (await gql(admin, "mutation($gid: UUID!) {purge_group(gid: $gid) {ok msg}}", gid=gid))["purge_group"]["ok"]
    purge = 'mutation {purge_user(email: "alice@localhost", props: {}) {ok msg}}'
    assert (await gql(admin, purge))["purge_user"]["ok"]
    assert (await alice.call("GET", "/auth")).status == 401
    assert "no user" in await refusal(admin, purge)


VOLUMES = """query($limit: Int!, $offset: Int!, $filter: String) {
    storage_volume_list(limit: $limit, offset: $offset, filter: $filter) {
        items {id backend path capabilities hardware_metadata usage performance_metric} total_count}
    storage_volume(id: "local:data") {id}
    missing: storage_volume(id: "nas:big") {id}
    user {email}}"""


async def test_volumes_are_described_as_far_as_agents_answer(holder, admin, make_user, gql):
    told = await gql(admin, VOLUMES, limit=1, offset=0)
    assert told["user"] == {"email": "admin@localhost"}  # what needs no agent beside what does
    assert (told["storage_volume"], told["missing"]) == ({"id": "local:data"}, None)
    page = told["storage_volume_list"]
    assert page["total_count"] == 2
    (shown,) = page["items"]
    assert (shown["id"], shown["backend"], shown["capabilities"]) == ("local:data", "vfs", ["vfolder"])
    assert (shown["path"], shown["performance_metric"]) == (None, None)
    usage, hardware = json.loads(shown["usage"]), json.loads(shown["hardware_metadata"])
    assert usage["capacity_bytes"] > usage["used_bytes"] > 0
    assert (hardware["status"], hardware["metadata"]["agents"]) == ("healthy", "lab-1")

    await holder.close()
    (shown,) = (await gql(admin, VOLUMES, limit=5, offset=1))["storage_volume_list"]["items"]
    assert (shown["id"], json.loads(shown["usage"])) == ("local:home", {})
    assert json.loads(shown["hardware_metadata"])["status_info"] == "No agent that holds it answers."

    alice = await make_user("alice")
    for client, why, asked in (
        (alice, "Only superadmins may do this", {"limit": 1}),
        (admin, "A page has 1 to", {"limit": 0}),
        (admin, "neither filtered nor ordered", {"limit": 1, "filter": 'id == "x"'}),
    ):
        answer = await client.post("/admin/gql", {"query": VOLUMES, "variables": {"offset": 0, **asked}}, 200)
        assert why in answer["errors"][0]["message"], answer


async def test_a_volume_with_hard_limits_is_called_so(holder, admin, gql):
    space = {"free_bytes": 1, "total_bytes": 4, "hard_quota": True}

    async def answer(params):
        return dict(space)

    holder.held.calls["volume_usage"] = answer
    (shown,) = (await gql(admin, VOLUMES, limit=1, offset=0))["storage_volume_list"]["items"]
    assert (shown["backend"], shown["capabilities"]) == ("btrfs", ["vfolder", "quota"])
    assert json.loads(shown["usage"]) == {"capacity_bytes": 4, "used_bytes": 3}
    hosts = await admin.get("/folders/_/hosts")
    assert hosts["volume_info"]["local:data"]["backend"] == "btrfs"
