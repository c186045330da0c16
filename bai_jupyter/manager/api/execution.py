"""Running code in a session, over HTTP and over a WebSocket. ``POST /session/{s}`` itself is in ``sessions``."""

import asyncio
import json

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from bai_jupyter.common.errors import PublicError
from bai_jupyter.manager.api.base import Answer, OwnedHandler, gives, needs, read_object, takes
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.execution.engine import LiveRun
from bai_jupyter.manager.execution.runs import RunStatus
from bai_jupyter.manager.execution.service import read_execute

STREAM_WINDOW_S = 0.2
REFUSED, FAILED = 4400, 4500


class CompleteHandler(OwnedHandler):
    @takes(code=str, options=dict)
    @gives({"result": {"status": str, "completions": [str]}})
    @needs("session:execute")
    async def post(self, ref: str) -> Answer:
        code, options = self.params.get("code"), self.params.get("options")
        candidates = await self.services.execution.complete(self.caller, ref, code, options)
        return 200, {"result": {"status": "finished", "completions": candidates}}


class InterruptHandler(OwnedHandler):
    @gives(None)
    @needs("session:control")
    async def post(self, ref: str) -> Answer:
        await self.services.execution.interrupt(self.caller, ref)
        return 204, None


class StreamExecuteHandler(WebSocketHandler, OwnedHandler):
    """``/stream/session/{s}/execute``: the first message is the request, then results go out until the last.

    A message that comes meanwhile is the line that the code asked for.
    """

    _following: asyncio.Task[None] | None = None
    _run: LiveRun | None = None

    async def prepare(self) -> None:
        await super().prepare()
        policy.require(self.caller.role, "session:execute")
        await self.services.sessions.get(self.caller, self.path_args[0])

    def open(self, *_args: str, **_kwargs: str) -> None:
        self.set_nodelay(True)

    async def on_message(self, message: str | bytes) -> None:
        try:
            if self._run is None:
                await self._begin(message)
            else:
                await self._answer(message)
        except PublicError as error:
            self.close(REFUSED, error.message[:120])

    def on_close(self) -> None:
        if self._following is not None:
            self._following.cancel()

    async def _begin(self, message: str | bytes) -> None:
        request = read_execute(read_object(message))
        self._run = await self.services.execution.execute(self.caller, self.path_args[0], request)
        self._following = asyncio.create_task(self._follow(self._run))

    async def _answer(self, message: str | bytes) -> None:
        assert self._run is not None
        if not self._run.run.asks:
            return  # typed ahead; nobody would know what it answers
        text = message if isinstance(message, str) else message.decode(errors="replace")
        body = {"mode": "input", "runId": self._run.run.run_id, "code": text}
        await self.services.execution.execute(self.caller, self.path_args[0], read_execute(body))

    async def _follow(self, run: LiveRun) -> None:
        """Send what is new, and nothing while there is nothing."""
        questions = 0
        try:
            while True:
                result = await run.poll(STREAM_WINDOW_S)
                is_new = result.status is not RunStatus.CONTINUED and run.run.questions != questions
                questions = run.run.questions
                if result.console or is_new or result.exit_code is not None:
                    await self.write_message(json.dumps(result.to_json()))
                if result.status is RunStatus.FINISHED:
                    self.close(1000)
                    return
                if result.status is RunStatus.WAITING_INPUT:
                    await run.changed()
        except PublicError as error:
            self.close(FAILED, error.message[:120])
        except WebSocketClosedError:
            return


_ONE = r"/(?:session|kernel)/([^/]+)"

ROUTES = [
    (_ONE + r"/complete", CompleteHandler),
    (_ONE + r"/interrupt", InterruptHandler),
    (r"/stream" + _ONE + r"/execute", StreamExecuteHandler),
]
