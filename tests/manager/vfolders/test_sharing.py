"""Folders used by several people: invitations, shares of project folders, and what each permission allows."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from bai_jupyter.manager.db import tables as t

pytestmark = pytest.mark.asyncio


async def status_of(client, method, path, body=None):
    return (await client.call(method, path, body or {})).status


async def invited(owner, guest, perm, name="data"):
    """The guest's view of a folder of the owner that was made, shared and accepted."""
    await owner.post("/folders", {"name": name})
    await owner.post(f"/folders/{name}/invite", {"perm": perm, "user_ids": ["alice@localhost"]})
    (invitation,) = (await guest.get("/folders/invitations/list"))["invitations"]
    await guest.post("/folders/invitations/accept", {"inv_id": invitation["id"]}, status=200)
    return await guest.get(f"/folders/{name}")


async def test_an_invitation_is_sent_once_and_accepted(agent, admin, make_user):
    alice = await make_user("alice")
    made = await admin.post("/folders", {"name": "data"})
    invite = {"perm": "ro", "user_ids": ["alice@localhost"]}
    assert (await admin.post("/folders/data/invite", invite)) == {"invited_ids": ["alice@localhost"]}
    assert (await admin.post("/folders/data/invite", invite)) == {"invited_ids": []}
    (invitation,) = (await alice.get("/folders/invitations/list"))["invitations"]
    people = {"inviter": "admin@localhost", "invitee": "alice@localhost"}
    facts = {**people, "perm": "ro", "state": "pending", "vfolder_name": "data"}
    assert invitation.items() >= {**facts, "vfolder_id": made["id"]}.items()
    (sent,) = (await admin.get("/folders/invitations/list-sent"))["invitations"]
    assert sent == invitation
    await admin.post(f"/folders/invitations/update/{sent['id']}", {"perm": "rw"}, status=200)
    assert await status_of(alice, "GET", "/folders/data") == 404
    await alice.post("/folders/invitations/accept", {"inv_id": invitation["id"]}, status=200)
    theirs = await alice.get("/folders/data")
    assert (theirs["permission"], theirs["is_owner"], theirs["user_email"]) == ("rw", False, "admin@localhost")
    assert (await admin.post("/folders/data/invite", invite)) == {"invited_ids": []}
    assert await status_of(alice, "POST", "/folders/invitations/accept", {"inv_id": invitation["id"]}) == 404


async def test_an_invitation_is_declined_or_taken_back(agent, admin, make_user):
    alice, bob = await make_user("alice"), await make_user("bob")
    await admin.post("/folders", {"name": "data"})
    for who in (alice, admin):
        await admin.post("/folders/data/invite", {"perm": "rw", "user_ids": ["alice@localhost"]})
        (invitation,) = (await alice.get("/folders/invitations/list"))["invitations"]
        assert await status_of(bob, "DELETE", "/folders/invitations/delete", {"inv_id": invitation["id"]}) == 404
        assert await status_of(bob, "POST", "/folders/invitations/accept", {"inv_id": invitation["id"]}) == 404
        assert await status_of(who, "DELETE", "/folders/invitations/delete", {"inv_id": invitation["id"]}) == 200
        assert (await alice.get("/folders/invitations/list"))["invitations"] == []


async def test_a_name_in_use_keeps_an_invitation_open(agent, admin, make_user):
    alice = await make_user("alice")
    await alice.post("/folders", {"name": "data"})
    await admin.post("/folders", {"name": "data"})
    await admin.post("/folders/data/invite", {"perm": "rw", "user_ids": ["alice@localhost"]})
    (invitation,) = (await alice.get("/folders/invitations/list"))["invitations"]
    assert await status_of(alice, "POST", "/folders/invitations/accept", {"inv_id": invitation["id"]}) == 400
    await alice.post("/folders/data/rename", {"new_name": "mine"})
    assert await status_of(alice, "POST", "/folders/invitations/accept", {"inv_id": invitation["id"]}) == 200
    assert await status_of(alice, "POST", "/folders", {"name": "data"}) == 400


async def test_nobody_is_told_apart_from_somebody_of_another_domain(agent, admin, manager, make_user):
    await make_user("carol")

    def move(conn):
        conn.execute(t.domains.insert().values(name="elsewhere", is_active=True))
        conn.execute(t.users.update().where(t.users.c.name == "carol").values(domain="elsewhere"))

    await manager.store.write(move)
    await admin.post("/folders", {"name": "data"})
    told = [
        (await admin.call("POST", "/folders/data/invite", {"perm": "rw", "user_ids": [who]})).json["msg"]
        for who in ("carol", "zoe")
    ]
    assert told[0] == told[1].replace("zoe", "carol") == "There is nobody called carol that you could share with."


