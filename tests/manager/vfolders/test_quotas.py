"""Limits of one folder that the file system keeps, and limits of all folders of one owner."""

import asyncio
import errno
import os
import subprocess
from uuid import UUID

import pytest
import pytest_asyncio
from bai_agent import btrfs
from manager.vfolders.test_files import patch, upload_url
from tornado.httpclient import AsyncHTTPClient

from bai_jupyter.manager.db import tables as t

pytestmark = pytest.mark.asyncio

KIB = 1024


@pytest_asyncio.fixture
async def http():
    client = AsyncHTTPClient(force_instance=True)

    async def fetch(method, url, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.fetch(url, method=method, body=body, headers=headers, raise_error=False)

    yield fetch
    client.close()


@pytest_asyncio.fixture
async def hard_agent(limited_disk, disk, agent):
    limited_disk(disk.volumes["local:data"])
    return agent


@pytest_asyncio.fixture
async def together_1m(manager, agent):
    """What users and projects may put into all their folders on one volume."""
    await manager.services.people.create_policy("small", {"max_quota_scope_size": 1024 * KIB})
    await manager.store.write(_bind_all, "small")


def _bind_all(conn, policy):
    for table in (t.users, t.projects):
        conn.execute(table.update().values(resource_policy=policy))


async def put(admin, http, folder, path, size):
    return await patch(http, await upload_url(admin, path, size, folder), 0, bytes(size))


async def test_listings_say_that_a_limit_is_hard(hard_agent, admin, http, disk):
    hosts = await admin.get("/folders/_/hosts")
    told = {name: one["capabilities"] for name, one in hosts["volume_info"].items()}
    assert told == {"local:data": ["vfolder", "quota"], "local:home": ["vfolder"]}
    made = await admin.post("/folders", {"name": "data", "host": "local:data", "quota": "8m", "cloneable": True})
    assert (made["max_size"], made["quota_kind"]) == (8 * KIB**2, "hard")
    assert [one["quota_kind"] for one in await admin.get("/folders") if one["name"] == "data"] == ["hard"]
    assert (await put(admin, http, "data", "x", 3 * KIB**2)).code == 204
    changed = await admin.post("/folders/_/quota", {"id": made["id"], "quota": "4m"}, status=200)
    assert (changed["quota_kind"], changed["size_bytes"]) == ("hard", 4 * KIB**2)
    refused = await put(admin, http, "data", "y", 2 * KIB**2)
    assert (refused.code, b"data may hold 4 MiB; 3 MiB used, y needs 2 MiB: 1 MiB too much." in refused.body) == (
        412,
        True,
    )
    copied = await admin.post("/folders/data/clone", {"target_name": "copy", "target_host": "local:data"})
    assert (await admin.get("/folders/copy"))["used_bytes"] == 3 * KIB**2
    for one in (made, copied):
        await admin.call("DELETE", f"/folders/{one['id']}")
        await admin.post(f"/folders/{one['id']}/purge", status=204)
    assert os.listdir(disk.volumes["local:data"] / ".vfolders") == []


async def test_the_limit_of_all_folders_together_is_hard_too(hard_agent, admin, http, disk, manager, helpers):
    volume = disk.volumes["local:data"]
    one = await admin.post("/folders", {"name": "one", "host": "local:data", "cloneable": True})
    assert (one["quota_scope_max_size"], one["quota_scope_kind"]) == (None, None)
    await manager.services.people.create_policy("small", {"max_quota_scope_size": 4 * KIB**2})
    await manager.store.write(_bind_all, "small")
    two = await admin.post("/folders", {"name": "two", "host": "local:data"})
    for found in (two, await admin.get("/folders/one"), await admin.get(f"/folders/_/quota?id={one['id']}")):
        assert (found["quota_scope_max_size"], found["quota_scope_kind"]) == (4 * KIB**2, "hard")
    assert (await admin.get("/folders/home"))["quota_scope_kind"] == "soft"
    files = volume / ".vfolders" / str(UUID(one["id"])) / "files"
    await helpers.wait_until(lambda: _is_full(files, 5), "the limit of folders that were there")
    assert not _is_full(files, 2)

    await manager.services.people.modify_policy("small", {"max_quota_scope_size": 8 * KIB**2})
    await helpers.wait_until(lambda: not _is_full(files, 5), "the new limit")
    assert (await put(admin, http, "two", "x", 6 * KIB**2)).code == 204
    await helpers.wait_until(lambda: _is_full(files, 5), "the other folder to count")

    _forget_scopes(volume, files)  # as on a disk that was attached anew
    assert not _is_full(files, 5)
    await hard_agent.close()
    await hard_agent.connect()
    await helpers.wait_until(lambda: _is_full(files, 5), "the limit after the agent came back")

    await admin.call("DELETE", "/folders/two")
    await admin.post("/folders/two/purge", status=204)
    assert not _is_full(files, 5)


async def test_a_folder_that_is_handed_over_counts_for_its_new_owner(hard_agent, admin, make_user, manager, disk):
    await manager.services.people.create_policy("small", {"max_quota_scope_size": 4 * KIB**2})
    made = await admin.post("/folders", {"name": "data", "host": "local:data"})
    files = disk.volumes["local:data"] / ".vfolders" / str(UUID(made["id"])) / "files"
    kim = await make_user("kim")
    await manager.store.write(
        lambda conn: conn.execute(t.users.update().where(t.users.c.name == "kim").values(resource_policy="small"))
    )
    assert not _is_full(files, 5)
    given = {"vfolder": made["id"], "user_email": "kim@localhost"}
    await admin.post("/folders/_/change-ownership", given, status=200)
    assert _is_full(files, 5)
    assert (await kim.get("/folders/data"))["quota_scope_kind"] == "hard"


async def test_nobody_is_handed_more_than_all_of_theirs_may_hold(agent, admin, make_user, manager, disk):
    await manager.services.people.create_policy("small", {"max_quota_scope_size": 1024 * KIB})
    kim = await make_user("kim")
    await manager.store.write(
        lambda conn: conn.execute(t.users.update().where(t.users.c.name == "kim").values(resource_policy="small"))
    )
    made = await admin.post("/folders", {"name": "data", "host": "local:data"})
    theirs = await kim.post("/folders", {"name": "hers", "host": "local:data"})
    (disk.folder(made) / "x").write_bytes(bytes(600 * KIB))
    (disk.folder(theirs) / "x").write_bytes(bytes(500 * KIB))  # none of it was counted since
    given = {"vfolder": made["id"], "user_email": "kim@localhost"}
    refused = await admin.call("POST", "/folders/_/change-ownership", given)
    said = (
        "All folders of kim on local:data together may hold 1 MiB; 500 KiB used, data needs 600 KiB: 76 KiB too much."
    )
    assert (refused.status, refused.json["msg"].startswith(said)) == (412, True), refused.json
    assert (await admin.get("/folders/data"))["is_owner"]
    assert (await kim.call("GET", "/folders/data")).status == 404
    (disk.folder(theirs) / "x").write_bytes(bytes(400 * KIB))
    for _ in range(2):  # repeated, it is the same
        await admin.post("/folders/_/change-ownership", given, status=200)
        assert (await kim.get("/folders/data"))["quota_scope_used"] == 1000 * KIB


async def test_a_listing_counts_what_is_there(agent, admin, disk, manager, helpers):
    """Not a home that has no limit; and who asks while it is counted waits for that count."""
    made = await admin.post("/folders", {"name": "data", "host": "local:data"})
    for place, size in ((disk.folder(made), 3000), (disk.volumes["local:home"], 5000)):
        (place / "x").write_bytes(bytes(size))

    async def listed():
        return {one["name"]: one["cur_size"] for one in await admin.get("/folders")}

    before = (await listed())["home"]
    assert (await listed())["data"] == 3000
    assert before < 5000
    await manager.services.people.create_policy("small", {"max_vfolder_size": 1024 * KIB})
    await manager.store.write(_bind_all, "small")
    assert (await listed())["home"] >= 5000
    (disk.folder(made) / "y").write_bytes(bytes(1000))
    assert {one["data"] for one in await asyncio.gather(*(listed() for _ in range(5)))} == {4000}


async def test_with_whom_a_folder_is_shared_does_not_learn_of_the_others(together_1m, admin, make_user):
    kim = await make_user("kim")
    await admin.post("/folders", {"name": "data", "host": "local:data"})
    assert (await admin.get("/folders/data"))["quota_scope_used"] == 0
    await admin.post("/folders/data/invite", {"perm": "ro", "user_ids": ["kim@localhost"]})
    (invitation,) = (await kim.get("/folders/invitations/list"))["invitations"]
    await kim.post("/folders/invitations/accept", {"inv_id": invitation["id"]}, status=200)
    shown = await kim.get("/folders/data")
    assert (shown["quota_scope_max_size"], shown["quota_scope_used"]) == (1024 * KIB, None)


def _is_full(files, mib):
    """Whether a session could not write that much there now; what it wrote is gone again."""
    file = files / "probe"
    try:
        with file.open("wb") as opened:
            opened.write(bytes(mib * KIB**2))
            opened.flush()
            os.fsync(opened.fileno())
        return False
    except OSError as error:
        if error.errno != errno.EDQUOT:
            raise
        return True
    finally:
        file.unlink(missing_ok=True)
        subprocess.run(["sync", "-f", files], check=True)


def _forget_scopes(volume, files):
    root, folder = os.open(volume, os.O_RDONLY), os.open(files, os.O_RDONLY)
    btrfs.enter_scope(root, folder, None)
    for one in (root, folder):
        os.close(one)


async def test_a_hard_limit_cannot_be_changed_while_its_volume_is_away(hard_agent, admin):
    made = await admin.post("/folders", {"name": "data", "quota": "8m"})
    await hard_agent.close()
    answer = await admin.call("POST", "/folders/_/quota", {"id": made["id"], "quota": "4m"})
    assert answer.status == 503
    assert (await admin.get("/folders/data"))["max_size"] == 8 * KIB**2


async def test_all_folders_of_a_user_count_together(together_1m, admin, http):
    for name in ("one", "two"):
        await admin.post("/folders", {"name": name, "host": "local:data"})
    assert (await put(admin, http, "one", "x", 600 * KIB)).code == 204
    assert {one["quota_scope_kind"] for one in await admin.get("/folders")} == {"soft"}
    refused = await put(admin, http, "two", "y", 500 * KIB)
    sentence = b"on local:data together may hold 1 MiB; 600 KiB used, y needs 500 KiB: 76 KiB too much."
    assert (refused.code, sentence in refused.body) == (412, True), refused.body
    assert (await put(admin, http, "one", "x", 1024 * KIB)).code == 204  # in the place of the older one
    await admin.call("DELETE", "/folders/one")  # the trash counts
    assert (await put(admin, http, "two", "y", 1)).code == 412
    await admin.post("/folders/one/purge", status=204)
    assert (await put(admin, http, "two", "y", 500 * KIB)).code == 204


async def test_a_projects_folders_count_for_the_project(together_1m, admin, http):
    await admin.post("/folders", {"name": "mine", "host": "local:data"})
    await admin.post("/folders", {"name": "ours", "host": "local:data", "group": "default"})
    assert (await put(admin, http, "mine", "x", 900 * KIB)).code == 204
    assert (await put(admin, http, "ours", "x", 900 * KIB)).code == 204
    assert b"All folders of default on local:data" in (await put(admin, http, "ours", "y", 900 * KIB)).body


async def test_a_copy_counts_too(together_1m, admin, http, disk):
    await admin.post("/folders", {"name": "one", "host": "local:data", "cloneable": True})
    assert (await put(admin, http, "one", "x", 600 * KIB)).code == 204
    refused = await admin.call("POST", "/folders/one/clone", {"target_name": "two", "target_host": "local:data"})
    assert (refused.status, "the copy needs 600 KiB: 176 KiB too much" in refused.json["msg"]) == (412, True)
    assert len(os.listdir(disk.volumes["local:data"] / ".vfolders")) == 1


@pytest_asyncio.fixture
async def each_1m(manager, agent):
    """What one folder may hold, by policies of users and projects."""
    await manager.services.people.create_policy("small", {"max_vfolder_size": 1024 * KIB})
    await manager.store.write(_bind_all, "small")


async def set_quota(client, folder, quota, status):
    return await client.post("/folders/_/quota", {"id": folder["id"], "quota": quota}, status=status)


async def test_no_folder_is_larger_than_a_policy_allows(each_1m, manager, admin, http):
    shown = [(one["max_size"], one["quota_kind"]) for one in await admin.get("/folders")]
    assert shown == [(1024 * KIB, "soft")]  # the home, which is older than the policy
    refused = await admin.call("POST", "/folders", {"name": "data", "host": "local:data", "quota": "2m"})
    said = "A folder of yours may hold 1 MiB by policy; data holds 0 B, and this asks for 2 MiB."
    assert (refused.status, refused.json["msg"]) == (412, said)
    made = await admin.post("/folders", {"name": "data", "host": "local:data", "cloneable": True})
    assert made["max_size"] == 1024 * KIB
    assert (await put(admin, http, "data", "x", 600 * KIB)).code == 204
    assert b"data may hold 1 MiB; 600 KiB used" in (await put(admin, http, "data", "y", 500 * KIB)).body
    await admin.get("/folders/data")  # which measures it
    assert "holds 600 KiB, and this asks for 2 MiB" in (await set_quota(admin, made, "2m", 412))["msg"]
    assert (await set_quota(admin, made, "800k", 200))["size_bytes"] == 800 * KIB
    assert (await set_quota(admin, made, "0", 200))["size_bytes"] == 1024 * KIB
    for body in ({"target_name": "copy", "quota": "2m"}, {"target_name": "copy"}):
        cloned = await admin.call("POST", "/folders/data/clone", {**body, "target_host": "local:data"})
        assert cloned.status == (412 if "quota" in body else 201)
    project = {"name": "ours", "host": "local:data", "group": "default"}
    assert "of the project may hold" in (await admin.post("/folders", {**project, "quota": "2m"}, 412))["msg"]
    assert (await admin.post("/folders", project))["max_size"] == 1024 * KIB
    # A policy counts for what is there already, too.
    await manager.services.people.modify_policy("small", {"max_vfolder_size": 512 * KIB})
    assert (await admin.get("/folders/data"))["max_size"] == 512 * KIB
    assert b"data may hold 512 KiB; 600 KiB used" in (await put(admin, http, "data", "z", 1)).body
    await manager.services.people.modify_policy("small", {"max_vfolder_size": 0})
    assert (await admin.get("/folders/home"))["max_size"] is None


async def test_a_policy_of_the_main_keypair_counts_and_nobody_is_given_a_folder_beyond_theirs(
    manager, agent, admin, make_user, http
):
    await manager.services.people.create_policy("small", {"max_vfolder_size": 512 * KIB})
    alice = await make_user("alice")
    keypairs = t.keypairs.c
    await manager.store.write(
        lambda conn: conn.execute(
            t.keypairs.update().where(keypairs.access_key == alice.access_key).values(resource_policy="small")
        )
    )
    await alice.post("/folders", {"name": "hers", "quota": "1m"}, 412)
    made = await admin.post("/folders", {"name": "data", "host": "local:data"})
    assert (await put(admin, http, "data", "x", 600 * KIB)).code == 204
    await admin.get("/folders/data")
    given = {"vfolder": made["id"], "user_email": "alice@localhost"}
    refused = await admin.call("POST", "/folders/_/change-ownership", given)
    said = "A folder of alice@localhost may hold 512 KiB by policy; data holds 600 KiB, and this asks for 600 KiB."
    assert (refused.status, refused.json["msg"]) == (412, said)


async def test_a_policy_that_changes_is_told_to_the_file_system(hard_agent, manager, admin, disk, helpers):
    await manager.services.people.create_policy("small", {"max_vfolder_size": 4 * KIB**2})
    await manager.store.write(_bind_all, "small")
    made = await admin.post("/folders", {"name": "data", "host": "local:data"})
    assert (made["max_size"], made["quota_kind"]) == (4 * KIB**2, "hard")
    files = disk.volumes["local:data"] / ".vfolders" / str(UUID(made["id"])) / "files"
    (files / "x").write_bytes(bytes(3 * KIB**2))
    for limit_mib, asked in ((2, None), (8, None), (5, "5m"), (2, "5m")):  # below what is used, too
        if asked:
            await set_quota(admin, made, asked, 200)
        await manager.services.people.modify_policy("small", {"max_vfolder_size": max(limit_mib, 2) * KIB**2})
        shown = await admin.get("/folders/data")
        assert (shown["max_size"], shown["quota_kind"]) == (limit_mib * KIB**2, "hard")
        room = max(0, limit_mib - 3)
        await helpers.wait_until(lambda room=room: _is_full(files, room + 1), "the limit")
        if room > 1:
            await helpers.wait_until(lambda room=room: not _is_full(files, room - 1), "the room")


async def test_who_gets_another_policy_has_its_limits(hard_agent, manager, admin, disk, helpers):
    """Also if the agent was away meanwhile."""
    people = manager.services.people
    await people.create_policy("each", {"max_vfolder_size": 4 * KIB**2})
    await people.create_policy("all", {"max_quota_scope_size": 8 * KIB**2})
    made = await admin.post("/folders", {"name": "data", "host": "local:data"})
    files = disk.volumes["local:data"] / ".vfolders" / str(UUID(made["id"])) / "files"
    change = 'modify_user(email: "admin@localhost", props: {resource_policy: $name}) {ok msg}'
    query = f"mutation($name: String!) {{{change}}}"

    async def move_to(policy):
        answer = await admin.post("/admin/gql", {"query": query, "variables": {"name": policy}}, 200)
        assert answer["data"]["modify_user"]["ok"], answer

    await move_to("each")
    await helpers.wait_until(lambda: _is_full(files, 5), "the limit of each folder")
    await hard_agent.close()
    await move_to("all")
    assert _is_full(files, 5)
    await hard_agent.connect()
    await helpers.wait_until(lambda: not _is_full(files, 5), "that limit to go")
    await helpers.wait_until(lambda: _is_full(files, 9), "the limit of all together")
