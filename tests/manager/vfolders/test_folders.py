"""A folder's life from creation to purge, and who may have a part in it."""

import asyncio
import os

import pytest

from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FolderStatus
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db import vfolders

pytestmark = pytest.mark.asyncio


async def refused(client, method, path, body=None, status=400):
    answer = await client.call(method, path, body or {})
    assert answer.status == status, (answer.status, answer.body)
    return answer.json


def code_of(problem):
    return problem["data"]["reason"]["code"]


async def names(client):
    return [one["name"] for one in await client.get("/folders")]


async def test_hosts(agent, admin):
    told = await admin.get("/folders/_/hosts")
    assert (told["default"], told["allowed"]) == ("local:data", ["local:data", "local:home"])
    assert 0 < told["volume_info"]["local:data"]["usage"]["percentage"] <= 100
    assert await admin.get("/folders/_/allowed_types") == ["user", "group"]


async def test_a_folder_is_made_and_told_of(agent, admin, disk):
    made = await admin.post("/folders", {"name": "data", "host": "local:data", "quota": "10m", "cloneable": True})
    assert disk.folder(made).is_dir()
    facts = {
        "name": "data",
        "host": "local:data",
        "status": "ready",
        "is_owner": True,
        "permission": "wd",
        "type": "user",
    }
    facts |= {"usage_mode": "general", "max_size": 10 * 1024**2, "quota_kind": "soft", "cloneable": True}
    assert made.items() >= facts.items()
    assert (await admin.get("/folders"))[0] == made
    (disk.folder(made) / "x").write_bytes(bytes(1000))
    for ref in ("data", made["id"]):
        info = await admin.get(f"/folders/{ref}")
        assert (info["numFiles"], info["used_bytes"]) == (1, 1000)
    assert (await admin.get("/folders"))[0]["cur_size"] == 1000


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "bad-value"),
        ({"name": "a/b"}, 400, "folder-name"),
        ({"name": ".."}, 400, "folder-name"),
        ({"name": "x" * 65}, 400, "folder-name"),
        ({"name": "invitations"}, 400, "folder-name"),
        ({"name": "data", "host": "nas:big"}, 404, "host-unknown"),
        ({"name": "data", "usage_mode": "fun"}, 400, "bad-value"),
        ({"name": "data", "permission": "all"}, 400, "bad-value"),
        ({"name": "data", "quota": "much"}, 400, "bad-value"),
        ({"name": "data", "group": "others"}, 404, "not-found"),
        ({"name": "data", "unmanaged_path": "/etc"}, 400, None),
        ({"name": "home"}, 400, "folder-used"),
    ],
)
async def test_what_cannot_be_made_leaves_nothing(agent, admin, disk, body, status, code):
    problem = await refused(admin, "POST", "/folders", body, status)
    assert code is None or code_of(problem) == code
    assert await names(admin) == ["home"]
    assert not list((disk.path / "data").glob(".vfolders/*"))


async def test_without_an_agent_nothing_is_made(agent, admin, helpers):
    await agent.close()

    async def away():
        answer = await admin.call("POST", "/folders", {"name": "data"})
        return answer.status == 503

    await helpers.wait_until(away, "the agent's absence")
    assert await names(admin) == ["home"]


async def test_a_name_is_used_once_and_can_be_changed(agent, admin):
    await admin.post("/folders", {"name": "one"})
    await admin.post("/folders", {"name": "two"})
    assert (await refused(admin, "POST", "/folders", {"name": "one"}))["type"].endswith("vfolder-already-exists")
    assert code_of(await refused(admin, "POST", "/folders/one/rename", {"new_name": "two"})) == "folder-used"
    await admin.post("/folders/one/rename", {"new_name": "three"})
    assert await names(admin) == ["home", "three", "two"]
    assert code_of(await refused(admin, "POST", "/folders/home/rename", {"new_name": "x"})) == "folder-home"


