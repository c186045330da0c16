"""``bai session exec`` and ``attach``: a command in a session, or the session's own terminal, at this one.

``exec`` is a command whose input, output and end are this program's; it ends with us. ``attach`` looks at the shell
that goes on while nobody looks, and dials again when the manager or an agent was away.
"""

import argparse
import asyncio
import base64
import json
import signal
import termios
import tty
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any, TextIO

from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from bai_jupyter.cli import vfolder
from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.session import pairs
from bai_jupyter.cli.standard_input import StandardInput
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal
from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common import stdio
from bai_jupyter.common.errors import Unavailable
from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.common.stdio import Kind
from bai_jupyter.words import sentence_of

LEAVE = b"\x1d"  # Ctrl-]
_CLEAR_SCREEN = "\x1b[2J\x1b[H"
_PAUSES_S = (0.2, 2.0)
_SHELL_ENDED = 1000


# A command


def exec_(options: argparse.Namespace, terminal: Terminal) -> int:
    if not options.command:
        raise CommandFailed(
            f"There is no command to run in {options.session}. Give it after --, such as: "
            f"bai session exec {options.session} -- ls -l",
            Exit.USAGE,
        )
    if options.tty and not _is_terminal(terminal):
        raise CommandFailed("--tty was asked for, but input or output is no terminal. Leave it out.", Exit.USAGE)
    environ = pairs(options.env, "--env")
    return with_manager(lambda client: _exec(client, options, environ, terminal))


async def _exec(
    client: ManagerClient, options: argparse.Namespace, environ: Mapping[str, str], terminal: Terminal
) -> int:
    size = _size(terminal) if options.tty else None
    connection = await client.open_command(
        options.session, options.command, env=environ, cwd=options.cwd, terminal=size
    )
    command = _Command(connection, options.session, terminal)
    try:
        with _raw(terminal.stdin) if options.tty else nullcontext():
            return await command.carry(takes_input=options.stdin, is_terminal=options.tty)
    finally:
        connection.close()


class _Command:
    """A command that runs, and this program's input, output and signals."""

    def __init__(self, connection: WebSocketClientConnection, session: str, terminal: Terminal) -> None:
        self._connection, self._session, self._terminal = connection, session, terminal
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()  # of signals
        self._interrupts = 0

    async def carry(self, *, takes_input: bool, is_terminal: bool) -> int:
        """Its exit code. The first Ctrl-C is the command's, the second ends the waiting, and the command with it."""
        handlers: dict[int, Callable[[], None]] = {signal.SIGTERM: self._connection.close}
        if is_terminal:
            handlers[signal.SIGWINCH] = self._resize
        else:
            handlers[signal.SIGINT] = self._interrupt
        with _on_signals(handlers):
            async with _beside(self._send_input() if takes_input else self._end_input(), self._send_frames()):
                code = await self._show_output()
        if code is None and self._interrupts > 1:
            return Exit.INTERRUPTED
        if code is None:
            raise CommandFailed(
                f"The connection to {self._session} was cut while the command ran, and the command was ended. "
                f"See: bai session info {self._session}",
                Exit.AWAY,
            )
        if code < 0:
            raise CommandFailed(f"The command in {self._session} has ended, and nobody knows with which exit code.")
        return code

    async def _show_output(self) -> int | None:
        while (frame := await self._connection.read_message()) is not None:
            assert isinstance(frame, bytes)
            kind, payload = stdio.unpack(frame)
            if kind is Kind.ENDED:
                return stdio.read_ended(payload)
            await asyncio.to_thread(
                _write, self._terminal.stderr if kind is Kind.ERROR else self._terminal.stdout, payload
            )
        return None

    async def _send_input(self) -> None:
        typed = StandardInput(self._terminal.stdin)
        while piece := await typed.read(stdio.MAX_PIECE):
            await self._connection.write_message(stdio.pack(Kind.INPUT, piece), binary=True)
        await self._end_input()

    async def _end_input(self) -> None:
        await self._connection.write_message(stdio.pack(Kind.INPUT_ENDS), binary=True)

    async def _send_frames(self) -> None:
        while True:
            await self._connection.write_message(await self._frames.get(), binary=True)

    def _resize(self) -> None:
        self._frames.put_nowait(stdio.pack_size(*_size(self._terminal)))

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts == 1:
            self._frames.put_nowait(stdio.pack_signal(signal.SIGINT))
        else:
            self._connection.close()


# The session's terminal


def attach(options: argparse.Namespace, terminal: Terminal) -> int:
    """To the session's terminal; with a folder named, that one to the session."""
    if options.place is not None:
        return vfolder.attach(options, terminal)
    if not _is_terminal(terminal):
        raise CommandFailed(
            "attach shows a session's terminal, but input or output here is no terminal. For a command: "
            f"bai session exec {options.session} -- COMMAND",
            Exit.USAGE,
        )
    return with_manager(lambda client: _attach(client, options.session, terminal))


