"""``/bai/api`` for folders, apps and capacity, in a real server in front of a real manager."""

from collections.abc import Callable
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from real_manager import RealManager


async def make(bai: Callable[..., Any], name: str, **more: str) -> str:
    status, made = await bai("POST", "folders", {"name": name, **more})
    assert status == 201
    return str(made["id"])


async def listed(bai: Callable[..., Any]) -> dict[str, Any]:
    _, answer = await bai("GET", "folders")
    return {one["name"]: one for one in answer["folders"]}


async def test_a_folder_is_made_renamed_trashed_and_restored(bai: Callable[..., Any]) -> None:
    folder = await make(bai, "first", quota="1g")
    facts = (await listed(bai))["first"]
    assert (facts["permission"], facts["max_size"], facts["quota_kind"], facts["is_owner"]) == (
        "wd",
        2**30,
        "soft",
        True,
    )
    assert await bai("PATCH", f"folders/{folder}", {"name": "second"}) == (204, None)
    assert await bai("DELETE", f"folders/{folder}") == (204, None)
    assert (await listed(bai))["second"]["status"] == "delete-pending"
    assert await bai("POST", f"folders/{folder}/restore") == (204, None)
    assert (await listed(bai))["second"]["status"] == "ready"


async def test_what_all_folders_together_hold_of_what_they_may(bai: Callable[..., Any], cluster: RealManager) -> None:
    folder = await make(bai, "first")
    assert (await listed(bai))["first"]["quota_scope_used"] is None
    cluster.limit_folders(1000)
    cluster.write_file(folder, "x", 700)
    shown = (await listed(bai))["first"]
    cluster.limit_folders(0)
    names = ("host", "quota_scope_max_size", "quota_scope_kind", "quota_scope_used")
    assert [shown[name] for name in names] == ["local:data", 1000, "soft", 700]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("POST", "folders", {"name": "a/b"}, 400, "a/b"),
        ("POST", "folders", {"name": "good", "quota": "much"}, 400, "quota"),
        ("POST", "folders", {}, 400, "name"),
        ("POST", "folders", ["data"], 400, "body"),
        ("PATCH", "folders/nothing", {"name": "x"}, 404, "nothing"),
        ("DELETE", "folders/nothing", None, 404, "nothing"),
        ("POST", "folders/nothing/restore", None, 404, "nothing"),
        ("GET", "folders/nothing/files", None, 404, "nothing"),
        ("GET", "folders/home/files?offset=-1", None, 400, "offset"),
        ("GET", "folders/home/files?limit=100000", None, 400, "limit"),
        ("GET", f"folders/home/files?limit={'9' * 5000}", None, 400, "limit"),
        ("POST", "folders/home/directories", {"path": "../up"}, 400, "../up"),
        ("POST", "folders/home/uploads", {"path": "x"}, 400, "size"),
        ("PATCH", "uploads", b"x", 400, "Upload-Offset"),
        ("GET", "uploads", None, 401, ""),
        ("POST", "invitations/nothing", None, 404, "nothing"),
        ("GET", "sessions/nothing/apps", None, 404, "nothing"),
        ("POST", "sessions/nothing/apps/8080", None, 404, "nothing"),
        ("POST", "sessions/nothing/extend", None, 404, "nothing"),
        ("POST", "sessions/nothing/folders", {"folder": "home"}, 404, "nothing"),
        ("DELETE", "sessions/nothing/folders/home", None, 404, "nothing"),
        ("POST", "sessions/nothing/resize", {"resources": {"mem": "8g"}}, 404, "nothing"),
        ("POST", "sessions/nothing/resize", {"resources": ["8g"]}, 400, "resources"),
    ],
)
async def test_refusals(bai: Callable[..., Any], method: str, path: str, body: Any, status: int, sentence: str) -> None:
    before = await listed(bai)
    code, answer = await bai(method, path, body)
    assert code == status, answer
    assert sentence in answer["message"]
    assert await listed(bai) == before