async def test_trash_restore_and_purge(agent, admin, disk):
    made = await admin.post("/folders", {"name": "data"})
    place = disk.folder(made)
    (place / "x").write_text("x")
    assert code_of(await refused(admin, "DELETE", "/folders/home")) == "folder-home"
    await refused(admin, "POST", "/folders/data/purge")  # only from the trash
    for _ in range(2):
        assert (await admin.call("DELETE", "/folders/data")).status == 204
    assert (await admin.get("/folders/data"))["status"] == "delete-pending"
    assert code_of(await refused(admin, "POST", "/folders/data/mkdir", {"path": "y"})) == "folder-status"
    await admin.post("/folders/data/recover", status=204)
    assert (await admin.get("/folders/data"))["status"] == "ready"
    await admin.call("DELETE", "/folders", {"id": made["id"]})
    again = await admin.post("/folders", {"name": "data"})  # the name is free
    assert code_of(await refused(admin, "POST", "/folders/restore-from-trash-bin", {"id": made["id"]})) == "folder-used"
    await admin.post("/folders/delete-from-trash-bin", {"vfolder_id": made["id"]}, status=204)
    assert not place.exists()
    assert [one["id"] for one in await admin.get("/folders") if one["name"] == "data"] == [again["id"]]


async def test_what_a_session_mounts_is_not_purged(agent, admin):
    await admin.post("/folders", {"name": "data"})
    await admin.create("my-work", mounts=["data"])
    await admin.until_status("my-work", "RUNNING")
    await admin.call("DELETE", "/folders/data")
    problem = await refused(admin, "POST", "/folders/data/purge")
    assert problem["msg"] == "Folder data is mounted in my-work. End them first."
    await admin.call("DELETE", "/session/my-work")
    await admin.until_status("my-work", "TERMINATED")
    await admin.post("/folders/data/purge", status=204)


async def test_a_purge_that_fails_can_be_repeated(agent, admin, disk):
    place = disk.folder(await admin.post("/folders", {"name": "data"}))
    await admin.call("DELETE", "/folders/data")
    agent.call_errors["delete_folder"] = Reason.of("files-failed", agent="lab-1", cause="the disk is broken")
    await refused(admin, "POST", "/folders/data/purge")
    assert (await admin.get("/folders/data"))["status"] == "delete-pending"
    del agent.call_errors["delete_folder"]
    await admin.post("/folders/data/purge", status=204)
    assert not place.exists()


async def test_options_and_quota(agent, admin):
    made = await admin.post("/folders", {"name": "data"})
    await admin.post("/folders/data/update-options", {"cloneable": True, "permission": None})
    assert (await admin.get("/folders/data"))["cloneable"] is True
    quota = await admin.post("/folders/_/quota", {"id": made["id"], "input": {"size_bytes": 1000}}, status=200)
    assert (quota["size_bytes"], quota["quota_kind"], quota["used_bytes"]) == (1000, "soft", 0)
    await admin.post("/folders/_/quota", {"id": made["id"], "quota": "0"}, status=200)
    assert (await admin.get("/folders/data"))["max_size"] is None


async def test_a_clone_is_complete_or_not_there(agent, admin, disk, make_user):
    made = await admin.post("/folders", {"name": "data"})
    (disk.folder(made) / "sub").mkdir()
    (disk.folder(made) / "sub" / "x").write_text("x")
    copy = await admin.post("/folders/data/clone", {"target_name": "copy", "target_host": "local:data"})
    assert (copy["status"], copy["bgtask_id"]) == ("ready", None)
    assert (disk.folder(copy) / "sub" / "x").read_text() == "x"
    assert code_of(await refused(admin, "POST", "/folders/data/clone", {"target_name": "copy"})) == "folder-used"
    deep = disk.folder(made)
    for _ in range(110):
        deep = deep / "d"
        deep.mkdir()
    assert code_of(await refused(admin, "POST", "/folders/data/clone", {"target_name": "deep"})) == "too-deep"
    assert await names(admin) == ["copy", "data", "home"]
    assert len(os.listdir(disk.path / "data" / ".vfolders")) == 2


