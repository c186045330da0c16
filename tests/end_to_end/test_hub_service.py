"""The manager as a service of a JupyterHub: its page and its calls follow the Hub's logins, roles and tokens."""

import json
from http import HTTPStatus
from typing import Any

import pytest
from end_to_end.hubs import JupyterHub, http_session

from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

SERVICE = "/services/bai/"
MORE = """
c.JupyterHub.load_groups = {"guests": {"users": ["guest"]}}
c.JupyterHub.load_roles = [
    {"name": "user", "scopes": ["self"]},
    {"name": "staff", "users": ["kim", "lee"], "scopes": ["access:services!service=bai", "custom:bai:use"]},
    {"name": "guest", "groups": ["guests"], "scopes": ["access:services!service=bai", "custom:bai:read"]},
]
"""


@pytest.fixture
def agent_options(ports: dict[str, int]) -> dict[str, Any]:
    return {"doors": {"hub": f"127.0.0.1:{ports['hub_port']}"}}


async def test_page_and_calls_follow_the_hub(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    hub.configure(MORE, service=True)
    await hub.start()
    kim, lee, guest, stranger = [await visit(name) for name in ("kim", "lee", "guest", "stranger")]

    # In the browser
    status, path, page = await kim.get(SERVICE)
    assert (status, path, "You have none." in page) == (200, SERVICE, True)
    assert (await kim.call("POST", "/users/kim/server", {}))[0] in (201, 202)
    await cluster.until(lambda: kim.is_ready("kim"))
    page = (await kim.get(SERVICE))[2]
    assert "<td>jupyterhub</td><td>local</td>" in page
    assert (await stranger.get(SERVICE))[0] == HTTPStatus.FORBIDDEN
    page = (await guest.get(SERVICE))[2]
    assert ("You may look" in page, "<form" in page) == (True, False)

    # By tokens
    tokens = {name: await token_of(one, name) for name, one in (("kim", kim), ("lee", lee), ("guest", guest))}
    async with http_session() as http:

        async def call(token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
            headers = {"Authorization": f"token {token}"} if token else {}
            address = f"{hub.url}{SERVICE}api{path}"
            async with http.request(method, address, json=body, headers=headers) as answer:
                text = await answer.text()
                return answer.status, json.loads(text) if text else None

        (session,) = (await call(tokens["kim"], "GET", "/sessions"))[1]["sessions"]
        assert (session["name"], session["status"]) == ("jupyterhub", "RUNNING")
        mine = {"name": "from-token", "image": "local", "enqueueOnly": True}
        assert (await call(tokens["kim"], "POST", "/session", mine))[0] == 200
        for path in (f"/session/{session['id']}", "/session/jupyterhub", "/session/none-such"):
            status, missing = await call(tokens["lee"], "GET", path)
            assert (status, missing["title"]) == (404, "No such session."), path
        for path in ("/sessions?on_behalf_of=kim", "/sessions?all=true"):  # neither makes her somebody else
            assert (await call(tokens["lee"], "GET", path))[1].get("sessions", []) == []
        assert (await call(tokens["guest"], "GET", "/sessions"))[1] == {"sessions": []}
        assert (await call(tokens["guest"], "POST", "/session", mine))[0] == HTTPStatus.FORBIDDEN
        key = json.loads((hub.folder / "service.json").read_text())["access_key"]
        for method, path in (("PUT", f"/wards/{key}/kim"), ("POST", "/wards"), ("GET", "/logs/error")):
            assert (await call(tokens["kim"], method, path, {} if method != "GET" else None))[0] == 403, path
        bare = await token_of(kim, "kim", [])
        for token in ("", "wrong", bare, await token_of(kim, "kim", ["access:services!service=bai"])):
            assert (await call(token, "GET", "/sessions"))[0] == HTTPStatus.FORBIDDEN

        # Another site's form does not carry what this page's does.
        address = f"{hub.url}{SERVICE}end"
        ended = {"session": session["id"]}
        async with kim._http.post(address, data=ended, allow_redirects=False) as answer:
            assert answer.status in (302, 403)
        assert (await call(tokens["kim"], "GET", f"/session/{session['id']}"))[1]["status"] == "RUNNING"
        form = {**ended, "_xsrf": kim._token(SERVICE)}
        async with kim._http.post(address, data=form, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, SERVICE)

        async def is_ended() -> bool:
            return (await call(tokens["kim"], "GET", f"/session/{session['id']}"))[1]["status"] == "TERMINATED"

        await cluster.until(is_ended)
    async with ManagerClient(cluster.config) as admin:
        assert [one["name"] for one in await admin.list_sessions(everyone=True)] == ["from-token"]


async def token_of(visitor: Any, name: str, scopes: list[str] | None = None) -> str:
    role = "custom:bai:read" if name == "guest" else "custom:bai:use"
    wanted = ["access:services!service=bai", role] if scopes is None else scopes
    status, made = await visitor.call("POST", f"/users/{name}/tokens", {"scopes": wanted, "expires_in": 600})
    assert status == 201, made
    return str(made["token"])
