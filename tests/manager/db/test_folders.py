"""What is read of many folders at once, on a real SQLite and a real PostgreSQL."""

from collections import Counter

import pytest
import pytest_asyncio
from manager.db.test_store import NOW

from bai_jupyter.common.ids import new_vfolder_id
from bai_jupyter.common.statuses import FolderStatus
from bai_jupyter.manager.db import folder_rules, people, policies, vfolders
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import PolicyRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.db.vfolders import NewFolder, Viewer

pytestmark = pytest.mark.asyncio

EVERYBODY = Viewer("nobody", sees_all=True)
PEOPLE = 5


@pytest_asyncio.fixture
async def store(url):
    one = Store(url)
    await one.open()
    await one.write(populate)
    yield one
    await one.close()


def populate(conn):
    """People who are limited, one who is not, and a project that is."""
    policies.add(conn, PolicyRecord("small", max_quota_scope_bytes=10**9, created_at=NOW))
    people.add_domain(conn, "default", {}, NOW)
    for number in range(PEOPLE):
        name = f"u{number}"
        user = people.NewUser(name, "user", f"KEY{number}", "", "local:home", email=f"{name}@localhost")
        people.change_user(
            conn, people.add_user(conn, user, NOW), {"resource_policy": "small" if number else None}, NOW
        )
    conn.execute(t.projects.update().values(resource_policy="small"))


def add_folders(conn, count):
    """So many on each of two volumes for everybody and the project, of 10 bytes each; u2's on the first are soft."""
    owners = [(one.id, None, one.name) for one in conn.execute(t.users.select())]
    owners += [(None, one.id, "project") for one in conn.execute(t.projects.select())]
    for user_id, project_id, name in owners:
        for number in range(count):
            for volume in ("local:a", "local:b"):
                made = new_vfolder_id()
                is_soft = name == "u2" and volume == "local:a"
                subpath = f".vfolders/{made}" + ("" if is_soft else "/files")
                place = {"volume": volume, "subpath": subpath, "status": FolderStatus.READY}
                owner = {"user_id": user_id, "project_id": project_id, "creator": name}
                other = {"permission": "wd", "usage_mode": "general", "cloneable": False, "quota_bytes": None}
                called = f"{volume[-1]}-{count}-{number}"
                assert vfolders.create(conn, NewFolder(made, called, **owner, **place, **other), NOW)
                vfolders.set_usage(conn, made, 10, 1)


@pytest.mark.parametrize("most_named", [0, 1000])
async def test_a_listing_says_what_the_folders_of_each_owner_hold_together(store, monkeypatch, most_named):
    monkeypatch.setattr(folder_rules, "_MOST_NAMED", most_named)
    await store.write(add_folders, 3)
    for one in await store.read(vfolders.list_all, EVERYBODY):
        is_limited = one.user_name != "u0@localhost"
        assert one.scope_bytes == (10**9 if is_limited else None)
        if is_limited:
            assert one.scope_used_bytes == 30
            assert one.has_soft_beside == ((one.creator, one.volume) == ("u2", "local:a"))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # which counts its steps
async def test_ten_times_as_many_folders_cost_ten_times_as_much(store):
    """Not a hundred times, as when each is compared with all others: then 10,000 took a minute."""

    def steps_of(conn):
        counted, raw = Counter(), conn.connection.driver_connection
        raw.set_progress_handler(lambda: counted.update(steps=1), 100)
        try:
            vfolders.list_all(conn, EVERYBODY)
        finally:
            raw.set_progress_handler(None, 0)
        return counted["steps"]

    await store.write(add_folders, 5)
    few = await store.read(steps_of)
    await store.write(add_folders, 45)
    assert few > 0
    assert await store.read(steps_of) < 20 * few
