"""Which servers the Hub is asked to start again."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ThreadedResolver, web
from jupyterhub.httpclient import JupyterHubHTTPClient
from jupyterhub.services.auth import HubAuth

from bai_jupyter.spawner import left_behind
from bai_jupyter.spawner.left_behind import Left, left_in
from bai_jupyter.spawner.queued import Queued

QUEUED = {"queued": Queued.of("session-1", {}, "token", b"secret").to_json()}


def server(state: Any, *, stopped: bool = True) -> dict[str, Any]:
    return {"state": state, "stopped": stopped}


def test_stopped_servers_with_a_session_that_was_waited_for() -> None:
    kim = {
        "name": "kim",
        "servers": {"": server(QUEUED), "lab": server(QUEUED), "idle": server({}), "new": server(None)},
    }
    lee = {"name": "lee", "servers": {"": server(QUEUED, stopped=False), "old": server({"session": "session-2"})}}
    assert list(left_in([kim, lee])) == [Left("kim", "", "session-1"), Left("kim", "lab", "session-1")]


def test_without_leave_to_see_servers_or_their_state_there_are_none() -> None:
    assert list(left_in([{"name": "kim"}, {"name": "lee", "servers": {"": {"stopped": True}}}])) == []


class Hub:
    """The two calls of the Hub's API, with the statuses that it answers one after the other."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.listing, self.starting = [200], [201]

    async def users(self, request: web.Request) -> web.Response:
        self.asked.append("list")
        page = {"items": [{"name": "kim", "servers": {"": server(QUEUED)}}], "_pagination": {"next": None}}
        return web.json_response(page, status=self.listing.pop(0))

    async def start(self, request: web.Request) -> web.Response:
        self.asked.append("start")
        return web.Response(status=self.starting.pop(0), headers={"Retry-After": "0"})


@pytest_asyncio.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    async def is_alive(_: Left) -> bool:
        return True

    monkeypatch.setattr(left_behind, "_is_alive", is_alive)
    monkeypatch.setattr(left_behind, "_TRY_EVERY_S", 0)
    there = Hub()
    app = web.Application()
    app.router.add_get("/hub/api/users", there.users)
    app.router.add_post("/hub/api/users/kim/servers/", there.start)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = JupyterHubHTTPClient.instance(
        connector_options={"resolver": ThreadedResolver()}
    )  # the other keeps a thread
    there.auth = HubAuth(api_url=f"http://127.0.0.1:{port}/hub/api", api_token="token")  # type: ignore[attr-defined]
    yield there
    await client.close()
    await runner.cleanup()


@pytest.mark.asyncio
async def test_a_hub_that_is_ill_or_full_is_asked_again(hub: Any) -> None:
    hub.listing, hub.starting = [503, 200], [429, 201]
    await left_behind.go_on(hub.auth)
    assert hub.asked == ["list", "list", "start", "start"]


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_hub_that_refuses_is_asked_once(hub: Any, caplog: Any, status: int) -> None:
    hub.listing = [status, 200]
    await left_behind.go_on(hub.auth)
    assert hub.asked == ["list"]
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith("Servers that waited are not started again: ")
    assert str(status) in said