async def _attach(client: ManagerClient, session: str, terminal: Terminal) -> int:
    view = await client.get_session(session)
    name = view["name"]
    look = _Look(client, view["id"], terminal)
    await look.dial()
    terminal.say(f"The terminal of {name}. Ctrl-] leaves it, and it goes on; `exit` ends its shell.")
    with _raw(terminal.stdin):
        has_ended = await look.carry()
    if not has_ended:
        terminal.say(f"\nLeft {name}; its terminal goes on. To come back: bai session attach {name}")
        return Exit.DONE
    view = await client.get_session(view["id"])
    if view["status"] != SessionStatus.RUNNING:
        raise CommandFailed(f"{name}: {sentence_of(view)}")
    terminal.say(f"The shell of {name} has ended. The session goes on.")
    return Exit.DONE


class _Look:
    """What is typed here goes to the session's terminal, and what is shown there comes here."""

    def __init__(self, client: ManagerClient, session: str, terminal: Terminal) -> None:
        self._client, self._session, self._terminal = client, session, terminal
        self._connection: WebSocketClientConnection | None = None
        self._resized = asyncio.Event()

    async def dial(self) -> None:
        self._connection = await self._client.open_terminal(self._session)
        self._resized.set()

    async def carry(self) -> bool:
        """True if the shell has ended; False if it was left."""
        leaving, showing = asyncio.create_task(self._type()), asyncio.create_task(self._show())
        with _on_signals({signal.SIGWINCH: self._resized.set, signal.SIGTERM: leaving.cancel}):
            async with _beside(self._tell_size()):
                try:
                    await asyncio.wait({leaving, showing}, return_when=asyncio.FIRST_COMPLETED)
                    if showing.done():
                        showing.result()
                    return showing.done()
                finally:
                    await _end(leaving, showing)
                    if self._connection is not None:
                        self._connection.close()

    async def _type(self) -> None:
        typed = StandardInput(self._terminal.stdin)
        while keys := await typed.read(stdio.MAX_PIECE):
            keys, leave, _ = keys.partition(LEAVE)
            if keys:
                await self._send({"type": "stdin", "chars": base64.b64encode(keys).decode()})
            if leave:
                return

    async def _show(self) -> None:
        """Until the shell has ended. Whatever else cuts the connection leaves the shell as it is: look again."""
        while not await self._show_one():
            self._tell("The connection was cut; dialling again. Ctrl-] leaves.")
            await self._dial_again()
            await asyncio.to_thread(_write, self._terminal.stdout, _CLEAR_SCREEN.encode())

    async def _show_one(self) -> bool:
        """True if the shell has ended."""
        assert self._connection is not None
        while (message := await self._connection.read_message()) is not None:
            told: Json = json.loads(message)
            if told["type"] == "out":
                await asyncio.to_thread(_write, self._terminal.stdout, base64.b64decode(told["data"]))
        ended, self._connection = self._connection, None
        ended.close()
        return ended.close_code == _SHELL_ENDED

    async def _dial_again(self) -> None:
        pause_s, longest_s = _PAUSES_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)
            with suppress(Unavailable):
                await self.dial()
                return

    async def _tell_size(self) -> None:
        while True:
            await self._resized.wait()
            self._resized.clear()
            rows, columns = _size(self._terminal)
            await self._send({"type": "resize", "rows": rows, "cols": columns})

    async def _send(self, message: Json) -> None:
        """What is typed while nobody is there to take it is lost, as it would be unseen."""
        if self._connection is not None:
            with suppress(WebSocketClosedError):
                await self._connection.write_message(json.dumps(message))

    def _tell(self, text: str) -> None:
        print(f"\r\n[{text}]\r", file=self._terminal.stderr, flush=True)


# This terminal


def _is_terminal(terminal: Terminal) -> bool:
    return terminal.stdin.isatty() and terminal.stdout.isatty()


def _size(terminal: Terminal) -> tuple[int, int]:
    """Rows and columns; a terminal that does not know is taken for the usual one."""
    rows, columns = termios.tcgetwinsize(terminal.stdout.fileno())
    return rows or 24, columns or 80


@contextmanager
def _raw(keyboard: TextIO) -> Iterator[None]:
    """Every key is passed on, Ctrl-C too. Afterwards the terminal is as it was."""
    before = termios.tcgetattr(keyboard)
    tty.setraw(keyboard)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


@contextmanager
def _on_signals(handlers: Mapping[int, Callable[[], Any]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do these meanwhile; a connection that is closed is none of their business."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        await _end(*tasks)


async def _end(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _write(stream: TextIO, data: bytes) -> None:
    stream.buffer.write(data)
    stream.buffer.flush()
