"""A small tornado server that checks every signature, as the manager does."""

import asyncio
import json
from typing import ClassVar

from signed_handler import SignedHandler
from tornado.iostream import StreamClosedError
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from bai_jupyter.common.errors import (
    AlreadyExists,
    BadRequest,
    NotFound,
    QuotaExceeded,
    Unavailable,
)
from bai_jupyter.common.reasons import Reason

ACCESS_KEY, SECRET_KEY = "AKIATEST", "s3cret"


class Signed(SignedHandler):
    keypair = ACCESS_KEY, SECRET_KEY


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


def application() -> Application:
    """Everything as at its start."""
    Session.statuses, Events.per_connection = ["RUNNING"], 100
    Events.hung_up, Events.seen_queries = asyncio.Event(), []
    routes = [
        (r"/refuse/(.+)", Refuses),
        (r"/session/(demo|s-1)", Session),
        (r"/events/session-views", Events),
        (r"/stream/session/([^/]+)/jupyter-kernels/([^/]+)", Stream),
        (r"/.*", Echo),
    ]
    return Application(routes)
