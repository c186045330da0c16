"""Batch mode: up to three shell commands in the session's home, one after the other."""

import codecs
import signal
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from bai_jupyter.common.stdio import Kind
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.execution.engine import LiveRun
from bai_jupyter.manager.execution.runs import Ends, RunStatus, Text
from bai_jupyter.manager.sessions.commands import Command, start_command
from bai_jupyter.manager.sessions.requests import bad_value
from bai_jupyter.manager.sessions.service import SessionService

BUILD_FAILED = 127
"""The exit code of a batch whose build failed, so that nothing was executed."""

_STEPS = (
    ("clean", RunStatus.CLEAN_FINISHED, "if [ -f Makefile ]; then make clean; fi"),
    ("build", RunStatus.BUILD_FINISHED, "if [ -f Makefile ]; then make; fi"),
    ("exec", RunStatus.FINISHED, "if [ -f main.py ]; then exec python3 main.py; else exec ./main; fi"),
)


def read_steps(options: Mapping[str, Any]) -> dict[RunStatus, str | None]:
    """What each step runs; ``*`` is what its kind usually is. Raises ``BadRequest``."""
    steps: dict[RunStatus, str | None] = {}
    for name, status, usual in _STEPS:
        given = options.get(name)
        if given is not None and not isinstance(given, str):
            raise bad_value(f"options.{name}", given, "a shell command")
        steps[status] = usual if given == "*" else given
    return steps


class BatchWork:
    """A run of batch mode. All three steps end, also those that had nothing to do."""

    def __init__(self, sessions: SessionService, session: SessionRecord, steps: Mapping[RunStatus, str | None]) -> None:
        self._sessions, self._session, self._steps = sessions, session, steps
        self._command: Command | None = None

    async def carry_out(self, run: LiveRun) -> None:
        await self._step(RunStatus.CLEAN_FINISHED, run)
        if await self._step(RunStatus.BUILD_FINISHED, run) == 0:
            await self._step(RunStatus.FINISHED, run)
        else:
            await run.hear(Ends(RunStatus.FINISHED, BUILD_FAILED))

    async def answer(self, text: str) -> None:
        """Commands are not asked for: nobody can tell when one waits for a line."""

    async def interrupt(self) -> None:
        if self._command is not None:
            await self._command.signal(signal.SIGINT)

    async def _step(self, status: RunStatus, run: LiveRun) -> int:
        shell = self._steps[status]
        code = 0 if shell is None else await self._run_shell(shell, run)
        await run.hear(Ends(status, code))
        return code

    async def _run_shell(self, shell: str, run: LiveRun) -> int:
        decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in (Kind.OUTPUT, Kind.ERROR)}
        streams = {Kind.OUTPUT: "stdout", Kind.ERROR: "stderr"}
        argv = ["/bin/sh", "-c", shell]
        with closing(await start_command(self._sessions, self._session, argv)) as command:
            self._command = command
            try:
                await command.end_input()
                async for kind, piece in command.output():
                    await run.hear(Text(streams[kind], decoders[kind].decode(piece)))
            finally:
                self._command = None
        assert command.exit_code is not None
        return command.exit_code
