"""``bai vfolder`` against a real manager and real volumes."""

import asyncio
import io
import json
import os
from pathlib import Path

import pytest

from bai_jupyter import cli
from bai_jupyter.cli.terminal import Exit
from bai_jupyter.client import ClientConfig, ManagerAway, ManagerClient, transfers
from bai_jupyter.manager.db import tables as t

pytestmark = pytest.mark.asyncio


@pytest.fixture
def bai_of(monkeypatch, capsys, tmp_path):
    """``await bai_of(signed)("list")``: run a command as a user, in a thread; exit code, stdout, stderr."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def of(signed):
        async def run(*words):
            monkeypatch.setenv("BACKEND_ENDPOINT", signed.endpoint)
            monkeypatch.setenv("BACKEND_ACCESS_KEY", signed.access_key)
            monkeypatch.setenv("BACKEND_SECRET_KEY", signed.secret_key)
            capsys.readouterr()
            code = await asyncio.to_thread(cli.main, ["vfolder", *words])
            captured = capsys.readouterr()
            return code, captured.out, captured.err

        return run

    return of


async def test_a_folder_is_made_listed_deleted_and_restored(agent, admin, bai_of):
    bai = bai_of(admin)
    assert await bai("create", "data", "--quota", "1g") == (Exit.DONE, "data: ready on local:data\n", "")
    code, out, _ = await bai("list")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["data", "Ready", "you", "write", "0", "B", "of", "1", "GiB", "(soft)", "local:data"],
        ["home", "Ready", "you", "write", "0", "B", "local:home"],
        ["2", "folders."],
    ]
    code, out, err = await bai("create", "data")
    assert (code, err) == (Exit.REFUSED, "Refused: You already have a folder data.\n")
    code, out, _ = await bai("delete", "data")
    assert out == "data: in the trash. Undo: bai vfolder restore data\n"
    assert "In the trash" in (await bai("list"))[1]
    assert (await bai("restore", "data"))[1] == "data: ready\n"
    code, _, err = await bai("delete", "data", "--for-good")
    assert (code, "say --yes" in err) == (Exit.USAGE, True)
    code, out, err = await bai("delete", "data", "nothing", "--for-good", "--yes")
    assert (code, out) == (Exit.NOT_FOUND, "data: gone for good\n")
    assert json.loads((await bai("list", "--json"))[1])["folders"][0]["name"] == "home"


async def test_a_list_says_what_all_folders_together_may_hold(agent, admin, bai_of, manager, disk):
    await manager.services.people.create_policy("small", {"max_quota_scope_size": 1024**3})
    await manager.store.write(lambda conn: conn.execute(t.users.update().values(resource_policy="small")))
    bai = bai_of(admin)
    for name in ("one", "two"):
        await bai("create", name)
    told = [line for line in (await bai("list"))[1].splitlines() if "together" in line]
    mail = (await admin.get("/folders/one"))["user_email"]
    limits = [
        f"All folders of {mail} on {host} together: 0 B of 1 GiB (soft)." for host in ("local:data", "local:home")
    ]
    assert told == limits

    (disk.folder(await admin.get("/folders/one")) / "x").write_bytes(bytes(3 * 1024))
    await manager.services.people.modify_policy("small", {"max_vfolder_size": 2048, "max_quota_scope_size": 1024})
    lines = (await bai("list"))[1].splitlines()
    over = "That is more than they may: nothing can be uploaded until enough is deleted."
    assert f"All folders of {mail} on local:data together: 3 KiB of 1 KiB (soft). {over}" in lines
    assert "one holds more than it may: nothing can be uploaded until enough of it is deleted." in lines
    assert not [line for line in lines if line.startswith("two holds")]


async def test_files_go_there_and_come_back(agent, admin, bai_of, disk, monkeypatch):
    monkeypatch.setattr(transfers, "TRANSFER_BYTES", 1_000_000)
    bai = bai_of(admin)
    await bai("create", "data")
    content = os.urandom(2_500_000)
    Path("big.bin").write_bytes(content)
    (Path("tree") / "sub").mkdir(parents=True)
    (Path("tree") / "sub" / "x").write_text("x")
    (Path("tree") / "empty").touch()
    code, out, _ = await bai("put", "big.bin", "tree", "data:in/here")
    assert code == Exit.DONE
    assert out.splitlines() == [
        "data:in/here/big.bin",
        "data:in/here/tree/empty",
        "data:in/here/tree/sub/x",
    ]
    place = disk.folder(await admin.get("/folders/data")) / "in" / "here"
    assert (place / "big.bin").read_bytes() == content
    assert (place / "tree" / "sub" / "x").read_text() == "x"
    _, out, _ = await bai("ls", "data:in/here")
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "SIZE", "MODE"],
        ["big.bin", "2.4", "MiB", "-rw-r--r--"],
        ["tree/", "\N{EN DASH}", "drwxr-xr-x"],
        ["2", "items."],
    ]
    assert "1 shown, from 1 on" in (await bai("ls", "data:in/here", "--offset", "1"))[1]
    assert (await bai("get", "data:in/here/big.bin", "back.bin"))[:2] == (Exit.DONE, "back.bin\n")
    assert Path("back.bin").read_bytes() == content
    assert (await bai("get", "data:in/here/tree/empty"))[0] == Exit.DONE
    assert Path("empty").stat().st_size == 0
    code, _, err = await bai("get", "data:in/here/big.bin", "back.bin")
    assert (code, "is there already" in err) == (Exit.USAGE, True)
    assert (await bai("get", "data:no"))[0] == Exit.NOT_FOUND
    assert (await bai("put", "no", "data"))[0] == Exit.USAGE
    assert sorted(os.listdir(".")) == ["back.bin", "big.bin", "empty", "tree"]


async def test_people_share(agent, admin, make_user, bai_of):
    alice = await make_user("alice")
    owner, guest = bai_of(admin), bai_of(alice)
    await owner("create", "data")
    invited = await owner("share", "data", "alice@localhost", "--can", "write")
    assert invited[1] == "alice@localhost: invited to data, can write\n"
    assert "alice@localhost has data, or was invited, already." in (await owner("share", "data", "alice@localhost"))[2]
    assert (await owner("share", "data", "zoe@localhost"))[0] == Exit.NOT_FOUND
    assert (await guest("accept"))[1].splitlines()[1:] == ["data    admin@localhost  write", "1 invitation."]
    assert (await guest("accept", "nothing"))[0] == Exit.NOT_FOUND
    assert (await guest("accept", "data"))[1] == "data: yours to write now\n"
    assert "data  Ready   admin@localhost  write" in (await guest("list"))[1]
    assert (await owner("unshare", "data", "zoe@localhost"))[0] == Exit.NOT_FOUND
    assert (await owner("unshare", "data", "alice@localhost"))[1] == "alice@localhost: has data no more\n"
    assert "data" not in (await guest("list"))[1]
    await owner("share", "data", "alice@localhost")
    await guest("accept", "data")
    assert (await guest("leave", "data"))[1] == "data: not yours any more\n"
    assert "data" not in (await guest("list"))[1]


async def test_a_folder_gets_another_name_and_a_copy_and_its_files_are_moved(agent, admin, bai_of, disk):
    bai = bai_of(admin)
    await bai("create", "data")
    Path("x").write_text("x")
    await bai("put", "x", "data")
    assert (await bai("mkdir", "data:a/b", "data:c"))[1] == "data:a/b: is there\ndata:c: is there\n"
    assert (await bai("mv", "data:x", "a/b"))[1] == "data:x: moved to a/b\n"
    place = disk.folder(await admin.get("/folders/data"))
    assert (place / "a" / "b" / "x").read_text() == "x"
    assert (await bai("rm", "data", "--yes"))[0] == Exit.USAGE
    assert (await bai("rm", "data:c"))[0] == Exit.USAGE  # nobody was asked
    assert (await bai("rm", "data:c", "data:no", "--yes"))[:2] == (Exit.NOT_FOUND, "data:c: deleted\n")
    assert sorted(os.listdir(place)) == ["a"]
    assert (await bai("rename", "data", "raw"))[1] == "data: called raw now\n"
    assert (await bai("clone", "raw", "copy"))[1] == "copy: a copy of raw, ready on local:data\n"
    assert (disk.folder(await admin.get("/folders/copy")) / "a" / "b" / "x").read_text() == "x"


async def test_a_transfer_goes_on_after_a_broken_connection(agent, admin, disk, monkeypatch):
    """Every second piece is lost on its way, or its answer is."""
    monkeypatch.setattr(transfers, "TRANSFER_BYTES", 100_000)
    monkeypatch.setattr(transfers, "_pause_s", lambda failures: 0)
    await admin.post("/folders", {"name": "data"})
    content = os.urandom(950_000)
    config = ClientConfig(admin.endpoint, admin.access_key, admin.secret_key)
    async with ManagerClient(config) as manager:
        carry, calls = manager._carry, []

        async def lose(method, path, token, headers, content=b""):
            calls.append(method)
            is_lost = method in ("PATCH", "GET") and calls.count(method) % 2
            answer = (
                None if is_lost and calls.count(method) % 4 == 1 else await carry(method, path, token, headers, content)
            )
            if is_lost:
                raise ManagerAway(admin.endpoint)
            return answer

        monkeypatch.setattr(manager, "_carry", lose)
        await manager.upload("data", "x", io.BytesIO(content), len(content))
        got = io.BytesIO()
        await manager.download("data", "x", got)
    assert got.getvalue() == content
    assert (disk.folder(await admin.get("/folders/data")) / "x").read_bytes() == content
    assert calls.count("PATCH") > 10


MANY = [100, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]


@pytest.mark.parametrize("count", MANY)
async def test_many_small_files_arrive_whole(agent, admin, bai_of, disk, count):
    bai = bai_of(admin)
    await bai("create", "data")
    Path("tree").mkdir()
    sent = {f"{number:04}": f"{number} " * (number % 50) for number in range(count)}
    for name, text in sent.items():
        (Path("tree") / name).write_text(text)
    code, _, err = await bai("put", "-q", "tree", "data:")
    assert (code, err) == (Exit.DONE, "")
    place = disk.folder(await admin.get("/folders/data"))
    assert {one.name: one.read_text() for one in (place / "tree").iterdir()} == sent
    assert (await admin.get("/folders/data"))["num_files"] == count
    assert _drafts(disk) == []


async def test_a_limit_reached_in_a_tree_keeps_whole_files_only(agent, admin, bai_of, disk, monkeypatch):
    monkeypatch.setattr(transfers, "TRANSFER_BYTES", 100 * 1024)
    bai = bai_of(admin)
    await bai("create", "data", "--quota", "1m")
    Path("tree").mkdir()
    for name in "abcd":
        (Path("tree") / name).write_bytes(bytes(300 * 1024))
    code, out, err = await bai("put", "tree", "data:")
    assert (code, out.splitlines()) == (Exit.REFUSED, [f"data:tree/{name}" for name in "abc"])
    assert "data may hold 1 MiB; 900 KiB used, tree/d needs 300 KiB: 176 KiB too much." in err
    place = disk.folder(await admin.get("/folders/data"))
    assert {one.name: one.stat().st_size for one in (place / "tree").iterdir()} == dict.fromkeys("abc", 300 * 1024)
    assert _drafts(disk) == []


def _drafts(disk):
    """What is left of uploads that are not complete."""
    return [one for one in disk.volumes["local:data"].glob(".uploads/*/*") if one.is_file()]
