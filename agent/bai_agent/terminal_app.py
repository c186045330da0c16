"""The app ``ttyd`` of every session: its terminal as a web page, served by the agent.

Nothing of it is in the container, and nothing listens anywhere: each connection comes over a stream of the manager, who
has let in whoever opened it. What goes over the page's WebSocket are frames of ``common.stdio``.

Pages from elsewhere are kept out, also where somebody opened a local port that leads here: a host is named by address
or ``localhost``, so that no page can have its own name lead here, and a WebSocket is for a page from here alone.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application, HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

import bai_jupyter
from bai_agent.runtimes.base import TerminalSize
from bai_agent.streams import PIECE_BYTES, SocketEnd
from bai_agent.terminals import TerminalEnd
from bai_jupyter.common.errors import BaiError

Look = Callable[[TerminalSize], Awaitable[TerminalEnd]]

_OURS = Path(__file__).parent / "terminal_page"
_BUILT = Path(bai_jupyter.__file__).parent / "extension" / "labextension" / "terminal"
"""xterm.js, put there when the panel is built."""

_FILES = {
    "": (_OURS / "index.html", "text/html; charset=utf-8"),
    "page.js": (_OURS / "page.js", "text/javascript; charset=utf-8"),
    "page.css": (_OURS / "page.css", "text/css; charset=utf-8"),
    "xterm.js": (_BUILT / "xterm.js", "text/javascript; charset=utf-8"),
    "addon-fit.js": (_BUILT / "addon-fit.js", "text/javascript; charset=utf-8"),
    "xterm.css": (_BUILT / "xterm.css", "text/css; charset=utf-8"),
}
_HEADERS = {
    # xterm.js writes style elements.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_USUAL_SIZE: TerminalSize = (24, 80)
_MOST_LINES = 1000  # rows, or columns
_QUEUED_FRAMES = 16
_MAX_FRAME_BYTES = 1024**2
_SHELL_ENDED, _CUT_OFF = 1000, 4503
_MOST_REASON_BYTES = 120  # of a WebSocket's closing


async def serve_connection(look: Look) -> SocketEnd:
    """A connection to the app as the end of a stream. ``look`` opens the terminal."""
    ours, theirs = socket.socketpair()
    for one in (ours, theirs):
        one.setblocking(False)
    HTTPServer(_application(look)).handle_stream(IOStream(theirs), ("localhost", 0))
    reader, writer = await asyncio.open_connection(sock=ours, limit=PIECE_BYTES)
    return SocketEnd(reader, writer, halves=True)


def is_plain_host(host: str) -> bool:
    """Whether a Host header names an address, or ``localhost``: what no page from elsewhere can have for its own."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        ipaddress.ip_address(name)
    except ValueError:
        return host.partition(":")[0].lower() == "localhost"
    return True


def is_own_page(origin: str, host: str) -> bool:
    return urlsplit(origin).netloc.lower() == host.lower()


class _Checked(RequestHandler):
    def prepare(self) -> None:
        if not is_plain_host(self.request.host):
            raise HTTPError(403, "the terminal is asked for by its address, or as localhost")


class _FileHandler(_Checked):
    def set_default_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def get(self, name: str) -> None:
        if name not in _FILES:
            raise HTTPError(404)
        path, kind = _FILES[name]
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            self.set_status(503)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish("This agent has no xterm.js: it was installed from sources without node. Install it again.\n")
            return
        self.set_header("Content-Type", kind)
        self.finish(content)


class _SocketHandler(WebSocketHandler, _Checked):
    """To ``TerminalEnd`` it is a stream to the manager."""

    def initialize(self, look: Look) -> None:
        self._look = look
        self._frames: asyncio.Queue[str | bytes] = asyncio.Queue(_QUEUED_FRAMES)
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    @property
    def max_message_size(self) -> int:
        return _MAX_FRAME_BYTES

    def check_origin(self, origin: str) -> bool:
        return is_own_page(origin, self.request.host)

    async def open(self, *_args: str, **_kwargs: str) -> None:
        size = (self._lines("rows", _USUAL_SIZE[0]), self._lines("columns", _USUAL_SIZE[1]))
        try:
            end = await self._look(size)
        except (BaiError, KeyError) as error:
            why = str(error) if isinstance(error, BaiError) else "The session does not run any more."
            self.close(1011, why.encode()[:_MOST_REASON_BYTES].decode(errors="ignore"))
            return
        self._task = asyncio.create_task(self._carry(end))

    async def on_message(self, message: str | bytes) -> None:
        if self._task is not None and not self._is_over:
            await self._frames.put(message)

    def on_close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def read_message(self) -> str | bytes | None:
        return await self._frames.get()

    async def _carry(self, end: TerminalEnd) -> None:
        try:
            with suppress(WebSocketClosedError):
                await end.carry(self)
        finally:
            end.close()
            self._is_over = True
            while not self._frames.empty():  # so that who waits to put one goes on
                self._frames.get_nowait()
            self.close(_SHELL_ENDED if end.has_told_the_end else _CUT_OFF)

    def _lines(self, name: str, usual: int) -> int:
        given = self.get_query_argument(name, "")
        return max(1, min(_MOST_LINES, int(given))) if given.isascii() and given.isdigit() else usual


def _application(look: Look) -> Application:
    routes = [(r"/socket", _SocketHandler, {"look": look}), (r"/([\w.-]*)", _FileHandler)]
    return Application(routes, log_function=lambda _: None)  # type: ignore[arg-type]
