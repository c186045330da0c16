"""The client against a small tornado server that checks every signature, and the credentials' search order."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from bai_jupyter.client import (
    ClientConfig,
    ConfigError,
    ManagerAway,
    ManagerClient,
    SessionEnded,
    SessionRequest,
    _Answer,
    load_config,
)
from bai_jupyter.common import signing
from bai_jupyter.common.errors import (
    AlreadyExists,
    AuthFailed,
    BadRequest,
    NotFound,
    PublicError,
    QuotaExceeded,
    Unavailable,
)
from bai_jupyter.common.reasons import Reason

ACCESS_KEY, SECRET_KEY = "AKIATEST", "s3cret"


class Signed(RequestHandler):
    """Refuses what ``common.signing`` refuses, as the manager does."""

    def prepare(self) -> None:
        headers = self.request.headers
        access_key, signature = signing.parse_authorization(headers["Authorization"])
        parts = signing.SignedParts(
            self.request.method or "",
            self.request.uri or "",
            headers["Date"],
            headers["Host"],
            headers.get("Content-Type", ""),
            "x-backendai-version",
            headers["X-BackendAI-Version"],
        )
        if access_key != ACCESS_KEY or not signing.verify(SECRET_KEY, parts, signature, self.request.body):
            self.refuse(AuthFailed(Reason.of("signature")))

    def refuse(self, error: PublicError) -> None:
        self.set_status(error.status)
        self.set_header("Content-Type", "application/problem+json")
        self.finish(json.dumps(error.to_problem()))


class Echo(Signed):
    def answer(self) -> None:
        body = json.loads(self.request.body) if self.request.body else None
        self.finish({"method": self.request.method, "uri": self.request.uri, "body": body})

    get = post = delete = answer


class Refuses(Signed):
    errors: ClassVar = {
        "gone": NotFound(Reason.of("not-found", kind="session", name="x")),
        "taken": AlreadyExists("The session already exists."),
        "much": QuotaExceeded(
            Reason.of("over-quota", level="policy", name="p", limit="1", slot="GPU", used="0", asked="4", excess="3"),
            data={"limit": "1"},
        ),
        "bad": BadRequest("cpu: what"),
        "later": Unavailable("Being upgraded."),
    }

    def get(self, which: str) -> None:
        if which == "proxy":
            self.set_status(502)
            self.finish("<html>bad gateway</html>")
        elif which == "page":
            self.finish("<html>hello</html>")
        elif which == "newer":
            self.set_status(409)
            self.set_header("Content-Type", "application/problem+json")
            reason = {"code": "made-next-year", "params": {"a": 1}, "text": "A sentence from a newer manager."}
            self.finish({"type": "x/new-slug", "title": "New.", "msg": "m", "data": {"reason": reason}})
        elif which == "cut":
            self.set_header("Content-Length", "100")
            self.write("{")
            self.flush()
            self.request.connection.stream.close()  # type: ignore[attr-defined]
        else:
            self.refuse(self.errors[which])


class Session(Signed):
    """One session whose statuses are a list; each connection to the events sees the rest of it."""

    statuses: list[str]

    def get(self, name: str) -> None:
        self.finish(self.view())

    @classmethod
    def view(cls) -> dict[str, object]:
        reason = {"code": "user-requested", "params": {"who": "you"}, "text": "Ended by you."}
        return {"id": "s-1", "name": "demo", "status": cls.statuses[0], "reason": reason}


class Events(Signed):
    per_connection = 100
    hung_up: asyncio.Event
    seen_queries: list[str]

    async def get(self) -> None:
        type(self).seen_queries.append(self.request.query)
        self.set_header("Content-Type", "text/event-stream")
        for _ in range(self.per_connection):
            text = f"event: session_changed\r\ndata: {json.dumps(Session.view())}\r\n\r\n: alive\n"
            for start in range(0, len(text), 7):  # in pieces that cut lines
                self.write(text[start : start + 7])
                try:
                    await self.flush()
                except StreamClosedError:
                    return
            if len(Session.statuses) == 1:
                break
            Session.statuses.pop(0)
        else:
            return
        while not self.hung_up.is_set():
            await asyncio.sleep(0.01)

    def on_connection_close(self) -> None:
        type(self).hung_up.set()


class Stream(Signed, WebSocketHandler):
    async def get(self, *args: str) -> None:
        if args[0] == "missing":
            self.refuse(NotFound(Reason.of("not-found", kind="session", name="missing")))
        elif not self._finished:
            await WebSocketHandler.get(self, *args)

    def check_origin(self, origin: str) -> bool:
        return False  # ours is not a browser and sends none

    def open(self, session: str, jupyter_kernel_id: str) -> None:
        if session == "away":
            self.close(4503, "agent away")
            return
        self.write_message(json.dumps([session, jupyter_kernel_id, self.get_query_argument("generation")]))

    def on_message(self, message: str | bytes) -> None:
        if message == b"end":
            self.close(4409, "ended")
        else:
            self.write_message(message, binary=True)


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[str]:
    Session.statuses, Events.per_connection = ["RUNNING"], 100
    Events.hung_up, Events.seen_queries = asyncio.Event(), []
    routes = [
        (r"/refuse/(.+)", Refuses),
        (r"/session/(demo|s-1)", Session),
        (r"/events/session-views", Events),
        (r"/stream/session/([^/]+)/jupyter-kernels/([^/]+)", Stream),
        (r"/.*", Echo),
    ]
    server = HTTPServer(Application(routes))
    listening, port = bind_unused_port()
    server.add_sockets([listening])
    yield f"http://127.0.0.1:{port}"
    Events.hung_up.set()
    server.stop()
    await server.close_all_connections()


@pytest_asyncio.fixture
async def client(endpoint: str) -> AsyncIterator[ManagerClient]:
    async with ManagerClient(ClientConfig(endpoint, ACCESS_KEY, SECRET_KEY)) as client:
        yield client


async def until_true(condition, deadline_s: float = 10) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.01)


# Requests


@pytest.mark.asyncio
async def test_every_call_is_signed_and_reaches_its_path(client: ManagerClient) -> None:
    answer = await client.request("POST", "/x", {"name": "ü"}, query={"q": "a b&c", "none": None})
    assert answer == {"method": "POST", "uri": "/x?q=a+b%26c", "body": {"name": "ü"}}
    await client.destroy_session("my session/1", forced=True)  # a bad signature would raise AuthFailed
    answer = await client.get_jupyter_kernel("a/b", "k-1")
    assert answer["uri"] == "/session/a%2Fb/jupyter-kernels/k-1"


@pytest.mark.asyncio
async def test_a_session_request_sends_what_was_given_only(client: ManagerClient) -> None:
    request = SessionRequest("demo", "python:3.11", resources={"cpu": 2, "mem": "4g"}, mounts=["data"])
    answer = await client.create_session(request)
    assert answer["body"] == {
        "name": "demo",
        "image": "python:3.11",
        "type": "interactive",
        "enqueueOnly": True,
        "maxWaitSeconds": 0,
        "reuseIfExists": True,
        "config": {"resources": {"cpu": "2", "mem": "4g"}, "mounts": ["data"]},
    }
    assert (await client.dry_run(request))["uri"] == "/resource/dry-run"


@pytest.mark.asyncio
async def test_a_jupyter_kernel_is_asked_for_without_empty_fields(client: ManagerClient) -> None:
    answer = await client.create_jupyter_kernel("demo", "python3", "key", folder="home", path="a/b")
    assert answer["body"] == {"kernelspec": "python3", "key": "key", "env": {}, "folder": "home", "path": "a/b"}


@pytest.mark.asyncio
async def test_a_wrong_secret_is_refused(endpoint: str) -> None:
    async with ManagerClient(ClientConfig(endpoint, ACCESS_KEY, "wrong")) as client:
        with pytest.raises(AuthFailed) as caught:
            await client.whoami()
    assert caught.value.reason == Reason.of("signature")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("which", "kind", "code"),
    [
        ("gone", NotFound, "not-found"),
        ("taken", AlreadyExists, "session-already-exists"),
        ("much", QuotaExceeded, "over-quota"),
        ("bad", BadRequest, "invalid-api-params"),
        ("later", Unavailable, "service-unavailable"),
        ("proxy", ManagerAway, "manager-away"),
        ("cut", ManagerAway, "manager-away"),
        ("newer", PublicError, "other"),
    ],
)
async def test_problems_become_the_class_that_was_raised(
    client: ManagerClient, which: str, kind: type[PublicError], code: str
) -> None:
    with pytest.raises(PublicError) as caught:
        await client.request("GET", f"/refuse/{which}")
    assert type(caught.value) is kind
    assert caught.value.code == code


@pytest.mark.asyncio
async def test_a_problem_keeps_its_figures_and_its_sentence(client: ManagerClient) -> None:
    with pytest.raises(QuotaExceeded) as caught:
        await client.request("GET", "/refuse/much")
    original = Refuses.errors["much"]
    assert caught.value.data == {"limit": "1"}
    assert caught.value.reason == original.reason
    with pytest.raises(PublicError) as caught_newer:
        await client.request("GET", "/refuse/newer")
    assert caught_newer.value.message == "A sentence from a newer manager."
    assert caught_newer.value.status == 409


@pytest.mark.asyncio
async def test_another_kind_of_server_is_said(client: ManagerClient) -> None:
    with pytest.raises(PublicError, match=r"not as a Backend\.AI manager does"):
        await client.request("GET", "/refuse/page")
    assert not await client.is_healthy()


@pytest.mark.asyncio
async def test_nobody_listens() -> None:
    listening, port = bind_unused_port()
    listening.close()
    async with ManagerClient(ClientConfig(f"http://127.0.0.1:{port}", "a", "b")) as client:
        with pytest.raises(ManagerAway, match=str(port)):
            await client.whoami()
        with pytest.raises(ManagerAway):
            await client.open_stream("s", "k", 1)
        with pytest.raises(ManagerAway):
            await anext(client.events())
        assert not await client.is_healthy()


@pytest.mark.asyncio
async def test_a_manager_that_says_nothing_is_away() -> None:
    listening, port = bind_unused_port()
    with listening:
        async with ManagerClient(ClientConfig(f"http://127.0.0.1:{port}", "a", "b")) as client:
            with pytest.raises(ManagerAway):
                await client.request("GET", "/", timeout_s=0.2)


def test_the_secret_is_not_in_the_repr() -> None:
    assert SECRET_KEY not in repr(ClientConfig("http://h", ACCESS_KEY, SECRET_KEY))


def test_the_host_is_signed_without_a_default_port() -> None:
    hosts = {"http://h:80": "h", "https://h:443/": "h", "http://h:8090": "h:8090", "http://[::1]:81": "[::1]:81"}
    for endpoint, host in hosts.items():
        assert ManagerClient(ClientConfig(endpoint, "a", "b"))._headers("GET", "/", None)["Host"] == host


# Events


@pytest.mark.asyncio
async def test_events_come_in_order_and_leaving_hangs_up(client: ManagerClient) -> None:
    Session.statuses = ["PENDING", "CREATING", "RUNNING"]
    events = client.events("s-1")
    seen = [(await anext(events))[1]["status"] for _ in range(3)]
    assert seen == ["PENDING", "CREATING", "RUNNING"]
    await events.aclose()
    await asyncio.wait_for(Events.hung_up.wait(), 10)
    assert Events.seen_queries == ["sessionId=s-1"]


@pytest.mark.asyncio
async def test_events_end_with_the_connection(client: ManagerClient) -> None:
    Session.statuses, Events.per_connection = ["PENDING", "CREATING", "RUNNING"], 2
    assert [data["status"] async for _, data in client.events()] == ["PENDING", "CREATING"]
    assert Events.seen_queries == ["sessionName=%2A"]


@pytest.mark.asyncio
async def test_silence_ends_events(client: ManagerClient) -> None:
    assert [name async for name, _ in client.events(silence_s=0.3)] == ["session_changed"]


@pytest.mark.asyncio
async def test_a_cancellation_is_not_lost_when_a_piece_comes_at_the_same_time() -> None:
    answer = _Answer()

    async def read_for_ever() -> None:
        while await answer.next_piece(60):
            pass

    reading = asyncio.create_task(read_for_ever())
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # now it waits for a piece
    await answer.data_received(b"one")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(10):
            await reading
    assert reading.cancelled()


@pytest.mark.asyncio
async def test_wait_for_redials_until_it_runs(client: ManagerClient) -> None:
    Session.statuses, Events.per_connection = ["PENDING", "SCHEDULED", "CREATING", "RUNNING"], 1
    assert (await client.wait_for("demo", timeout_s=20))["status"] == "RUNNING"
    assert len(Events.seen_queries) == 3


@pytest.mark.asyncio
async def test_wait_for_says_why_it_ended(client: ManagerClient) -> None:
    Session.statuses = ["PENDING", "CANCELLED"]
    with pytest.raises(SessionEnded, match="Ended by you") as caught:
        await client.wait_for("demo", timeout_s=20)
    assert caught.value.view["status"] == "CANCELLED"
    assert (await client.wait_for("demo", ["CANCELLED"]))["status"] == "CANCELLED"


@pytest.mark.asyncio
async def test_wait_for_stops_when_time_is_up(client: ManagerClient) -> None:
    Session.statuses = ["PENDING"]
    with pytest.raises(TimeoutError):
        await client.wait_for("demo", timeout_s=0.3)


# Streams


@pytest.mark.asyncio
async def test_a_stream_that_is_closed_at_once_is_told_as_closed(client: ManagerClient) -> None:
    for _ in range(30):  # the close may come before or after the dialling has ended
        connection = await client.open_stream("away", "k-1", 3)
        assert await connection.read_message() is None
        assert connection.close_code == 4503
        connection.close()


@pytest.mark.asyncio
async def test_a_stream_carries_bytes_without_delay(client: ManagerClient) -> None:
    connection = await client.open_stream("my session", "k-1", 3)
    try:
        stream = connection.protocol.stream
        assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert "Sec-Websocket-Extensions" not in connection.headers
        assert json.loads(await connection.read_message()) == ["my session", "k-1", "3"]
        big = os.urandom(700_000)
        await connection.write_message(big, binary=True)
        assert await connection.read_message() == big
        await connection.write_message(b"end", binary=True)
        assert await connection.read_message() is None
        assert connection.close_code == 4409
    finally:
        connection.close()


@pytest.mark.asyncio
async def test_from_inside_a_session_streams_and_calls_go_by_its_socket(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Signed, "prepare", bearer_is_checked)
    (tmp_path / "token").write_text("token-1\n")
    door = await asyncio.start_unix_server(leads_to(endpoint), tmp_path / "manager.sock")
    inside = ClientConfig("http://manager:1", token_file=tmp_path / "token", socket=tmp_path / "manager.sock")
    async with door, ManagerClient(inside) as client:
        assert (await client.request("GET", "/x"))["uri"] == "/x"
        (tmp_path / "token").write_text("token-2")
        connection = await client.open_stream("demo", "k-1", 3)
        assert json.loads(await connection.read_message()) == ["demo", "k-1", "3"]
        connection.close()
    async with ManagerClient(replace(inside, socket=tmp_path / "no.sock")) as client:
        with pytest.raises(ManagerAway):
            await client.open_stream("demo", "k-1", 3)


def bearer_is_checked(handler: Any) -> None:
    assert handler.request.headers["Authorization"] in ("Bearer token-1", "Bearer token-2")
    assert handler.request.headers["Host"] == "manager:1"


def leads_to(endpoint: str) -> Any:
    """An agent's door, for one connection at a time."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(endpoint)
        there = await asyncio.open_connection(url.hostname, url.port)
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    return carry


