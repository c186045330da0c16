"""The agent's end of the control WebSocket: it dials out, says who it is, and carries messages both ways.

Keeps nothing that matters: after a lost connection ``Hello`` says everything again. Owns no decision about kernels.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from bai_agent.runtimes.base import RuntimeFault
from bai_jupyter.common.errors import BaiError, ProtocolError
from bai_jupyter.common.messages import (
    Call,
    Forget,
    Heartbeat,
    Hello,
    KernelReport,
    Message,
    Refused,
    Reply,
    Wanted,
    Welcome,
    decode,
    encode,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.trust import refusal

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 10.0
_WELCOME_TIMEOUT_S = 20.0
_PING_S = 10.0
_BACKOFF_S = (0.2, 10.0)
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # a complete Wanted of a large agent
_NETWORK_ERRORS = (OSError, HTTPClientError, WebSocketClosedError, TimeoutError, ProtocolError)

Answer = Callable[[Call], Awaitable[dict[str, Any]]]


class LinkRefused(BaiError):
    """The manager does not take this agent."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.text)


class Outbox:
    """What is to be sent, newest first to count: a report replaces an older one of the same kernel not yet sent."""

    def __init__(self) -> None:
        self._waiting: dict[object, Message] = {}
        self._filled = asyncio.Event()

    def put(self, key: object, message: Message) -> None:
        self._waiting.pop(key, None)
        self._waiting[key] = message
        self._filled.set()

    def clear(self) -> None:
        self._waiting.clear()
        self._filled.clear()

    async def take(self) -> Message:
        """The oldest. Waits for one."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        return self._waiting.pop(next(iter(self._waiting)))


class ManagerLink:
    """One link to one manager, dialled again for as long as ``run`` is not cancelled.

    ``hello(credential, join_token)`` is asked at each connection; the hooks are called on the loop: ``on_welcome`` each
    time that the manager takes the agent, ``on_wanted``, ``on_forget``, ``answer`` (each call in a task of its own),
    ``heartbeat`` for each heartbeat. ``tls`` says whose certificate is trusted at an ``https`` address.
    """

    def __init__(
        self,
        manager_url: str,
        *,
        credential: str | None,
        join_token: str | None,
        keep_credential: Callable[[str], None],
        hello: Callable[[str | None, str | None], Hello],
        on_wanted: Callable[[Wanted], None],
        on_forget: Callable[[Forget], None],
        answer: Answer,
        heartbeat: Callable[[], Awaitable[Heartbeat]],
        on_welcome: Callable[[], None] = lambda: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._manager_url, self._tls = manager_url, tls
        self._url = websocket_url(manager_url, "/agent/link")
        self._on_welcome = on_welcome
        self._credential = credential
        self._join_token = join_token
        self._keep_credential = keep_credential
        self._hello = hello
        self._on_wanted, self._on_forget = on_wanted, on_forget
        self._answer, self._heartbeat = answer, heartbeat
        self._outbox = Outbox()
        self._calls: set[asyncio.Task[None]] = set()
        self.connected = asyncio.Event()

    def report(self, report: KernelReport) -> None:
        """Send it when there is a connection. Without one nothing is kept: ``Hello`` will say it."""
        if self.connected.is_set():
            self._outbox.put(("report", report.kernel_id), report)

    def send(self, message: Message) -> None:
        if self.connected.is_set():
            self._outbox.put(object(), message)

    async def run(self) -> None:
        failures, last_said = 0, ""
        while True:
            try:
                await self._connect_once()
                failures = 0
            except LinkRefused as refused:
                failures = max(failures, 5)  # asking often does not help
                last_said = _say_once(f"The manager refuses this agent: {refused.reason.text}", last_said)
                if self._has_other_proof(refused):
                    self._credential, failures = None, 0
            except ssl.SSLCertVerificationError as error:
                failures = max(failures, 5)
                last_said = _say_once(refusal(self._manager_url, error).text, last_said)
            except _NETWORK_ERRORS as error:
                # Having been connected, begin again with the shortest pause.
                failures = 0 if self.connected.is_set() else failures + 1
                last_said = _say_once(f"No link to {self._url}: {await self._cause(error)}", last_said)
            finally:
                self.connected.clear()
                await self._drop_calls()
            shortest, longest = _BACKOFF_S
            await asyncio.sleep(random.uniform(shortest, min(longest, shortest * 2 ** min(failures + 1, 10))))  # noqa: S311

    async def _cause(self, error: Exception) -> str:
        """A server that expects TLS just hangs up on who does not speak it."""
        is_odd = not isinstance(error, ConnectionRefusedError | TimeoutError) and not self.connected.is_set()
        if is_odd and self._url.startswith("ws://") and await _speaks_tls(self._manager_url):
            return "the manager there speaks TLS. Give its address with https://, or join with a token of its own"
        return str(error)

    def _has_other_proof(self, refusal: LinkRefused) -> bool:
        """A manager that no longer knows our credential may still take the join token."""
        return refusal.reason.code == "agent-denied" and bool(self._join_token and self._credential)

    async def _connect_once(self) -> None:
        """Returns when the manager closes; raises when anything else ends the connection."""
        socket = await dial(self._url, self._tls)
        tasks: list[asyncio.Task[None]] = []
        try:
            welcome = await self._introduce(socket)
            log.info("linked to %s", self._url)
            tasks = [
                asyncio.create_task(self._send_all(socket)),
                asyncio.create_task(self._beat(welcome.heartbeat_s)),
                asyncio.create_task(self._receive_all(socket)),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            socket.close()

    async def _introduce(self, socket: WebSocketClientConnection) -> Welcome:
        # No await between what Hello says and the first report that is kept for sending: nothing falls between.
        self._outbox.clear()
        self.connected.set()
        token = None if self._credential else self._join_token
        await socket.write_message(encode(self._hello(self._credential, token)))
        async with asyncio.timeout(_WELCOME_TIMEOUT_S):
            answer = await _receive(socket)
        match answer:
            case Welcome() as welcome:
                if welcome.credential is not None:
                    self._keep_credential(welcome.credential)
                    self._credential = welcome.credential
                self._on_welcome()
                return welcome
            case Refused(reason):
                raise LinkRefused(reason)
            case other:
                raise ProtocolError(f"expected Welcome, got {type(other).__name__}")

    async def _receive_all(self, socket: WebSocketClientConnection) -> None:
        while True:
            match await _receive(socket):
                case Wanted() as wanted:
                    self._on_wanted(wanted)
                case Forget() as forget:
                    self._on_forget(forget)
                case Call() as call:
                    task = asyncio.create_task(self._reply_to(call))
                    self._calls.add(task)
                    task.add_done_callback(self._calls.discard)
                case Refused(reason):
                    raise LinkRefused(reason)
                case other:
                    log.warning("the manager sent %s, which an agent does not expect", type(other).__name__)

    async def _send_all(self, socket: WebSocketClientConnection) -> None:
        while True:
            await socket.write_message(encode(await self._outbox.take()))

    async def _beat(self, every_s: float) -> None:
        while True:
            self._outbox.put("heartbeat", await self._heartbeat())
            await asyncio.sleep(every_s)

    async def _reply_to(self, call: Call) -> None:
        result, error = None, None
        try:
            result = await self._answer(call)
        except RuntimeFault as fault:
            error = fault.reason
        except BaiError as fault:
            error = Reason.of("other", text=str(fault))
        except Exception:
            log.exception("call %s failed", call.method)
            error = Reason.of("other", text=f"The agent failed at {call.method}; its log says why.")
        self.send(Reply(call.call_id, result, error))

    async def _drop_calls(self) -> None:
        calls = list(self._calls)
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def dial(url: str, tls: ssl.SSLContext | None) -> WebSocketClientConnection:
    """A WebSocket for many small messages: no compression, no delay, closed by itself when the peer is silent.

    Nothing is sent before the certificate was found to be right. Raises ``OSError``, ``HTTPClientError`` or
    ``TimeoutError``.
    """
    request = HTTPRequest(url, connect_timeout=_CONNECT_TIMEOUT_S, request_timeout=_CONNECT_TIMEOUT_S, ssl_options=tls)
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        socket = await websocket_connect(
            request, ping_interval=_PING_S, ping_timeout=_PING_S, max_message_size=_MAX_MESSAGE_BYTES
        )
    if socket.protocol is not None:
        socket.protocol.set_nodelay(True)
    return socket


def websocket_url(manager_url: str, path: str) -> str:
    """``http://host:1/base`` and ``/agent/link`` as ``ws://host:1/base/agent/link``. Raises ``ValueError``."""
    scheme, separator, rest = manager_url.partition("://")
    schemes = {"http": "ws", "https": "wss"}
    if not separator or scheme not in schemes:
        raise ValueError(f"manager_url: {manager_url!r} is not an http:// or https:// address")
    return f"{schemes[scheme]}://{rest.rstrip('/')}{path}"


async def _receive(socket: WebSocketClientConnection) -> Message:
    text = await socket.read_message()
    if text is None:
        raise WebSocketClosedError(
            f"the manager closed the link ({socket.close_code}, {socket.close_reason or 'no reason'})"
        )
    return decode(text)


async def _speaks_tls(manager_url: str) -> bool:
    """Only asked and believed for a hint: nothing is sent."""
    place = urlsplit(manager_url)
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(place.hostname, place.port or 80, ssl=anybody)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _say_once(text: str, last_said: str) -> str:
    """A failure that repeats is logged once."""
    if text != last_said:
        log.warning("%s; trying again", text)
    return text
