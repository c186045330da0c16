"""What the command line says of people to a real manager: `bai user`, `project`, `policy`, `preset`, `group`, and what
they have in their sessions: `dotfile`, `bootstrap`, `ssh-key`."""

import asyncio
import io
import json
import re
from dataclasses import dataclass

import pytest

from bai_jupyter.cli import main
from bai_jupyter.cli.terminal import NOTHING, Exit
from bai_jupyter.client import ManagerClient, read_credentials

pytestmark = pytest.mark.asyncio


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def bai(admin, capsys, monkeypatch):
    """``await bai("user", "list")`` as the first admin; ``who`` is another signed client, ``typed`` goes to stdin."""

    async def run(*words, who=None, typed=""):
        client = who or admin
        for name in ("endpoint", "access_key", "secret_key"):
            monkeypatch.setenv(f"BACKEND_{name.upper()}", getattr(client, name))
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        try:
            code = await asyncio.to_thread(main, list(words))
        except SystemExit as stop:  # what argparse does
            code = stop.code
        told = capsys.readouterr()
        return Ran(code, told.out, told.err)

    return run


async def test_a_service_and_its_credentials_in_a_file(bai, manager, tmp_path):
    path = tmp_path / "service.json"
    words = ("user", "add", "hub@uni.example", "--name", "hub", "--role", "service", "--credentials", str(path))
    made = await bai(*words)
    assert (made.code, made.out) == (0, f"hub@uni.example: made; its keys are in {path}, for you alone\n")
    config = read_credentials(path)  # which refuses what others can read
    assert config.endpoint == manager.endpoint
    assert config.secret_key not in made.out + made.err
    async with ManagerClient(config) as service:
        assert (await service.make_ward("kim"))["name"] == "kim"
    again = await bai("user", "add", "other@uni.example", "--credentials", str(path))
    assert again.code == 2
    assert "other@uni.example" not in (await bai("user", "list", "-q")).out


async def test_users_from_making_to_purging(bai, admin, manager, helpers):
    assert (await bai("project", "add", "vision", "--description", "eyes")).out == "vision: made\n"
    words = ("user", "add", "alice@uni.example", "--name", "alice", "--project", "vision", "--password", "--json")
    made = (await bai(*words, typed="correct horse\n")).json
    alice = helpers.client(manager.endpoint, made["access_key"], made["secret_key"])
    assert (await alice.get("/auth"))["user"]["name"] == "alice"
    alice.close()
    await manager.services.logins.authorize("default", "alice@uni.example", "correct horse", "::1")
    listed = await bai("user", "list")
    assert listed.out.splitlines()[2].split() == ["alice@uni.example", "alice", "user", "active", "default", "vision"]
    assert listed.out.splitlines()[-1] == "2 users."
    assert (await bai("user", "set", "alice@uni.example", "--role", "admin", "--status", "inactive")).code == 0
    assert (await bai("user", "list", "-q")).out.split() == ["admin@localhost", "alice@uni.example"]
    assert (await bai("user", "rm", "alice@uni.example")).out.startswith("alice@uni.example: shut out")
    refused = await bai("user", "rm", "alice@uni.example", "--purge")
    assert (refused.code, "say --yes" in refused.err) == (Exit.USAGE, True)
    assert (await bai("user", "rm", "alice@uni.example", "--purge", "--yes")).code == 0
    again = await bai("user", "rm", "alice@uni.example")
    assert (again.code, again.err) == (Exit.REFUSED, "Refused: There is no user alice@uni.example that you can see.\n")


