"""Commands that other tests do not run: many in one process, because starting it takes longer than what they do."""

import json
import shlex
import socket

import pytest
from tornado.httpclient import AsyncHTTPClient

from bai_jupyter import __version__

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]


@pytest.fixture
def run(client):
    """``await run("admin user list", …)``: what each said. All must succeed; who is asked, says yes."""

    async def run(*commands):
        finished = await client.clis(*map(shlex.split, commands), answers="y\n")
        for command, one in zip(commands, finished, strict=True):
            assert one.code == 0, (command, one)
        return {command: one.out + one.err for command, one in zip(commands, finished, strict=True)}

    return run


async def test_people_and_projects(run, make_user, gql, admin):
    alice = (await (await make_user("alice")).get("/auth"))["user"]["id"]
    said = await run(
        "admin domain add lab -d ours",
        "admin domain update lab --description theirs",
        "admin domain list",
        "admin domain info lab",
        "admin group add default vision -d eyes",
        "admin group list -d default",
        "admin group info vision",
        "admin user add lab bob@lab.example 'correct horse' -u bob",
        "admin user update bob@lab.example -n Bobby",
        "admin user list",
        "admin user info -e bob@lab.example",
        "admin keypair-resource-policy add small --max-concurrent-sessions 2",
        "admin keypair-resource-policy update small --max-concurrent-sessions 3",
        "admin keypair-resource-policy list",
        "admin keypair-resource-policy info small",
        "admin keypair add bob@lab.example small",
        "admin keypair list -u bob@lab.example",
        "admin keypair info",
        "update-password-no-auth lab bob@lab.example 'correct horse' 'battery staple'",
    )
    for command, words in (
        ("admin domain list", "theirs"),
        ("admin domain info lab", "theirs"),
        ("admin group list -d default", "vision"),
        ("admin group info vision", "eyes"),
        ("admin user list", "bob@lab.example"),
        ("admin user info -e bob@lab.example", "Bobby"),
        ("admin keypair-resource-policy list", "small"),
        ("admin keypair-resource-policy info small", "small"),
        ("admin keypair list -u bob@lab.example", "small"),
        ("admin keypair info", "admin@localhost"),
        ("update-password-no-auth lab bob@lab.example 'correct horse' 'battery staple'", "Password updated."),
    ):
        assert words in said[command], (command, said[command])

    (project,) = (await gql(admin, '{groups_by_name(name: "vision") {id}}'))["groups_by_name"]
    keys = (await gql(admin, '{keypairs(email: "bob@lab.example") {access_key resource_policy}}'))["keypairs"]
    (key,) = [one["access_key"] for one in keys if one["resource_policy"] == "small"]
    await run(
        f"admin group update {project['id']} -d sharp",
        f"admin group add-users {project['id']} {alice}",
        f"admin group remove-users {project['id']} {alice}",
        f"admin group delete {project['id']}",
        f"admin group purge {project['id']}",
        f"admin keypair update {key} -r 500",
        f"admin keypair deactivate {key}",
        f"admin keypair activate {key}",
        f"admin keypair delete {key}",
        "admin keypair-resource-policy delete small",
        "admin user delete bob@lab.example",
        "admin user purge bob@lab.example",
        "admin domain delete lab",
        "admin domain purge lab",
    )
    left = await gql(admin, "{users {email} domains {name} groups {name} keypair_resource_policies {name}}")
    assert left == {
        "users": [{"email": "admin@localhost"}, {"email": "alice@localhost"}],
        "domains": [{"name": "default"}],
        "groups": [{"name": "default"}],
        "keypair_resource_policies": [{"name": "default"}],
    }


async def test_the_cluster(run, holder, helpers, gql, admin):
    project = (await gql(admin, "{groups {id}}"))["groups"][0]["id"]
    said = await run(
        "admin scaling-group add gpu --driver static --scheduler fifo",
        "admin scaling-group update gpu -d big --driver static --scheduler lifo",
        "admin scaling-group list",
        "admin scaling-group info gpu",
        "admin scaling-group get-available default",
        "admin scaling-group associate-scaling-group gpu default",
        "admin scaling-group delete gpu",
        "admin agent list",
        "admin agent info lab-1",
        f"admin image alias py {helpers.image.name}",
        "admin image list",
        "admin image dealias py",
        "admin permission list",
        "admin resource recalculate-usage",
        f"admin resource usage-per-month 202611 {project}",
        f"admin resource usage-per-period {project} 20261101 20261130",
        "admin manager freeze",
        "admin manager status",
        "admin manager unfreeze",
        "admin manager scheduler exclude-agents lab-1",
        "admin manager scheduler include-agents lab-1",
        "admin announcement update -m hello",
        "admin announcement get",
        "admin announcement dismiss",
        "admin announcement delete",
        "server-logs list",
        "config",
        "admin vfolder list",
        "vfolder list",
        "vfolder list-own",
        "--output json vfolder list-invited",
        "--output json vfolder list-project",
    )
    for command, words in (
        ("admin scaling-group list", "big"),
        ("admin scaling-group info gpu", "lifo"),
        ("admin scaling-group get-available default", "gpu"),
        ("admin agent list", "lab-1"),
        ("admin agent info lab-1", "ALIVE"),
        ("admin image list", "py"),
        ("admin permission list", "mount-in-session"),
        ("admin manager status", "frozen"),
        ("admin announcement get", "hello"),
        ("config", f"Server version: {__version__} (API: v7.20230615)"),
        ("admin vfolder list", "local:home"),
        ("vfolder list", "local:home"),
        ("vfolder list-own", "local:home"),
        ("--output json vfolder list-invited", '"total_count": 0'),
        ("--output json vfolder list-project", '"total_count": 0'),
    ):
        assert words in said[command], (command, said[command])