async def test_a_file_goes_up_in_pieces_and_comes_down_again(bai: Callable[..., Any], jp_fetch: Any) -> None:
    folder = await make(bai, "files")
    assert await bai("POST", f"folders/{folder}/directories", {"path": "raw/2026"}) == (204, None)
    content = bytes(range(256)) * 8192
    _, begun = await bai("POST", f"folders/{folder}/uploads", {"path": "raw/ä b.bin", "size": len(content)})
    upload = {"Upload-Token": begun["token"]}
    half = len(content) // 2
    assert await bai("PATCH", "uploads", content[:half], headers={**upload, "Upload-Offset": "0"}) == (
        200,
        {"offset": half},
    )
    assert await bai("GET", "uploads", headers=upload) == (200, {"offset": half})
    _, page = await bai("GET", f"folders/{folder}/files?path=raw")
    assert [one["name"] for one in page["items"]] == ["2026"]
    _, end = await bai("PATCH", "uploads", content[half:], headers={**upload, "Upload-Offset": str(half)})
    assert end == {"offset": len(content)}
    _, page = await bai("GET", f"folders/{folder}/files?path=raw&offset=1&limit=1")
    assert ([(one["name"], one["type"], one["size"]) for one in page["items"]], page["total"], page["offset"]) == (
        [("ä b.bin", "FILE", len(content))],
        2,
        1,
    )
    answer = await jp_fetch("bai", "api", "folders", folder, "download", params={"path": "raw/ä b.bin"})
    assert answer.body == content
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%A4%20b.bin"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert (await bai("GET", f"folders/{folder}/download?path=missing"))[0] == 404
    answer = await jp_fetch("bai", "api", "folders", folder, "download", params={"path": "raw", "archive": "true"})
    assert (answer.headers["Content-Type"], "raw.zip" in answer.headers["Content-Disposition"]) == (
        "application/zip",
        True,
    )
    with ZipFile(BytesIO(answer.body)) as archive:
        assert archive.read("raw/ä b.bin") == content
    assert (await bai("GET", f"folders/{folder}/download?path=missing&archive=true"))[0] == 404
    await bai("POST", f"folders/{folder}/uploads", {"path": "empty", "size": 0})
    assert (await jp_fetch("bai", "api", "folders", folder, "download", params={"path": "empty"})).body == b""


async def test_a_dropped_upload_leaves_nothing(bai: Callable[..., Any]) -> None:
    folder = await make(bai, "dropped")
    _, begun = await bai("POST", f"folders/{folder}/uploads", {"path": "x", "size": 2})
    upload = {"Upload-Token": begun["token"]}
    await bai("PATCH", "uploads", b"a", headers={**upload, "Upload-Offset": "0"})
    assert await bai("DELETE", "uploads", headers=upload) == (204, None)
    assert await bai("GET", "uploads", headers=upload) == (200, {"offset": 0})


async def test_a_folder_is_shared_and_taken(bai: Callable[..., Any], cluster: RealManager) -> None:
    kim = cluster.add_user("kim")
    folder = await make(bai, "shared")
    asked = {"person": "kim@localhost", "permission": "ro"}
    assert await bai("POST", f"folders/{folder}/invite", asked) == (200, {"invited": ["kim@localhost"]})
    assert await bai("POST", f"folders/{folder}/invite", asked) == (200, {"invited": []})
    code, answer = await bai("POST", f"folders/{folder}/invite", {**asked, "person": "zoe@localhost"})
    assert (code, "zoe@localhost" in answer["message"]) == (404, True)

    theirs = cluster.ask("POST", "/folders", {"name": "theirs"}, kim)["id"]
    declined = cluster.ask("POST", "/folders", {"name": "declined"}, kim)["id"]
    for one in (theirs, declined):
        cluster.ask("POST", f"/folders/{one}/invite", {"perm": "rw", "user_ids": ["admin@localhost"]}, kim)
    _, answer = await bai("GET", "invitations")
    invitations = {one["vfolder_name"]: one["id"] for one in answer["invitations"]}
    assert await bai("POST", f"invitations/{invitations['theirs']}") == (204, None)
    assert await bai("DELETE", f"invitations/{invitations['declined']}") == (204, None)
    assert (await bai("GET", "invitations"))[1] == {"invitations": []}
    folders = await listed(bai)
    assert (folders["theirs"]["permission"], folders["theirs"]["user_email"]) == ("rw", "kim@localhost")
    assert "declined" not in folders


