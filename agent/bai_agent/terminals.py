"""Terminals: one shell in each container that was asked for one, which goes on while nobody looks.

Who comes back sees the last of what was shown. A shell ends with ``exit``, with its container, or with the agent.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, Protocol

from tornado.websocket import WebSocketClosedError

from bai_agent.attachments import Attachments
from bai_agent.runtimes import pids
from bai_agent.runtimes.base import INSIDE_HOME, UNKNOWN_EXIT, Attached, RuntimeFault, TerminalSize
from bai_jupyter.common import stdio
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.stdio import Kind

log = logging.getLogger(__name__)

KEPT_BYTES = 64 * 1024
"""So much of what was shown is shown again to who comes later."""

_SHELL = ["/bin/sh", "-c", "if command -v bash >/dev/null; then exec bash -l; else exec sh -l; fi"]
_QUEUED_PIECES = 16
_PATIENCE_S = 5.0
"""Who does not take what is shown holds everybody up; after this long they are dropped. So long has a shell to end."""
_AGAIN_S = 0.5
_DROPPED = b""
"""The last that one gets who did not take what was shown; no frame."""


class Socket(Protocol):
    """Whoever looks: a stream to the manager, or a page of ``terminal_app``."""

    def read_message(self) -> Awaitable[str | bytes | None]: ...

    def write_message(self, message: bytes, binary: bool = ...) -> Awaitable[None]: ...


class Terminal:
    """One shell and those who look at it."""

    def __init__(self, attachments: Attachments, ref: str) -> None:
        self._attachments, self._ref = attachments, ref
        self._runtime = attachments.runtime
        self._size: TerminalSize = (24, 80)
        self._shown = b""
        self._lookers: set[asyncio.Queue[bytes]] = set()
        self._attached: Attached | None = None
        self._restarts = False
        self._restarting = asyncio.Lock()
        self._fresh = asyncio.Event()
        """Not while a restart is under way."""
        self._task: asyncio.Task[None] | None = None

    @property
    def has_job(self) -> bool:
        """Something runs in it, in the foreground or not."""
        return not self.is_over and self._attached is not None and pids.has_children(self._attached.process.host_pid)

    @property
    def is_over(self) -> bool:
        return self._task is not None and self._task.done()

    async def start(self, size: TerminalSize) -> None:
        """Raises ``RuntimeFault``."""
        self._size = size
        await self._begin()
        self._task = asyncio.create_task(self._show())

    def look(self) -> "asyncio.Queue[bytes]":
        """Frames from now on, after one of what was shown before. The last is ``ENDED``, or empty: dropped."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_PIECES)
        if self._shown:
            queue.put_nowait(stdio.pack(Kind.OUTPUT, self._shown))
        self._lookers.add(queue)
        return queue

    def look_away(self, queue: "asyncio.Queue[bytes]") -> None:
        self._lookers.discard(queue)

    async def take(self, kind: Kind, payload: bytes) -> None:
        """What somebody typed or did. A restart returns with the new shell, so that what is typed next reaches it."""
        assert self._attached is not None
        match kind:
            case Kind.INPUT:
                with suppress(OSError):
                    await self._attached.write(payload)
            case Kind.RESIZE:
                self._size = stdio.read_size(payload)
                await self._attached.resize(*self._size)
            case Kind.RESTART if not self.is_over:
                await self._restart()

    async def close(self) -> None:
        self._restarts = False
        if self._task is not None:
            await self._hang_up(self._task)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _restart(self) -> None:
        """By two at once, one after the other."""
        async with self._restarting:
            if self._task is None or self.is_over:
                return
            self._restarts = True
            self._fresh.clear()
            fresh = asyncio.create_task(self._fresh.wait())
            try:
                await self._hang_up(fresh)
                await asyncio.wait({fresh, self._task}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                fresh.cancel()
                self._restarts = False  # who asked may be gone before the shell is: it ends then as any other

    async def _hang_up(self, over: asyncio.Task[Any]) -> None:
        """End the shell, which ends that task. A bash that is about to wait for input does not notice the first try."""
        assert self._attached is not None
        for signum in [signal.SIGHUP] * round(_PATIENCE_S / _AGAIN_S) + [signal.SIGKILL]:
            if over.done():
                return
            await self._runtime.signal(self._attached.process, signum)
            await asyncio.wait({over}, timeout=_AGAIN_S)

    async def _begin(self) -> None:
        self._attached = await self._attachments.start(
            self._ref, _SHELL, env={"TERM": "xterm-256color"}, cwd=INSIDE_HOME, terminal=self._size
        )
        self._fresh.set()

    async def _show(self) -> None:
        code = UNKNOWN_EXIT
        try:
            code = await self._show_one()
            while self._restarts:
                self._restarts, self._shown = False, b""
                await self._begin()
                code = await self._show_one()
        except RuntimeFault as fault:
            log.warning("terminal of %s: %s", self._ref, fault)
        finally:
            self._fresh.set()
        await self._tell(stdio.pack_ended(code))

    async def _show_one(self) -> int:
        assert self._attached is not None
        try:
            async with aclosing(self._attached.output()) as pieces:
                async for _, piece in pieces:
                    self._shown = (self._shown + piece)[-KEPT_BYTES:]
                    await self._tell(stdio.pack(Kind.OUTPUT, piece))
            return await self._runtime.wait(self._attached.process)
        finally:
            self._attached.close()
            self._attachments.forget(self._attached.process)

    async def _tell(self, frame: bytes) -> None:
        for queue in list(self._lookers):
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await queue.put(frame)
            except TimeoutError:
                self._lookers.discard(queue)
                while queue.full():
                    queue.get_nowait()
                queue.put_nowait(_DROPPED)


class TerminalEnd:
    """The end of a stream that looks at a terminal. ``before_use`` is awaited before whatever somebody does there;
    that a window is drawn larger is nobody's doing."""

    def __init__(self, terminal: Terminal, before_use: Callable[[], Awaitable[None]]) -> None:
        self._terminal, self._before_use = terminal, before_use
        self._queue = terminal.look()
        self.has_told_the_end = False

    async def carry(self, socket: Socket) -> None:
        ways = {asyncio.create_task(self._up(socket)), asyncio.create_task(self._down(socket))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def close(self) -> None:
        self._terminal.look_away(self._queue)

    async def _up(self, socket: Socket) -> None:
        with suppress(WebSocketClosedError):
            while (frame := await self._queue.get()) != _DROPPED:
                await socket.write_message(frame, binary=True)
                if stdio.unpack(frame)[0] is Kind.ENDED:
                    self.has_told_the_end = True
                    return

    async def _down(self, socket: Socket) -> None:
        while (frame := await socket.read_message()) is not None:
            kind, payload = stdio.unpack(frame if isinstance(frame, bytes) else frame.encode())
            if kind is not Kind.RESIZE:
                with suppress(BaiError, KeyError):  # it has ended, or is tried again with what is typed next
                    await self._before_use()
            await self._terminal.take(kind, payload)


class Terminals:
    """The terminals of an agent: at most one in each container."""

    def __init__(self, attachments: Attachments) -> None:
        self._attachments = attachments
        self._terminals: dict[KernelId, Terminal] = {}
        self._lock = asyncio.Lock()

    async def look(
        self, kernel_id: KernelId, ref: str, size: TerminalSize, before_use: Callable[[], Awaitable[None]]
    ) -> TerminalEnd:
        """Look at the container's terminal; its shell is started if there is none. Raises ``RuntimeFault``."""
        async with self._lock:
            for key in [key for key, one in self._terminals.items() if one.is_over]:
                del self._terminals[key]
            terminal = self._terminals.get(kernel_id)
            if terminal is None:
                terminal = Terminal(self._attachments, ref)
                await terminal.start(size)
                self._terminals[kernel_id] = terminal
            else:
                await terminal.take(*stdio.unpack(stdio.pack_size(*size)))
            return TerminalEnd(terminal, before_use)

    def has_job(self, kernel_id: KernelId) -> bool:
        terminal = self._terminals.get(kernel_id)
        return terminal is not None and terminal.has_job

    async def close(self) -> None:
        for terminal in self._terminals.values():
            await terminal.close()