@pytest.mark.parametrize(("perm", "may_write"), [("ro", False), ("rw", True), ("wd", True)])
async def test_what_a_permission_allows(agent, admin, make_user, disk, perm, may_write):
    alice = await make_user("alice")
    view = await invited(admin, alice, perm)
    (disk.folder(view) / "x").write_text("x")
    assert await status_of(alice, "GET", "/folders/data/files") == 200
    assert await status_of(alice, "POST", "/folders/data/request-download", {"path": "x"}) == 200
    writes = [
        ("POST", "/mkdir", {"path": "y"}, 201),
        ("POST", "/rename-file", {"target_path": "y", "new_name": "z"}, 200),
        ("POST", "/move-file", {"src": "z", "dst": "y"}, 200),
        ("POST", "/request-upload", {"path": "x", "size": 1}, 200),
        ("DELETE", "/delete-files", {"files": ["x"], "recursive": False}, 200),
    ]
    for method, path, body, status in writes:
        assert await status_of(alice, method, f"/folders/data{path}", body) == (status if may_write else 403)
    for method, path, body in [
        ("DELETE", "", None),
        ("POST", "/rename", {"new_name": "mine"}),
        ("POST", "/purge", None),
        ("POST", "/invite", {"perm": "wd", "user_ids": ["alice@localhost"]}),
        ("POST", "/update-options", {"cloneable": True}),
        ("POST", "/clone", {"target_name": "mine"}),
    ]:
        assert await status_of(alice, method, f"/folders/data{path}", body) == 403
    problem = (await alice.call("POST", "/folders/data/rename", {"new_name": "mine"})).json
    assert problem["msg"] == "Only the owner of folder data may do this."


async def test_a_shared_folder_that_may_be_cloned_is_cloned(agent, admin, make_user, disk):
    alice = await make_user("alice")
    view = await invited(admin, alice, "ro")
    (disk.folder(view) / "x").write_text("x")
    await admin.post("/folders/data/update-options", {"cloneable": True})
    copy = await alice.post("/folders/data/clone", {"target_name": "mine"})
    assert (disk.folder(copy) / "x").read_text() == "x"
    assert (copy["is_owner"], copy["permission"]) == (True, "wd")


async def test_shares_are_shown_changed_and_left(agent, admin, make_user):
    alice = await make_user("alice")
    view = await invited(admin, alice, "rw")
    (share,) = (await admin.call("GET", "/folders/_/shared", {"vfolder_id": view["id"]})).json["shared"]
    assert (share["vfolder_name"], share["shared_to"]["email"], share["perm"]) == ("data", "alice@localhost", "rw")
    assert (await alice.get("/folders/_/shared"))["shared"] == []
    change = {"vfolder": view["id"], "user": share["shared_to"]["uuid"]}
    assert await status_of(alice, "POST", "/folders/_/shared", {**change, "perm": "wd"}) == 403
    await admin.post("/folders/_/shared", {**change, "perm": "ro"}, status=200)
    assert (await alice.get("/folders/data"))["permission"] == "ro"
    assert await status_of(admin, "POST", "/folders/data/leave") == 400
    await alice.post("/folders/data/leave", {"shared_user_uuid": None})
    assert await status_of(alice, "GET", "/folders/data") == 404
    assert await status_of(admin, "POST", "/folders/_/shared", {**change, "perm": "ro"}) == 404


async def test_what_is_taken_away_or_trashed_is_gone_for_the_guest(agent, admin, make_user):
    alice = await make_user("alice")
    view = await invited(admin, alice, "rw")
    await admin.call("DELETE", "/folders/data")
    assert await status_of(alice, "GET", "/folders/data") == 404
    await admin.post("/folders/data/restore", status=204)
    (share,) = (await admin.get("/folders/_/shared"))["shared"]
    await admin.post("/folders/_/shared", {"vfolder": view["id"], "user": share["shared_to"]["uuid"]}, status=200)
    assert await status_of(alice, "GET", "/folders/data") == 404


