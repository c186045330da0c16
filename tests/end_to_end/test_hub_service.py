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
        assert (await call(tokens["kim"], "POST", "/session", mine))[0] == 201
        await passes_answers_on(http, f"{hub.url}{SERVICE}api", tokens["kim"])
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


async def passes_answers_on(http: Any, api: str, token: str) -> None:
    """A file's way into a folder and out again, with the headers by which programs carry on."""
    headers = {"Authorization": f"token {token}"}
    answer = await http.post(f"{api}/folders", json={"name": "data"}, headers=headers)
    assert answer.status == 201, await answer.text()
    body = {"path": "file", "size": 4}
    ticket = await (await http.post(f"{api}/folders/data/request-upload", json=body, headers=headers)).json()
    address = f"{api}/storage/upload?token={ticket['token']}"
    tus = {**headers, "Tus-Resumable": "1.0.0"}
    answer = await http.post(address, headers={**tus, "Upload-Length": "4"})
    assert (answer.status, answer.headers["Location"].partition("?")[0]) == (201, "/services/bai/api/storage/upload")
    piece = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    answer = await http.patch(address, data=b"\0\1\2\3", headers=piece)
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "4")

    asked = await http.post(f"{api}/folders/data/request-download", json={"path": "file"}, headers=headers)
    address = f"{api}/storage/download?token={(await asked.json())['token']}"
    answer = await http.get(address, headers={**headers, "Range": "bytes=1-2"})
    assert (answer.status, await answer.read()) == (206, b"\1\2")
    assert answer.headers["Content-Range"] == "bytes 1-2/4"
    tag = answer.headers["ETag"]
    answer = await http.get(address, headers={**headers, "Range": "bytes=1-2", "If-Range": '"another"'})
    assert (answer.status, await answer.read(), answer.headers["ETag"]) == (200, b"\0\1\2\3", tag)
    answer = await http.head(address, headers=headers)
    assert (answer.status, answer.headers["Content-Length"], answer.headers["ETag"]) == (200, "4", tag)
    answer = await http.get(address, headers={**headers, "Range": "bytes=9-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */4")
    assert answer.content_type == "application/problem+json"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    async with http.get(f"{api}/events/session-views?sessionName=*", headers=headers) as answer:  # as they come
        assert (await answer.content.readline()).startswith(b"event:")


async def token_of(visitor: Any, name: str, scopes: list[str] | None = None) -> str:
    role = "custom:bai:read" if name == "guest" else "custom:bai:use"
    wanted = ["access:services!service=bai", role] if scopes is None else scopes
    status, made = await visitor.call("POST", f"/users/{name}/tokens", {"scopes": wanted, "expires_in": 600})
    assert status == 201, made
    return str(made["token"])
