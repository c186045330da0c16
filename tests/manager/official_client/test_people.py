"""People, policy and resource groups as the official client administers them.

Most goes through the SDK, many calls in one process: starting the command line takes longer than what it does.
"""

import json

import pytest
from fakes_agent import IMAGE

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]


async def test_domains_groups_and_users(client):
    told = await client.sdk("""
        api.Domain.create("lab", description="the lab")
        api.Domain.update("lab", description="our lab", total_resource_slots='{"cpu": 8}')
        domain = api.Domain.detail("lab")
        gid = api.Group.create("lab", "vision", description="eyes")["group"]["id"]
        api.Group.update(gid, description="sharp eyes")
        user = api.User.create("lab", "bob@lab.example", "correct horse", username="bob", full_name="Bob")["user"]
        api.User.update("bob@lab.example", full_name="Bobby", status="inactive")
        api.User.update("bob@lab.example", status="active")
        api.Group.add_users(gid, [user["uuid"]])
        shown = api.User.detail("bob@lab.example")
        api.Group.remove_users(gid, [user["uuid"]])
        mail = 'email == "bob@lab.example"'
        result = {
            "domains": [one["name"] for one in api.Domain.list()],
            "domain": [domain["description"], domain["total_resource_slots"]],
            "group": api.Group.detail(gid)["description"],
            "by name": [one["id"] for one in api.Group.from_name("vision", domain_name="lab")] == [gid],
            "groups": sorted(one["name"] for one in api.Group.list("lab")),
            "user": [shown["username"], shown["domain_name"], [one["name"] for one in shown["groups"]]],
            "listed": [one["username"] for one in api.User.list(status="active")],
            "page": [one["email"] for one in api.User.paginated_list(filter=mail, order="-email").items],
            "in group": [one["email"] for one in api.User.list(group=gid)],
            "by uuid": api.User.detail_by_uuid(user["uuid"])["email"],
            "gone": [
                api.User.delete("bob@lab.example")["ok"],
                api.User.detail("bob@lab.example")["status"],
                api.User.purge("bob@lab.example")["ok"],
                api.Group.delete(gid)["ok"],
                api.Group.purge(gid)["ok"],
                api.Domain.delete("lab")["ok"],
                api.Domain.purge("lab")["ok"],
            ],
        }
    """)
    assert told == {
        "domains": ["default", "lab"],
        "domain": ["our lab", '{"cpu": "8"}'],
        "group": "sharp eyes",
        "by name": True,
        "groups": ["default", "vision"],
        "user": ["bob", "lab", ["default", "vision"]],
        "listed": ["admin", "bob"],
        "page": ["bob@lab.example"],
        "in group": [],
        "by uuid": "bob@lab.example",
        "gone": [True, "deleted", True, True, True, True, True],
    }


async def test_keypairs_and_policies(client, make_user):
    await make_user("alice")
    told = await client.sdk("""
        api.KeypairResourcePolicy.create(
            "small", default_for_unspecified="UNLIMITED", total_resource_slots='{"cpu": 4}', max_session_lifetime=0,
            max_concurrent_sessions=2, max_concurrent_sftp_sessions=30, max_containers_per_session=1, idle_timeout=600,
            vfolder_host_perms='{"local:home": ["create-vfolder"]}',
        )
        api.KeypairResourcePolicy.update("small", max_concurrent_sessions=3)
        policy = api.KeypairResourcePolicy("x").info("small")
        sftp = api.KeypairResourcePolicy.update("small", max_concurrent_sftp_sessions=1)
        made = api.KeyPair.create("alice@localhost", resource_policy="small", rate_limit=5000)["keypair"]
        key = made["access_key"]
        api.KeyPair.deactivate(key)
        inactive = [one["access_key"] for one in api.KeyPair.paginated_list(is_active=False).items]
        api.KeyPair.activate(key)
        api.KeyPair.update(key, rate_limit=99)
        found = [one for one in api.KeyPair.list("alice@localhost") if one["access_key"] == key]
        try:
            refused = api.KeypairResourcePolicy.delete("small")
        except Exception as error:
            refused = str(error)
        result = {
            "policies": [one["name"] for one in api.KeypairResourcePolicy.list()],
            "policy": [policy["max_concurrent_sessions"], policy["total_resource_slots"], policy["idle_timeout"]],
            "sftp": [sftp["ok"], "max_concurrent_sftp_sessions" in sftp["msg"]],
            "inactive": inactive == [key],
            "keypair": [(one["user_id"], one["is_active"]) for one in found],
            "own": api.KeyPair(None).info()["is_admin"],
            "refused": refused,
            "gone": [api.KeyPair.delete(key)["ok"], api.KeypairResourcePolicy.delete("small")["ok"]],
        }
    """)
    assert told == {
        "policies": ["default", "small"],
        "policy": [3, '{"cpu": "4"}', 600],
        "sftp": [False, True],
        "inactive": True,
        "keypair": [["alice@localhost", True]],
        "own": True,
        "refused": {
            "ok": False,
            "msg": "Resource policy small binds 1 keypair. Give them another one first.",
        },
        "gone": [True, True],
    }