async def test_projects_and_members(bai, make_user):
    await make_user("alice")
    assert (await bai("project", "add", "vision", "--cpu", "4")).code == 0
    assert (await bai("project", "join", "vision", "alice@localhost")).out == "vision: joined by alice@localhost\n"
    assert "default, vision" in (await bai("user", "list")).out
    assert (await bai("project", "leave", "vision", "alice@localhost")).code == 0
    assert (await bai("project", "set", "vision", "--mem", "8g", "--no-active")).code == 0
    row = (await bai("project", "list")).out.splitlines()[2]
    assert row.split()[:5] == ["vision", "default", "inactive", "8", "GiB"]
    assert (await bai("project", "join", "vision", "nobody@localhost")).code == Exit.NOT_FOUND
    assert (await bai("project", "rm", "nosuch")).code == Exit.NOT_FOUND
    assert (await bai("project", "rm", "vision", "--purge", "--yes")).code == 0


async def test_policies_bind_at_every_level(bai, make_user, gql, admin):
    alice = await make_user("alice")
    limits = (
        "--cpu",
        "8",
        "--slot",
        "cuda.device=0",
        "--sessions",
        "2",
        "--suspend",
        "5m",
        "--idle",
        "10m",
        "--gpu-hours",
        "2.5",
    )
    limits = (*limits, "--others", "none")
    assert (await bai("policy", "add", "student", *limits)).code == 0
    scopes = ["user:alice@localhost", f"keypair:{alice.access_key}", "project:default", "domain:default"]
    assert (await bai("policy", "bind", "student", *scopes)).code == 0
    bound = await gql(admin, '{user(email: "alice@localhost") {resource_policy} domain {resource_policy}}')
    assert bound == {"user": {"resource_policy": "student"}, "domain": {"resource_policy": "student"}}
    row = (await bai("policy", "list")).out.splitlines()[2]
    assert row.split() == ["student", "8", "CPU,", "0", "GPU", "none", "2", "2.5", NOTHING, "300", "600", NOTHING]
    refused = await bai("policy", "rm", "student")
    assert (refused.code, "binds 1 keypair" in refused.err) == (Exit.REFUSED, True)
    assert (await bai("policy", "bind", "student", "alice")).code == Exit.USAGE
    assert (await bai("policy", "set", "student", "--sessions", "5")).code == 0
    assert (await bai("policy", "list", "--json")).json["keypair_resource_policies"][1]["max_concurrent_sessions"] == 5


async def test_policies_have_a_budget_of_accelerators(bai):
    async def shown():
        return (await bai("policy", "list", "--json")).json["keypair_resource_policies"][1]["gpu_hours_per_week"]

    assert (await bai("policy", "add", "student", "--gpu-hours", "10")).code == 0
    assert await shown() == 10
    for hours, code, why in (
        ("many", Exit.USAGE, "'many' is not a number of hours, 0 or more"),
        ("-1", Exit.USAGE, "'-1' is not a number of hours, 0 or more"),
        ("nan", Exit.USAGE, "'nan' is not a number of hours, 0 or more"),
        ("1000001", Exit.REFUSED, "gpu_hours_per_week: 1000001.0 is not a number of hours from 0 to 1000000"),
    ):
        refused = await bai("policy", "set", "student", "--gpu-hours", hours)
        assert (refused.code, why in refused.err) == (code, True), refused.err
    assert await shown() == 10
    assert (await bai("policy", "set", "student", "--gpu-hours", "0")).code == 0
    assert await shown() == 0


async def test_policies_limit_folders(bai, gql, admin):
    async def shown():
        header, _, row = (await bai("policy", "list")).out.splitlines()[:3]
        return row[header.index("FOLDERS") :]

    assert (await bai("policy", "add", "student", "--folders", "10", "--folder-size", "1.5g")).code == 0
    assert await shown() == "at most 10, each 1.5 GiB"
    assert (await bai("policy", "set", "student", "--all-folders", "5t", "--folders", "0")).code == 0
    assert await shown() == "each 1.5 GiB, together 5 TiB"
    (told,) = (await bai("policy", "list", "--json")).json["keypair_resource_policies"][1:]
    assert [told[f"max_{one}"] for one in ("vfolder_count", "vfolder_size", "quota_scope_size")] == [
        0,
        3 << 29,
        5 << 40,
    ]
    for words, code, why in (
        (("--folder-size", "much"), Exit.USAGE, "'much' is not a size such as 512m or 4g"),
        (("--all-folders", "-1"), Exit.USAGE, "'-1' is not a size such as 512m or 4g"),
        (("--folders", "few"), Exit.USAGE, "'few' is not a whole number, 0 or more"),
        (("--folders", "-5"), Exit.USAGE, "'-5' is not a whole number, 0 or more"),
        (("--folder-size", "9999999t"), Exit.REFUSED, "max_vfolder_size: '9999999t' is not a size such as 10g"),
    ):
        refused = await bai("policy", "set", "student", *words)
        assert (refused.code, why in refused.err) == (code, True), refused.err
    assert await shown() == "each 1.5 GiB, together 5 TiB"