async def test_an_app_is_behind_jupyter_s_login(
    bai: Callable[..., Any], cluster: RealManager, jp_base_url: str
) -> None:
    session = cluster.start_session("served", preopen_ports=[8080])
    _, answer = await bai("GET", f"sessions/{session}/apps")
    terminal = {"name": "ttyd", "protocol": "http", "ports": [7681]}
    assert answer == {"apps": [terminal, {"name": "8080", "protocol": "preopen", "ports": [8080]}]}
    _, answer = await bai("POST", f"sessions/{session}/apps/8080")
    assert answer["link"] == f"{jp_base_url}bai/apps/{session}/8080/"  # followed in test_app_proxy
    cluster.ask("DELETE", f"/session/{session}")


async def test_a_folder_comes_to_a_running_session_and_goes(bai: Callable[..., Any], cluster: RealManager) -> None:
    session = cluster.start_session("work")
    folder = await make(bai, "late")
    status, answer = await bai("POST", f"sessions/{session}/folders", {"folder": folder, "read_only": True})
    late = {"folder": folder, "name": "late", "target": "/home/work/late", "read_only": True}
    assert (status, answer["mounts"][-1]) == (200, late)
    status, answer = await bai("DELETE", f"sessions/{session}/folders/{folder}?force=true")
    assert (status, [one["name"] for one in answer["mounts"]]) == (200, ["home"])
    cluster.ask("DELETE", f"/session/{session}")


async def test_a_running_session_gets_more_memory_or_the_figures_why_not(
    bai: Callable[..., Any], cluster: RealManager
) -> None:
    session = cluster.start_session("small")
    status, answer = await bai("POST", f"sessions/{session}/resize", {"resources": {"mem": "8g"}})
    assert (status, answer) == (200, {"slots": {"cpu": "2", "mem": str(8 * 2**30)}})
    status, answer = await bai("POST", f"sessions/{session}/resize", {"resources": {"mem": "64g"}})
    assert (status, "asked for 64 GiB" in answer["message"]) == (412, True), answer
    cluster.ask("DELETE", f"/session/{session}")


async def test_capacity(bai: Callable[..., Any]) -> None:
    status, answer = await bai("GET", "capacity")
    assert status == 200
    assert {"keypair_limits", "user_using", "group_remaining", "presets"} <= answer.keys()
    assert all("allocatable" in one for one in answer["presets"])


async def test_who_has_a_folder_what_they_may_and_that_they_no_longer_do(
    bai: Callable[..., Any], cluster: RealManager
) -> None:
    folder = await make(bai, "members")
    mia = cluster.add_user("mia")
    assert await bai("GET", f"folders/{folder}/members") == (200, {"members": []})
    cluster.ask("POST", "/folders/members/invite", {"perm": "ro", "user_ids": ["mia@localhost"]})
    invitation = cluster.ask("GET", "/folders/invitations/list", config=mia)["invitations"][0]["id"]
    cluster.ask("POST", "/folders/invitations/accept", {"inv_id": invitation}, mia)
    _, answer = await bai("GET", f"folders/{folder}/members")
    (member,) = answer["members"]
    assert (member["email"], member["permission"]) == ("mia@localhost", "ro")
    path = f"folders/{folder}/members"
    assert await bai("PATCH", path, {"member": member["id"], "permission": "rw"}) == (204, None)
    assert (await bai("GET", path))[1]["members"][0]["permission"] == "rw"
    status, refused = await bai("PATCH", path, {"member": "nobody", "permission": "rw"})
    assert (status, refused["code"]) == (404, "person-unknown")
    status, refused = await bai("PATCH", path, {"member": member["id"], "permission": "all"})
    assert status == 400
    assert await bai("PATCH", path, {"member": member["id"]}) == (204, None)
    assert await bai("GET", path) == (200, {"members": []})
    assert "members" not in [one["name"] for one in cluster.ask("GET", "/folders", config=mia)]


async def test_a_folder_is_purged_from_the_trash_only(bai: Callable[..., Any]) -> None:
    folder = await make(bai, "purged")
    status, _ = await bai("POST", f"folders/{folder}/purge")
    assert 400 <= status < 500
    assert (await listed(bai))["purged"]["status"] == "ready"
    await bai("DELETE", f"folders/{folder}")
    assert await bai("POST", f"folders/{folder}/purge") == (204, None)
    assert "purged" not in await listed(bai)


async def test_the_projects_that_one_is_in(bai: Callable[..., Any]) -> None:
    assert await bai("GET", "projects") == (200, {"projects": ["default"]})
