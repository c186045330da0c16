"""``/bai/api`` in a real server against the stub manager: what is passed on, and how refusals look."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError


@pytest.fixture
def connected(manager: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """To be asked for before ``jp_fetch``: the server reads the credentials while it is made."""
    for name, value in manager.environ.items():
        monkeypatch.setenv(name, value)
    return manager


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("BACKEND_ENDPOINT", "BAI_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


async def get(jp_fetch: Callable[..., Any], *path: str) -> Any:
    return json.loads((await jp_fetch("bai", "api", *path)).body)


async def refusal(jp_fetch: Callable[..., Any], *path: str, method: str = "GET") -> tuple[int, dict[str, str]]:
    with pytest.raises(HTTPClientError) as refused:
        await jp_fetch("bai", "api", *path, method=method, allow_nonstandard_methods=True)
    assert refused.value.response is not None
    return refused.value.code, json.loads(refused.value.response.body)


async def test_status(connected: Any, jp_fetch: Callable[..., Any]) -> None:
    assert await get(jp_fetch, "status") == {
        "configured": True,
        "reachable": True,
        "endpoint": connected.endpoint,
        "versions": {"extension": "0.1.0", "manager": "0.1.0"},
        "user": {"id": "u-1", "name": "kim", "role": "user"},
        "error": None,
    }


async def test_sessions_and_the_end_of_one(
    connected: Any, jp_fetch: Callable[..., Any], make_session: Callable[..., Any]
) -> None:
    connected.sessions = [make_session("demo"), make_session("other")]
    assert [view["name"] for view in (await get(jp_fetch, "sessions"))["sessions"]] == ["demo", "other"]
    demo = connected.sessions[0]["id"]
    assert (await get(jp_fetch, "sessions", demo))["name"] == "demo"
    answer = await jp_fetch("bai", "api", "sessions", demo, method="DELETE")
    assert answer.code == 204
    assert [view["name"] for view in connected.sessions] == ["other"]


async def test_where_only_ones_own_session_is_seen_none_has_ended(connected: Any, jp_fetch: Callable[..., Any]) -> None:
    connected.ended = None
    answer = await jp_fetch("bai", "api", "ended-sessions", params={"since": "2026-11-30T00:00:00Z"})
    assert json.loads(answer.body) == {"sessions": [], "total": 0}


async def test_a_session_is_restarted_made_an_image_of_and_read(
    connected: Any, jp_fetch: Callable[..., Any], make_session: Callable[..., Any]
) -> None:
    connected.sessions = [make_session("demo")]
    demo = connected.sessions[0]["id"]
    assert await get(jp_fetch, "sessions", demo, "logs") == {"logs": "demo printed this.\n"}
    answer = await jp_fetch("bai", "api", "sessions", demo, "restart", method="POST", body="")
    assert (answer.code, connected.calls[-1]) == (204, ("PATCH", f"/session/{demo}"))
    answer = await jp_fetch("bai", "api", "sessions", demo, "commit", method="POST", body="")
    assert (answer.code, json.loads(answer.body)) == (202, {"image": "user/kim:demo", "task": "t-1"})
    answer = await jp_fetch("bai", "api", "sessions", demo, "commit", method="POST", body='{"name": "mine"}')
    assert json.loads(answer.body)["image"] == "user/kim:mine"
    for connected.task_status in ("failed", "done"):
        told = {"status": connected.task_status, "message": "What it says."}
        assert await get(jp_fetch, "commits", "t-1") == told
    for method, action in (("GET", "logs"), ("POST", "restart"), ("POST", "commit")):
        code, body = await refusal(jp_fetch, "sessions", "nothing", action, method=method)
        assert (code, body["code"]) == (404, "not-found")


@pytest.mark.parametrize(
    ("page", "name", "content"),
    [
        ("images", "images", [{"name": "python:3.11", "kernelspecs": []}]),
        ("presets", "presets", [{"name": "small", "resource_slots": {"cpu": "1"}}]),
        ("resource-groups", "groups", [{"name": "gpu", "selection": "concentrated", "is_active": True}]),
    ],
)
async def test_lists(connected: Any, jp_fetch: Callable[..., Any], page: str, name: str, content: Any) -> None:
    setattr(connected, name, content)
    assert await get(jp_fetch, page) == {page.replace("-", "_"): content}


async def test_agents_without_what_users_should_not_see(connected: Any, jp_fetch: Callable[..., Any]) -> None:
    shown = {"name": "lab-1", "status": "ALIVE", "resource_group": "gpu", "runtime": "docker", "isolated": True}
    shown |= {"slots": {"cpu": "8"}, "used": {"cpu": "2"}}
    connected.agents = [{**shown, "id": "a-1", "devices": [{"device_id": "GPU-0"}], "heard_at": "now"}]
    assert await get(jp_fetch, "agents") == {"agents": [shown]}


async def test_the_managers_refusal_arrives_with_its_sentence(connected: Any, jp_fetch: Callable[..., Any]) -> None:
    code, body = await refusal(jp_fetch, "sessions", "nothing", method="DELETE")
    assert code == 404
    assert body == {"code": "not-found", "message": "There is no session nothing that you can see."}
    code, body = await refusal(jp_fetch, "sessions", "nothing")
    assert (code, body["code"]) == (404, "not-found")


@pytest.fixture
def wrongly_connected(connected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKEND_SECRET_KEY", "wrong")


async def test_wrong_key(wrongly_connected: None, jp_fetch: Callable[..., Any]) -> None:
    code, body = await refusal(jp_fetch, "sessions")
    assert (code, body["code"]) == (401, "signature")
    assert (await get(jp_fetch, "status"))["error"]["code"] == "signature"


async def test_manager_away(connected: Any, jp_fetch: Callable[..., Any]) -> None:
    connected.is_away = True
    code, body = await refusal(jp_fetch, "sessions")
    assert (code, body["code"]) == (503, "manager-away")
    status = await get(jp_fetch, "status")
    assert (status["configured"], status["reachable"], status["error"]["code"]) == (True, False, "manager-away")


async def test_without_a_manager_everything_is_stock(
    unconnected: None, jp_serverapp: Any, jp_fetch: Callable[..., Any]
) -> None:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
    from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
    from jupyter_server.services.sessions.sessionmanager import SessionManager

    assert type(jp_serverapp.kernel_spec_manager) is KernelSpecManager
    assert type(jp_serverapp.kernel_manager) is AsyncMappingKernelManager
    assert type(jp_serverapp.session_manager) is SessionManager
    assert jp_serverapp.kernel_websocket_connection_class is ZMQChannelsWebsocketConnection
    status = await get(jp_fetch, "status")
    assert (status["configured"], status["error"]["code"]) == (False, "not-connected")
    code, body = await refusal(jp_fetch, "sessions")
    assert (code, body["code"]) == (503, "not-connected")
    assert "bai up" in body["message"]


async def test_classes_of_the_users_own_choice_are_left_alone(
    connected: Any, jp_configurable_serverapp: Callable[..., Any]
) -> None:
    from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

    name = "jupyter_server.services.kernels.kernelmanager.AsyncMappingKernelManager"
    app = jp_configurable_serverapp(config={"ServerApp": {"kernel_manager_class": name}})
    assert type(app.kernel_manager) is AsyncMappingKernelManager
