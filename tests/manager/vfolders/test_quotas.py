"""Limits of one folder that the file system keeps, and limits of all folders of one owner."""

import os

import pytest
import pytest_asyncio
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
    for table in (t.users, t.projects):
        await manager.store.write(
            lambda conn, table=table: conn.execute(table.update().values(resource_policy="small"))
        )


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
