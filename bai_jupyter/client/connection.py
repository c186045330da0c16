"""One manager over the network: what every call is made with, whatever it asks for.

Owns: signing, TLS, time-outs, one HTTP exchange or WebSocket at a time on a socket of its own. Does not own: which
calls there are.
"""

import asyncio
import hashlib
import json
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders, RequestStartLine
from tornado.netutil import Resolver
from tornado.tcpclient import TCPClient
from tornado.websocket import WebSocketClientConnection, WebSocketError, websocket_connect

from bai_jupyter.client.answers import Answer, EventReader, Json
from bai_jupyter.client.credentials import DEFAULT_PORTS, ClientConfig, ConfigError, read_token
from bai_jupyter.client.faults import ManagerAway, ManagerNotTrusted, error_of, unexpected
from bai_jupyter.common import signing
from bai_jupyter.common.errors import BadRequest, PublicError

API_VERSION = "v7.20230615"
MAX_STREAM_MESSAGE = 1024 * 1024
CONNECT_TIMEOUT_S = 10.0
TRANSFER_TIMEOUT_S = 300.0

_FORWARD_TIMEOUT_S = 600.0  # some calls hold their answer until something has happened
_READ_BYTES = 512 * 1024
_UNBOUNDED = 1 << 62


@dataclass(frozen=True)
class Forwarded:
    """An answer as the manager gave it."""

    status: int
    headers: HTTPHeaders
    pieces: AsyncGenerator[bytes, None]