async def test_presets_and_groups(bai, make_user, agent, admin):
    assert (await bai("preset", "add", "large", "--cpu", "8", "--mem", "32g", "--shm", "1g")).code == 0
    assert (await bai("preset", "set", "large", "--cpu", "6", "--mem", "16g")).code == 0
    assert "large   6 CPU, 16 GiB        1 GiB" in (await bai("preset", "list")).out
    assert (await bai("preset", "rm", "large")).code == 0
    assert (await bai("preset", "rm", "large")).code == Exit.REFUSED
    assert (await bai("group", "add", "gpu", "--order", "lifo", "--type", "batch", "--pending-timeout", "5m")).code == 0
    assert (await bai("group", "set", "gpu", "--select", "concentrated", "--description", "big ones")).code == 0
    row = (await bai("group", "list")).out.splitlines()[2]
    assert row.split() == ["gpu", "active", "lifo", "concentrated", "batch", "big", "ones"]
    alice = await make_user("alice")
    assert (await bai("group", "list", "-q", who=alice)).out == "default\n"
    scopes = ("domain:default", "project:default", f"keypair:{alice.access_key}")
    assert (await bai("group", "grant", "gpu", *scopes)).code == 0
    assert (await bai("group", "list", "-q", who=alice)).out == "default\ngpu\n"
    assert (await bai("group", "revoke", "gpu", *scopes)).code == 0
    assert (await bai("group", "list", "-q", who=alice)).out == "default\n"
    assert (await bai("group", "rm", "default")).code == Exit.REFUSED
    assert (await bai("group", "rm", "gpu")).code == 0


async def test_services_are_given_users(bai, make_user):
    await make_user("alice")
    made = (await bai("user", "add", "hub@localhost", "--name", "hub", "--role", "service", "--json")).json
    given = await bai("user", "give", "alice", "--service", made["access_key"])
    assert given.out == "alice: may be acted for\n"
    assert (await bai("user", "give", "alice", "--service", made["access_key"], "--take")).code == 0
    assert (await bai("user", "give", "nobody", "--service", made["access_key"])).code == Exit.NOT_FOUND


async def test_agents_run_empty(bai, agent):
    assert (await bai("agent", "drain", "lab-1")).out == "lab-1: takes no new sessions; what runs goes on\n"
    assert "Ready, draining" in (await bai("agent", "list")).out
    assert (await bai("agent", "resume", "lab-1", "-q")).out == "lab-1\n"
    assert "draining" not in (await bai("agent", "list")).out
    drained = (await bai("agent", "drain", "lab-1", "--by", "+2h", "--json")).json
    assert (await bai("agent", "list", "--json")).json["agents"][0]["drain_by"] == drained["drain_by"]
    assert re.search(r"Ready, draining, by \S*\s?\d\d:\d\d", (await bai("agent", "list")).out)
    assert (await bai("agent", "drain", "lab-1", "--by", "2020-01-01T18:00")).code == Exit.USAGE
    assert (await bai("agent", "drain", "nosuch")).code == Exit.NOT_FOUND


