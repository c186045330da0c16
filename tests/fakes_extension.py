"""A manager of three routes on a real port, with real signatures, in a thread of its own.

What it answers is what the test puts in: ``sessions``, ``ended``, ``images``, ``presets``, ``groups``, ``agents``.
``calls`` lists what was asked. ``is_away`` makes it drop every connection without a word, as a dead host does.
"""

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from signed_handler import SignedHandler
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from bai_jupyter.common.errors import Forbidden, NotFound
from bai_jupyter.common.reasons import Reason

ACCESS_KEY, SECRET_KEY = "AKIAEXTENSION", "very-s3cret"


@dataclass
class StubManager:
    """Start with ``with``; ``endpoint`` is known from then on."""

    sessions: list[dict[str, Any]] = field(default_factory=list)
    ended: list[dict[str, Any]] | None = field(default_factory=list)
    """``None``: whoever asks may not know."""
    images: list[dict[str, Any]] = field(default_factory=list)
    presets: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    agents: list[dict[str, Any]] = field(default_factory=list)
    refusal: dict[str, Any] | None = None  # the reason for which any session would be refused
    trials: list[dict[str, Any]] = field(default_factory=list)  # what was only asked about
    calls: list[tuple[str, str]] = field(default_factory=list)
    task_status: str = "done"  # of any background task
    is_away: bool = False
    endpoint: str = ""

    @property
    def environ(self) -> dict[str, str]:
        return {
            "BACKEND_ENDPOINT": self.endpoint,
            "BACKEND_ACCESS_KEY": ACCESS_KEY,
            "BACKEND_SECRET_KEY": SECRET_KEY,
        }

    def __enter__(self) -> "StubManager":
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name="stub manager")
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = HTTPServer(Application([(r"/(.*)", _Everything, {"stub": self})]))
        [socket] = bind_sockets(0, "127.0.0.1")
        server.add_socket(socket)
        self.endpoint = f"http://127.0.0.1:{socket.getsockname()[1]}"
        started.set()
        await self._stopped.wait()
        server.stop()
        await server.close_all_connections()


class _Everything(SignedHandler):
    keypair = ACCESS_KEY, SECRET_KEY

    def initialize(self, stub: StubManager) -> None:
        self.stub = stub

    def _execute(self, *args: Any, **kwargs: Any) -> Any:
        if self.stub.is_away:
            self.request.connection.stream.close()
        return super()._execute(*args, **kwargs)

    def prepare(self) -> None:
        self.stub.calls.append((self.request.method or "", self.request.path))
        if self.request.path != "/":
            super().prepare()

    def get(self, path: str) -> None:
        stub = self.stub
        answers: dict[str, Any] = {
            "": {"version": "v7.20230615", "manager": "0.1.0"},
            "auth": {"authorized": "yes", "user": {"id": "u-1", "name": "kim", "role": "user"}},
            "sessions": {"sessions": stub.sessions},
            "images": {"images": stub.images},
            "agents": {"agents": stub.agents},
            "resource-groups": {"resource_groups": stub.groups},
            "resource/presets": {"presets": stub.presets},
            "folders/invitations/list": {"invitations": []},
            "manager/announcement": {"enabled": False, "message": ""},
        }
        if path == "folders":
            self.finish("[]")
        elif path in answers:
            self.finish(answers[path])
        elif path == "events/background-task":
            self.finish(f"event: bgtask_{stub.task_status}\ndata: {json.dumps({'message': 'What it says.'})}\n\n")
        elif found := [one for one in stub.sessions if path == f"session/{one['id']}/logs"]:
            self.finish({"result": {"logs": f"{found[0]['name']} printed this.\n"}})
        elif found := [one for one in stub.sessions if path in (f"session/{one['id']}", f"session/{one['name']}")]:
            self.finish(found[0])
        else:
            self.refuse(NotFound(Reason.of("not-found", kind="page", name=path)))

    def post(self, path: str) -> None:
        if path.endswith("/extend"):
            self.finish({"idleChecks": {}})
        elif path.endswith("/commit") and path.split("/")[1] in [one["id"] for one in self.stub.sessions]:
            name = json.loads(self.request.body or b"{}").get("name", "demo")
            self.set_status(201)
            self.finish({"bgtask_id": "t-1", "image": f"user/kim:{name}"})
        elif path == "admin/gql" and b"compute_session_list" in self.request.body:
            if (ended := self.stub.ended) is None:
                self.refuse(Forbidden(Reason.of("forbidden", role="users")))
            else:
                self.finish({"data": {"compute_session_list": {"items": ended, "total_count": len(ended)}}})
        elif path == "resource/dry-run" or path.endswith("/resize/dry-run"):
            self.stub.trials.append(json.loads(self.request.body))
            verdict = "refused" if self.stub.refusal else "now"
            self.finish({"verdict": verdict, "reason": self.stub.refusal, "estimate_s": None})
        else:
            self.refuse(NotFound(Reason.of("not-found", kind="page", name=path)))

    def patch(self, path: str) -> None:
        if path.removeprefix("session/") in [one["id"] for one in self.stub.sessions]:
            self.set_status(204)
        else:
            self.refuse(NotFound(Reason.of("not-found", kind="session", name=path)))

    def delete(self, path: str) -> None:
        name = path.removeprefix("session/")
        found = [view for view in self.stub.sessions if name in (view["id"], view["name"])]
        if not found:
            self.refuse(NotFound(Reason.of("not-found", kind="session", name=name)))
            return
        self.stub.sessions = [view for view in self.stub.sessions if view not in found]
        self.finish({"stats": {"status": "terminated"}})


def session_view(name: str, status: str = "RUNNING", code: str = "running", **more: Any) -> dict[str, Any]:
    """A session as the manager shows it; ``params`` are the reason's."""
    params = more.pop("params", {"agent": "lab-3"})
    view = {
        "id": f"00000000-0000-4000-8000-{abs(hash(name)) % 10**12:012d}",
        "name": name,
        "userId": "u-1",
        "type": "interactive",
        "status": status,
        "image": "python:3.11",
        "reason": Reason.of(code, **params).to_json(),
        "queue": None,
        "agent": params.get("agent"),
        "unreachable": False,
        "isolated": True,
        "clusterSize": 1,
        "slots": {"cpu": "2", "mem": "8589934592", "cuda.shares": "0.5"},
        "age": 42 * 60 * 1000,
        "runningFor": 42 * 60 * 1000 if status == "RUNNING" else None,
        "progress": None,
        "liveStat": None,
        "jupyterKernels": [],
        "resourceGroup": "gpu",
        "creationTime": "2026-11-30T12:00:00+00:00",
        "terminationTime": None,
        "mounts": [],
        "kernels": [],
        "idleChecks": {},
    }
    return view | more