async def test_a_projects_folder_is_everybodys_of_the_project(agent, admin, make_user, disk):
    boss, alice = await make_user("boss", "admin"), await make_user("alice")
    assert await status_of(alice, "POST", "/folders", {"name": "lab", "group": "default"}) == 403
    made = await boss.post("/folders", {"name": "lab", "group": "default", "permission": "ro"})
    assert (made["type"], made["group_name"], made["user"], made["is_owner"]) == ("group", "default", None, True)
    theirs = await alice.get("/folders/lab")
    assert (theirs["permission"], theirs["is_owner"]) == ("ro", False)
    assert await status_of(alice, "POST", "/folders/lab/mkdir", {"path": "x"}) == 403
    assert await status_of(boss, "POST", "/folders/lab/invite", {"perm": "rw", "user_ids": ["alice@localhost"]}) == 400
    shared = await boss.post("/folders/lab/share", {"permission": "rw", "emails": ["alice@localhost"]})
    assert shared == {"shared_emails": ["alice@localhost"]}
    assert await status_of(alice, "POST", "/folders/lab/mkdir", {"path": "x"}) == 201
    for expected in (["alice@localhost"], []):
        unshared = (await boss.call("DELETE", "/folders/lab/unshare", {"emails": ["alice@localhost"]})).json
        assert unshared == {"unshared_emails": expected}
    assert (await alice.get("/folders/lab"))["permission"] == "ro"
    await boss.post("/folders", {"name": "mine"})
    share = {"permission": "rw", "emails": ["alice@localhost"]}
    assert await status_of(boss, "POST", "/folders/mine/share", share) == 400


async def test_a_projects_folder_and_an_own_one_may_have_the_same_name(agent, make_user):
    boss, alice = await make_user("boss", "admin"), await make_user("alice")
    await boss.post("/folders", {"name": "lab", "group": "default"})
    mine = await alice.post("/folders", {"name": "lab"})
    assert (await alice.get("/folders/lab"))["id"] == mine["id"]


async def hand_over(client, folder, address, status=200):
    answer = await client.call("POST", "/folders/_/change-ownership", {"vfolder": folder, "user_email": address})
    assert answer.status == status, (answer.status, answer.body)
    return answer.json


async def test_a_folder_gets_another_owner(agent, admin, make_user, disk):
    """Who had it keeps it, but for the new owner, who owns it now, and the old one. What nobody answered is void."""
    alice, bob, carol, dora = [await make_user(name) for name in ("alice", "bob", "carol", "dora")]
    view = await invited(bob, alice, "ro")
    (disk.folder(view) / "x").write_text("x")
    for guest, perm in ((carol, "rw"), (dora, "rw")):
        who = (await guest.get("/auth"))["user"]["name"]
        await bob.post("/folders/data/invite", {"perm": perm, "user_ids": [f"{who}@localhost"]})
    (invitation,) = (await carol.get("/folders/invitations/list"))["invitations"]
    await carol.post("/folders/invitations/accept", {"inv_id": invitation["id"]}, status=200)
    for _ in range(2):  # repeated, it is the same
        await hand_over(admin, view["id"], "alice@localhost")
        owned = await alice.get("/folders/data")
        assert (owned["is_owner"], owned["permission"], owned["user_email"]) == (True, "wd", "alice@localhost")
        (share,) = (await alice.get("/folders/_/shared"))["shared"]
        assert (share["shared_to"]["email"], share["perm"]) == ("carol@localhost", "rw")
        assert await status_of(bob, "GET", "/folders/data") == 404
        assert (await carol.get("/folders/data"))["user_email"] == "alice@localhost"
        assert (await dora.get("/folders/invitations/list"))["invitations"] == []
    assert (await alice.call("GET", "/folders/data/files", {"path": ""})).json["total"] == 1


