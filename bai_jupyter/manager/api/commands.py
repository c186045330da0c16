"""``/stream/session/{s}/command``: a command that lives as long as its stream.

The first message says what to run, as JSON (``sessions.commands.read_command``). The answer is ``{}``, and from then on
binary frames of ``common.stdio`` go both ways until the command has ended; or it is a problem document, and the end.
"""

import json
from contextlib import suppress

from tornado.websocket import WebSocketClosedError

from bai_jupyter.common.errors import PublicError
from bai_jupyter.manager.agents.streams import AgentSocket, CallerSocket
from bai_jupyter.manager.api.base import OwnedHandler, read_object
from bai_jupyter.manager.api.execution import REFUSED
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.sessions.commands import read_command


class CommandHandler(CallerSocket, OwnedHandler):
    """Whose session it is, is looked up before the upgrade: a stranger gets an ordinary 404."""

    async def prepare(self) -> None:
        await super().prepare()
        policy.require(self.caller.role, "session:execute")
        await self.services.sessions.get(self.caller, self.path_args[0])

    def open(self, *_args: str, **_kwargs: str) -> None:
        self.tune()

    async def on_message(self, message: str | bytes) -> None:
        if self.peer is not None:
            await super().on_message(message)
            return
        try:
            far_side = await self._start(message)
        except PublicError as error:
            with suppress(WebSocketClosedError):
                await self.write_message(json.dumps(error.to_problem()))
            self.close(REFUSED)
            return
        with suppress(WebSocketClosedError):  # joining tells the other side
            await self.write_message("{}")
        self.join(far_side)

    async def _start(self, message: str | bytes) -> AgentSocket:
        endpoint = read_command(read_object(message))
        session = await self.services.sessions.get(self.caller, self.path_args[0])
        return await self.services.sessions.open_inside(session, endpoint)


ROUTES = [(r"/stream/(?:session|kernel)/([^/]+)/command", CommandHandler)]
