"""Processes inside an engine's containers: started, attached to, waited for and signalled.

A supervisor inside starts them where it can (``supervisor``); else the engine is asked, which takes longer.
"""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from docker.errors import DockerException, NotFound

from bai_agent.runtimes import cgroups, pids, supervisor
from bai_agent.runtimes.attached import PIECE_BYTES, EngineAttached
from bai_agent.runtimes.base import (
    INSIDE_HOME,
    INSIDE_RUN,
    UNKNOWN_EXIT,
    Process,
    RuntimeFault,
    TerminalSize,
    entered,
    redirected,
    sized,
)
from bai_agent.runtimes.engine import Engine
from bai_agent.runtimes.spares import Spares
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.reasons import Reason

_EXIT_CODE_PATIENCE_S = 5.0
_START_PATIENCE_S = 10.0


class EngineProcesses:
    """``state_dir`` is the agent's; a kernel's folders lie in its ``kernels/<id>/``."""

    def __init__(self, engine: Engine, spares: Spares, state_dir: Path) -> None:
        self._engine, self._spares, self._state_dir = engine, spares, state_dir

    async def exec(self, ref: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, log_path: Path) -> Process:
        kernel_id = self._kernel_of(log_path)
        log_inside = self.to_inside(kernel_id, log_path)
        return await self._engine.call("create-failed", lambda: self._exec(kernel_id, ref, argv, env, cwd, log_inside))

    def _exec(
        self, kernel_id: KernelId, ref: str, argv: Sequence[str], env: Mapping[str, str], cwd: str, log: str
    ) -> Process:
        environ = {**self._spares.environ_of(ref), **env}
        process = self._spares.become(ref, argv, environ, cwd, log)
        if process is not None:
            return process
        command = redirected(argv, cwd, log)
        try:
            name, pid = supervisor.start(self._run_of(kernel_id), ref, command, environ)
            return _process_of(ref, supervisor.ref_of(kernel_id, name), pid)
        except supervisor.NotSupervised:  # an image without Python, or its user has ended it
            made = self._engine.api.exec_create(
                ref, command, environment=environ, workdir="/", stdout=False, stderr=False
            )
            self._engine.api.exec_start(made["Id"], detach=True)
            return self._executed(ref, made["Id"])

    def _executed(self, ref: str, exec_ref: str) -> Process:
        """The engine's pid is 0 if it has ended already; then its exit code is all that is left of it."""
        return _process_of(ref, exec_ref, self._engine.api.exec_inspect(exec_ref)["Pid"])

    async def attach(
        self, ref: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, terminal: TerminalSize | None
    ) -> EngineAttached:
        command = entered(argv, cwd)
        if terminal is not None:
            command = sized(command, terminal)
        environ = {**self._spares.environ_of(ref), **env}
        process, sock, early = await self._engine.call(
            "create-failed", lambda: self._attach(ref, command, environ, terminal)
        )
        reader, writer = await asyncio.open_connection(sock=sock, limit=PIECE_BYTES)
        reader.feed_data(early)

        async def resize(rows: int, columns: int) -> None:
            with contextlib.suppress(RuntimeFault):  # it has ended
                await self._engine.call("other", lambda: self._engine.api.exec_resize(process.exec_ref, rows, columns))

        if terminal is not None:
            await resize(*terminal)
        return EngineAttached(process, reader, writer, resize if terminal else None)

    def _attach(
        self, ref: str, command: list[str], env: Mapping[str, str], terminal: TerminalSize | None
    ) -> tuple[Process, socket.socket, bytes]:
        """The process, its socket, and what has come over it already."""
        is_terminal = terminal is not None
        exec_ref = self._engine.api.exec_create(
            ref, command, environment=dict(env), workdir="/", stdin=True, tty=is_terminal
        )["Id"]
        stream = self._engine.api.exec_start(exec_ref, tty=is_terminal, socket=True)
        if isinstance(stream._sock, ssl.SSLSocket):
            raise DockerException("terminals and commands need an engine that is reached without TLS")
        sock = socket.socket(fileno=os.dup(stream.fileno()))
        sock.setblocking(False)
        stream._sock.setblocking(False)
        # docker-py reads the headers with it, and it may have read on.
        early = bytes(stream._response.raw._fp.fp.peek())
        stream._response.close()
        try:
            self._await_start(exec_ref)
            return self._executed(ref, exec_ref), sock, early
        except BaseException:
            sock.close()
            raise

    def _await_start(self, exec_ref: str) -> None:
        """The engine hands the socket out before the process exists, and it may never: memory may be used up."""
        deadline = time.monotonic() + _START_PATIENCE_S
        pause_s = 0.002
        while time.monotonic() < deadline:
            facts = self._engine.api.exec_inspect(exec_ref)
            if facts["Pid"] or facts["ExitCode"] is not None:
                return
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.1)
        raise RuntimeFault(Reason.of("not-begun", limit=f"{_START_PATIENCE_S:g} s"))

    async def exit_code(self, process: Process) -> int | None:
        if pids.is_alive(process.host_pid, process.started):
            return None
        return await self._engine.call("engine-down", lambda: self._ask_exit_code(process))

    def _ask_exit_code(self, process: Process) -> int | None:
        if process.exec_ref.startswith(supervisor.SUPERVISED):
            kernel_id, _, name = process.exec_ref.removeprefix(supervisor.SUPERVISED).partition("/")
            try:
                return supervisor.exit_code(self._run_of(KernelId(kernel_id)), process.container_ref, name)
            except (supervisor.NotSupervised, OSError, ValueError):
                return UNKNOWN_EXIT
        try:
            facts = self._engine.api.exec_inspect(process.exec_ref)
        except NotFound:
            return UNKNOWN_EXIT
        return None if facts["Running"] else facts["ExitCode"]

    async def wait(self, process: Process) -> int:
        await pids.wait_for_end(process.host_pid, process.started)
        deadline = time.monotonic() + _EXIT_CODE_PATIENCE_S
        pause_s = 0.002
        # The engine learns of the end a few milliseconds after the kernel does.
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeFault):  # an engine that is away; it may come back in time
                code = await self.exit_code(process)
                if code is not None:
                    return code
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.1)
        return UNKNOWN_EXIT

    async def signal(self, process: Process, signum: int) -> None:
        pidfd = pids.open_pidfd(process.host_pid, process.started)
        if pidfd is None:
            return
        try:
            if cgroups.is_in(process.host_pid, process.container_ref):
                pids.send_signal(pidfd, process.host_pid, signum)
        except PermissionError:  # an agent that is not root may not signal the container's user
            await self._engine.call("other", lambda: self._signal_inside(process, signum))
        finally:
            os.close(pidfd)

    def _signal_inside(self, process: Process, signum: int) -> None:
        inside = pids.inside(process.host_pid)
        name = signal.Signals(signum).name.removeprefix("SIG")
        command = ["/bin/sh", "-c", f"kill -{name} -{inside} 2>/dev/null || kill -{name} {inside}"]
        self._engine.api.exec_start(self._engine.api.exec_create(process.container_ref, command)["Id"], detach=True)

    def to_inside(self, kernel_id: KernelId, host_path: Path) -> str:
        folder = self._state_dir / "kernels" / kernel_id
        path = host_path.absolute()
        for name, inside in (("run", INSIDE_RUN), ("scratch", INSIDE_HOME)):
            if path.is_relative_to(folder / name):
                return str(PurePosixPath(inside) / path.relative_to(folder / name))
        raise ValueError(f"{host_path} is not in the folders of kernel {kernel_id}")

    def _kernel_of(self, host_path: Path) -> KernelId:
        return KernelId(host_path.absolute().relative_to(self._state_dir / "kernels").parts[0])

    def _run_of(self, kernel_id: KernelId) -> Path:
        return self._state_dir / "kernels" / kernel_id / "run"


def _process_of(container: str, exec_ref: str, pid: int) -> Process:
    started = pids.start_time(pid) if pid and cgroups.is_in(pid, container) else None
    return Process(pid, started or 0, exec_ref, container)
