"""A manager that answers as it is told, on a thread of its own, and a way to run `bai` against it."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from bai_jupyter import cli
from bai_jupyter.common.errors import NotFound, PublicError
from bai_jupyter.common.reasons import Reason


@dataclass
class StubManager:
    """``answers`` maps ``"GET /path"`` to JSON, to a ``PublicError``, or to a function of the body that gives either.

    A list of session views under ``events`` is sent one by one to whoever asks for events.
    """

    endpoint: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def bodies(self, call: str) -> list[Any]:
        return [body for name, body in self.asked if name == call]


class Handler(RequestHandler):
    def initialize(self, stub: StubManager) -> None:
        self.stub = stub

    async def answer(self) -> None:
        call = f"{self.request.method} {self.request.uri}"
        body = json.loads(self.request.body) if self.request.body else None
        self.stub.asked.append((call, body))
        if self.request.path == "/events/session-views":
            return await self.send_events()
        told = self.stub.answers.get(call, NotFound(Reason.of("not-found", kind="session", name="that")))
        told = told(body) if callable(told) else told
        if isinstance(told, PublicError):
            self.set_status(told.status)
            self.set_header("Content-Type", "application/problem+json")
            self.finish(json.dumps(told.to_problem()))
        elif told is None:
            self.set_status(204)
        else:
            self.finish(json.dumps(told))
        return None

    get = post = delete = answer

    async def send_events(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        for view in self.stub.events:
            self.write(f"event: session_changed\ndata: {json.dumps(view)}\n\n")
            await self.flush()


@pytest.fixture
def manager() -> Iterator[StubManager]:
    stub = StubManager()
    started, stop = threading.Event(), None
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        nonlocal stop
        stop = asyncio.Event()
        server = HTTPServer(Application([(r"/.*", Handler, {"stub": stub})]))
        listening, port = bind_unused_port()
        server.add_sockets([listening])
        stub.endpoint = f"http://127.0.0.1:{port}"
        started.set()
        await stop.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    yield stub
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@pytest.fixture
def empty_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and home without any credentials."""
    for name in ("BACKEND_ENDPOINT", "BACKEND_ACCESS_KEY", "BACKEND_SECRET_KEY", "BAI_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bai(empty_shell: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run one command line in this process."""

    def run(*argv: str) -> Ran:
        try:
            code = cli.main(argv)
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def logged_in(manager: StubManager, bai: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> StubManager:
    monkeypatch.setenv("BACKEND_ENDPOINT", manager.endpoint)
    monkeypatch.setenv("BACKEND_ACCESS_KEY", "AKIATEST")
    monkeypatch.setenv("BACKEND_SECRET_KEY", "secret")
    return manager
