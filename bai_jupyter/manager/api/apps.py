"""A session's apps, and raw byte streams to them: one WebSocket is one TCP connection."""

from bai_jupyter.manager.agents.streams import AgentSocket, CallerSocket
from bai_jupyter.manager.api.base import Answer, OwnedHandler, gives, needs, takes
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.sessions.ports import AppView

SWITCHING_PROTOCOLS = 101


class AppsHandler(OwnedHandler):
    """A bare list, as clients expect it."""

    @gives([AppView])
    @needs("session:read")
    async def get(self, ref: str) -> Answer:
        session = await self.services.sessions.get(self.caller, ref)
        return 200, [app.to_json() for app in await self.services.apps.list_all(session)]


class StartServiceHandler(OwnedHandler):
    """The answer is where the reverse proxy has the app, and a token that lets a browser in: ``?bai-token=``."""

    @takes(app=str, port=int, envs=dict, arguments=dict)
    @gives({"token": str, "wsproxy_addr": str, "knows_base_url": bool})
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        session, app = await self.services.apps.start(self.caller, ref, self.params)
        address = f"{self.request.protocol}://{self.request.host}{app.base_url(session.id)}"
        token = self.services.app_tokens.issue(self.caller, session, app.name)
        return 200, {"token": token, "wsproxy_addr": address, "knows_base_url": app.knows_base_url}


class ShutdownServiceHandler(OwnedHandler):
    @takes(service_name=str)
    @gives(None)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        await self.services.apps.shut_down(self.caller, ref, self.params.get("service_name"))
        return 204, None


class ProxyHandler(CallerSocket, OwnedHandler):
    """``/stream/session/{s}/tcpproxy?app=NAME`` (or ``httpproxy``): binary frames are the bytes of one connection.

    It is dialled before the upgrade, so that a refusal is an answer that can be read.
    """

    _far_side: AgentSocket | None = None

    async def prepare(self) -> None:
        await super().prepare()
        policy.require(self.caller.role, "session:execute")
        name = self.params.get("app") or self.params.get("service")
        port = self.params.get("port")
        session = await self.services.sessions.get(self.caller, self.path_args[0])
        app, number = await self.services.apps.find(session, name, port)
        self._far_side = await self.services.apps.open(session, app, number, self.params)

    def open(self, *_args: str, **_kwargs: str) -> None:
        self.tune()
        assert self._far_side is not None
        self.join(self._far_side)

    def on_finish(self) -> None:
        """Without an upgrade nobody is there to join."""
        if self._far_side is not None and self.get_status() != SWITCHING_PROTOCOLS:
            self._far_side.close(1000)

    async def take(self, frame: bytes) -> None:
        """Callers know of no half of a connection: when the app has said all, it is over."""
        if frame:
            await super().take(frame)
        else:
            self.close(1000)


_ONE = r"/(?:session|kernel)/([^/]+)"

ROUTES = [
    (r"/stream" + _ONE + r"/apps", AppsHandler),
    (_ONE + r"/start-service", StartServiceHandler),
    (_ONE + r"/shutdown-service", ShutdownServiceHandler),
    (r"/stream" + _ONE + r"/(?:tcp|http)proxy", ProxyHandler),
]
