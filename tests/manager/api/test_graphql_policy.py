"""GraphQL of policies, presets and grants of resource groups: made, found, changed and deleted, and for whom not."""

import json

import pytest

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.manager.people import inputs

pytestmark = pytest.mark.asyncio


def mutation(field, **types):
    """A document for one mutation whose arguments are variables of these types."""
    declared, given = (
        ", ".join(parts) for parts in zip(*((f"${n}: {k}", f"{n}: ${n}") for n, k in types.items()), strict=True)
    )
    return f"mutation({declared}) {{{field}({given}) {{ok msg}}}}"


@pytest.fixture
def change(gql):
    async def change(client, field, *, refused=False, **arguments):
        """``name=(type, value)`` each; what it says."""
        document = mutation(field, **{name: kind for name, (kind, _) in arguments.items()})
        result = (await gql(client, document, **{name: value for name, (_, value) in arguments.items()}))[field]
        assert result["ok"] is not refused, result
        return result["msg"]

    return change


KINDS = [
    ("keypair", "CreateKeyPairResourcePolicyInput!", "ModifyKeyPairResourcePolicyInput!"),
    ("user", "FolderPolicyInput!", "FolderPolicyInput!"),
    ("project", "FolderPolicyInput!", "FolderPolicyInput!"),
]


@pytest.mark.parametrize(("kind", "create", "modify"), KINDS)
async def test_policies(admin, make_user, gql, change, kind, create, modify):
    one, many = f"{kind}_resource_policy", f"{kind}_resource_policies"
    name = ("String!", "small")
    await change(admin, f"create_{one}", name=name, props=(create, {"max_vfolder_count": 3}))
    assert "small" in await change(
        admin, f"create_{one}", refused=True, name=name, props=(create, {"max_vfolder_count": 3})
    )
    await change(admin, f"modify_{one}", name=name, props=(modify, {"max_quota_scope_size": 2**40}))
    found = (await gql(admin, f'{{{one}(name: "small") {{name max_vfolder_count max_quota_scope_size}}}}'))[one]
    assert found == {"name": "small", "max_vfolder_count": 3, "max_quota_scope_size": 2**40}
    assert "small" in [item["name"] for item in (await gql(admin, f"{{{many} {{name}}}}"))[many]]
    alice = await make_user("alice")
    for field, arguments in (
        (f"create_{one}", {"name": ("String!", "mine"), "props": (create, {})}),
        (f"modify_{one}", {"name": name, "props": (modify, {"max_vfolder_count": 9})}),
        (f"delete_{one}", {"name": name}),
    ):
        await change(alice, field, refused=True, **arguments)
    await change(admin, f"delete_{one}", name=name)
    assert (await gql(admin, f'{{{one}(name: "small") {{name}}}}'))[one] is None
    await change(admin, f"delete_{one}", refused=True, name=name)


async def test_a_limit_of_each_folder_is_kept_and_shown(admin, gql, change):
    name, create = ("String!", "small"), "CreateKeyPairResourcePolicyInput!"
    shown = '{keypair_resource_policy(name: "small") {max_vfolder_size}}'
    await change(admin, "create_keypair_resource_policy", name=name, props=(create, {"max_vfolder_size": 2**30}))
    assert (await gql(admin, shown))["keypair_resource_policy"] == {"max_vfolder_size": 2**30}
    await change(admin, "create_keypair_resource_policy", refused=True, name=name, props=(create, {}))
    for none in ("0g", "0.0", "0.5", 0, -1):  # zero is no limit in any unit: never one of no byte
        modify = ("ModifyKeyPairResourcePolicyInput!", {"max_vfolder_size": none})
        await change(admin, "modify_keypair_resource_policy", name=name, props=modify)
        assert (await gql(admin, shown))["keypair_resource_policy"] == {"max_vfolder_size": 0}, none


async def test_a_budget_is_kept_and_shown(admin, make_user, gql, change):
    name, modify = ("String!", "small"), "ModifyKeyPairResourcePolicyInput!"
    shown = '{keypair_resource_policy(name: "small") {gpu_hours_per_week}}'
    props = ("CreateKeyPairResourcePolicyInput!", {"gpu_hours_per_week": 2.5})
    await change(admin, "create_keypair_resource_policy", name=name, props=props)
    assert (await gql(admin, shown))["keypair_resource_policy"] == {"gpu_hours_per_week": 2.5}
    for wrong in (-2, 1e7):
        props = (modify, {"gpu_hours_per_week": wrong})
        await change(admin, "modify_keypair_resource_policy", refused=True, name=name, props=props)
    alice = await make_user("alice")
    props = (modify, {"gpu_hours_per_week": 100})
    await change(alice, "modify_keypair_resource_policy", refused=True, name=name, props=props)
    await change(admin, "modify_keypair_resource_policy", name=name, props=(modify, {"max_vfolder_count": 1}))
    assert (await gql(admin, shown))["keypair_resource_policy"] == {"gpu_hours_per_week": 2.5}
    for none in (0, -1):
        await change(admin, "modify_keypair_resource_policy", name=name, props=(modify, {"gpu_hours_per_week": none}))
        assert (await gql(admin, shown))["keypair_resource_policy"] == {"gpu_hours_per_week": 0}


