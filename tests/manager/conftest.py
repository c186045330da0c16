"""A manager in this process or in its own, signed requests, and agents without containers."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bai_agent.volumes import Volumes
from described import faults_of
from fakes_agent import IMAGE, FakeAgent
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.websocket import WebSocketClientConnection, websocket_connect

from bai_jupyter.common import signing
from bai_jupyter.manager.api.base import ApiHandler
from bai_jupyter.manager.app import ManagerApp
from bai_jupyter.manager.auth.vault import new_keypair
from bai_jupyter.manager.db import accounts
from bai_jupyter.manager.db.people import NewUser
from bai_jupyter.manager.db.store import Store

PATIENCE_S = 20.0
JOIN_TOKEN = "join"
_IS_ON_POSTGRESQL = os.environ.get("BAI_TEST_DATABASE") == "postgresql"


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


@pytest.fixture(autouse=True)
def _answers_as_described(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a manager in this process answers is what ``/openapi.json`` says of that call, and no more."""
    unlike: list[str] = []
    answer = ApiHandler.answer

    def checked(self: ApiHandler, status: int, body: Any) -> None:
        method = str(self.request.method)
        faults = faults_of(getattr(type(self), method.lower()), status, body)
        unlike.extend(f"{method} {self.request.path}: {status} {fault}" for fault in faults)
        answer(self, status, body)

    monkeypatch.setattr(ApiHandler, "answer", checked)
    yield
    assert not unlike, "\n".join(unlike)


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
        self.http = AsyncHTTPClient(force_instance=True, max_clients=200, max_body_size=1 << 30)

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> HTTPRequest:
        raw = b"" if body is None else json.dumps(body).encode()
        content_type = options.pop("content_type", "text/plain" if body is None else "application/json")
        date = (datetime.now(UTC) + options.pop("skew", timedelta())).isoformat()
        host = self.endpoint.removeprefix("http://")
        version = options.pop("version", "v7.20230615")
        parts = signing.SignedParts(method, path, date, host, content_type or "", "x-backendai-version", version)
        secret_key = options.pop("secret_key", self.secret_key)
        body_hash = options.pop("body_hash", signing.EMPTY_HASH)
        headers = {
            "Date": date,
            "X-BackendAI-Version": version,
            "Authorization": signing.format_authorization(self.access_key, signing.sign(secret_key, parts, body_hash)),
            **({"Content-Type": content_type} if content_type else {}),
        }
        return HTTPRequest(
            self.endpoint + path,
            method,
            headers,
            body=raw if raw or method in ("POST", "PUT") else None,
            allow_nonstandard_methods=True,
            **{"request_timeout": 60, **options},
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

    async def run(self, session: str, code: str, **options: Any) -> str:
        """All that code prints in a session until it has ended, however many answers that takes."""
        console, body = "", {"mode": "query", "code": code, **options}
        while True:
            result = (await self.post(f"/session/{session}", body, 200))["result"]
            console += "".join(text for _, text in result["console"])
            if result["status"] == "finished":
                return console
            body = {"mode": "continue", "code": "", "runId": result["runId"]}

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


@pytest.fixture(scope="session", autouse=True)
def _database_server(request: pytest.FixtureRequest) -> None:
    """With ``BAI_TEST_DATABASE=postgresql`` all managers of this folder's tests run on PostgreSQL."""
    if _IS_ON_POSTGRESQL:
        request.getfixturevalue("postgresql")


@pytest.fixture
def database(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The manager's option of that name. Override for tests that are about one database."""
    return {"db_url": request.getfixturevalue("postgresql_url")} if _IS_ON_POSTGRESQL else {}


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose tables are made, and empty: making them is most of a manager's first start."""
    path = tmp_path_factory.mktemp("database") / "manager.db"

    async def make() -> None:
        store = Store(f"sqlite:///{path}")
        await store.open()
        await store.close()

    asyncio.run(make())
    return path


@pytest_asyncio.fixture
async def manager(
    data_dir: Path, database: dict[str, Any], manager_options: dict[str, Any], new_database: Path
) -> AsyncIterator[ManagerApp]:
    """A manager in this process, with everything real."""
    data_dir.mkdir(mode=0o700, exist_ok=True)
    if not database:
        shutil.copy(new_database, data_dir)
    app = ManagerApp(
        data_dir=str(data_dir),
        **{"port": 0, "heartbeat_s": 0.5, "sweep_s": 0.5, "join_token": "join", **database, **manager_options},
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


@pytest.fixture
def call_with(admin: SignedClient) -> Callable[..., Awaitable[tuple[int, Any]]]:
    """``await call_with(token, method, path, body)``: status and JSON body of an answer to a bearer."""

    async def call(token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        request = HTTPRequest(
            admin.endpoint + path,
            method,
            {"Authorization": f"Bearer {token}"},
            None if body is None else json.dumps(body),
            allow_nonstandard_methods=True,
        )
        answer = await admin.http.fetch(request, raise_error=False)
        return answer.code, json.loads(answer.body) if answer.body else None

    return call


@pytest_asyncio.fixture
async def make_user(manager: ManagerApp) -> AsyncIterator[Callable[..., Awaitable[SignedClient]]]:
    """``await make_user("alice")``: a user's signed client; ``make_user("boss", "admin")`` a domain admin's."""
    clients = []

    async def make(name: str, role: str = "user", **more: Any) -> SignedClient:
        access_key, secret_key = new_keypair()
        sealed = manager.vault.seal(secret_key)
        user = NewUser(name, role, access_key, sealed, "local:home", name, **more)
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


@dataclass
class Disk:
    """Where volumes lie: ``local:home`` with everybody's home, and ``local:data`` for folders."""

    path: Path

    @property
    def volumes(self) -> dict[str, Path]:
        return {"local:home": self.path / "home", "local:data": self.path / "data"}

    def folder(self, view: dict[str, Any]) -> Path:
        """Of a folder as the API shows it."""
        made = (self.path / "data" / ".vfolders").iterdir()
        (found,) = [one for one in made if one.name.replace("-", "") == view["id"]]
        return found


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    made = Disk(tmp_path / "disk")
    for root in made.volumes.values():
        root.mkdir(parents=True)
    return made


@pytest_asyncio.fixture
async def holder(
    manager: ManagerApp, admin: SignedClient, make_agent: Callable[..., FakeAgent], disk: Disk
) -> AsyncIterator[FakeAgent]:
    """As ``agent``; it holds the volumes of ``disk``, and really does what is asked of folders."""
    one = make_agent(manager.endpoint, volumes=sorted(disk.volumes))
    one.held = Volumes(disk.volumes, "lab-1", None)
    await one.connect()
    await admin.post("/images", {"name": IMAGE.name})
    yield one
    await one.close()
    if one.held is not None:
        await one.held.close()


class ManagerProcess:
    """``python -m bai_jupyter.manager`` on one folder and port, to be killed and started again."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir, self.port = data_dir, port
        self.endpoint = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        options = {
            "data_dir": self.data_dir,
            "port": self.port,
            "heartbeat_s": 0.5,
            "sweep_s": 0.5,
            "idle_check_s": 0.5,
        }
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
def gql() -> Callable[..., Awaitable[Any]]:
    """``await gql(client, document, name=value)``: the data of a GraphQL document that has no errors."""

    async def run(client: SignedClient, document: str, **variables: Any) -> Any:
        answer = await client.post("/admin/gql", {"query": document, "variables": variables}, 200)
        assert "errors" not in answer, answer
        return answer["data"]

    return run


@pytest.fixture
def make_hub(manager: ManagerApp, admin: SignedClient, gql: Callable[..., Awaitable[Any]]) -> Any:
    """``await make_hub()``: the signed client of a new user of role ``service``, such as a JupyterHub is."""
    create = "mutation($email: String!, $props: UserInput!) {create_user(email: $email, props: $props) {ok msg}}"
    keys = "query($email: String) {keypairs(email: $email) {access_key secret_key}}"
    clients = []

    async def make(name: str = "hub") -> SignedClient:
        email = f"{name}@localhost"
        made = await gql(admin, create, email=email, props={"username": name, "password": "", "role": "service"})
        assert made["create_user"]["ok"], made
        keypair = (await gql(admin, keys, email=email))["keypairs"][0]
        clients.append(SignedClient(manager.endpoint, keypair["access_key"], keypair["secret_key"]))
        return clients[-1]

    yield make
    for one in clients:
        one.close()


@pytest.fixture
def helpers() -> Any:
    """What tests of this folder call by name."""

    class Helpers:
        wait_until = staticmethod(until)
        image = IMAGE
        client = SignedClient
        credentials = staticmethod(read_credentials)

        @staticmethod
        def of_cluster(cluster: Any) -> dict[str, str]:
            """What a ``SignedClient`` of a cluster's admin is made from."""
            raw = json.loads(cluster.credentials.read_text())
            return {name: raw[name] for name in ("endpoint", "access_key", "secret_key")}

    return Helpers