async def test_a_folder_that_is_handed_on_meanwhile_is_given_to_one_after_the_other(agent, admin, make_user):
    """On disk, too: two at once would each give a part of its files, and the first might come last."""
    made = await admin.post("/folders", {"name": "data"})
    for name in ("alice", "carol"):
        await make_user(name)
    give, order, is_second = agent.held.calls["give_folder"], [], asyncio.Event()

    async def noted(params):
        whose = Path(params["beside"]["subpath"]).name
        order.append(f"to {whose}")
        if whose == "alice":
            while (await admin.get(f"/folders/{made['id']}"))["user_email"] != "carol@localhost":
                await asyncio.sleep(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(is_second.wait(), 0.5)
        else:
            is_second.set()
        answer = await give(params)
        order.append(f"{whose} has it")
        return answer

    agent.held.calls["give_folder"] = noted
    first = asyncio.create_task(hand_over(admin, made["id"], "alice@localhost"))
    while not order:
        await asyncio.sleep(0)
    await asyncio.gather(first, hand_over(admin, made["id"], "carol@localhost"))
    assert order == ["to alice", "alice has it", "to carol", "carol has it"]


async def test_who_cannot_get_a_folder_and_which_stay(agent, admin, make_user, manager, gql):
    boss, alice = await make_user("boss", "admin"), await make_user("alice")
    await make_user("carol")

    def move(conn):
        conn.execute(t.domains.insert().values(name="elsewhere", is_active=True))
        conn.execute(t.users.update().where(t.users.c.name == "carol").values(domain="elsewhere"))

    await manager.store.write(move)
    made = {name: (await boss.post("/folders", {"name": name}))["id"] for name in ("data", ".config")}
    made["lab"] = (await boss.post("/folders", {"name": "lab", "group": "default"}))["id"]
    made["home"] = (await boss.get("/folders/home"))["id"]
    for who in ("zoe@localhost", "carol@localhost"):
        assert (await hand_over(admin, made["data"], who, 404))["title"] == "No such user."
    assert (await hand_over(admin, "f" * 32, "alice@localhost", 404))["title"] == "No such virtual folder."
    for client in (boss, alice):
        await hand_over(client, made["data"], "alice@localhost", 403)
    for name, why in (("home", "folder-home"), (".config", "folder-everywhere"), ("lab", "folder-of-project")):
        assert (await hand_over(admin, made[name], "alice@localhost", 400))["data"]["reason"]["code"] == why

    await alice.post("/folders", {"name": "data"})
    taken = await hand_over(admin, made["data"], "alice@localhost", 400)
    assert taken["title"] == "The virtual folder already exists with the same name."
    await alice.post("/folders/data/rename", {"new_name": "mine"})
    limit = 'mutation {modify_user_resource_policy(name: "default", props: {max_vfolder_count: 1}) {ok msg}}'
    assert (await gql(admin, limit))["modify_user_resource_policy"]["ok"]
    full = await hand_over(admin, made["data"], "alice@localhost", 412)
    assert full["msg"].startswith("alice@localhost has 1 folder,"), full
    assert (await boss.get("/folders/data"))["is_owner"]
    await boss.call("DELETE", "/folders/data")
    assert (await hand_over(admin, made["data"], "alice@localhost", 400))["data"]["reason"]["code"] == "folder-status"


@pytest.mark.parametrize(
    ("method", "path", "body", "why"),
    [
        ("POST", "/folders/data/rename", {"new_name": ".config"}, "folder-everywhere"),
        ("DELETE", "/folders/data", None, "folder-status"),
    ],
)
async def test_what_is_done_to_a_folder_while_it_is_handed_over_counts(
    agent, admin, make_user, manager, monkeypatch, method, path, body, why
):
    """By who had it: a folder that would be in all of the new owner's sessions is as little handed over as before."""
    alice, bob = await make_user("alice"), await make_user("bob")
    made = await bob.post("/folders", {"name": "data"})
    service = manager.services.folders
    measured_for = service._measured_for

    async def meanwhile(*args):
        found = await measured_for(*args)
        assert (await bob.call(method, path, body)).status < 300
        return found

    monkeypatch.setattr(service, "_measured_for", meanwhile)
    refused = await hand_over(admin, made["id"], "alice@localhost", 400)
    assert refused["data"]["reason"]["code"] == why
    assert await status_of(alice, "GET", f"/folders/{made['id']}") == 404


async def test_who_gave_a_folder_away_renames_it_no_more(agent, admin, make_user, manager, monkeypatch):
    """Nor with a call that was on its way."""
    alice, bob = await make_user("alice"), await make_user("bob")
    made = await bob.post("/folders", {"name": "data"})
    service = manager.services.folders
    owned = service._owned

    async def meanwhile(*args):
        found = await owned(*args)
        await hand_over(admin, made["id"], "alice@localhost")
        return found

    monkeypatch.setattr(service, "_owned", meanwhile)
    assert await status_of(bob, "POST", "/folders/data/rename", {"new_name": ".config"}) == 404
    assert (await alice.get(f"/folders/{made['id']}"))["name"] == "data"
