"""The manager's end of an agent's control WebSocket: framing, calls and their replies.

What messages mean is not known here: ``Intake`` is told of them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from uuid import uuid4

from tornado.websocket import WebSocketClosedError, WebSocketHandler

from bai_jupyter.common.errors import BaiError, ProtocolError, Unavailable
from bai_jupyter.common.ids import AgentId
from bai_jupyter.common.messages import Call, Hello, Message, Refused, Reply, decode, encode
from bai_jupyter.common.reasons import Reason

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 20.0
MAX_MESSAGE_BYTES = 32 * 1024 * 1024  # a Hello tells of every image and kernel of a host


class AgentFault(BaiError):
    """The agent answered that it could not do what was asked; ``reason`` is its sentence."""

    code = "agent-fault"

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.text)


class AgentLink:
    """One agent that can be spoken to.

    ``wants_lock`` is held from reading what an agent should have until that is sent, so an older list never
    overtakes a newer one. ``is_ready`` once its Hello was dealt with: from then on it may be asked and told things.
    """

    def __init__(
        self,
        agent_id: AgentId,
        name: str,
        send_text: Callable[[str], Awaitable[None]],
        close: Callable[[], None],
    ) -> None:
        self.agent_id, self.name = agent_id, name
        self.is_ready = False
        self.wants_lock = asyncio.Lock()
        self._send_text, self._close = send_text, close
        self._calls: dict[str, asyncio.Future[Reply]] = {}

    async def send(self, message: Message) -> None:
        """Raises ``Unavailable`` if it does not get through; then the link is closed, and the agent dials again."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._send_text(encode(message))
        except (WebSocketClosedError, TimeoutError) as error:
            self.close()
            raise _away(self.name) from error

    async def call(self, method: str, params: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Ask for something once. Raises ``AgentFault`` with the agent's reason, or ``Unavailable``."""
        call_id = str(uuid4())
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._calls[call_id] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await self.send(Call(call_id, method, params))
                reply = await answer
        except TimeoutError as error:
            raise Unavailable(f"{self.name} did not answer {method} within {timeout_s:g} s. Try again.") from error
        finally:
            self._calls.pop(call_id, None)
        if reply.error is not None:
            raise AgentFault(reply.error)
        return reply.result or {}

    def resolve(self, reply: Reply) -> None:
        """Hand a reply to whoever waits for it; nobody may any more."""
        answer = self._calls.get(reply.call_id)
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def close(self) -> None:
        """Close the WebSocket; calls that wait for a reply fail."""
        self.is_ready = False
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(_away(self.name))
        self._close()


def _away(name: str) -> Unavailable:
    return Unavailable(f"{name} is not connected just now. Try again when it is back.")


class Intake(Protocol):
    """Who is told what agents say. Calls for one link never overlap."""

    async def welcome(self, hello: Hello, connect: Callable[[AgentId, str], AgentLink]) -> AgentLink | Refused:
        """Take an agent in, or say why not."""

    async def hear(self, link: AgentLink, message: Message) -> None: ...

    def lost(self, link: AgentLink) -> None: ...


class LinkHandler(WebSocketHandler):
    """``/agent/link``. The first message must be a Hello; whoever it is, it must come soon."""

    link: AgentLink | None = None

    def initialize(self, intake: Intake) -> None:
        self._intake = intake

    @property
    def max_message_size(self) -> int:
        return MAX_MESSAGE_BYTES

    def open(self, *_args: str, **_kwargs: str) -> None:
        self.set_nodelay(True)
        self._impatience = asyncio.get_running_loop().call_later(HELLO_TIMEOUT_S, self.close, 4408, "no Hello")

    async def on_message(self, text: str | bytes) -> None:
        try:
            message = decode(text)
        except ProtocolError as error:
            log.warning("agent %s: %s", self._who(), error)
            if self.link is None:
                self.close(4400, "not a Hello")
            return
        if self.link is not None:
            await self._pass_on(self.link, message)
        elif isinstance(message, Hello):
            await self._greet(message)
        else:
            self.close(4400, "the first message must be a Hello")

    def on_close(self) -> None:
        self._impatience.cancel()
        if self.link is not None:
            self.link.close()
            self._intake.lost(self.link)

    async def _greet(self, hello: Hello) -> None:
        self._impatience.cancel()
        outcome = await self._intake.welcome(hello, self._connect)
        if isinstance(outcome, Refused):
            log.warning("agent %s from %s refused: %s", hello.name, self.request.remote_ip, outcome.reason.text)
            await self._send_text(encode(outcome))
            self.close(4403, outcome.reason.code)

    async def _pass_on(self, link: AgentLink, message: Message) -> None:
        try:
            await self._intake.hear(link, message)
        except BaiError as error:
            log.warning("agent %s: %s was not dealt with: %s", link.name, type(message).__name__, error)

    def _connect(self, agent_id: AgentId, name: str) -> AgentLink:
        self.link = AgentLink(agent_id, name, self._send_text, self.close)
        return self.link

    async def _send_text(self, text: str) -> None:
        await self.write_message(text)

    def _who(self) -> str:
        return self.link.name if self.link else str(self.request.remote_ip)