async def test_the_limit_that_keypairs_once_had_is_kept_and_shown(admin, make_user, gql, change):
    """Backend.AI's manager stores ``concurrency_limit`` and does not look at it: what counts is the policy's."""
    alice = await make_user("alice")
    key, kind = ("String!", alice.access_key), "ModifyKeyPairInput!"
    shown = "query($key: String) {keypair(access_key: $key) {concurrency_limit rate_limit}}"
    assert (await gql(admin, shown, key=alice.access_key))["keypair"]["concurrency_limit"] is None
    await change(admin, "modify_keypair", access_key=key, props=(kind, {"concurrency_limit": 5}))
    await change(admin, "modify_keypair", access_key=key, props=(kind, {"rate_limit": 100}))
    assert (await gql(admin, shown, key=alice.access_key))["keypair"] == {"concurrency_limit": 5, "rate_limit": 100}
    document = 'mutation {create_keypair(user_id: "alice@localhost", props: {concurrency_limit: 7}) {%s}}'
    made = await gql(admin, document % "ok keypair {concurrency_limit}")
    assert made["create_keypair"]["keypair"] == {"concurrency_limit": 7}


@pytest.mark.parametrize("kind", ["DOMAIN", "PROJECT", "USER", "KEYPAIR", "POLICY", "PRESET", "RESOURCE_GROUP"])
async def test_what_there_is_no_place_for_is_refused(kind):
    """Nothing that is sent is forgotten without a word."""
    for name, field in getattr(inputs, kind).items():
        if field.column is None:
            with pytest.raises(BadRequest, match=name):
                field.read(name, "something else")


async def test_a_change_that_would_be_half_done_is_refused(admin, make_user, agent, gql, change):
    alice = await make_user("alice")
    [project] = (await gql(admin, '{groups_by_name(name: "default") {id}}'))["groups_by_name"]
    user = (await gql(alice, "{user {uuid}}"))["user"]
    gid, kind = ("UUID!", project["id"]), "ModifyGroupInput!"
    for props in ({"user_uuids": [user["uuid"]]}, {"domain_name": "elsewhere"}, {"user_update_mode": "swap"}):
        await change(admin, "modify_group", refused=True, gid=gid, props=(kind, props))
    await change(admin, "modify_group", gid=gid, props=(kind, {"domain_name": "default", "description": "all"}))
    made = {"name": ("String!", "store"), "props": ("GroupInput!", {"domain_name": "default", "type": "model-store"})}
    await change(admin, "create_group", refused=True, **made)
    alias = {"alias": ("String!", "py"), "target": ("String!", "bai/python:test")}
    await change(admin, "alias_image", refused=True, **alias, architecture=("String", "aarch64"))
    await change(admin, "alias_image", **alias, architecture=("String", "x86_64"))


async def test_presets(admin, make_user, gql, change):
    """Defect of Backend.AI 23.09.10: the shared memory of presets was lost."""
    name, slots = ("String!", "tiny"), json.dumps({"cpu": "1", "mem": "1g"})
    props = {"resource_slots": slots, "shared_memory": "64m"}
    await change(admin, "create_resource_preset", name=name, props=("CreateResourcePresetInput!", props))
    changed = {"resource_slots": json.dumps({"cpu": "2"})}
    await change(admin, "modify_resource_preset", name=name, props=("ModifyResourcePresetInput!", changed))
    alice = await make_user("alice")
    find = '{resource_preset(name: "tiny") {name resource_slots shared_memory}}'
    found = (await gql(alice, find))["resource_preset"]
    assert (json.loads(found["resource_slots"]), found["shared_memory"]) == ({"cpu": "2"}, 64 * 1024**2)
    await change(alice, "delete_resource_preset", refused=True, name=name)
    await change(admin, "delete_resource_preset", name=name)
    assert (await gql(alice, find))["resource_preset"] is None
    await change(
        admin, "modify_resource_preset", refused=True, name=name, props=("ModifyResourcePresetInput!", changed)
    )


