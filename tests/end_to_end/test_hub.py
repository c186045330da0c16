"""A real JupyterHub with a real proxy: log in, and your server runs in a session, whatever is killed meanwhile."""

import json
from datetime import UTC, datetime, timedelta
from html import unescape
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from end_to_end.hubs import (
    PRINTING,
    Heard,
    JupyterHub,
    Visitor,
    http_session,
    kill,
    let_agents_take,
    sessions,
    tells_why,
)

from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

KIM = "/user/kim/"
TELLS_SOON = 'c.Spawner.environment = {"JUPYTERHUB_ACTIVITY_INTERVAL": "1"}\n'
GPUS = [{"id": "gpu", "count": 2, "slots": {"cuda.device": 1}, "mem": "80g"}]


@pytest.fixture
def agent_options(ports: dict[str, int]) -> dict[str, Any]:
    return {"doors": {"hub": f"127.0.0.1:{ports['hub_port']}"}, "mock_devices": GPUS}


async def test_log_in_and_your_server_runs_in_a_session(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    await hub.start()
    kim = await visit("kim")
    status, answer = await kim.call("POST", "/users/kim/server", {})
    assert status in (201, 202), answer
    await cluster.until(lambda: kim.is_ready("kim"))
    assert (await kim.get(f"{KIM}lab"))[:2] == (200, f"{KIM}lab")  # by way of the Hub, which knows who it is
    status, path, body = await kim.get(f"{KIM}api/status")
    assert (status, path) == (200, f"{KIM}api/status"), body
    started = json.loads(body)["started"]
    (session,) = await sessions(cluster)
    assert (session["name"], session["type"], session["status"]) == ("jupyterhub", "batch", "RUNNING")
    assert session["route"]["path"] == KIM

    stranger = await visit("stranger")
    assert (await stranger.get(f"{KIM}lab"))[0] == 403
    assert (await stranger.get(f"{KIM}api/status"))[0] == 403
    async with http_session() as http, http.get(f"{cluster.config.endpoint}{KIM}api/status") as answer:
        assert answer.status == 403

    hub.kill()
    for name in ("manager", "agent"):
        cluster.kill(name)
        cluster.start(name)
    await hub.start()
    status, _, body = await kim.get(f"{KIM}api/status")
    assert (status, json.loads(body)["started"]) == (200, started)
    again = await visit("kim")  # of whom the server must ask the Hub

    async def is_let_in() -> bool:
        return (await again.get(f"{KIM}lab"))[0] == 200

    await cluster.until(is_let_in)

    assert (await kim.call("DELETE", "/users/kim/server", {}))[0] in (202, 204)
    await none_left(cluster)


@pytest.mark.parametrize(
    "cluster",
    [
        pytest.param({"runtime": "process"}, id="process"),
        pytest.param({"runtime": "docker"}, id="docker", marks=[pytest.mark.docker, pytest.mark.soak]),
    ],
    indirect=True,
)
async def test_kernels_of_one_s_server_run_in_sessions_of_their_own(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    """On a GPU; all are killed in turn in the middle of a cell, and the server is stopped and started again."""
    hub.configure(TELLS_SOON)
    await hub.start()
    kim = await visit("kim")
    await start_server(kim, cluster)
    kernel_id = await start_gpu_kernel(kim, cluster)
    code = "import os; kept = os.environ['MOCK_VISIBLE_DEVICES']; print(kept, os.getcwd())"
    where = (await kim.run(KIM, kernel_id, code)).split()
    assert where[0].startswith("gpu-")
    assert where[1].endswith("/work")  # beside the notebook, in the same home folder
    names = {one["name"].partition("-")[0]: one for one in await sessions(cluster)}
    assert names.keys() == {"jupyterhub", "train"}
    assert names["train"]["slots"]["cuda.device"] == "1"
    assert names["train"]["managerAccess"] is None

    started = (await kim.ask("GET", KIM, "api/status"))["started"]
    beside_id = await start_kernel(kim, "beside", "python3")
    kernels = (kernel_id, beside_id)
    pages = [await kim.open_page(KIM, each) for each in kernels]
    heard = [Heard(await page.execute(PRINTING)) for page in pages]
    for victim in ("hub", "proxy", "manager", "agent"):
        for page, told in zip(pages, heard, strict=True):
            await page.listen(told, until=f"{len(told.lines) + 50}\n")
        await kill(victim, hub, cluster)
        await cluster.until(lambda: kim.reaches(f"{KIM}api/status"))
        for page, told in zip(pages, heard, strict=True):
            await page.listen(told, until=f"{len(told.lines) + 50}\n")  # perhaps what came until the connection broke
            await page.close()
        pages = [await kim.open_rest(KIM, each, told) for each, told in zip(kernels, heard, strict=True)]
    assert not any(told.is_done for told in heard)
    assert (await kim.ask("GET", KIM, "api/status"))["started"] == started
    await kim.ask("PUT", KIM, "api/contents/work/go", {"type": "file", "format": "text", "content": ""})
    for each, page, told in zip(kernels, pages, heard, strict=True):
        await page.listen(told)
        await page.close()
        printed = int(await kim.run(KIM, each, "print(n)"))
        assert told.text == "".join(f"{n}\n" for n in range(printed))

    await run_unseen(kim, kernel_id)
    assert (await kim.call("DELETE", "/users/kim/server", {}))[0] in (202, 204)

    async def has_stopped() -> bool:
        return [one["name"].partition("-")[0] for one in await sessions(cluster)] == ["train"]

    await cluster.until(has_stopped)
    await start_server(kim, cluster)

    async def is_picked_up() -> bool:
        return [one["id"] for one in await kim.ask("GET", KIM, "api/kernels")] == [kernel_id]

    await cluster.until(is_picked_up)
    for _ in range(3):  # it goes on doing something, for a Hub's culler too
        before = await active_at(kim)

        async def is_later() -> bool:
            return await active_at(kim) > before  # noqa: B023 - called before the next

        await cluster.until(is_later)
    await kim.ask("PUT", KIM, "api/contents/work/done", {"type": "file", "format": "text", "content": ""})
    assert await kim.run(KIM, kernel_id, "print(kept)") == f"{where[0]}\n"


SILENT = """
print("begun", flush=True)
while not os.path.exists("done"):
    time.sleep(0.1)
"""


async def run_unseen(kim: Visitor, kernel_id: str) -> None:
    """A cell that says nothing, and whose page is closed."""
    page = await kim.open_page(KIM, kernel_id)
    await page.listen(Heard(await page.execute(SILENT)), until="begun")
    await page.close()


async def active_at(kim: Visitor) -> datetime:
    """When her server did something last, as her Hub knows it."""
    return datetime.fromisoformat((await kim.call("GET", "/users/kim"))[1]["servers"][""]["last_activity"])


CULLED_AFTER_S = 20
CULLER = f"""
import sys
command = [sys.executable, "-m", "jupyterhub_idle_culler", "--timeout={CULLED_AFTER_S}", "--cull-every=1"]
c.JupyterHub.services.append({{"name": "culler", "command": command}})
scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
c.JupyterHub.load_roles.append({{"name": "culler", "services": ["culler"], "scopes": scopes}})
"""


@pytest.mark.soak
async def test_a_culler_ends_no_server_whose_kernel_elsewhere_runs(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    hub.configure(TELLS_SOON + CULLER)
    await hub.start()
    kim = await visit("kim")
    await start_server(kim, cluster)
    kernel_id = await start_gpu_kernel(kim, cluster)
    where = await kim.run(KIM, kernel_id, "import os, time; print(os.getcwd())")
    await run_unseen(kim, kernel_id)
    due = datetime.now(UTC) + timedelta(seconds=2 * CULLED_AFTER_S)

    async def is_due() -> bool:
        return datetime.now(UTC) > due

    async def is_culled() -> bool:
        return [one["name"].partition("-")[0] for one in await sessions(cluster)] == ["train"]

    await cluster.until(is_due)
    assert await kim.is_ready("kim")
    assert await active_at(kim) > due - timedelta(seconds=CULLED_AFTER_S)
    (Path(where.strip()) / "done").touch()
    await cluster.until(is_culled)


LIMIT = (
    "mutation($props: ModifyKeyPairResourcePolicyInput!) "
    '{modify_keypair_resource_policy(name: "default", props: $props) {ok msg}}'
)

ANSWERS_LATE = "c.JupyterHub.tornado_settings = {'slow_spawn_timeout': 120}  # so that answers say how it went\n"
ENDS_AT_ONCE = f"""
{ANSWERS_LATE}
def _break(spawner):
    if spawner.name == "broken":
        spawner.cmd = ["sh", "-c", "echo there is no server here; exit 3"]
    if spawner.name == "silent":
        spawner.cmd, spawner.http_timeout = ["sh", "-c", "echo still loading; exec sleep 600"], 2
c.Spawner.pre_spawn_hook = _break
"""


async def test_choosing_and_being_refused(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    hub.configure(ENDS_AT_ONCE)
    await hub.start()
    kim = await visit("kim")
    status, _, page = await kim.get("/hub/spawn")
    assert status == 200
    for part in ('<option value="local" selected>', "As your policy says", "1 CPU, 512 MiB · Starts now."):
        assert part in page

    for server, options, sentence in (
        ("", {"cmd": ["sh"]}, "user_options: 'cmd' is not image, preset, folders, group or project."),
        ("", {"group": "gpu"}, "group: gpu is not one of default."),
        ("", {"project": "secret"}, "There is no project secret for you."),
        ("", {"image": "no/such:image"}, "There is no environment no/such:image for you."),
        ("", {"preset": "huge"}, "preset huge"),
        ("", {"folders": {"secrets": "ro"}}, "Folder secrets does not exist or is not shared with you."),
        ("broken", {}, 'Its last line: "there is no server here".'),
        ("silent", {}, 'has not answered for 2 s, and is stopped. Its last line: "still loading".'),
    ):
        await is_refused(kim, server, options, sentence)
        assert await sessions(cluster) == []

    form = {"image": "local", "preset": "small"}
    async with ManagerClient(cluster.config) as admin:
        await admin.graphql(LIMIT, props={"total_resource_slots": '{"cpu": "0.5"}'})
        await is_refused(kim, "", form, "too much. Ask for less")
        assert "You may have 0.5 CPU more." in (await kim.get("/hub/spawn"))[2]
        await admin.graphql(LIMIT, props={"total_resource_slots": "{}"})

    assert await kim.post("/hub/spawn", form) == 302
    await cluster.until(lambda: kim.is_ready("kim"))
    (session,) = await sessions(cluster)
    assert (session["image"], session["slots"]["cpu"]) == ("local", "1")
    assert (await kim.call("DELETE", "/users/kim/server"))[0] in (202, 204)
    await none_left(cluster)
    assert "Start again as last time" in (await kim.get("/hub/spawn"))[2]
    assert (await kim.call("POST", "/users/kim/server"))[0] == 201  # no body: as last time, too
    assert (await kim.call("GET", "/users/kim"))[1]["servers"][""]["user_options"] == form


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [{"runtime": "docker"}], indirect=True)
async def test_an_environment_without_a_server(hub: JupyterHub, cluster: Any, visit: Any, python_image: str) -> None:
    """One for kernels, which users see in the same list."""
    hub.configure(ANSWERS_LATE)
    await hub.start()
    kim = await visit("kim")
    assert f'<option value="{python_image}">' in (await kim.get("/hub/spawn"))[2]
    await is_refused(
        kim, "", {"image": python_image}, f"{python_image} contains no jupyterhub-singleuser. Choose another"
    )
    assert await sessions(cluster) == []


async def is_refused(kim: Visitor, server: str, options: dict[str, Any], sentence: str) -> None:
    """By REST, and by the page: above the form, or where it shows how a start goes on."""
    status, answer = await kim.call("POST", f"/users/kim/servers/{server}" if server else "/users/kim/server", options)
    assert (status >= 400, sentence in str(answer)) == (True, True), (options, answer)
    as_form = {"again": json.dumps(options)} if "cmd" in options else dict(options)  # the only way to forge that one
    for name, permission in as_form.pop("folders", {}).items():
        as_form[f"folder:{name}"] = permission
    status = await kim.post(f"/hub/spawn/kim/{server}" if server else "/hub/spawn", as_form)
    if status == HTTPStatus.FOUND:  # after a second the Hub shows how the start goes on instead
        assert "/hub/spawn-pending/" in kim.location
        told = [event["message"] async for event in kim.progress("kim", server) if event.get("failed")]
    else:
        assert status >= 400
        told = [unescape(line) for line in kim.page.splitlines() if "spawn-error-msg" in line]
    assert sentence in "".join(told), (options, told)
    assert "SpawnException" not in "".join(told)


GROUPS = """
c.JupyterHub.tornado_settings = {'slow_spawn_timeout': 0}
c.JupyterHub.load_groups = {"vision-lab": {"users": ["kim"]}}
c.BackendAISpawner.project_of_group = {"vision-lab": "vision", "nlp-lab": "nlp"}
c.BackendAISpawner.policy_of_group = {"nlp-lab": "nlp", "vision-lab": "student"}
c.BackendAISpawner.group_overrides = {"small": {"groups": ["vision-lab"], "spawner_override": {"mem_limit": "768M"}}}
# Two of her servers may be started by the service.
c.JupyterHub.load_roles[1]["scopes"][-1:] = [f"start:servers!server=kim/{name}" for name in ("lab", "other")]
"""


async def test_two_servers_that_wait_keep_their_places_when_the_hub_ends_and_a_third_is_cancelled(
    hub: JupyterHub, cluster: Any, visit: Any
) -> None:
    """Two of one user, in the project of her group; she need not press anything. A fourth is renamed."""

    async def are_asked_for(count: int) -> bool:
        return len(await sessions(cluster)) == count

    async def is_shown_to_wait(server: str) -> bool:
        return bool((await kim.call("GET", "/users/kim"))[1]["servers"].get(server, {}).get("pending") == "spawn")

    projects = await add_projects(cluster, "vision", "nlp")
    await let_hub_give(cluster, hub, "student")
    hub.configure(GROUPS, service=True)
    await hub.start()
    kim = await visit("kim")
    await kim.get("/hub/spawn")  # makes her a user of the manager
    await let_agents_take(cluster, new_sessions=False)
    for server in ("lab", "other", "renamed"):
        assert (await kim.call("POST", f"/users/kim/servers/{server}", {}))[0] == 202
        await tells_why(kim, server)
    waiting = {one["name"]: one for one in await sessions(cluster)}
    assert waiting.keys() == {"jupyterhub-lab", "jupyterhub-other", "jupyterhub-renamed"}
    assert await policy_of(cluster, "kim") == "student"
    for one in waiting.values():
        assert one["groupId"] == projects["vision"]
        assert (one["status"], one["slots"]["mem"]) == ("PENDING", str(768 * 1024**2))

    hub.kill()
    await hub.start()
    kim = await visit("kim")
    assert {one["id"] for one in await sessions(cluster)} == {one["id"] for one in waiting.values()}
    assert (await kim.call("PATCH", "/users/kim/servers/renamed", {"name": "second"}))[0] == 200
    del waiting["jupyterhub-renamed"]
    await cluster.until(lambda: are_asked_for(2))
    for server in ("lab", "other"):
        await cluster.until(lambda: is_shown_to_wait(server))  # noqa: B023 - called before the next
        await tells_why(kim, server)
    assert (await kim.call("POST", "/users/kim/servers/third", {}))[0] == 202
    await cluster.until(lambda: are_asked_for(3))
    assert (await kim.call("DELETE", "/users/kim/servers/third", {}))[0] in (202, 204)
    await cluster.until(lambda: are_asked_for(2))
    await let_agents_take(cluster, new_sessions=True)
    for server in ("lab", "other"):  # both run, with the tokens that the Hub knows
        await cluster.until(lambda: kim.is_ready("kim", server))  # noqa: B023 - called before the next
        assert (await kim.get(f"/user/kim/{server}/lab"))[:2] == (200, f"/user/kim/{server}/lab")
    assert {one["id"] for one in await sessions(cluster)} == {one["id"] for one in waiting.values()}


async def test_what_a_hub_cannot_go_on_with_is_not_left_behind(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    hub.configure("c.JupyterHub.tornado_settings = {'slow_spawn_timeout': 0}")
    await hub.start()
    kim = await visit("kim")
    await kim.get("/hub/spawn")
    await let_agents_take(cluster, new_sessions=False)
    assert (await kim.call("POST", "/users/kim/servers/lab", {}))[0] == 202

    async def waits() -> bool:
        return len(await sessions(cluster)) == 1

    await cluster.until(waits)
    (left,) = await sessions(cluster)

    async def has_ended() -> bool:
        return left["id"] not in [session["id"] for session in await sessions(cluster)]

    hub.kill()
    (hub.folder / "jupyterhub.sqlite").unlink()  # with it, all that the Hub knew
    await hub.start()
    kim = await visit("kim")
    assert (await kim.call("POST", "/users/kim/servers/lab", {}))[0] == 202
    await cluster.until(has_ended)
    assert (await kim.call("DELETE", "/users/kim/servers/lab", {}))[0] in (202, 204)
    await none_left(cluster)


async def start_server(visitor: Visitor, cluster: Any) -> None:
    status, answer = await visitor.call("POST", "/users/kim/server", {})
    assert status in (201, 202), answer
    await cluster.until(lambda: visitor.is_ready("kim"))
    assert (await visitor.get(f"{KIM}lab"))[0] == 200


async def start_gpu_kernel(kim: Visitor, cluster: Any) -> str:
    """Of a notebook ``work/train.ipynb`` that asks for a GPU, as Lab does it."""
    names: list[str] = []

    async def has_ours() -> bool:
        found = await kim.ask("GET", KIM, "api/kernelspecs")
        names[:] = [name for name in found["kernelspecs"] if name.startswith("bai-")]
        return bool(names)

    await cluster.until(has_ours)
    await kim.ask("PUT", KIM, "api/contents/work", {"type": "directory"})
    image = next(name for name in await images(cluster) if "hub" not in name)
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    await kim.ask("PUT", KIM, "api/contents/work/train.ipynb", {"type": "notebook", "content": notebook})
    choice = {"image": image, "resources": {"cpu": "1", "mem": "512m", "cuda.device": "1"}}
    chosen = await kim.ask("PUT", KIM, "bai/api/notebooks/work/train.ipynb/choice", choice)
    return await start_kernel(kim, "train", chosen["kernelspec"]["name"])


async def start_kernel(kim: Visitor, notebook: str, name: str) -> str:
    """For that notebook in ``work``."""
    body = {"path": f"work/{notebook}.ipynb", "name": notebook, "type": "notebook", "kernel": {"name": name}}
    return str((await kim.ask("POST", KIM, "api/sessions", body))["kernel"]["id"])


async def images(cluster: Any) -> list[str]:
    async with ManagerClient(cluster.config) as admin:
        return [one["name"] for one in await admin.list_images()]


MAKE_PROJECT = 'mutation($name: String!) {create_group(name: $name, props: {domain_name: "default"}) {ok group {id}}}'
ADD_MEMBER = """mutation($id: UUID!, $users: [String!]) {
    modify_group(gid: $id, props: {user_update_mode: "add", user_uuids: $users}) {ok msg}}"""


async def add_projects(cluster: Any, *names: str) -> dict[str, str]:
    """Of which the Hub's service is a member; their ids."""
    ids = {}
    async with ManagerClient(cluster.config) as admin:
        service = (await admin.graphql('{user(email: "hub@localhost") {uuid}}'))["user"]["uuid"]
        for name in names:
            ids[name] = (await admin.graphql(MAKE_PROJECT, name=name))["create_group"]["group"]["id"]
            assert (await admin.graphql(ADD_MEMBER, id=ids[name], users=[service]))["modify_group"]["ok"]
    return ids


MAKE_POLICY = """mutation($name: String!) {create_keypair_resource_policy(name: $name, props: {
    default_for_unspecified: "UNLIMITED", total_resource_slots: "{}", max_session_lifetime: 0,
    max_concurrent_sessions: 9, max_containers_per_session: 1, idle_timeout: 0, allowed_vfolder_hosts: "{}",
    max_vfolder_count: 0, max_vfolder_size: 0}) {ok msg}}"""


async def let_hub_give(cluster: Any, hub: JupyterHub, policy: str) -> None:
    service = json.loads((hub.folder / "service.json").read_text())["access_key"]
    async with ManagerClient(cluster.config) as admin:
        assert (await admin.graphql(MAKE_POLICY, name=policy))["create_keypair_resource_policy"]["ok"]
        await admin.request("PUT", f"/wards/{service}/policies/{policy}")


async def policy_of(cluster: Any, name: str) -> str:
    query = "query($email: String) {keypairs(email: $email) {resource_policy}}"
    async with ManagerClient(cluster.config) as admin:
        (keypair,) = (await admin.graphql(query, email=f"{name}@wards.localhost"))["keypairs"]
    return str(keypair["resource_policy"])


async def none_left(cluster: Any) -> None:
    async def is_none() -> bool:
        return not await sessions(cluster)

    await cluster.until(is_none)
