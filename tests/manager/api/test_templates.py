"""Session templates: kept, shown, changed, and sessions made from them."""

import json

import pytest
import yaml

pytestmark = pytest.mark.asyncio

TEMPLATE = """
api_version: v1
kind: taskTemplate
metadata: {name: exam, tag: spring}
spec:
  session_type: batch
  kernel:
    image: bai/python:test
    environ: {MODE: fast, YEAR: 2026}
    run: {bootstrap: echo first, startup: python train.py}
  mounts: {home: null}
  resources: {cpu: 2, mem: 1g}
"""


async def keep(client, payload=TEMPLATE):
    (kept,) = await client.post("/template/session", {"payload": payload}, 200)
    return kept["id"]


async def test_a_session_is_what_its_template_says(agent, admin):
    body = {"template_id": await keep(admin), "name": "my-work", "enqueueOnly": True, "tag": None, "config": {}}
    created = await admin.post("/session/_/create-from-template", body)
    assert created["sessionName"] == "my-work"
    view = await admin.until_status("my-work", "RUNNING")
    assert (view["type"], view["tag"], view["startupCommand"]) == ("batch", "spring", "python train.py")
    assert view["slots"] == {"cpu": "2", "mem": str(1024**3)}
    want = agent.wants[view["containerId"]]
    assert (want.bootstrap, want.environ["MODE"], want.environ["YEAR"]) == ("echo first", "fast", "2026")


async def test_a_request_overrules_its_template(agent, admin):
    config = {"resources": {"cpu": 1, "mem": "2g"}, "environ": {"MODE": "slow"}, "mounts": []}
    body = {"template_id": await keep(admin), "name": "my-work", "enqueueOnly": True, "startupCommand": "date"}
    await admin.post("/session/_/create-from-template", {**body, "config": config})
    view = await admin.until_status("my-work", "RUNNING")
    assert (view["startupCommand"], view["slots"]["cpu"]) == ("date", "1")
    environ = agent.wants[view["containerId"]].environ
    assert (environ["MODE"], environ["YEAR"]) == ("slow", "2026")


async def test_it_is_shown_changed_and_deleted(admin):
    template_id = await keep(admin)
    shown = await admin.call("GET", f"/template/session/{template_id}?format=yaml")
    assert yaml.safe_load(shown.body) == yaml.safe_load(TEMPLATE)
    assert await admin.get(f"/template/session/{template_id}?format=json") == yaml.safe_load(TEMPLATE)
    (listed,) = await admin.get("/template/session")
    assert (listed["name"], listed["id"], listed["is_owner"], listed["user"]) == ("exam", template_id, True, "admin")
    changed = json.dumps({**yaml.safe_load(TEMPLATE), "metadata": {"name": "retake"}})
    assert (await admin.call("PUT", f"/template/session/{template_id}", {"payload": changed})).json == {"success": True}
    assert (await admin.get("/template/session"))[0]["name"] == "retake"
    assert (await admin.call("DELETE", f"/template/session/{template_id}")).json == {"success": True}
    assert await admin.get("/template/session") == []
    assert (await admin.call("GET", f"/template/session/{template_id}")).status == 404


async def test_of_several_all_are_kept_or_none(admin):
    good = yaml.safe_load(TEMPLATE)
    kept = await admin.post("/template/session", {"payload": [good, good]}, 200)
    assert len(kept) == len(await admin.get("/template/session")) == 2
    await admin.post("/template/session", {"payload": [good, {}]}, 400)
    assert len(await admin.get("/template/session")) == 2


async def test_templates_are_ones_own(agent, admin, make_user):
    alice = await make_user("alice")
    template_id = await keep(admin)
    assert await alice.get("/template/session") == []
    assert (await alice.call("GET", "/template/session?all=true")).status == 403
    body = {"template_id": template_id, "name": "my-work"}
    assert (await alice.call("POST", "/session/_/create-from-template", body)).status == 404
    await keep(alice)
    assert len(await admin.get("/template/session?all=true")) == 2


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (None, "payload"),
        ("", "payload"),
        ("a: [", "neither YAML nor JSON"),
        (BOMB, "aliases"),
        ("!!python/object/apply:os.system [date]", "neither YAML nor JSON"),
        ("kind: clusterTemplate", "kind"),
        ("{kind: taskTemplate, metadata: {name: x}, spec: {}}", "image"),
        ("{kind: taskTemplate, spec: {kernel: {image: x}}}", "metadata.name"),
        ("{kind: taskTemplate, metadata: {name: x}, spec: {kernel: {image: x, git: {}}}}", "spec.kernel"),
        ("{kind: taskTemplate, metadata: {name: x}, spec: {kernel: {image: x}, mounts: 5}}", "spec.mounts"),
        ("{kind: taskTemplate, metadata: {name: x}, spec: {kernel: {image: x}, session_type: odd}}", "type"),
        ("{kind: taskTemplate, metadata: {name: x, tag: .nan}, spec: {kernel: {image: x}}}", "JSON cannot"),
        ("{kind: taskTemplate, metadata: {name: x, tag: !!binary eA==}, spec: {kernel: {image: x}}}", "JSON cannot"),
        ("x" * 70_000, "at most"),
        ("[" * 3000, "neither YAML nor JSON"),
    ],
)
async def test_what_is_no_template_is_not_kept(admin, payload, says):
    answer = await admin.call("POST", "/template/session", {"payload": payload})
    assert (answer.status, says in answer.json["msg"]) == (400, True), answer.json
    assert await admin.get("/template/session") == []
