"""Processes inside whose input and output are this agent's. They are of no use without it, so they end with it.

An engine lets them go on when the agent is killed; so each is written down, and the next agent ends what it finds.
"""

import json
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from bai_agent.runtimes.base import Attached, Process, Runtime, RuntimeFault, TerminalSize
from bai_jupyter.common.reasons import Reason


class Attachments:
    """``folder`` is the agent's alone."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.runtime = runtime
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    async def end_leftovers(self) -> None:
        """Of an agent that was killed."""
        for path in self._folder.glob("*.json"):
            with suppress(RuntimeFault, ValueError, TypeError):  # gone with its container, or half written
                await self.runtime.signal(Process(**json.loads(path.read_text())), signal.SIGKILL)
            path.unlink()

    async def start(
        self, ref: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, terminal: TerminalSize | None
    ) -> Attached:
        """As ``Runtime.attach``; ``forget`` it when it has ended. Refused where it would wait for memory, too."""
        memory = await self.runtime.memory_limit(ref)
        if memory is not None and memory.is_reached and not memory.kills:
            raise RuntimeFault(Reason.of("held-inside"))
        attached = await self.runtime.attach(ref, argv, env=env, cwd=cwd, terminal=terminal)
        with suppress(OSError):  # a full disk; only an agent that is killed before there is room leaves it behind
            self._path(attached.process).write_text(json.dumps(asdict(attached.process)))
        return attached

    def forget(self, process: Process) -> None:
        self._path(process).unlink(missing_ok=True)

    def _path(self, process: Process) -> Path:
        return self._folder / f"{process.host_pid}-{process.started}.json"