class Connection:
    """Signed calls to one manager, for use on one event loop. ``close`` ends what is open."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        url = urlsplit(config.endpoint)
        self._is_encrypted = url.scheme == "https" and config.socket is None
        self._hostname = url.hostname or ""
        self._port = url.port or DEFAULT_PORTS[url.scheme]
        bare = f"[{self._hostname}]" if ":" in self._hostname else self._hostname
        self._host = bare if self._port == DEFAULT_PORTS[url.scheme] else f"{bare}:{self._port}"
        self._prefix = url.path.rstrip("/")
        self._tcp: TCPClient | None = None
        self._ssl: ssl.SSLContext | None = None
        self._resolver = None if config.socket is None else _ByThisSocket(config.socket)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None

    async def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        query: Mapping[str, object] | None = None,
        timeout_s: float = 30,
    ) -> Any:
        """One call. Returns the answer's JSON, or ``None`` where the answer has no body (204).

        ``path`` is already quoted (see ``paths``); ``query`` values of ``None`` are left out.
        """
        status, _, content = await self._completed(self._exchange(method, path, body, query), timeout_s)
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise unexpected(status, self.config.endpoint) from error

    @asynccontextmanager
    async def forward(
        self, method: str, path: str, content: bytes, query: Mapping[str, object], headers: Mapping[str, str]
    ) -> AsyncIterator[Forwarded]:
        """A call of somebody else's, made as ours: gives whatever is answered, refusals too, as it arrives.

        ``headers`` go along; their ``Content-Type`` is that of ``content``. Raises ``ManagerAway``, also among pieces.
        """
        target = self._target(path, query)
        signed = self._headers(method, target, content or None, headers.get("Content-Type"))
        async with AsyncExitStack() as stack:
            try:
                sending = self._send(method, target, HTTPHeaders({**headers, **signed}), content)
                answer = await stack.enter_async_context(sending)
                async with asyncio.timeout(_FORWARD_TIMEOUT_S):
                    start = await answer.started
            except (OSError, TimeoutError) as error:
                raise self._away(error) from error
            yield Forwarded(start.code, answer.headers, self._whole(answer))

    async def whoami(self) -> Json:
        """``{"id", "name", "role"}`` of the keypair's user."""
        return (await self.request("GET", "/auth"))["user"]

    async def graphql(self, document: str, **variables: object) -> Json:
        """The data of a GraphQL document. Raises ``PublicError`` if the manager refuses any part of it."""
        answer = await self.request("POST", "/admin/gql", {"query": document, "variables": variables})
        if answer.get("errors"):
            raise BadRequest("; ".join(str(error["message"]) for error in answer["errors"]))
        return answer["data"]

    async def is_healthy(self, timeout_s: float = 5) -> bool:
        """True if a manager answers at the endpoint; says nothing about the credentials."""
        try:
            answer = await self.request("GET", "/health", timeout_s=timeout_s)
        except PublicError:
            return False
        return isinstance(answer, dict) and answer.get("status") == "ok"

    # Streams

    async def _told(self, path: str, query: dict[str, str], silence_s: float) -> AsyncGenerator[tuple[str, Json], None]:
        try:
            async with self._exchange("GET", path, None, query) as answer:
                await self._begun(answer, CONNECT_TIMEOUT_S)
                reader = EventReader()
                while (piece := await answer.next_piece(silence_s)) is not None:
                    for name, data in reader.feed(piece):
                        if name == "server_close":
                            return
                        yield name, data
        except (OSError, TimeoutError) as error:
            raise self._away(error) from error

    async def _dial(
        self, path: str, query: Mapping[str, object] | None = None, ping_s: float | None = None
    ) -> WebSocketClientConnection:
        """A WebSocket. No compression, no delay of small packets; one unread message is held, more wait at the sender.

        ``read_message`` gives ``None`` at the end. A reader that may stall gives no ``ping_s``: it would miss the pong.
        """
        target = self._target(path, query)
        tls = self._tls()
        request = HTTPRequest(
            f"{'wss' if tls else 'ws'}://{self._host}{target}",
            headers=self._headers("GET", target, None),
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=CONNECT_TIMEOUT_S,
            ssl_options=tls,
        )
        dialling = websocket_connect(
            request,
            compression_options=None,
            max_message_size=MAX_STREAM_MESSAGE,
            ping_interval=ping_s,
            resolver=self._resolver,
        )
        dialling = asyncio.ensure_future(dialling)
        try:
            connection = await asyncio.shield(dialling)
        except asyncio.CancelledError:
            dialling.add_done_callback(_hang_up)
            raise
        except HTTPClientError as error:
            if error.response is None:
                raise ManagerAway(self.config.endpoint) from error
            content_type = error.response.headers.get("Content-Type", "")
            raise error_of(error.code, content_type, error.response.body or b"", self.config.endpoint) from error
        except (OSError, WebSocketError) as error:
            raise self._away(error) from error
        stream = connection.protocol.stream if connection.protocol is not None else None
        if stream is not None and stream.socket is not None:  # the manager may have closed it at once
            stream.set_nodelay(True)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    # Below: one HTTP exchange on a socket of its own, so that leaving it always closes it

    def _target(self, path: str, query: Mapping[str, object] | None) -> str:
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        if self.config.on_behalf_of:
            given["on_behalf_of"] = self.config.on_behalf_of
        return f"{self._prefix}{path}" + (f"?{urlencode(given)}" if given else "")

    def _headers(self, method: str, target: str, body: bytes | None, content_type: str | None = None) -> HTTPHeaders:
        if content_type is None:
            content_type = "text/plain" if body is None else "application/json"
        if self.config.token_file is not None:
            bearer = f"Bearer {read_token(self.config.token_file)}"
            return HTTPHeaders({"Host": self._host, "Content-Type": content_type, "Authorization": bearer})
        date = datetime.now(UTC).isoformat(timespec="microseconds")
        version_header = "x-backendai-version"
        parts = signing.SignedParts(method, target, date, self._host, content_type, version_header, API_VERSION)
        signature = signing.sign(self.config.secret_key, parts, hashlib.sha256(body or b"").hexdigest())
        return HTTPHeaders(
            {
                "Host": self._host,
                "Date": date,
                "Content-Type": content_type,
                "X-BackendAI-Version": API_VERSION,
                "Authorization": signing.format_authorization(self.config.access_key, signature),
            }
        )

    def _tls(self) -> ssl.SSLContext | None:
        """Raises ``ConfigError`` for a file of CAs that cannot be used."""
        if self._is_encrypted and self._ssl is None:
            try:
                self._ssl = self.config.trust.context()
            except OSError as error:
                raise ConfigError(f"The CA file {self.config.trust.ca_file} cannot be used: {error}.") from error
        return self._ssl

    def _away(self, error: Exception) -> ManagerAway:
        if isinstance(error, ssl.SSLCertVerificationError):
            return ManagerNotTrusted(self.config.endpoint, error)
        return ManagerAway(self.config.endpoint)

    async def _connect(self) -> Any:
        tls = self._tls()
        if self._tcp is None:
            self._tcp = TCPClient(self._resolver)
        return await self._tcp.connect(self._hostname, self._port, ssl_options=tls, timeout=CONNECT_TIMEOUT_S)

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: Json | None, query: Mapping[str, object] | None
    ) -> AsyncIterator[Answer]:
        target = self._target(path, query)
        content = None if body is None else json.dumps(body).encode()
        async with self._send(method, target, self._headers(method, target, content), content or b"") as answer:
            yield answer

    @asynccontextmanager
    async def _send(self, method: str, target: str, headers: HTTPHeaders, content: bytes) -> AsyncIterator[Answer]:
        headers["Content-Length"] = str(len(content))
        headers["Connection"] = "close"
        stream = await self._connect()
        reading: asyncio.Future[None] | None = None
        try:
            connection = HTTP1Connection(
                stream,
                True,
                HTTP1ConnectionParameters(no_keep_alive=True, max_body_size=_UNBOUNDED, chunk_size=_READ_BYTES),
            )
            answer = Answer()
            connection.write_headers(RequestStartLine(method, target, "HTTP/1.1"), headers, content)
            connection.finish()
            reading = asyncio.ensure_future(answer.read(connection))
            yield answer
        finally:
            stream.close()
            if reading is not None:
                reading.cancel()  # it may hold a piece that nobody takes
                await asyncio.wait([reading])

    async def _completed(
        self, sending: AbstractAsyncContextManager[Answer], timeout_s: float
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Status, headers and body of an answer that is a success and came whole."""
        try:
            async with asyncio.timeout(timeout_s), sending as answer:
                start = await answer.started
                content = await answer.body()
        except (OSError, TimeoutError) as error:
            raise self._away(error) from error
        if not answer.is_complete:
            raise ManagerAway(self.config.endpoint)
        if not 200 <= start.code < 300:
            raise self._refusal(start.code, answer, content)
        return start.code, answer.headers, content

    async def _begun(self, answer: Answer, timeout_s: float) -> None:
        """Wait until an answer begins whose body is read as it comes. Raises for a refusal."""
        async with asyncio.timeout(timeout_s):
            start = await answer.started
            if start.code != 200:
                raise self._refusal(start.code, answer, await answer.body())

    def _refusal(self, status: int, answer: Answer, content: bytes) -> PublicError:
        return error_of(status, answer.headers.get("Content-Type", ""), content, self.config.endpoint)

    async def _whole(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        while (piece := await answer.next_piece(TRANSFER_TIMEOUT_S)) is not None:
            yield piece
        if not answer.is_complete:
            raise ManagerAway(self.config.endpoint)


class _ByThisSocket(Resolver):
    """Whatever the address is, a unix socket leads there."""

    def initialize(self, path: Path) -> None:  # what tornado calls with our constructor's arguments
        self._path = str(path)

    async def resolve(self, *_: Any) -> list[tuple[int, Any]]:
        return [(socket.AF_UNIX, self._path)]


def _hang_up(dialling: "asyncio.Future[WebSocketClientConnection]") -> None:
    if not dialling.cancelled() and dialling.exception() is None:
        dialling.result().close()
