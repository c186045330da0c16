"""Paths of the manager that lead to a JupyterHub's servers: who may have one, and what is answered there."""

import asyncio
from contextlib import suppress

import pytest
from fakes_agent import IMAGE
from tornado.netutil import bind_sockets

from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.own_ports import OwnPorts

pytestmark = pytest.mark.asyncio
KIM = "?on_behalf_of=kim"


def server(path: str = "/user/kim/", name: str = "jupyterhub", **config) -> dict:
    return {
        "name": name,
        "image": IMAGE.name,
        "type": "batch",
        "startupCommand": "jupyterhub-singleuser",
        "enqueueOnly": True,
        "config": {"resources": {"cpu": "1", "mem": "1g"}, "route": {"path": path, "port": 8888}, **config},
    }


async def refusal(client, path: str) -> tuple[int, str]:
    answer = await client.call("GET", path)
    return answer.status, answer.json["msg"]


async def test_only_a_service_that_acts_for_a_user_may_ask(agent, admin, make_user, make_hub):
    hub, user = await make_hub(), await make_user("bob")
    await hub.post("/wards", {"name": "kim"})
    for client in (admin, user, hub):
        assert (await client.call("POST", "/session", server())).status == 403
    without_route = server()
    without_route["config"] = {"resources": {"cpu": "1", "mem": "1g"}, "doors": ["hub"]}
    assert (await user.call("POST", "/session", without_route)).status == 403
    await hub.post(f"/session{KIM}", server(doors=["hub"]))
    view = await hub.get(f"/session/jupyterhub{KIM}")
    assert (view["route"], view["doors"]) == ({"path": "/user/kim/", "port": 8888}, ["hub"])


async def test_a_service_lets_only_servers_of_its_wards_call_the_manager(
    manager, agent, admin, call_with, make_hub, make_user
):
    hub, bob = await make_hub(), await make_user("bob")
    made = await hub.post("/wards", {"name": "kim"})
    without = server(manager_access="user")
    del without["config"]["route"]
    refused = await hub.call("POST", f"/session{KIM}", without)
    assert (refused.status, refused.json["data"]["reason"]["code"]) == (403, "grant-without-route")
    session = (await hub.post(f"/session{KIM}", server(manager_access="user")))["sessionId"]
    assert (await hub.get(f"/session/jupyterhub{KIM}"))["managerAccess"] == "user"

    def last(conn):
        return conn.exec_driver_sql("SELECT user_id, access_key, action FROM audit ORDER BY id DESC").first()

    assert tuple(await manager.store.read(last)) == (made["id"], hub.access_key, "POST session:create")
    await admin.until_status(session, "RUNNING")
    (token,) = [want.access_token for want in agent.wants.values() if want.session_id == session]

    async def call(method: str, path: str, body: dict | None = None) -> int:
        return (await call_with(token, method, path, body))[0]

    mine = {"name": "from-server", "image": IMAGE.name, "enqueueOnly": True}
    assert await call("POST", "/session", mine) == 201
    assert (await hub.get(f"/session/from-server{KIM}"))["userId"] == made["id"]
    his = (await bob.create("his-work"))["sessionId"]
    assert await call("GET", f"/session/{his}") == 404
    for config in ({"manager_access": "user"}, {"route": {"path": "/user/kim/x/", "port": 8888}}, {"doors": ["hub"]}):
        assert await call("POST", "/session", {**mine, "name": "heir-of-it", "config": config}) == 403, config
    for method, path in (("PUT", f"/wards/{hub.access_key}/kim"), ("POST", "/wards"), ("GET", "/sessions?all=true")):
        assert await call(method, path, {"name": "kim"} if method == "POST" else None) == 403, path

    await admin.call("DELETE", f"/wards/{hub.access_key}/kim")  # the service has nothing to do with her any more
    assert await call("GET", "/auth") == 401
    await admin.call("PUT", f"/wards/{hub.access_key}/kim")
    assert await call("GET", "/auth") == 200
    await hub.call("DELETE", f"/session/{session}{KIM}")
    assert await call("GET", "/auth") == 401
    assert (await hub.get(f"/session/from-server{KIM}"))["status"] != "TERMINATED"  # it is a session of its own


