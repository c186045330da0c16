"""The manager's accounts in a JupyterHub, and the example for an organisation."""

import asyncio
from typing import Any

import psycopg
import pytest
from end_to_end.hubs import JupyterHub, Visitor

from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

RIGHT, BETTER = "right-password", "better-password"
OURS = """
c.JupyterHub.authenticator_class = "backendai"
c.Authenticator.auth_refresh_age = 1
"""
MAKE = "mutation($email: String!, $props: UserInput!) {create_user(email: $email, props: $props) {ok msg}}"
MODIFY = "mutation($email: String!, $props: ModifyUserInput!) {modify_user(email: $email, props: $props) {ok msg}}"
PROJECT = 'mutation($name: String!) {create_group(name: $name, props: {domain_name: "default"}) {ok group {id}}}'
ADD = """mutation($id: UUID!, $users: [String!]) {
    modify_group(gid: $id, props: {user_update_mode: "add", user_uuids: $users}) {ok msg}}"""
MAKE_GROUP = 'mutation {create_scaling_group(name: "nlp", props: {driver: "static", scheduler: "fifo"}) {ok msg}}'
GRANT = """mutation($project: UUID!) {
    associate_scaling_group_with_user_group(scaling_group: "nlp", user_group: $project) {ok msg}}"""
UUID = "query($email: String) {user(email: $email) {uuid}}"


@pytest.fixture
def agent_options(ports: dict[str, int]) -> dict[str, Any]:
    return {"doors": {"hub": f"127.0.0.1:{ports['hub_port']}"}}


@pytest.fixture
def databases(postgresql: Any) -> dict[str, str]:
    return {name: postgresql.new_database() for name in ("hub", "manager")}


@pytest.fixture
def manager_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A test that has ``databases`` has a manager with one of them."""
    if "databases" not in request.fixturenames:
        return {}
    return {"db_url": request.getfixturevalue("databases")["manager"]}


async def ask(cluster: Any, document: str, **variables: Any) -> Any:
    async with ManagerClient(cluster.config) as admin:
        (answer,) = (await admin.graphql(document, **variables)).values()
    assert answer.get("ok", True), answer
    return answer


async def add_project(cluster: Any, name: str, *emails: str) -> str:
    project = str((await ask(cluster, PROJECT, name=name))["group"]["id"])
    users = [(await ask(cluster, UUID, email=email))["uuid"] for email in emails]
    await ask(cluster, ADD, id=project, users=users)
    return project


async def test_accounts_of_the_manager(hub: JupyterHub, cluster: Any) -> None:
    props = {"username": "Kim", "password": RIGHT, "role": "user", "need_password_change": True}
    await ask(cluster, MAKE, email="kim@example.org", props=props)
    await ask(cluster, MAKE, email="root@example.org", props={**props, "username": "root", "role": "superadmin"})
    await add_project(cluster, "vision", "kim@example.org")
    hub.configure(OURS)
    await hub.start()
    kim, root = Visitor(hub), Visitor(hub)
    try:
        assert await kim.log_in("kim@example.org", "wrong-password") == 403
        assert "The e-mail address or the password is not right." in kim.page
        for path in ("/hub/login", "/hub/change-password"):
            assert await kim.post(path, {"username": "<i>", "password": "x", "old": "x", "new": "", "again": ""}) >= 400
            assert ("<i>" in kim.page, "&lt;i&gt;" in kim.page) == (False, True)
        assert await kim.log_in("kim@example.org", RIGHT) == 302
        page = "/hub/change-password?username=kim%40example.org"
        assert kim.location == page
        assert "Your password must be changed" in (await kim.get(page))[2]
        for old, new, again, sentence in (
            (RIGHT, BETTER, BETTER + "!", "The two new passwords are not the same."),
            ("wrong-password", BETTER, BETTER, "E-mail or password are not right"),
            (RIGHT, "short", "short", "A password has 8 to 1024 characters"),
        ):
            form = {"username": "kim@example.org", "old": old, "new": new, "again": again}
            assert await kim.post("/hub/change-password", form) == 400
            assert sentence in kim.page
        form = {"username": "kim@example.org", "old": RIGHT, "new": BETTER, "again": BETTER}
        assert await kim.post("/hub/change-password", form) == 302
        await ask(cluster, MODIFY, email="root@example.org", props={"need_password_change": False})

        assert await kim.log_in("kim@example.org", BETTER) == 302
        status, found = await kim.call("GET", "/users/Kim")
        assert (status, found["admin"], set(found["groups"]) - {"default"}) == (200, False, {"vision"})
        assert (await kim.call("POST", "/users/Kim/server", {}))[0] in (201, 202)  # logging in has let the Hub act
        await cluster.until(lambda: kim.is_ready("Kim"))
        assert (await kim.get("/user/Kim/lab"))[0] == 200

        assert await root.log_in("root@example.org", RIGHT) == 302
        assert (await root.call("GET", "/users/Kim"))[0] == 404  # no admin of the Hub
        status, answer = await root.call("POST", "/users/root/server", {})
        assert (status, "For admins no service may act" in answer["message"]) == (403, True), answer
        assert [one["name"] for one in await sessions(cluster)] == ["jupyterhub"]

        await add_project(cluster, "nlp", "kim@example.org")

        async def is_in_both() -> bool:
            found = (await kim.call("GET", "/users/Kim"))[1]
            return set(found["groups"]) - {"default"} == {"vision", "nlp"}

        await cluster.until(is_in_both)
        await ask(cluster, MODIFY, email="kim@example.org", props={"status": "inactive"})

        async def is_shut_out() -> bool:
            return (await kim.get("/hub/home"))[1] == "/hub/login"

        await cluster.until(is_shut_out)
    finally:
        await kim.close()
        await root.close()


MORE = """
c.JupyterHub.load_groups = {name: {"users": [user]} for name, user in
    {"vision-lab": "kim", "nlp-readers": "kim", "nlp-lab": "lee"}.items()}
