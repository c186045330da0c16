"""Folders as the official client uses them: a whole life, files both ways, and people who share."""

import json
import os

import pytest

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]


@pytest.fixture
def vfolder(client):
    """``await vfolder("create", …)``: a command that must succeed; what it printed."""
    return _commands(client)


def _commands(client):
    async def run(*words, answers=""):
        finished = await client.cli("vfolder", *words, answers=answers)
        assert finished.code == 0, finished
        return finished.out

    return run


async def test_cli_leads_a_folder_through_its_life(vfolder, holder, admin, disk):
    assert "Usable hosts: local:data, local:home" in await vfolder("list-hosts")
    assert "['user', 'group']" in await vfolder("list-allowed-types")
    await vfolder("create", "-q", "10m", "-m", "data", "raw", "local:data")
    await vfolder("rename", "raw", "data")
    place = disk.folder(await admin.get("/folders/data"))
    (place / "x").write_text("x")
    shown = await vfolder("info", "data")
    for line in ("- Owner: True", "- Permission: wd", "- Number of files: 1", "- Usage Mode: data", "- Status: ready"):
        assert line in shown
    assert "Clone is not allowed" in await vfolder("clone", "data", "copy", "local:data")
    await vfolder("update-options", "--set-cloneable", "true", "data")
    await vfolder("clone", "data", "copy", "local:data")
    assert (disk.folder(await admin.get("/folders/copy")) / "x").read_text() == "x"
    await vfolder("delete", "data")
    assert (await admin.get("/folders/data"))["status"] == "delete-pending"
    await admin.post("/folders/data/undelete", status=204)
    await vfolder("delete", "data")
    await admin.post("/folders/data/purge", status=204)
    assert not place.exists()


async def test_cli_carries_files(vfolder, client, holder, admin, disk):
    await vfolder("create", "data", "local:data")
    place = disk.folder(await admin.get("/folders/data"))
    content = os.urandom(20_000_000)  # more than one chunk of 16 MiB
    (client.home / "big.bin").write_bytes(content)
    (client.home / "tree" / "sub").mkdir(parents=True)
    (client.home / "tree" / "sub" / "x").write_text("x")
    (client.home / "tree" / "empty").touch()
    await vfolder("upload", "data", "big.bin")
    assert (place / "big.bin").read_bytes() == content
    await vfolder("upload", "-r", "data", "tree")
    assert (place / "tree" / "sub" / "x").read_text() == "x"
    assert (place / "tree" / "empty").stat().st_size == 0

    await vfolder("mkdir", "-p", "data", "new/deep")
    await vfolder("mv", "data", "big.bin", "new")
    await vfolder("rename-file", "data", "new/big.bin", "large.bin")
    listed = await vfolder("ls", "data", "new")
    assert "large.bin" in listed
    assert "20000000" in listed

    (client.home / "new").mkdir()
    await vfolder("download", "data", "new/large.bin")
    assert (client.home / "new" / "large.bin").read_bytes() == content
    await vfolder("rm", "-r", "data", "new", "tree/sub/x", answers="y\n")
    assert sorted(os.listdir(place)) == ["tree"]
    assert os.listdir(place / "tree" / "sub") == []


async def test_cli_refusals(client, vfolder, holder, admin):
    await vfolder("create", "data", "local:data")
    for words, expected in [
        (("create", "data", "local:data"), "The virtual folder already exists with the same name."),
        (("create", "other", "nas:big"), "No such virtual folder host."),
        (("mkdir", "data", "../x"), "Missing or invalid API parameters."),
        (("info", "nothing"), "No such virtual folder."),
        (("delete", "home"), "Virtual folder operation has failed."),
    ]:
        refused = await client.cli("vfolder", *words)
        assert refused.code != 0, words
        assert expected in refused.out + refused.err


async def test_two_people_share_by_cli(vfolder, make_client, make_user, holder, admin, disk):
    alice = make_client(await make_user("alice"))
    theirs = _commands(alice)
    await vfolder("create", "data", "local:data")
    (disk.folder(await admin.get("/folders/data")) / "x").write_text("hello")
    assert "- alice" in await vfolder("invite", "data", "alice@localhost", "-p", "ro")
    assert "You can now access vfolder data" in await theirs("invitations", answers="1\na\n")
    assert "- Owner: False" in (shown := await theirs("info", "data"))
    assert "- Permission: ro" in shown
    await theirs("download", "data", "x")
    assert (alice.home / "x").read_text() == "hello"
    refused = await alice.cli("vfolder", "mkdir", "data", "new")
    assert refused.code != 0
    assert "403" in refused.out + refused.err
    assert "Left the shared virtual folder" in await theirs("leave", "data")
    assert (await alice.cli("vfolder", "info", "data")).code != 0


