"""``/stream/session/{s}/pty``: a session's terminal as JSON messages.

In: ``{"type": "stdin", "chars": base64}``, ``{"type": "resize", "rows": 24, "cols": 80}``, ``{"type": "restart"}``,
``{"type": "ping"}``. Out: ``{"type": "out", "data": base64}``, ``{"type": "error", "data": text}``. The shell goes on
when the client goes, and who comes back sees the last of what was shown.
"""

import asyncio
import base64
import binascii
import json
from contextlib import suppress

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from bai_jupyter.common import stdio
from bai_jupyter.common.stdio import Kind
from bai_jupyter.manager.agents.streams import AGENT_AWAY, ByteStream
from bai_jupyter.manager.api.base import OwnedHandler
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.sessions.commands import MAX_ROWS_OR_COLUMNS

DEFAULT_SIZE = (24, 80)


class PtyHandler(WebSocketHandler, OwnedHandler):
    """The terminal is opened before the upgrade, so that a refusal is an answer that can be read."""

    _stream: ByteStream | None = None
    _showing: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        await super().prepare()
        policy.require(self.caller.role, "session:terminal")
        self._stream = await self.services.apps.open_terminal(self.caller, self.path_args[0], DEFAULT_SIZE)
        await self.audit("session:terminal", self.path_args[0], 101)

    def open(self, *_args: str, **_kwargs: str) -> None:
        self.set_nodelay(True)
        self._showing = asyncio.create_task(self._show())

    def on_finish(self) -> None:
        """Without an upgrade nobody is there to look."""
        if self._stream is not None and self.get_status() != 101:
            self._stream.close()

    async def on_message(self, message: str | bytes) -> None:
        try:
            pieces = read_message(message)
        except ValueError as error:
            await self._say("error", str(error))
            return
        assert self._stream is not None
        with suppress(WebSocketClosedError):
            for frame in pieces:
                await self._stream.write_message(frame)

    def on_close(self) -> None:
        if self._showing is not None:
            self._showing.cancel()
        if self._stream is not None:
            self._stream.close()

    async def _show(self) -> None:
        assert self._stream is not None
        while (frame := await self._stream.read_message()) is not None:
            kind, payload = stdio.unpack(frame)
            if kind is Kind.ENDED:
                self.close(1000, "the shell has ended")
                return
            await self._say("out", base64.b64encode(payload).decode())
        self.close(AGENT_AWAY, "the agent was cut off; dial again")

    async def _say(self, kind: str, data: str) -> None:
        with suppress(WebSocketClosedError):
            await self.write_message(json.dumps({"type": kind, "data": data}))


def read_message(message: str | bytes) -> list[bytes]:
    """A client's message as frames for the agent; none for a ping. Raises ``ValueError`` for anything else. Pure."""
    body = json.loads(message)
    match body:
        case {"type": "stdin", "chars": str(chars)}:
            return _input(chars)
        case {"type": "resize", "rows": int(rows), "cols": int(columns)}:
            if not (1 <= rows <= MAX_ROWS_OR_COLUMNS and 1 <= columns <= MAX_ROWS_OR_COLUMNS):
                raise ValueError(f"rows and cols go from 1 to {MAX_ROWS_OR_COLUMNS}")
            return [stdio.pack_size(rows, columns)]
        case {"type": "restart"}:
            return [stdio.pack(Kind.RESTART)]
        case {"type": "ping"}:
            return []
    raise ValueError("expected a JSON object of type stdin, resize, restart or ping")


def _input(chars: str) -> list[bytes]:
    try:
        data = base64.b64decode(chars, validate=True)
    except binascii.Error as error:
        raise ValueError(f"chars is not base64: {error}") from error
    return [
        stdio.pack(Kind.INPUT, data[start : start + stdio.MAX_PIECE]) for start in range(0, len(data), stdio.MAX_PIECE)
    ]


ROUTES = [(r"/stream/(?:session|kernel)/([^/]+)/pty", PtyHandler)]