async def test_sessions(run, agent, admin, helpers):
    session_id = (await admin.create("my-work", preopen_ports=[8081]))["sessionId"]
    await admin.until_status("my-work", "RUNNING")
    said = await run(
        f"create --name other -r cpu=1 -r mem=1g {helpers.image.name}",
        "apps my-work -l",
        "apps my-work",
        "admin session list",
        f"admin session info {session_id}",
        f"info {session_id}",
        "restart my-work",
        "destroy other",
        "session abuse-history my-work",
    )
    assert "8081" in said["apps my-work -l"]
    assert "8081" in said["apps my-work"]
    assert "other" in said["admin session list"]
    for command in ("admin session info", "info"):
        assert "my-work" in said[f"{command} {session_id}"]
    await admin.until_status("other", "TERMINATED")


async def test_models(run, client, holder, admin, disk):
    """Folders of the usage mode ``model``, with a folder for each version."""
    said = await run("model create m local:data", "model list", "model info m")
    assert "ready" in said["model list"]
    view = await admin.get("/folders/m")
    assert view["usage_mode"] == "model"
    version = disk.folder(view) / "versions" / "1"
    version.mkdir()
    for path in (client.home / "weights", version / "old"):
        path.write_text("heavy")
    words = [["model", "upload", "m", "weights", "1"], ["model", "download", "m", "versions/1/old", "1"]]
    for one in await client.clis(*words):  # the client breaks
        assert (one.code, "TypeError" in one.err) == (1, True), one
    said = await run("model info m", "model rm m")
    assert "1" in said["model info m"]
    assert (await admin.get("/folders/m"))["status"] == "delete-pending"


CANNOT = [
    ("admin scaling-group dissociate-scaling-group default default", ""),  # it is done, but the answer not printed
    ("admin image rescan", "There is no registry to scan"),
    ("admin user update admin@localhost --sudo-session-enabled", "sudo"),
    ("admin vfolder perf-metric local:data", "404"),
    ("admin vfolder list-mounts", "404"),
    ("admin vfolder get-fstab-contents", "404"),
    ("admin vfolder mount-host x y", "404"),
    ("admin vfolder umount-host y", "404"),
    ("admin watcher status lab-1", "404"),
    ("admin watcher agent-start lab-1", "404"),
    ("admin watcher agent-stop lab-1", "404"),
    ("admin watcher agent-restart lab-1", "404"),
    ("admin license show", "404"),
    ("admin etcd get x", "404"),
    ("admin etcd set x 1", "404"),
    ("admin etcd delete x", "404"),
    ("service list", "400"),
    ("service create x y 1", "404"),
    ("service info x", "404"),
    ("service rm x", "404"),
    ("service sync x", "404"),
    ("service scale x 2", "404"),
    ("service generate-token x 1h", "404"),
    ("service get-endpoint x", "404"),
    ("service update-traffic-ratio x y 0.5", "404"),
    ("service downscale-route x y 0.5", ""),
    ("vfolder cp a b", ""),
    ("vfolder request-download home x", "AttributeError"),
    ("login", ""),
    ("logout", 'endpoint type must be "session"'),
    ("update-password a b b", 'endpoint type must be "session"'),
]


async def test_what_the_document_says_cannot_be_cannot(client, agent):
    finished = await client.clis(*(shlex.split(command) for command, _ in CANNOT))
    for (command, why), one in zip(CANNOT, finished, strict=True):
        assert one.code != 0, (command, one)
        assert why in one.out + one.err, (command, one)


async def test_images_are_not_imported(client):
    told = await client.sdk("""
        result = []
        for call in (api.Image.get_image_import_form, lambda: api.Image.build(src="x", target="y")):
            try:
                result.append(call())
            except Exception as error:
                result.append(str(error))
    """)
    assert ["404" in one for one in told] == [True, True], told


async def test_the_proxy_signs_for_whoever_asks(client, agent, make_free_port, helpers):
    port = make_free_port()

    def answers():
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) == 0

    async with client.running("proxy", "--bind", "127.0.0.1", "-p", str(port)):
        await helpers.wait_until(answers)
        response = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/auth")
        assert json.loads(response.body)["authorized"] == "yes"