async def test_a_stranger_sees_what_is_missing(agent, admin, make_user):
    alice = await make_user("alice")
    made = await admin.post("/folders", {"name": "data"})
    calls = [
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/rename", {"new_name": "mine"}),
        ("POST", "/mkdir", {"path": "x"}),
        ("POST", "/request-upload", {"path": "x", "size": 1}),
        ("POST", "/request-download", {"path": "x"}),
        ("GET", "/files", None),
        ("DELETE", "/delete-files", {"files": ["x"]}),
        ("POST", "/invite", {"perm": "rw", "user_ids": ["alice@localhost"]}),
        ("POST", "/clone", {"target_name": "x"}),
        ("POST", "/purge", None),
        ("POST", "/leave", None),
    ]
    for method, path, body in calls:
        theirs = await refused(alice, method, f"/folders/{made['id']}{path}", body, 404)
        missing = await refused(alice, method, f"/folders/{'0' * 32}{path}", body, 404)
        assert theirs["msg"] == missing["msg"].replace("0" * 32, made["id"])
        await refused(alice, method, f"/folders/data{path}", body, 404)


async def test_superadmins_find_everybodys_by_id(agent, admin, make_user):
    alice = await make_user("alice")
    made = await alice.post("/folders", {"name": "hers"})
    await refused(alice, "GET", "/folders", {"all": True}, 403)
    assert "hers" in [one["name"] for one in (await admin.call("GET", "/folders", {"all": True})).json]
    assert "hers" not in await names(admin)
    await refused(admin, "GET", "/folders/hers", status=404)
    assert (await admin.get(f"/folders/{made['id']}"))["user"] == made["user"]


async def test_a_copy_that_a_manager_did_not_finish_is_broken(agent, admin, manager):
    await admin.post("/folders", {"name": "data"})

    def as_if_copying(conn):
        conn.execute(t.vfolders.update().where(t.vfolders.c.name == "data").values(status=FolderStatus.CLONING))

    await manager.store.write(as_if_copying)
    assert code_of(await refused(admin, "GET", "/folders/data/files")) == "folder-status"
    await manager.store.write(vfolders.break_clones)
    await admin.call("DELETE", "/folders/data")
    await admin.post("/folders/data/purge", status=204)
    assert await names(admin) == ["home"]


async def test_no_more_folders_than_the_policy_allows_however_many_ask_at_once(manager, agent, make_user):
    alice = await make_user("alice")
    await manager.services.people.create_policy("few", {"max_vfolder_count": 2})
    await manager.store.write(lambda conn: conn.execute(t.users.update().values(resource_policy="few")))
    names = [f"data-{number}" for number in range(6)]
    answers = await asyncio.gather(*(alice.call("POST", "/folders", {"name": name}) for name in names))
    assert sorted(answer.status for answer in answers) == [201, 201, 412, 412, 412, 412]
    said = next(answer.json["msg"] for answer in answers if answer.status == 412)
    assert said == "You have 2 folders, those in the trash included; the limit is 2. Purge one first."
    made = {folder["name"] for folder in await alice.get("/folders")}
    assert made == {"home", *(name for name, answer in zip(names, answers, strict=True) if answer.status == 201)}


async def test_folders_lie_only_where_the_domain_allows(manager, agent, admin):
    hosts = (await admin.get("/folders/_/hosts"))["allowed"]
    assert "local:data" in hosts
    await manager.services.people.modify_domain(
        "default", {"allowed_vfolder_hosts": {"local:home": ["create-vfolder"]}}
    )
    assert (await admin.get("/folders/_/hosts"))["allowed"] == ["local:home"]
    answer = await admin.call("POST", "/folders", {"name": "data", "host": "local:data"})
    assert answer.status == 404
    assert answer.json["msg"] == "There is no folder host local:data for you. You may use: local:home."


async def test_a_new_users_home_is_there_before_their_first_session(manager, agent, admin, disk, helpers):
    await admin.post("/images", {"name": helpers.image.name})
    mutation = 'mutation {create_user(email: "kim@lab", props: {username: "kim", password: "long enough"}) {ok msg}}'
    assert (await admin.post("/admin/gql", {"query": mutation}, 200))["data"]["create_user"]["ok"]
    login = {"domain": "default", "username": "kim@lab", "password": "long enough"}
    keys = (await admin.post("/auth/authorize", login, 200))["data"]
    kim = helpers.client(manager.endpoint, keys["access_key"], keys["secret_key"])
    user_id = (await kim.get("/auth"))["user"]["id"]
    assert not (disk.volumes["local:home"] / "users").exists()
    await kim.create("first-work")
    home = disk.volumes["local:home"] / "users" / user_id
    assert home.is_dir()
    assert home.stat().st_mode & 0o777 == 0o700
    kim.close()
