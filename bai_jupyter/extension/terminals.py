"""``/bai/api/sessions/{s}/terminal``: a session's terminal, for a page, in the words of Jupyter's own terminals.

In: ``["stdin", text]``, ``["set_size", rows, columns, …]``. Out: ``["setup", {}]`` at first, then ``["stdout", text]``.
Closes with 1000 when the shell has ended. Whatever else ends it leaves the shell as it is, and who comes back sees the
last of what was shown. A refusal is an answer before the upgrade, which a browser hides. So a page can ask
without an upgrade, and hears whether it may (204).
"""

import asyncio
import base64
import codecs
import json
from contextlib import suppress
from typing import Any

from jupyter_server._tz import utcnow
from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado.web import Finish, HTTPError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, WebSocketHandler

from bai_jupyter.extension.app_proxy import client_of, refusing

SHELL_ENDED, NOT_TAKEN, CUT_OFF = 1000, 1003, 4503


class TerminalSocket(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """Either side is read no faster than the other takes it."""

    auth_resource = "terminals"
    _far: WebSocketClientConnection
    _showing: asyncio.Task[None] | None = None

    def set_default_headers(self) -> None:
        """Those of a page mean nothing here."""

    @ws_authenticated
    @authorized("execute")
    async def get(self, session: str) -> None:
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            self.set_status(204)
            raise Finish
        if not self.check_origin():  # before anything is started for it
            raise HTTPError(403, "A page of another site asked for a terminal.")
        self._far = await refusing(client_of(self).open_terminal(session))
        try:
            if self.request.connection.stream.closed():  # type: ignore[union-attr]  # meanwhile
                raise Finish
            await super().get(session)  # until it is closed
        finally:
            self._far.close()
            if self._showing is not None:
                self._showing.cancel()

    def open(self, *_args: str, **_kwargs: str) -> None:
        super().open()
        self.set_nodelay(True)
        self._showing = asyncio.create_task(self._show())

    async def on_message(self, message: str | bytes) -> None:
        self.settings["terminal_last_activity"] = utcnow()  # as a terminal of the server's own would
        try:
            said = to_manager(message)
        except ValueError as error:
            self.close(NOT_TAKEN, str(error))
            return
        with suppress(WebSocketClosedError):
            await self._far.write_message(json.dumps(said))

    async def _show(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with suppress(WebSocketClosedError):
            await self.write_message(json.dumps(["setup", {}]))
            while (message := await self._far.read_message()) is not None:
                told = json.loads(message)
                if told["type"] == "out":
                    shown = decoder.decode(base64.b64decode(told["data"]))
                    await self.write_message(json.dumps(["stdout", shown]))
            has_ended = self._far.close_code == SHELL_ENDED
            self.close(SHELL_ENDED if has_ended else CUT_OFF, "the shell has ended" if has_ended else "dial again")


def to_manager(message: str | bytes) -> dict[str, Any]:
    """A page's message in the manager's words. Raises ``ValueError`` for what is none. Pure."""
    match json.loads(message):
        case ["stdin", str(text)]:
            return {"type": "stdin", "chars": base64.b64encode(text.encode(errors="replace")).decode()}
        case ["set_size", int(rows), int(columns), *_]:
            return {"type": "resize", "rows": rows, "cols": columns}
    raise ValueError('expected ["stdin", text] or ["set_size", rows, columns]')


HANDLERS = [(r"/bai/api/sessions/([\w.-]+)/terminal", TerminalSocket)]