c.BackendAISpawner.project_of_group["nlp-readers"] = "nlp"
c.BackendAISpawner.mem_limit = "1G"
c.BackendAISpawner.group_overrides["nlp"]["spawner_override"]["mem_limit"] = "768M"
"""
KIM_S, LEE_S = ("local", str(1024**3)), ("other", str(768 * 1024**2))


async def test_the_example_for_an_organisation(
    hub: JupyterHub, cluster: Any, visit: Any, databases: dict[str, str]
) -> None:
    """Two agents, each of another resource group; whose server lands where, the Hub's groups say.

    All that Hub and manager remember is in PostgreSQL: both are killed, and know it again.
    """
    vision, nlp = [await add_project(cluster, name, "hub@localhost") for name in ("vision", "nlp")]
    await start_agent_of(cluster, nlp)
    of_hub = databases["hub"].replace("postgresql://", "postgresql+psycopg://")
    hub.configure(MORE, "organisation_config.py", HUB_DATABASE=of_hub)
    await hub.start()
    await cluster.until(lambda: has_joined(cluster, "other"))
    kim, lee = await visit("kim"), await visit("lee")
    starts = [one.call("POST", f"/users/{name}/server", {}) for name, one in (("kim", kim), ("lee", lee))]
    assert {status for status, _ in await asyncio.gather(*starts)} <= {201, 202}
    await cluster.until(lambda: kim.is_ready("kim"))
    await cluster.until(lambda: lee.is_ready("lee"))
    assert (await lee.get("/user/lee/lab"))[0] == 200
    assert await places(cluster) == {(vision, *KIM_S), (nlp, *LEE_S)}
    hub.kill()
    cluster.kill("manager")
    cluster.start("manager")
    await cluster.ready()
    await hub.start()
    assert await kim.is_ready("kim")
    assert await lee.is_ready("lee")
    assert await places(cluster) == {(vision, *KIM_S), (nlp, *LEE_S)}
    with psycopg.connect(databases["manager"]) as manager, psycopg.connect(databases["hub"]) as of_users:
        assert manager.execute("SELECT count(*) FROM sessions").fetchone() == (2,)
        named = of_users.execute("SELECT name FROM users ORDER BY name").fetchall()
        assert named == [("hub-admin",), ("kim",), ("lee",)]
    assert not (cluster.folder / "manager" / "manager.db").exists()

    assert (await kim.call("DELETE", "/users/kim/server", {}))[0] in (202, 204)

    async def has_stopped() -> bool:
        return await places(cluster) == {(nlp, *LEE_S)}

    await cluster.until(has_stopped)
    page = (await kim.get("/hub/spawn"))[2]
    assert '<option value="nlp">nlp</option>' in page
    assert await kim.post("/hub/spawn", {"image": "local", "project": "nlp"}) == 302
    await cluster.until(lambda: kim.is_ready("kim"))
    assert await places(cluster) == {(nlp, *KIM_S), (nlp, *LEE_S)}


async def start_agent_of(cluster: Any, project: str) -> None:
    """One, named ``other``, in the resource group ``nlp``, which is for that project."""
    await ask(cluster, MAKE_GROUP)
    await ask(cluster, GRANT, project=project)
    async with ManagerClient(cluster.config) as admin:
        cluster.join_token = await admin.create_join_token("nlp")
    cluster.start("other")


async def has_joined(cluster: Any, agent: str) -> bool:
    async with ManagerClient(cluster.config) as admin:
        return (agent, "ALIVE") in [(one["name"], one["status"]) for one in await admin.list_agents()]


async def places(cluster: Any) -> set[tuple[str, str, str]]:
    """Project, agent and memory of each session."""
    return {(one["groupId"], one["agent"], one["slots"]["mem"]) for one in await sessions(cluster)}


async def sessions(cluster: Any) -> list[dict[str, Any]]:
    async with ManagerClient(cluster.config) as admin:
        found: list[dict[str, Any]] = await admin.list_sessions(everyone=True)
        return found