async def test_resource_groups_agents_and_images(client, agent):
    told = await client.sdk("""
        api.ScalingGroup.create("gpu", driver="static", scheduler="fifo", scheduler_opts={"pending_timeout": 60})
        api.ScalingGroup.update("gpu", description="big ones", scheduler="lifo")
        group = api.ScalingGroup.detail("gpu")
        gid = api.Group.from_name("default")[0]["id"]
        changes = [
            api.ScalingGroup.associate_domain("gpu", "default"),
            api.ScalingGroup.dissociate_domain("gpu", "default"),
            api.ScalingGroup.associate_group("gpu", gid),
            api.ScalingGroup.dissociate_group("gpu", gid),
            api.ScalingGroup.dissociate_all_domain("default"),
            api.ScalingGroup.dissociate_all_group(gid),
            api.ScalingGroup.delete("gpu"),
            api.Image.alias_image("py", "bai/python:test"),
        ]
        aliases = api.Image.list()[0]["aliases"]
        api.Image.dealias_image("py")
        result = {
            "group": [group["description"], group["scheduler"], json.loads(group["scheduler_opts"])["pending_timeout"]],
            "changes": [one["ok"] for one in changes],
            "groups": [one["name"] for one in api.ScalingGroup.list()],
            "available": api.ScalingGroup.list_available("default"),
            "agents": [one["id"] for one in api.Agent.paginated_list().items],
            "lost": api.Agent.paginated_list(status="LOST").total_count,
            "agent": json.loads(api.Agent.detail("lab-1")["available_slots"])["cpu"],
            "image": [(one["name"], one["tag"]) for one in api.Image.list()],
            "aliases": aliases,
            "permissions": "mount-in-session" in api.Permission.list()["vfolder_host_permission_list"],
        }
    """)
    assert told == {
        "group": ["big ones", "lifo", 60],
        "changes": [True] * 8,
        "groups": ["default"],
        "available": [{"name": "default"}],
        "agents": ["lab-1"],
        "lost": 0,
        "agent": "8",
        "image": [["bai/python", "test"]],
        "aliases": ["py"],
        "permissions": True,
    }


async def test_folders_are_listed(client):
    told = await client.sdk("""
        lists = [
            api.VFolder.paginated_list(),
            api.VFolder.paginated_own_list(filter='name == "home"', order="-created_at"),
            api.VFolder.paginated_invited_list(),
            api.VFolder.paginated_project_list(),
        ]
        result = [[(one["name"], one["host"], one["permission"]) for one in page.items] for page in lists]
    """)
    home = [["home", "local:home", "wd"]]
    assert told == [home, home, [], []]


async def test_presets_and_usage(client, agent, admin):
    await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")
    told = await client.sdk("""
        from datetime import datetime, timezone
        today = datetime.now(timezone.utc)
        gid = api.Group.from_name("default")[0]["id"]
        month = api.Resource.usage_per_month(today.strftime("%Y%m"), [gid])
        day = today.strftime("%Y%m%d")
        result = {
            "presets": {one["name"]: one["allocatable"] for one in api.Resource.check_presets()["presets"]},
            "month": [(one["g_name"], one["g_smp"]) for one in month],
            "period": [one["name"] for one in api.Resource.usage_per_period(gid, day, day)["c_infos"]],
            "stats": [len(api.Resource.user_monthly_stats()), len(api.Resource.admin_monthly_stats())],
            "recalculated": api.Resource.recalculate_usage(),
        }
    """)
    assert told == {
        "presets": {"small": True, "medium": True, "gpu": False},
        "month": [["default", 1]],
        "period": ["my-work"],
        "stats": [2880, 2880],
        "recalculated": {},
    }