@pytest.mark.asyncio
async def test_a_stream_that_is_refused(client: ManagerClient) -> None:
    with pytest.raises(NotFound) as caught:
        await client.open_stream("missing", "k-1", 1)
    assert caught.value.code == "not-found"


# Credentials


def write(path: Path, endpoint: str = "http://file:1", mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"endpoint": endpoint, "access_key": "a", "secret_key": "b", "user": "kim"}))
    path.chmod(mode)
    return path


def test_credentials_are_found_in_their_order(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work" / "deep"
    work.mkdir(parents=True)
    environ = {"HOME": str(home)}
    assert load_config(environ, work) is None

    write(home / ".config" / "bai" / "credentials.json", "http://config:1")
    assert load_config(environ, work).endpoint == "http://config:1"
    write(tmp_path / "work" / ".bai" / "credentials.json", "http://above:1")
    assert load_config(environ, work) == ClientConfig("http://above:1", "a", "b", "kim")
    environ["BAI_CREDENTIALS"] = str(write(tmp_path / "named.json", "http://named:1"))
    assert load_config(environ, work).endpoint == "http://named:1"
    environ |= {"BACKEND_ENDPOINT": "http://one:1,http://two:2", "BACKEND_ACCESS_KEY": "x", "BACKEND_SECRET_KEY": "y"}
    assert load_config(environ, work) == ClientConfig("http://one:1", "x", "y")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "c.json", mode=mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        load_config({"BAI_CREDENTIALS": str(path)}, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_file_above_that_is_somebody_elses_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / ".bai" / "credentials.json")
    os.chown(path, 4242, 4242)
    with pytest.raises(ConfigError, match="belongs to another user"):
        load_config({}, tmp_path)
    assert load_config({"BAI_CREDENTIALS": str(path)}, tmp_path).user == "kim"


def test_half_a_configuration_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BACKEND_SECRET_KEY is not"):
        load_config({"BACKEND_ENDPOINT": "http://h", "BACKEND_ACCESS_KEY": "a"}, tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config({"BAI_CREDENTIALS": str(tmp_path / "none.json")}, tmp_path)
    broken = write(tmp_path / "c.json")
    broken.write_text("[]")
    with pytest.raises(ConfigError, match="is not a credentials file"):
        load_config({"BAI_CREDENTIALS": str(broken)}, tmp_path)
    with pytest.raises(ConfigError, match="is not an address"):
        ClientConfig("127.0.0.1:8090", "a", "b")


async def test_a_session_calls_with_the_token_of_its_file_as_it_is_now(endpoint: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    config = load_config({"BACKEND_ENDPOINT": endpoint, "BAI_TOKEN_FILE": str(token)}, tmp_path)
    assert config is not None
    client = ManagerClient(config)
    for text in ("first", "second"):
        token.write_text(f"{text}\n")
        headers = client._headers("GET", "/auth", None)
        assert (headers["Authorization"], "Date" in headers) == (f"Bearer {text}", False)
    token.unlink()
    with pytest.raises(ConfigError, match="token cannot be read"):
        await client.whoami()
    client.close()


async def test_keys_that_a_session_was_given_come_before_its_own_token(tmp_path: Path) -> None:
    environ = {"BACKEND_ENDPOINT": "http://m:1", "BAI_TOKEN_FILE": "/run/bai/token"}
    config = load_config({**environ, "BACKEND_ACCESS_KEY": "AK", "BACKEND_SECRET_KEY": "SK"}, tmp_path)
    assert config == ClientConfig("http://m:1", "AK", "SK")