async def test_a_path_leads_to_one_live_session(manager, agent, admin, make_hub):
    hub = await make_hub()
    await hub.post("/wards", {"name": "kim"})
    first = await hub.post(f"/session{KIM}", server())
    taken = await hub.call("POST", f"/session{KIM}", server(name="another"))
    assert (taken.status, taken.json["data"]["reason"]["code"]) == (400, "route-taken")
    await hub.post(f"/session{KIM}", server("/user/kim/lab/", "another"))
    at = manager.services.sessions.at_path
    assert [(await at(path))[0].name for path in ("/user/kim/tree", "/user/kim/lab/x")] == ["jupyterhub", "another"]
    await hub.call("DELETE", f"/session/jupyterhub{KIM}")
    await admin.until_status(first["sessionId"], "TERMINATED")
    assert (await hub.call("GET", "/user/kim/api")).status == 404
    await hub.post(f"/session{KIM}", server())


async def test_bad_values_are_refused(agent, make_hub):
    hub = await make_hub()
    await hub.post("/wards", {"name": "kim"})
    for config in ({"route": {"path": "/session/"}}, {"route": "/user/kim/"}, {"doors": ["../x"]}, {"doors": "hub"}):
        answer = await hub.call("POST", f"/session{KIM}", server(**config))
        assert (answer.status, answer.json["data"]["reason"]["code"]) == (400, "bad-value")
    assert (await hub.get(f"/sessions{KIM}"))["sessions"] == []


async def test_what_is_answered_where_no_server_answers(agent, admin, make_hub):
    hub = await make_hub()
    await hub.post("/wards", {"name": "kim"})
    assert await refusal(hub, "/user/kim/api") == (404, "There is nothing at /user/kim/api.")
    assert await refusal(hub, "/unknown") == (404, "There is nothing at /unknown.")
    await hub.post(f"/session{KIM}", server())
    agent.call_errors["open_stream"] = Reason.of("port-closed", port=8888, cause="connection refused")
    await admin.until_status((await hub.get(f"/session/jupyterhub{KIM}"))["id"], "RUNNING")
    status, why = await refusal(hub, "/user/kim/api")
    assert (status, why) == (503, agent.call_errors["open_stream"].text)


async def test_a_server_that_waits_says_so(agent, make_hub):
    hub = await make_hub()
    await hub.post("/wards", {"name": "kim"})
    await hub.post(f"/session{KIM}", {**server(), "starts_at": "1h"})
    status, why = await refusal(hub, "/user/kim/api")
    assert (status, why) == (503, "Session jupyterhub is queued; this needs a running one.")


async def test_a_port_of_the_manager_leads_to_one_live_session(manager, agent, admin, make_hub):
    hub = await make_hub()
    await hub.post("/wards", {"name": "kim"})
    refused = await hub.call("POST", f"/session{KIM}", server(":0"))
    assert (refused.status, refused.json["data"]["reason"]["code"]) == (400, "route-ports-missing")
    manager.services.creation._own_routes = [":42001", ":42002"]
    for name, path in (("first", ":42001"), ("second", ":42002")):
        made = await hub.post(f"/session{KIM}", server(":0", name))
        assert (await hub.get(f"/session/{name}{KIM}"))["route"] == {"path": path, "port": 8888}
    taken = await hub.call("POST", f"/session{KIM}", server(":0", "third"))
    assert (taken.status, taken.json["data"]["reason"]["code"]) == (503, "route-ports-taken")
    assert (await manager.services.sessions.at_own_port(42002))[0].name == "second"
    await hub.call("DELETE", f"/session/second{KIM}")
    await admin.until_status(made["sessionId"], "TERMINATED")
    assert await manager.services.sessions.at_own_port(42002) is None
    await hub.post(f"/session{KIM}", server(":0", "third"))
    assert (await hub.get(f"/session/third{KIM}"))["route"]["path"] == ":42002"


async def test_what_comes_to_such_a_port_is_not_read(manager, agent, admin, make_hub, free_port):
    """The agent answers with what it gets."""
    hub = await make_hub()
    await hub.post("/wards", {"name": "kim"})
    sessions = manager.services.sessions
    manager.services.creation._own_routes = [f":{free_port}"]
    ports = OwnPorts(sessions, manager.services.apps)
    await ports.open(bind_sockets(free_port, "127.0.0.1"))
    try:
        assert await answer_at(free_port, b"hello") == b""
        made = await hub.post(f"/session{KIM}", server(":0"))
        await admin.until_status(made["sessionId"], "RUNNING")
        content = b"\x16\x03\x01\r\n\r\n" * 100_000
        assert await answer_at(free_port, content) == content
        agent.call_errors["open_stream"] = Reason.of("port-closed", port=8888, cause="connection refused")
        assert await answer_at(free_port, b"hello") == b""
    finally:
        await ports.close()


async def answer_at(port: int, content: bytes) -> bytes:
    """As much as was sent, or what comes before the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        with suppress(ConnectionError):
            writer.write(content)
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        return await reader.readexactly(len(content))
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""
    finally:
        await sending
        writer.close()
