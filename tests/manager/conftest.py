"""A manager in this process or in its own, signed requests, and agents without containers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fakes_agent import IMAGE, FakeAgent
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.websocket import WebSocketClientConnection, websocket_connect

from bai_jupyter.common import signing
from bai_jupyter.manager.app import ManagerApp
from bai_jupyter.manager.auth.vault import new_keypair
from bai_jupyter.manager.db import accounts
from bai_jupyter.manager.db.accounts import NewUser

PATIENCE_S = 20.0
JOIN_TOKEN = "join"


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait for something true; ``condition`` may be async."""
    value = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                value = condition()
                if asyncio.iscoroutine(value):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true within {PATIENCE_S:g} s") from None


@dataclass
class Response:
    status: int
    headers: HTTPHeaders
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class SignedClient:
    """Signs as Backend.AI clients do, by ``common.signing`` only; each request goes over real HTTP."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self.endpoint, self.access_key, self.secret_key = endpoint, access_key, secret_key
        self.http = AsyncHTTPClient(force_instance=True, max_clients=200)

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> HTTPRequest:
        raw = b"" if body is None else json.dumps(body).encode()
        content_type = options.pop("content_type", "text/plain" if body is None else "application/json")
        date = (datetime.now(UTC) + options.pop("skew", timedelta())).isoformat()
        host = self.endpoint.removeprefix("http://")
        parts = signing.SignedParts(method, path, date, host, content_type or "", "x-backendai-version", "v7.20230615")
        secret_key = options.pop("secret_key", self.secret_key)
        body_hash = options.pop("body_hash", signing.EMPTY_HASH)
        headers = {
            "Date": date,
            "X-BackendAI-Version": "v7.20230615",
            "Authorization": signing.format_authorization(self.access_key, signing.sign(secret_key, parts, body_hash)),
            **({"Content-Type": content_type} if content_type else {}),
        }
        return HTTPRequest(
            self.endpoint + path,
            method,
            headers,
            body=raw if raw or method in ("POST", "PUT") else None,
            allow_nonstandard_methods=True,
            request_timeout=60,
            **options,
        )

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        answer = await self.http.fetch(self.request(method, path, body, **options), raise_error=False)
        return Response(answer.code, answer.headers, answer.body)

    async def get(self, path: str, **options: Any) -> Any:
        answer = await self.call("GET", path, **options)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    async def post(self, path: str, body: Any = None, status: int = 201) -> Any:
        answer = await self.call("POST", path, body or {})
        assert answer.status == status, (answer.status, answer.body)
        return answer.json if answer.body else None

    async def create(self, name: str, status: int = 201, **config: Any) -> Any:
        extra = {key: config.pop(key) for key in ("reuseIfExists", "image") if key in config}
        config.setdefault("resources", {"cpu": "1", "mem": "1g"})
        body = {"name": name, "image": IMAGE.name, "enqueueOnly": True, "config": config, **extra}
        return await self.post("/session", body, status)

    async def session(self, ref: str) -> Any:
        return await self.get(f"/session/{ref}")

    async def until_status(self, ref: str, status: str) -> Any:
        async def is_there() -> Any:
            view = await self.session(ref)
            return view if view["status"] == status else None

        return await until(is_there, f"session {ref} in {status}")

    async def connect(self, path: str) -> WebSocketClientConnection:
        request = self.request("GET", path, content_type=None)
        request.url = request.url.replace("http", "ws", 1)
        return await websocket_connect(request)

    def close(self) -> None:
        self.http.close()


def read_credentials(data_dir: Path) -> dict[str, str]:
    return json.loads((data_dir.parent / "credentials.json").read_text())


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "manager"


@pytest.fixture
def manager_options() -> dict[str, Any]:
    """Override to start the manager with other options."""
    return {}


@pytest_asyncio.fixture
async def manager(data_dir: Path, manager_options: dict[str, Any]) -> AsyncIterator[ManagerApp]:
    """A manager in this process, with everything real."""
    app = ManagerApp(
        data_dir=str(data_dir),
        **{"port": 0, "heartbeat_s": 0.5, "sweep_s": 0.5, "join_token": "join", **manager_options},
    )
    await app.start_services()
    yield app
    await app.stop_services()


@pytest_asyncio.fixture
async def admin(manager: ManagerApp, data_dir: Path) -> AsyncIterator[SignedClient]:
    credentials = read_credentials(data_dir)
    client = SignedClient(manager.endpoint, credentials["access_key"], credentials["secret_key"])
    yield client
    client.close()


@pytest_asyncio.fixture
async def make_user(manager: ManagerApp) -> AsyncIterator[Callable[[str], Awaitable[SignedClient]]]:
    """``await make_user("alice")``: a user's signed client."""
    clients = []

    async def make(name: str) -> SignedClient:
        access_key, secret_key = new_keypair()
        sealed = manager.vault.seal(secret_key)
        user = NewUser(name, "user", access_key, sealed, "local:home", name)
        await manager.store.write(accounts.create_user, user, datetime.now(UTC))
        clients.append(SignedClient(manager.endpoint, access_key, secret_key))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest_asyncio.fixture
async def make_agent() -> AsyncIterator[Callable[..., FakeAgent]]:
    """``make_agent(endpoint, join_token, **facts)``: agents that end with the test."""
    agents: list[FakeAgent] = []

    def make(endpoint: str, join_token: str | None = JOIN_TOKEN, **facts: Any) -> FakeAgent:
        agents.append(FakeAgent(endpoint, join_token, **facts))
        return agents[-1]

    yield make
    for agent in agents:
        await agent.close()


@pytest_asyncio.fixture
async def agent(manager: ManagerApp, admin: SignedClient, make_agent: Callable[..., FakeAgent]) -> FakeAgent:
    """An agent that has joined, with the test image offered to everybody."""
    one = make_agent(manager.endpoint)
    await one.connect()
    assert one.refused is None
    await admin.post("/images", {"name": IMAGE.name})
    return one


class ManagerProcess:
    """``python -m bai_jupyter.manager`` on one folder and port, to be killed and started again."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir, self.port = data_dir, port
        self.endpoint = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        options = {"data_dir": self.data_dir, "port": self.port, "heartbeat_s": 0.5, "sweep_s": 0.5}
        command = [sys.executable, "-m", "bai_jupyter.manager"]
        command += [f"--ManagerApp.{name}={value}" for name, value in options.items()]
        self.process = subprocess.Popen(  # noqa: ASYNC220 - it outlives this loop's callbacks
            command, env={**os.environ, "BAI_JOIN_TOKEN": JOIN_TOKEN}
        )
        client = AsyncHTTPClient(force_instance=True)

        async def is_healthy() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, "the manager ended"
            with suppress(OSError):
                return (await client.fetch(self.endpoint + "/health", raise_error=False)).code == 200
            return False

        await until(is_healthy, "the manager's health")
        client.close()

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def manager_process(data_dir: Path, free_port: int) -> Any:
    one = ManagerProcess(data_dir, free_port)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.kill()


@pytest.fixture
def helpers() -> Any:
    """What tests of this folder call by name."""

    class Helpers:
        wait_until = staticmethod(until)
        image = IMAGE
        client = SignedClient
        credentials = staticmethod(read_credentials)

    return Helpers
