"""A command inside a session, from the manager's side: what goes in, what comes out, how it ended."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from tornado.websocket import WebSocketClosedError

from bai_jupyter.common import stdio
from bai_jupyter.common.errors import Unavailable
from bai_jupyter.common.stdio import Kind
from bai_jupyter.manager.agents.streams import ByteStream
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.sessions.requests import HOME, bad_value
from bai_jupyter.manager.sessions.service import SessionService

MAX_ROWS_OR_COLUMNS = 1000


class Command:
    """A process that runs as long as its stream. ``exit_code`` is known once its output was read to the end."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.exit_code: int | None = None

    async def output(self) -> AsyncIterator[tuple[Kind, bytes]]:
        """Pieces of ``OUTPUT`` and ``ERROR``. Raises ``Unavailable`` if the stream breaks before the command ends."""
        while self.exit_code is None:
            frame = await self._stream.read_message()
            if frame is None:
                raise Unavailable("The agent was cut off while the command ran; it was ended. Try again.")
            kind, payload = stdio.unpack(frame)
            if kind is Kind.ENDED:
                self.exit_code = stdio.read_ended(payload)
            else:
                yield kind, payload

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more; what a command that has ended does not read is dropped."""
        for start in range(0, len(data), stdio.MAX_PIECE):
            await self._send(stdio.pack(Kind.INPUT, data[start : start + stdio.MAX_PIECE]))

    async def end_input(self) -> None:
        await self._send(stdio.pack(Kind.INPUT_ENDS))

    def close(self) -> None:
        """End it, if it has not ended."""
        self._stream.close()

    async def signal(self, number: int) -> None:
        await self._send(stdio.pack_signal(number))

    async def _send(self, frame: bytes) -> None:
        try:
            await self._stream.write_message(frame)
        except WebSocketClosedError:
            return  # whoever reads its output is told


async def start_command(
    sessions: SessionService, session: SessionRecord, argv: Sequence[str], env: Mapping[str, str] | None = None
) -> Command:
    """Start it in the session's home; close it in the end. Raises ``PublicError`` if it cannot be started."""
    endpoint = {"kind": "command", "argv": list(argv), "env": dict(env or {}), "cwd": HOME}
    return Command(ByteStream(await sessions.open_inside(session, endpoint)))


def read_command(body: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody wants to run, as an endpoint of ``messages.Call``. Raises ``BadRequest``. Pure.

    ``{"argv": ["ls", "-l"], "env"?: {}, "cwd"?: "/home/work/data", "terminal"?: [rows, columns]}``
    """
    argv, env, cwd = body.get("argv"), body.get("env") or {}, body.get("cwd") or HOME
    if not isinstance(argv, list) or not argv or not all(map(_is_text, argv)) or not argv[0]:
        raise bad_value("argv", "what was sent", "a list of texts, the first of which is the program")
    if not isinstance(env, Mapping) or not all(_is_text(value) and _is_name(name) for name, value in env.items()):
        raise bad_value("env", "what was sent", "an object of texts")
    if not _is_text(cwd) or not cwd.startswith("/"):
        raise bad_value("cwd", cwd, f"an absolute path, such as {HOME}")
    endpoint = {"kind": "command", "argv": argv, "env": dict(env), "cwd": cwd}
    if body.get("terminal") is None:
        return endpoint
    rows, columns = read_size(body["terminal"])
    return {**endpoint, "rows": rows, "columns": columns}


def read_size(given: object) -> tuple[int, int]:
    """A terminal's rows and columns. Raises ``BadRequest``."""
    match given:
        case [int(rows), int(columns)] if 1 <= rows <= MAX_ROWS_OR_COLUMNS and 1 <= columns <= MAX_ROWS_OR_COLUMNS:
            return rows, columns
    raise bad_value("terminal", given, f"rows and columns from 1 to {MAX_ROWS_OR_COLUMNS}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_name(name: object) -> bool:
    return _is_text(name) and bool(name) and "=" not in str(name)


async def output_of(
    sessions: SessionService, session: SessionRecord, argv: Sequence[str], env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run it to its end: exit code, output, errors. For commands that say little."""
    said = {Kind.OUTPUT: b"", Kind.ERROR: b""}
    with closing(await start_command(sessions, session, argv, env)) as command:
        await command.end_input()
        async for kind, piece in command.output():
            said[kind] += piece
    assert command.exit_code is not None
    return command.exit_code, *(text.decode(errors="replace") for text in said.values())  # type: ignore[return-value]
