"""The servers of ``bai up`` as processes: the data folder, starting, finding again, stopping.

Owns pid files, logs and the lock that keeps two ``bai up`` apart. Does not know what the servers are for.
"""

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bai_jupyter.cli.terminal import CommandFailed

LAST_LINES = 12
STOP_GRACE_S = 10.0
_TICK_S = 0.05


@dataclass(frozen=True)
class DataFolder:
    """The paths below ``.bai``. Everything in it is its owner's only, except ``home`` and ``jupyter`` (Lab's user)."""

    path: Path

    @property
    def credentials(self) -> Path:
        return self.path / "credentials.json"

    @property
    def run(self) -> Path:
        return self.path / "run"

    def log(self, server: str) -> Path:
        return self.run / f"{server}.log"

    def pid_file(self, server: str) -> Path:
        return self.run / f"{server}.pid"

    @property
    def state_file(self) -> Path:
        return self.run / "up.json"

    def make(self, passable: bool) -> None:
        """Create it. ``passable``: another user's Lab must get through to its own folders, so not 0700 but 0711."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o711 if passable else 0o700)
        self.run.mkdir(exist_ok=True)
        self.run.chmod(0o700)

    def read_state(self) -> dict[str, Any]:
        """What the running ``bai up`` wrote about itself; empty if there is nothing."""
        try:
            state = json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def write_state(self, state: Mapping[str, Any]) -> None:
        write_private(self.state_file, json.dumps(state, indent=1))

    def is_locked(self) -> bool:
        """True while a ``bai up`` runs here; the system drops the lock with its process, however that ended."""
        try:
            with closing(_lock_file(self.run)) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @contextmanager
    def lock(self) -> Iterator[bool]:
        """Hold the folder; yields ``False`` if somebody else does."""
        with closing(_lock_file(self.run)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _lock_file(run: Path) -> Any:
    return (run / "up.lock").open("w")


def write_private(path: Path, text: str, owner: tuple[int, int] | None = None) -> None:
    """Write a file of mode 0600 in one step; ``owner`` is uid and gid of whom it shall belong to."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        file.write(text)
    new.replace(path)


# One server


@dataclass
class Server:
    """One child process, in a process group of its own so that the terminal's Ctrl-C is ours alone."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    folder: DataFolder
    cwd: Path | None = None
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def start(self) -> None:
        with self.folder.log(self.name).open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.argv,
                env=dict(self.env),
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        started = started_at(self.process.pid)
        write_private(self.folder.pid_file(self.name), json.dumps({"pid": self.process.pid, "started": started}))

    async def ready(self, is_ready: Callable[[], Awaitable[bool]], deadline_s: float) -> None:
        """Wait until ``is_ready`` says so. Raises ``CommandFailed`` with the log's end if it dies or takes too long."""
        deadline = time.monotonic() + deadline_s
        while not await is_ready():
            code = self.process.returncode if self.process else None
            if code is not None:
                raise CommandFailed(f"{self.name} ended while starting (code {code}).\n{self.tail()}")
            if time.monotonic() > deadline:
                raise CommandFailed(f"{self.name} is not ready after {deadline_s:.0f} s.\n{self.tail()}")
            await asyncio.sleep(_TICK_S)

    async def stop(self) -> bool:
        """``SIGTERM``, and after a while ``SIGKILL``; only this process: what it started is meant to live on.

        Returns whether it still ran.
        """
        process = self.process
        if process is None:
            return False
        was_running = process.returncode is None
        if was_running:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_GRACE_S):
                    await process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self.folder.pid_file(self.name).unlink(missing_ok=True)
        return was_running

    def tail(self) -> str:
        """The last lines of the log, and where the rest is."""
        path = self.folder.log(self.name)
        lines = path.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join([*(f"    {line}" for line in lines), f"All of it: {path}"])


# Processes that an earlier `bai up` left


def left_behind(folder: DataFolder, servers: Sequence[str]) -> list[tuple[str, int]]:
    """``(name, pid)`` of servers that still run by their pid file. A reused pid is told by its start time."""
    found = []
    for name in servers:
        try:
            record = json.loads(folder.pid_file(name).read_text())
            pid, started = int(record["pid"]), record["started"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if started is not None and started_at(pid) == started:
            found.append((name, pid))
    return found


def stop_process(pid: int, grace_s: float = STOP_GRACE_S) -> None:
    """End a process that is not our child and wait until it is gone."""
    started = started_at(pid)
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        deadline = time.monotonic() + patience_s
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        while started is not None and started_at(pid) == started:
            if time.monotonic() > deadline:
                break
            time.sleep(_TICK_S)
        else:
            return
    raise CommandFailed(f"Process {pid} does not end.")


def started_at(pid: int) -> str | None:
    """When a process began, as the system tells it; ``None`` if there is none, or only its remains."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self").exists() else _started_by_ps(pid)
    return None if state in "ZX" else rest[18]


def _started_by_ps(pid: int) -> str | None:
    told = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
    )
    return told.stdout.strip() or None


def free_port(wanted: int, tries: int = 50) -> int:
    """``wanted`` if nobody has it on this host's loopback, else the next free one."""
    for port in range(wanted, min(wanted + tries, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise CommandFailed(f"No port is free from {wanted} to {wanted + tries - 1}. Name another: --port N")
