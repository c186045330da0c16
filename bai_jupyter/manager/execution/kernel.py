"""Code in a session's Jupyter kernel: one reader of its tapes, through the relay like everybody else.

The kernel is started when it is first needed, and again when it has ended since. It is the session's own for this use;
kernels of notebooks in the same session are others.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

from bai_jupyter.common.errors import PublicError, Unavailable
from bai_jupyter.common.jupyter_messages import pack_message, read_message
from bai_jupyter.common.records import Channel
from bai_jupyter.kernel_stream import Bookmark, Dialler, Incoming, KernelStream, reader_id
from bai_jupyter.manager.execution.cell import Cell, completions
from bai_jupyter.manager.execution.engine import LiveRun
from bai_jupyter.manager.execution.runs import KILLED

COMPLETE_S = 10.0
_USERNAME = "manager"


class ExecutionFailed(PublicError):
    status, slug, title = 500, "kernel-execution-failed", "Executing user code in the session has failed."


@dataclass(frozen=True)
class ReadyKernel:
    """A Jupyter kernel that runs."""

    jupyter_kernel_id: str
    generation: int
    key: str = field(repr=False)  # signs what it is sent
    interrupt_mode: str


class KernelSource(Protocol):
    """Where the kernel comes from."""

    async def ready_kernel(self, newer_than: int) -> ReadyKernel:
        """Start it, or start it again, as needed. ``newer_than`` is a generation known to have ended.

        Raises ``PublicError`` if there cannot be one.
        """
        ...

    async def signal_interrupt(self) -> None: ...


class KernelClient:
    """Speaks to one session's kernel. One cell at a time."""

    def __init__(self, session_id: str, source: KernelSource, dialler: Dialler) -> None:
        self._session_id, self._source, self._dialler = session_id, source, dialler
        self._stream: KernelStream | None = None
        self._kernel: ReadyKernel | None = None
        self._ended = 0
        self._cell: Cell | None = None
        self._run: LiveRun | None = None
        self._asked: dict[str, asyncio.Future[Mapping[str, Any]]] = {}

    async def execute(self, code: str, run: LiveRun) -> None:
        """Returns when the run is over."""
        await self._make_ready()
        self._cell, self._run = Cell(uuid4().hex), run
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True, "stop_on_error": False}
        try:
            self._send(Channel.SHELL, "execute_request", content, self._cell.message_id)
            await run.over()
        finally:
            self._cell = self._run = None

    def answer(self, text: str) -> None:
        self._send(Channel.STDIN, "input_reply", {"value": text})

    async def interrupt(self) -> None:
        if self._kernel is not None and self._kernel.interrupt_mode == "message":
            self._send(Channel.CONTROL, "interrupt_request", {})
        elif self._kernel is not None:
            await self._source.signal_interrupt()

    async def complete(self, code: str, cursor: int) -> list[str]:
        """Candidates for what stands before the cursor. Raises ``PublicError``, so if a running cell takes too long."""
        await self._make_ready()
        message_id = uuid4().hex
        answered = self._asked[message_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(COMPLETE_S):
                self._send(Channel.SHELL, "complete_request", {"code": code, "cursor_pos": cursor}, message_id)
                return completions(await answered)
        except TimeoutError:
            raise Unavailable("The kernel is busy. Try again when what runs in it has ended.") from None
        finally:
            del self._asked[message_id]

    async def close(self) -> None:
        if self._stream is not None:
            await self._stream.close()

    async def _make_ready(self) -> None:
        self._kernel = await self._source.ready_kernel(self._ended)
        if self._stream is None:
            self._stream = KernelStream(
                self._dialler,
                self._session_id,
                self._kernel.jupyter_kernel_id,
                reader_id(f"execution of {self._session_id}"),
                Bookmark(from_start=False),
                self._hear,
                on_end=self._has_ended,
            )
        self._stream.follow(self._kernel.generation)

    def _send(self, channel: Channel, kind: str, content: Mapping[str, Any], message_id: str = "") -> None:
        assert self._stream is not None
        assert self._kernel is not None
        message = pack_message(kind, content, self._kernel.key, message_id or uuid4().hex, _USERNAME)
        self._stream.send(channel, b"", message)

    async def _hear(self, incoming: Incoming) -> None:
        message = read_message(incoming.frames)
        if message is None:
            return
        answered = self._asked.get(message.parent_id)
        if answered is not None and message.kind == "complete_reply" and not answered.done():
            answered.set_result(message.content)
        cell, run = self._cell, self._run
        if cell is not None and run is not None:
            for event in cell.hear(message):
                await run.hear(event)

    def _has_ended(self) -> None:
        """The kernel is gone, and all it said was heard."""
        assert self._kernel is not None
        self._ended = max(self._ended, self._kernel.generation)
        if self._run is not None:
            self._run.end(KILLED)
        for answered in self._asked.values():
            if not answered.done():
                answered.set_exception(ExecutionFailed("The kernel ended while it was asked. Try again."))


class CellWork:
    """A run of query mode."""

    def __init__(self, client: KernelClient, code: str) -> None:
        self._client, self._code = client, code

    async def carry_out(self, run: LiveRun) -> None:
        await self._client.execute(self._code, run)

    async def answer(self, text: str) -> None:
        self._client.answer(text)

    async def interrupt(self) -> None:
        await self._client.interrupt()