async def test_admins_commands(client, make_client, make_user, holder, admin):
    """Shares are seen, changed and taken away, and a folder gets another owner, by ids."""
    alice, bob = await make_user("alice"), await make_user("bob")
    made = await admin.post("/folders", {"name": "data"})
    await admin.post("/folders/data/invite", {"perm": "ro", "user_ids": ["alice@localhost"]})
    (invitation,) = (await alice.get("/folders/invitations/list"))["invitations"]
    await alice.post("/folders/invitations/accept", {"inv_id": invitation["id"]}, status=200)
    alice_id = (await alice.get("/auth"))["user"]["id"]

    def of_admins(*words):
        return ["admin", "vfolder", *words]

    hosts, listed, shown, changed = await client.clis(
        of_admins("list-hosts"),
        of_admins("list-shared-vfolders"),
        of_admins("shared-vfolder-info", made["id"]),
        of_admins("update-shared-vf-permission", made["id"], alice_id, "-p", "rw"),
    )
    assert "Mounted hosts: local:data, local:home" in hosts.out
    for line in ('Virtual folder "data"', "- Owner: admin@localhost", "- Permission: ro", "alice@localhost"):
        assert line in listed.out, listed
        assert line in shown.out, shown
    assert "Updated." in changed.out
    assert (await alice.get("/folders/data"))["permission"] == "rw"
    removed, given, refused = await client.clis(
        of_admins("remove-shared-vf-permission", made["id"], alice_id),
        of_admins("change-vfolder-ownership", made["id"], "bob@localhost"),
        of_admins("change-vfolder-ownership", made["id"], "zoe@localhost"),
    )
    assert "Removed." in removed.out
    assert (await alice.call("GET", "/folders/data")).status == 404
    assert "goes to User:bob@localhost" in given.out
    assert (await bob.get("/folders/data"))["is_owner"]
    assert refused.code != 0
    assert "404" in refused.out + refused.err


async def test_volumes_by_cli(client, holder):
    listed, shown, types, registries = await client.clis(
        ["--output", "json", "admin", "storage", "list"],
        ["admin", "storage", "info", "local:data"],
        ["admin", "resource", "vfolder-types"],
        ["admin", "resource", "docker-registries"],
    )
    assert [one["id"] for one in json.loads(listed.out)["items"]] == ["local:data", "local:home"]
    for word in ("local:data", "vfs", "healthy", "lab-1"):
        assert word in shown.out, shown
    assert types.out.split() == ["user", "group"]
    assert (registries.code, registries.out, registries.err) == (0, "", "")


async def test_a_projects_folder_is_shared_by_cli(make_client, make_user, holder):
    boss, alice = await make_user("boss", "admin"), await make_user("alice")
    managing = _commands(make_client(boss))
    await managing("create", "-g", "default", "-p", "ro", "lab", "local:data")
    assert (await alice.get("/folders/lab"))["permission"] == "ro"
    assert "- alice" in await managing("share", "lab", "alice@localhost", "-p", "rw")
    assert (await alice.get("/folders/lab"))["permission"] == "rw"
    assert "- alice" in await managing("unshare", "lab", "alice@localhost")
    assert (await alice.get("/folders/lab"))["permission"] == "ro"


async def test_sdk(client, holder, admin, helpers):
    made = await client.sdk('result = api.VFolder.create("data", host="local:data", quota="1g", cloneable=True)')
    keys = "name id quota_scope_id host status usage_mode created_at is_owner permission user group creator user_email"
    keys += " group_name ownership_type type cloneable max_files max_size cur_size"
    assert set(keys.split()) <= made.keys()
    assert [one["name"] for one in await client.sdk("result = api.VFolder.list()")] == ["data", "home"]
    mounted = """
        made = api.ComputeSession.get_or_create(
            "{image}", name="official", enqueue_only=True, resources={{"cpu": "1", "mem": "1g"}},
            architecture="x86_64", mounts=["data"], mount_map={{"data": "/home/work/here"}}
        )
        result = made.status
    """
    await client.sdk(mounted.format(image=helpers.image.name))
    view = await admin.until_status("official", "RUNNING")
    assert ("data", "/home/work/here") in {(one["name"], one["target"]) for one in view["mounts"]}
    await client.sdk(f'result = api.VFolder.delete_by_id("{made["id"]}")')
    assert (await admin.get("/folders/data"))["status"] == "delete-pending"
