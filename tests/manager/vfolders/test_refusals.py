"""Whatever is sent to whatever call: a refusal that says what is wrong, never a failure of the manager."""

import os

import pytest

pytestmark = pytest.mark.asyncio

STRANGE = [True, -1, 10**30, 1.5, "", "\0", "\ud800", "x" * 10_000, "../..", [], ["\ud800"], [7], {}, {"a": []}]
OPTIONS = {
    "host": "local:data",
    "group": None,
    "usage_mode": "data",
    "permission": "ro",
    "quota": "1g",
    "cloneable": True,
}
CALLS = [
    ("GET", "/folders", {"all": False, "group_id": "x", "owner_user_email": "x"}),
    ("POST", "/folders", {"name": "data", **OPTIONS, "unmanaged_path": "x"}),
    ("DELETE", "/folders", {"id": "nothing"}),
    ("POST", "/folders/data/rename", {"new_name": "data"}),
    ("POST", "/folders/data/update-options", {"permission": "ro", "cloneable": True}),
    ("POST", "/folders/data/clone", {"target_name": "home", "target_host": "local:data", **OPTIONS}),
    ("POST", "/folders/restore-from-trash-bin", {"id": "data"}),
    ("POST", "/folders/delete-from-trash-bin", {"vfolder_id": "data"}),
    ("GET", "/folders/_/quota", {"id": "data"}),
    ("POST", "/folders/_/quota", {"id": "data", "input": {}, "quota": 1}),
    ("POST", "/folders/_/quota", {"id": "data", "size_bytes": 1}),
    ("GET", "/folders/_/used-bytes", {"id": "data"}),
    ("GET", "/folders/data/files", {"path": "x", "offset": 0, "limit": 1, "match": "x"}),
    ("POST", "/folders/data/mkdir", {"path": "sub", "parents": True, "exist_ok": True}),
    ("POST", "/folders/data/rename-file", {"target_path": "sub", "new_name": "sub"}),
    ("POST", "/folders/data/move-file", {"src": "sub", "dst": "sub"}),
    ("DELETE", "/folders/data/delete-files", {"files": ["no"], "recursive": True}),
    ("POST", "/folders/data/request-upload", {"path": "x", "size": 1}),
    ("POST", "/folders/data/request-download", {"path": "sub", "archive": True}),
    ("POST", "/folders/data/invite", {"perm": "rw", "user_ids": ["zoe"]}),
    ("POST", "/folders/invitations/accept", {"inv_id": "x"}),
    ("DELETE", "/folders/invitations/delete", {"inv_id": "x"}),
    ("POST", "/folders/invitations/update/x", {"perm": "rw"}),
    ("POST", "/folders/data/share", {"permission": "rw", "emails": ["zoe"]}),
    ("DELETE", "/folders/data/unshare", {"emails": ["zoe"]}),
    ("POST", "/folders/data/leave", {"shared_user_uuid": None}),
    ("GET", "/folders/_/shared", {"vfolder_id": "x"}),
    ("POST", "/folders/_/change-ownership", {"vfolder": "data", "user_email": "zoe@localhost"}),
    ("POST", "/folders/_/shared", {"vfolder": "data", "user": "x", "perm": "rw"}),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=[f"{method} {path}" for method, path, _ in CALLS])
async def test_no_value_makes_a_call_fail(agent, admin, disk, method, path, body):
    place = disk.folder(await admin.post("/folders", {"name": "data"}))
    for field in body:
        for value in STRANGE:
            answer = await admin.call(method, path, {**body, field: value})
            assert answer.status < 500, (field, value, answer.body)
            if answer.status >= 400:
                assert answer.json["msg"], (field, value)
    assert set(os.listdir(place)) <= {"sub"}
    assert {one["name"] for one in await admin.get("/folders")} == {"data", "home"}


@pytest.mark.parametrize("path", ["/storage/upload", "/storage/download"])
@pytest.mark.parametrize("token", ["", "x", "bai2.e30.x", "bai2..", "%C3%BC", "x" * 10_000])
async def test_no_token_opens_or_breaks_anything(agent, admin, path, token):
    for method in ("GET", "HEAD", "PATCH", "POST", "DELETE"):
        answer = await admin.call(method, f"{path}?token={token}", {})
        assert 400 <= answer.status < 500