async def test_grants_of_a_resource_group(admin, make_user, gql, change):
    gpu, alice = ("String!", "gpu"), await make_user("alice")
    props = {"driver": "static", "scheduler": "fifo"}
    await change(admin, "create_scaling_group", name=gpu, props=("CreateScalingGroupInput!", props))
    await change(admin, "modify_scaling_group", name=gpu, props=("ModifyScalingGroupInput!", {"scheduler": "lifo"}))
    project = (await gql(admin, '{groups_by_name(name: "default") {id}}'))["groups_by_name"][0]["id"]
    key = alice.access_key

    async def named(root):
        [found] = (await gql(admin, f"{{{root} {{name scheduler}}}}")).values()
        return {one["name"]: one["scheduler"] for one in found}

    async def alice_sees():
        return [one["name"] for one in (await alice.get("/resource-groups"))["resource_groups"]]

    async def grant(verb, scope, **more):
        preposition = f"{verb}_scaling_group_with_{scope}"
        await change(admin, preposition, scaling_group=gpu, **more)

    assert await alice_sees() == ["default"]
    for scope, root, given, taken in (
        ("keypair", f'scaling_groups_for_keypair(access_key: "{key}")', ("String!", key), ("String!", key)),
        (
            "user_group",
            f'scaling_groups_for_user_group(user_group: "{project}")',
            ("UUID!", project),
            ("String!", project),
        ),
    ):
        argument = "access_key" if scope == "keypair" else scope
        await grant("associate", scope, **{argument: given})
        assert (await named(root))["gpu"] == "lifo"
        assert sorted(await alice_sees()) == ["default", "gpu"]
        await grant("disassociate", scope, **{argument: taken})
        assert "gpu" not in await named(root)
        assert await alice_sees() == ["default"]

    await grant("associate", "domain", domain=("String!", "default"))
    await grant("associate", "user_group", user_group=("UUID!", project))
    assert sorted(await named('scaling_groups_for_domain(domain: "default")')) == ["default", "gpu"]
    await change(admin, "disassociate_all_scaling_groups_with_domain", domain=("String!", "default"))
    assert await named('scaling_groups_for_domain(domain: "default")') == {}
    assert await alice_sees() == ["gpu"]  # by the project
    await change(admin, "disassociate_all_scaling_groups_with_group", user_group=("UUID!", project))
    assert await alice_sees() == []
    for field, arguments in (
        ("associate_scaling_group_with_keypair", {"scaling_group": gpu, "access_key": ("String!", key)}),
        ("delete_scaling_group", {"name": gpu}),
    ):
        await change(alice, field, refused=True, **arguments)


async def test_the_rest_of_the_roots(admin, agent, make_user, gql, change):
    alice = await make_user("alice")
    user = (await gql(alice, "{user {uuid email}}"))["user"]
    by_id = "query($id: ID) {user_from_uuid(user_id: $id) {email}}"
    assert (await gql(admin, by_id, id=user["uuid"]))["user_from_uuid"] == {"email": user["email"]}
    keys = (await gql(admin, "{keypair_list(limit: 10, offset: 0) {items {access_key} total_count}}"))["keypair_list"]
    assert (keys["total_count"], len(keys["items"])) == (2, 2)
    agents = (await gql(admin, "{agent_list(limit: 1, offset: 0) {items {status} total_count}}"))["agent_list"]
    assert agents == {"items": [{"status": "ALIVE"}], "total_count": 1}
    permissions = (await gql(alice, "{vfolder_host_permissions {vfolder_host_permission_list}}"))[
        "vfolder_host_permissions"
    ]
    assert "mount-in-session" in permissions["vfolder_host_permission_list"]
    made = await gql(
        admin,
        "mutation($email: String!, $props: KeyPairInput!) {create_keypair(user_id: $email, props: $props) "
        "{ok keypair {access_key}}}",
        email=user["email"],
        props={"is_active": True, "resource_policy": "default", "rate_limit": 100},
    )
    await change(admin, "delete_keypair", access_key=("String!", made["create_keypair"]["keypair"]["access_key"]))
    await gql(admin, 'mutation {create_domain(name: "gone", props: {}) {ok}}')
    await change(admin, "purge_domain", name=("String!", "gone"))
    assert (await gql(admin, '{domain(name: "gone") {name}}'))["domain"] is None
    assert "POST /images" in await change(admin, "rescan_images", refused=True, registry=("String", "x"))
