"""What reverse proxies share: which headers concern one connection only, and how an answer is passed on in pieces.

Both ways to web apps inside sessions are made of it: the manager's, and the Jupyter server's in front of that.
"""

from collections.abc import Callable

from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
    parse_response_start_line,
)
from tornado.web import RequestHandler

MAX_BODY_BYTES = 64 * 1024**3
PIECE_BYTES = 64 * 1024
SWITCHING_PROTOCOLS = 101

NEEDS_LENGTH = "A body that is sent with this method needs a Content-Length."
_SENT_IN_CHUNKS = frozenset({"POST", "PUT", "PATCH"})
"""Tornado's client frames bodies of unknown length with these methods only; with others they would go out as they are,
and look like the next request."""

HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
    }
    | {"transfer-encoding", "upgrade"}
)


class AnswerCopy(HTTPMessageDelegate):
    """An answer from the far side becomes the handler's, no faster than its caller takes it.

    ``change`` says what the caller gets of its headers; ``piece`` of each piece of its body.
    """

    def __init__(
        self,
        handler: RequestHandler,
        change: Callable[[HTTPHeaders], HTTPHeaders],
        piece: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._handler, self._change, self._piece = handler, change, piece
        self.has_begun = self.is_whole = self.keeps_alive = False

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        assert isinstance(start_line, ResponseStartLine)
        if start_line.code < 200:
            return
        self.has_begun = True
        is_framed = "Content-Length" in headers or "Transfer-Encoding" in headers
        self.keeps_alive = (
            is_framed and start_line.version == "HTTP/1.1" and headers.get("Connection", "").lower() != "close"
        )
        self._handler.set_status(start_line.code, start_line.reason)
        for name in ("Server", "Content-Type", "Date"):
            self._handler.clear_header(name)
        for name, value in self._change(headers).get_all():
            self._handler.add_header(name, value)

    async def data_received(self, chunk: bytes) -> None:
        self._handler.write(self._piece(chunk))
        await self._handler.flush()

    def finish(self) -> None:
        self.is_whole = True


def end_to_end(headers: HTTPHeaders) -> HTTPHeaders:
    """Those that are not about one connection."""
    kept = HTTPHeaders()
    for name, value in headers.get_all():
        if name.lower() not in HOP_BY_HOP:
            kept.add(name, value)
    return kept


def has_body(headers: HTTPHeaders) -> bool:
    return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers


def needs_length(method: str, headers: HTTPHeaders) -> bool:
    """Whether a request has a body that cannot be passed on as it is."""
    return "Transfer-Encoding" in headers and method not in _SENT_IN_CHUNKS


def handshake(method: str, target: str, headers: HTTPHeaders) -> bytes:
    """The request that asks for a WebSocket; ``headers`` are end to end."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.get_all())]
    return ("\r\n".join([*lines, "Connection: Upgrade", "Upgrade: websocket"]) + "\r\n\r\n").encode("latin-1")


def agrees(head: bytes) -> bool:
    """Whether an answer's head is the far side's yes to a WebSocket. Raises ``HTTPInputError``."""
    return parse_response_start_line(head.decode("latin-1").partition("\r\n")[0]).code == SWITCHING_PROTOCOLS


def handshake_answer(head: bytes, change: Callable[[HTTPHeaders], HTTPHeaders]) -> bytes:
    """What the caller gets of the answer's head: a refusal without its body. Raises ``HTTPInputError``."""
    start, _, rest = head.decode("latin-1").partition("\r\n")
    end = ["Connection: Upgrade", "Upgrade: websocket"] if agrees(head) else ["Connection: close", "Content-Length: 0"]
    kept = change(HTTPHeaders.parse(rest))
    lines = [f"{name}: {value}" for name, value in kept.get_all() if name != "Content-Length"]
    return ("\r\n".join([start, *lines, *end]) + "\r\n\r\n").encode("latin-1")