async def test_users_may_not(bai, make_user):
    alice = await make_user("alice")
    refused = await bai("policy", "add", "mine", who=alice)
    assert (refused.code, refused.err) == (Exit.REFUSED, "Refused: Only superadmins may do this.\n")


async def test_dotfiles(bai, make_user, tmp_path):
    alice, rc = await make_user("alice"), tmp_path / ".toolrc"
    rc.write_text("colour = off\n")
    put = await bai("dotfile", "put", str(rc), who=alice)
    assert put.out.startswith(".toolrc: kept. New sessions have it")
    again = await bai("dotfile", "put", "-", "/home/work/.toolrc", "--mode", "600", who=alice, typed="colour = on\n")
    assert again.code == Exit.DONE
    assert (await bai("dotfile", "show", ".toolrc", who=alice)).out == "colour = on\n"
    listed = (await bai("dotfile", "list", who=alice)).out.splitlines()
    assert [line.split() for line in listed] == [
        ["PATH", "MODE", "SIZE"],
        [".toolrc", "600", "12", "bytes"],
        ["1", "dotfile."],
    ]
    refused = await bai("dotfile", "put", str(rc), "--project", "default", who=alice)
    assert (refused.code, refused.out) == (Exit.REFUSED, "")
    assert (await bai("dotfile", "put", str(rc), "--project", "default")).code == Exit.DONE
    assert (await bai("dotfile", "put", str(rc), ".other", "--domain", "default")).code == Exit.DONE
    assert (await bai("dotfile", "list", "--project", "default", "-q", who=alice)).out == ".toolrc\n"
    assert (await bai("dotfile", "list", "--domain", "default", "-q", who=alice)).out == ".other\n"
    assert (await bai("dotfile", "rm", ".toolrc", who=alice)).out.startswith(".toolrc: removed")
    assert (await bai("dotfile", "rm", ".toolrc", who=alice)).code == Exit.NOT_FOUND
    assert (await bai("dotfile", "list", who=alice)).out == "No dotfiles. Put one: bai dotfile put FILE PATH\n"
    for name, told in (("missing", "cannot be read"), (str(tmp_path), "cannot be read"), ("/bin/sh", "not a text")):
        ran = await bai("dotfile", "put", name, who=alice)
        assert (ran.code, told in ran.err) == (Exit.USAGE, True)
    assert (await bai("dotfile", "put", str(rc), "/etc/passwd", who=alice)).code == Exit.USAGE


async def test_a_bootstrap_script(bai):
    assert "bai bootstrap set" in (await bai("bootstrap", "show")).err
    assert "runs first" in (await bai("bootstrap", "set", "-", typed="pip install tool\n")).err
    assert (await bai("bootstrap", "show")).out == "pip install tool\n"
    empty = await bai("bootstrap", "set", "-", typed="\n")
    assert (empty.code, "bai bootstrap clear" in empty.err) == (Exit.USAGE, True)
    assert (await bai("bootstrap", "clear")).code == Exit.DONE
    assert (await bai("bootstrap", "show")).out == ""


async def test_an_ssh_keypair(bai, tmp_path):
    assert "bai ssh-key new" in (await bai("ssh-key", "show")).err
    assert (await bai("ssh-key", "new")).code == Exit.USAGE  # nobody can be asked
    made = await bai("ssh-key", "new", "--yes")
    assert made.out.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    public = (await bai("ssh-key", "show")).out
    assert public.strip() in made.err
    for name, text in (("own", made.out), ("own.pub", public)):
        (tmp_path / name).write_text(text)
    assert (await bai("ssh-key", "new", "--yes")).code == Exit.DONE
    assert (await bai("ssh-key", "set", str(tmp_path / "own"))).code == Exit.DONE
    assert (await bai("ssh-key", "show", "--json")).json == {"ssh_public_key": public}
    wrong = await bai("ssh-key", "set", str(tmp_path / "own.pub"), "--public", str(tmp_path / "own.pub"))
    assert (wrong.code, "privkey" in wrong.err) == (Exit.USAGE, True)
