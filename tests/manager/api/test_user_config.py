"""Dotfiles, bootstrap script and SSH keypair: who may, how much, and which sessions get them."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fakes_agent import IMAGE

from bai_jupyter.common.statuses import KernelStatus
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.sessions.ports import PORTS_LABEL

pytestmark = pytest.mark.asyncio

OWN, PROJECT, DOMAIN = (f"/{name}-config/dotfiles" for name in ("user", "group", "domain"))
SCRIPT = "/user-config/bootstrap-script"


async def put(client, path, data="x", permission="644", where=OWN, status=200, **more):
    return await client.post(where, {"path": path, "data": data, "permission": permission, **more}, status)


async def test_dotfiles_are_kept_changed_and_deleted(admin):
    await put(admin, ".vimrc", "set number\n")
    await put(admin, "/home/work/.config/tool/rc", "", "600")
    listed = await admin.get(OWN)
    assert listed == [
        {"path": ".config/tool/rc", "permission": "600", "data": ""},
        {"path": ".vimrc", "permission": "644", "data": "set number\n"},
    ]
    changed = {"path": ".vimrc", "data": "syntax on\n", "permission": "755"}
    assert (await admin.call("PATCH", OWN, changed)).status == 200
    assert (await admin.get(f"{OWN}?path=.vimrc"))["data"] == "syntax on\n"
    assert (await admin.call("DELETE", f"{OWN}?path=.vimrc")).json == {"success": True}
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", changed)):
        assert (await admin.call(method, f"{OWN}?path=.vimrc", body)).status == 404


NO_DOTFILES = [
    *(("", "644"), ("/etc/passwd", "644"), ("../up", "644"), ("a/../../b", "644"), ("a//b", "644"), ("a\0b", "644")),
    *(("a\nb", "644"), ("\ud800", "644"), ("x" * 256, "644"), ("/".join(["deep"] * 300), "644"), (7, "644")),
    *((".ssh", "644"), (".ssh/authorized_keys", "644"), ("fine", "999"), ("fine", "4755"), ("fine", None)),
]


async def test_what_cannot_be_a_dotfile(admin):
    for path, permission in NO_DOTFILES:
        await put(admin, path, permission=permission, status=400)
    await put(admin, "fine", "\ud800", status=400)
    assert await admin.get(OWN) == []


async def test_limits(admin):
    await put(admin, "big", "x" * (64 * 1024 - len("big") - len("a") - 1))
    await put(admin, "b", "xx", status=400)
    await put(admin, "a", "x")
    assert (await admin.call("PATCH", OWN, {"path": "a", "data": "xx", "permission": "644"})).status == 400
    await put(admin, "a", status=400)  # it is there
    assert (await admin.call("DELETE", f"{OWN}?path=big")).status == 200
    await put(admin, "a/b", status=400)  # a is a file
    for number in range(99):
        await put(admin, f"f{number}")
    await put(admin, "one-too-many", status=400)
    await admin.post(SCRIPT, {"script": "x" * (64 * 1024 + 1)}, 400)
    await admin.post(SCRIPT, {"script": 7}, 400)


async def test_nothing_readable_is_in_the_database(admin, data_dir):
    await put(admin, "rc", "token-in-a-dotfile")
    await admin.post(SCRIPT, {"script": "echo token-in-a-script"}, 200)
    private = (await admin.call("PATCH", "/auth/ssh-keypair")).json["ssh_private_key"]
    stored = b"".join(path.read_bytes() for path in data_dir.glob("manager.db*"))
    for secret in ("token-in-a-dotfile", "token-in-a-script", private.splitlines()[2]):
        assert secret.encode() not in stored


async def test_everybody_has_their_own_and_admins_reach_the_others(admin, make_user, gql):
    alice, bob, boss = await make_user("alice"), await make_user("bobby"), await make_user("boss", "admin")
    await put(alice, "rc", "alice's")
    assert await bob.get(OWN) == []
    of_alice = f"{OWN}?owner_access_key={alice.access_key}"
    assert (await bob.call("GET", of_alice)).status == 404
    assert (await bob.call("GET", f"{OWN}?owner_access_key=missing")).status == 404
    assert (await boss.get(of_alice))[0]["data"] == "alice's"
    await put(boss, "more", owner_access_key=alice.access_key)
    assert len(await alice.get(OWN)) == 2
    assert (await boss.call("GET", f"{OWN}?owner_access_key={admin.access_key}")).status == 404
    await put(admin, "rc", where=PROJECT, group="default")
    await put(admin, "rc", where=DOMAIN, domain="default")
    await put(boss, "bosses", where=PROJECT, group="default", domain="default")
    assert [one["path"] for one in await bob.get(f"{PROJECT}?group=default")] == ["bosses", "rc"]
    await put(bob, "bobs", where=PROJECT, group="default", status=403)
    await put(bob, "bobs", where=DOMAIN, domain="default", status=403)
    made = await gql(admin, 'mutation {create_domain(name: "other", props: {}) {ok msg}}')
    assert made["create_domain"]["ok"], made
    for where in (f"{DOMAIN}?domain=other", f"{DOMAIN}?domain=none", f"{PROJECT}?group=default&domain=other"):
        assert (await boss.call("GET", where)).status == 404
    await put(boss, "bosses", where=DOMAIN, domain="other", status=404)
    assert await admin.get(f"{PROJECT}?group=default&domain=other") == []


async def test_a_sessions_own_token_may_not(admin, agent):
    """What a notebook left there would run in all later sessions of its owner."""
    await admin.create("mine", manager_access="user")
    await admin.until_status("mine", "RUNNING")
    [want] = agent.wants.values()
    for method, path in (("GET", OWN), ("POST", SCRIPT), ("GET", SCRIPT), ("PATCH", "/auth/ssh-keypair")):
        headers = {"Authorization": f"Bearer {want.access_token}"}
        answer = await admin.http.fetch(
            admin.endpoint + path,
            method=method,
            headers=headers,
            body="{}" if method != "GET" else None,
            raise_error=False,
        )
        assert answer.code == 403, (method, path, answer.body)


async def test_a_session_gets_them_until_it_runs(admin, agent, helpers):
    await put(admin, "rc", "domain's", where=DOMAIN, domain="default")
    await put(admin, "rc", "project's", "600", where=PROJECT, group="default")
    await put(admin, "other", "project's", where=PROJECT, group="default")
    await put(admin, "rc", "own", "755")
    await admin.post(SCRIPT, {"script": "echo own"}, 200)
    keys = (await admin.call("PATCH", "/auth/ssh-keypair")).json
    agent.hold_at = KernelStatus.CREATING
    await admin.create("mine")
    await admin.until_status("mine", "CREATING")
    [want] = agent.wants.values()
    assert want.owner_bootstrap == "echo own"
    assert {one.path: (one.mode, one.content) for one in want.files} == {
        "rc": ("755", "own"),
        "other": ("644", "project's"),
        ".ssh/authorized_keys": ("600", keys["ssh_public_key"]),
        ".ssh/id_ed25519": ("600", keys["ssh_private_key"]),
        "id_container": ("600", keys["ssh_private_key"]),
    }
    await agent.report(want.kernel_id, KernelStatus.RUNNING)
    await admin.until_status("mine", "RUNNING")
    await admin.call("POST", "/session/mine/rename?name=yours")  # something of which the agent is told

    def has_none():
        [now] = agent.wants.values()
        return now.session_name == "yours" and not now.files and now.owner_bootstrap is None

    await helpers.wait_until(has_none)
    await admin.post(SCRIPT, {"script": ""}, 200)
    assert await admin.get(SCRIPT) == ""


async def test_a_session_has_a_keypair_of_its_own_if_its_owner_has_none_and_ssh_leads_there(admin, manager, make_agent):
    """The official client fetches ``id_container`` before it opens the app ``sshd``."""
    with_sshd = replace(IMAGE, labels={PORTS_LABEL: "sshd:tcp:2200"})
    agent = make_agent(manager.endpoint, images=[with_sshd])
    await agent.connect()
    await admin.post("/images", {"name": IMAGE.name})
    agent.hold_at = KernelStatus.CREATING
    for name in ("mine", "next"):
        await admin.create(name)
        await admin.until_status(name, "CREATING")
    keys = {want.session_name: {one.path: one.content for one in want.files} for want in agent.wants.values()}
    for files in keys.values():
        private = serialization.load_ssh_private_key(files["id_container"].encode(), None)
        public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        assert files == {"id_container": files["id_container"], ".ssh/authorized_keys": public.decode() + "\n"}
    assert keys["mine"] != keys["next"]


async def test_whoever_is_purged_leaves_nothing(admin, make_user, gql, manager):
    alice = await make_user("alice")
    await put(alice, "rc")
    await alice.post(SCRIPT, {"script": "true"}, 200)
    purge = 'mutation {purge_user(email: "alice@localhost", props: {}) {ok msg}}'
    assert (await gql(admin, purge))["purge_user"]["ok"]

    def count(conn):
        return [len(conn.execute(table.select()).all()) for table in (t.dotfiles, t.user_configs)]

    assert await manager.store.read(count) == [0, 0]


# SSH keypairs


def a_keypair(form=serialization.PrivateFormat.TraditionalOpenSSL, password=None):
    key = rsa.generate_private_key(65537, 2048)
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, form, hidden).decode()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode(), private


async def test_a_new_ssh_keypair_is_one_that_ssh_reads(admin):
    assert await admin.get("/auth/ssh-keypair") == {"ssh_public_key": ""}
    made = (await admin.call("PATCH", "/auth/ssh-keypair")).json
    assert await admin.get("/auth/ssh-keypair") == {"ssh_public_key": made["ssh_public_key"]}
    again = (await admin.call("PATCH", "/auth/ssh-keypair")).json
    assert again["ssh_private_key"] != made["ssh_private_key"]
    private = serialization.load_ssh_private_key(again["ssh_private_key"].encode(), None)
    derived = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert derived.decode() == again["ssh_public_key"].strip()


async def test_a_keypair_that_is_brought_along(admin):
    public, private = a_keypair()
    for name in ("", " me@laptop"):
        body = {"pubkey": public + name, "privkey": private}
        assert (await admin.call("POST", "/auth/ssh-keypair", body)).status == 200
        assert (await admin.get("/auth/ssh-keypair"))["ssh_public_key"] == public + name + "\n"
    openssh = a_keypair(serialization.PrivateFormat.OpenSSH)
    answer = await admin.call("POST", "/auth/ssh-keypair", {"pubkey": openssh[0], "privkey": openssh[1]})
    assert answer.status == 200


async def test_keypairs_that_are_none(admin):
    public, private = a_keypair()
    other, hidden = a_keypair(password=b"secret")
    for bad in (
        (other, private),
        (public + "\n" + other, private),
        (public, "no key"),
        (other, hidden),
        (public, public),
    ):
        answer = await admin.call("POST", "/auth/ssh-keypair", {"pubkey": bad[0], "privkey": bad[1]})
        assert answer.status == 400
        assert "BEGIN" not in answer.body.decode()
    assert await admin.get("/auth/ssh-keypair") == {"ssh_public_key": ""}