async def test_passwords(client, make_user, make_client, gql, admin):
    props = {"password": "correct horse", "username": "bob"}
    await gql(
        admin,
        'mutation($props: UserInput!) {create_user(email: "bob@localhost", props: $props) {ok msg}}',
        props=props,
    )
    told = await client.sdk("""
        token = api.User.authorize("bob@localhost", "correct horse").content
        changed = api.Auth.update_password_no_auth("default", "bob@localhost", "correct horse", "battery staple")
        try:
            api.User.authorize("bob@localhost", "correct horse")
            again = "accepted"
        except Exception as error:
            again = error.status
        result = [token["role"], len(token["secret_key"]) > 20, changed, again]
    """)
    assert told == ["user", True, {}, 401]


async def test_command_line_shows_all_this(client, agent, admin, make_client, make_user):
    created = await admin.create("my-work")
    await admin.until_status("my-work", "RUNNING")

    async def shows(who, *words):
        finished = await who.cli("--output", "json", *words)
        assert finished.code == 0, finished
        return json.loads(finished.out)

    (session,) = (await shows(client, "session", "list"))["items"]
    assert (session["name"], session["status"], session["group_name"]) == ("my-work", "RUNNING", "default")
    (info,) = (await shows(client, "session", "info", created["sessionId"]))["items"]
    assert info["containers"][0]["agent"] == "lab-1"
    (user,) = (await shows(client, "admin", "user", "list", "--filter", 'role == "SUPERADMIN"'))["items"]
    assert user["email"] == "admin@localhost"

    alice = make_client(await make_user("alice"))
    assert (await shows(alice, "ps"))["items"] == []
    refused = await alice.cli("admin", "domain", "add", "mine")
    assert refused.code != 0
    assert "Only superadmins may do this" in refused.out + refused.err


async def test_command_line_makes_a_user_who_can_log_in_and_work(client, agent, helpers):
    added = await client.cli("admin", "user", "add", "default", "bob@lab.example", "correct horse")
    assert added.code == 0, added
    created = await client.sdk(
        """
        from ai.backend.client.config import APIConfig
        keypair = api.User.authorize("bob@lab.example", "correct horse").content
        config = APIConfig(endpoint=str(api.config.endpoint), endpoint_type="api",
            access_key=keypair["access_key"], secret_key=keypair["secret_key"])
        with Session(config=config) as bob:
            made = bob.ComputeSession.get_or_create(
                "IMAGE", name="bobs-work", enqueue_only=True, resources={"cpu": "1", "mem": "1g"}
            )
            listed = bob.ComputeSession.paginated_list().items
            result = [made.status, [one["image"] for one in listed]]
    """.replace("IMAGE", helpers.image.name)
    )
    assert created[1] == [helpers.image.name]


async def test_what_admins_do_for_somebody_else(client, agent, make_user):
    """``--owner``: a session of that person's, which the admin has made, sees and ends."""
    alice = await make_user("alice")
    told = await client.sdk(f"""
        made = api.ComputeSession.get_or_create(
            "{IMAGE.name}", name="theirs", owner_access_key="{alice.access_key}", resources={{"cpu": 1, "mem": "1g"}}
        )
        theirs = api.ComputeSession("theirs", "{alice.access_key}")
        names = [theirs.get_info()["image"], theirs.get_logs()["result"] is not None]
        theirs.rename("renamed")
        ended = api.ComputeSession("renamed", "{alice.access_key}").destroy()
        result = {{"id": str(made.id), "names": names, "ended": "stats" in ended}}
    """)
    assert told["names"] == [IMAGE.name, True]
    assert told["ended"]
    assert (await alice.session("renamed"))["id"] == told["id"]
