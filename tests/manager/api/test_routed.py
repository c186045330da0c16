"""Paths of the manager that lead to a JupyterHub's servers: who may have one, and what is answered there."""

import pytest
from fakes_agent import IMAGE

from bai_jupyter.common.reasons import Reason

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
    assert (status, why) == (503, "Session jupyterhub is PENDING; this needs a running one.")
