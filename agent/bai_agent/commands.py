"""The end of a stream that is a process inside: frames of ``common.stdio`` there, its input and output here."""

import asyncio
import logging
import signal
from contextlib import aclosing, suppress

from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from bai_agent.attachments import Attachments
from bai_agent.runtimes.base import ERROR, Attached
from bai_jupyter.common import stdio
from bai_jupyter.common.stdio import Kind

log = logging.getLogger(__name__)

_TERM_GRACE_S = 2.0
_LAST_WORDS_S = 1.0
"""A process may leave another behind that has its output open: it is over when nothing has come for so long."""


class CommandEnd:
    """A process that lives as long as its stream."""

    def __init__(self, attachments: Attachments, attached: Attached) -> None:
        self._attachments, self._attached = attachments, attached
        self._runtime = attachments.runtime
        self._sent, self._is_sending = 0, False

    async def carry(self, socket: WebSocketClientConnection) -> None:
        up = asyncio.create_task(self._up(socket))
        down = asyncio.create_task(self._down(socket))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in (up, down):
                way.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            await self._end()

    def close(self) -> None:
        self._attached.close()
        self._attachments.forget(self._attached.process)

    async def _up(self, socket: WebSocketClientConnection) -> None:
        output = asyncio.create_task(self._send_output(socket))
        try:
            code = await self._runtime.wait(self._attached.process)
            await self._hear_out(output)
            with suppress(WebSocketClosedError):
                await socket.write_message(stdio.pack_ended(code), binary=True)
        finally:
            output.cancel()
            await asyncio.gather(output, return_exceptions=True)

    async def _hear_out(self, output: "asyncio.Task[None]") -> None:
        """Whoever is slow to take the last output is waited for."""
        sent = -1
        while not output.done() and (self._is_sending or self._sent != sent):
            sent = self._sent
            await asyncio.wait({output}, timeout=_LAST_WORDS_S)

    async def _send_output(self, socket: WebSocketClientConnection) -> None:
        with suppress(WebSocketClosedError):
            async with aclosing(self._attached.output()) as pieces:
                async for where, piece in pieces:
                    kind = Kind.ERROR if where == ERROR else Kind.OUTPUT
                    self._is_sending = True
                    await socket.write_message(stdio.pack(kind, piece), binary=True)
                    self._sent, self._is_sending = self._sent + 1, False

    async def _down(self, socket: WebSocketClientConnection) -> None:
        while (frame := await socket.read_message()) is not None:
            kind, payload = stdio.unpack(frame if isinstance(frame, bytes) else frame.encode())
            match kind:
                case Kind.INPUT:
                    with suppress(OSError):
                        await self._attached.write(payload)
                case Kind.INPUT_ENDS:
                    self._attached.end_input()
                case Kind.RESIZE:
                    await self._attached.resize(*stdio.read_size(payload))
                case Kind.SIGNAL:
                    await self._runtime.signal(self._attached.process, stdio.read_signal(payload))

    async def _end(self) -> None:
        """Nobody listens any more."""
        process = self._attached.process
        for signum in (signal.SIGTERM, signal.SIGKILL):
            await self._runtime.signal(process, signum)
            with suppress(TimeoutError):
                async with asyncio.timeout(_TERM_GRACE_S):
                    await self._runtime.wait(process)
                return
