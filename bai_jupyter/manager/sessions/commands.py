"""A command inside a session, from the manager's side: what goes in, what comes out, how it ended."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing

from tornado.websocket import WebSocketClosedError

from bai_jupyter.common import stdio
from bai_jupyter.common.errors import Unavailable
from bai_jupyter.common.stdio import Kind
from bai_jupyter.manager.agents.streams import ByteStream
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.sessions.requests import HOME
from bai_jupyter.manager.sessions.service import SessionService


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
