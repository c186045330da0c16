"""One launch of one Jupyter kernel, a *generation* of it: started, recorded, heard, saved, told why it ended.

It has two folders of its own, so nothing of an old process can be taken for the new one's:

* ``kernels/<kernel>/run/<id8>-<gen>/``: connection file, sockets and log; the session's user can write there,
  so nothing in it is believed.
* ``kernels/<kernel>/jupyter/<id8>-<gen>/``: ``launch.json``, tapes, the relay's socket; ours alone.
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path

from bai_agent import asking, folders
from bai_agent.keeper import Keeper, RelayFailedError
from bai_agent.listener import Listener
from bai_agent.relay.__main__ import NOT_LISTENING, NOT_THE_KERNEL
from bai_agent.runtimes import pids
from bai_agent.runtimes.base import Process, Runtime, RuntimeFault, describe_exit
from bai_agent.variables.languages import Language
from bai_agent.variables.of_launch import LaunchVariables
from bai_jupyter.common.ids import JupyterKernelId, KernelId
from bai_jupyter.common.messages import JupyterKernelReport, JupyterKernelWant, KernelSpecFacts
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size
from bai_jupyter.common.statuses import JupyterKernelStatus

log = logging.getLogger(__name__)

TAPE_LIMIT_BYTES = 1024**3  # per tape; the design's bound per Jupyter kernel
CONNECT_S = 300.0  # a kernel that does not listen by then has failed; of many at once on few cores the last is late
WAKE_S = 1800.0  # one that restores its variables has so long: there may be much to read
_TERM_GRACE_S = 2.0
_PORTS = {"shell": 1, "iopub": 2, "stdin": 3, "hb": 4, "control": 5}
_CONNECTION_FILE = "connection.json"
# What the relay's exit code says of the kernel.
_KERNEL_REFUSED = {NOT_LISTENING: "it does not listen", NOT_THE_KERNEL: "what listens is not the kernel"}


@dataclass(frozen=True)
class Place:
    """Where one launch lives on disk. ``ours`` and ``shared`` are the two folders of the module's docstring."""

    ours: Path
    shared: Path

    @classmethod
    def of(cls, kernel_folder: Path, jupyter_kernel_id: JupyterKernelId, generation: int) -> "Place":
        name = f"{jupyter_kernel_id[:8]}-{generation}"
        return cls(kernel_folder / "jupyter" / name, kernel_folder / "run" / name)


class Launch:
    """One generation of one Jupyter kernel, from before its process exists until its tapes are dropped."""

    def __init__(
        self,
        runtime: Runtime,
        kernel_id: KernelId,
        place: Place,
        report: JupyterKernelReport,
        changed: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self.kernel_id = kernel_id
        self._place = place
        self._changed = changed
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended_by: Reason | None = None
        self.keeper = Keeper(place.ours)
        self.listener = Listener(place.ours)
        self._key = ""
        self.variables = LaunchVariables(runtime, kernel_id, place.shared.parent, place.shared.name, self.keeper)
        self.process: Process | None = None
        self.report = report

    # Start

    def start(self, ref: str, want: JupyterKernelWant, spec: KernelSpecFacts, image: str) -> None:
        self._key = want.key
        self.variables.begin(want, spec)
        self.listener.active_at = time.time()
        self._run(self._start(ref, want, spec, image))

    async def _start(self, ref: str, want: JupyterKernelWant, spec: KernelSpecFacts, image: str) -> None:
        try:
            kills = await self._oom_kills(ref)
            self.process = await self._execute(ref, want, spec)
            self._save()
            watch = self._run(self._watch(ref, kills, image, spec))
            await self._record(watch)
            await self._hear(watch)
        except RuntimeFault as fault:
            if not await self._ends_with_container(ref):
                self._set(JupyterKernelStatus.DEAD, reason=fault.reason)

    async def _execute(self, ref: str, want: JupyterKernelWant, spec: KernelSpecFacts) -> Process:
        connection_file = self._make_folders(want)
        inside = {"connection_file": connection_file, "resource_dir": spec.metadata.get("resource_dir", "")}
        argv = [_fill(word, inside) for word in spec.argv]
        await self._kill_strays(connection_file)
        env = {**spec.env, **want.env, **self.variables.prepare(want)}
        return await self._runtime.exec(ref, argv, env=env, cwd=want.cwd, log_path=self._place.shared / "log")

    def _make_folders(self, want: JupyterKernelWant) -> str:
        """Both folders, empty, and the connection file in the shared one. Its path as seen inside."""
        shutil.rmtree(self._place.shared, ignore_errors=True)
        shutil.rmtree(self._place.ours, ignore_errors=True)
        self._place.ours.mkdir(parents=True, mode=0o700)
        inside = self._runtime.to_inside(self.kernel_id, self._place.shared / _CONNECTION_FILE)
        info = {
            "transport": "ipc",
            "ip": str(Path(inside).with_name("k")),
            **{f"{channel}_port": port for channel, port in _PORTS.items()},
            "key": want.key,
            "signature_scheme": "hmac-sha256",
            "kernel_name": want.kernelspec,
        }
        shared = self._place.shared
        folders.make_private(shared.parent, shared.name, _CONNECTION_FILE, json.dumps(info).encode())
        return inside

    async def _kill_strays(self, connection_file: str) -> None:
        """End processes of this very launch that an agent started and died before it could write that down."""
        for pid in pids.with_argument(connection_file):
            log.warning("ending stray process %s of launch %s", pid, self._place.ours.name)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # Record

    async def _record(self, watch: "asyncio.Task[None]") -> None:
        """Start the relay. Returns when it serves, or when the process has ended first."""
        assert self.process is not None
        peer = {"cgroup": self.process.container_ref} if self._runtime.isolated else {"sid": self.process.host_pid}
        orders: dict[str, object] = {
            "sockets": {name: str(self._place.shared / f"k-{port}") for name, port in _PORTS.items() if name != "hb"},
            "peer": peer,
            "limit_bytes": TAPE_LIMIT_BYTES,
            "connect_s": CONNECT_S,
        }
        starting = asyncio.create_task(self.keeper.start(orders))
        await asyncio.wait({starting, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        try:
            await starting
        except asyncio.CancelledError:
            await self.keeper.stop()
        except (RelayFailedError, OSError) as error:
            log.error("launch %s: %s", self._place.ours.name, error)
            await self._end(self._why_not_recorded(error))

    def _why_not_recorded(self, error: RelayFailedError | OSError) -> Reason:
        if isinstance(error, RelayFailedError) and error.exit_code in _KERNEL_REFUSED:
            return Reason.of("kernel-died-start", code="none", line=_KERNEL_REFUSED[error.exit_code])
        unknown = Reason.of("kernel-died-start", code="none", line="its output cannot be recorded")
        return folders.disk_full(self._place.ours) or unknown

    async def _hear(self, watch: "asyncio.Task[None]") -> None:
        """Running is what has answered, not what merely listens."""
        if self.report.status is not JupyterKernelStatus.STARTING:
            return
        hearing = asyncio.create_task(asking.first_word(self.keeper, self._key))
        patience_s = WAKE_S if self.variables.wakes else CONNECT_S
        done, _ = await asyncio.wait({hearing, watch}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        if hearing in done and not hearing.exception() and hearing.result():
            self._set(JupyterKernelStatus.RUNNING, reason=self.variables.how_it_woke())
        elif not done:
            hearing.cancel()
            await self._end(Reason.of("kernel-died-start", code="none", line="it listens, but does not answer"))
        else:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def save(self, seconds: float) -> dict[str, object]:
        """Have it save its variables, unless something runs in it. As in ``messages.Call``; raises nothing."""
        saved = await self.variables.save(self._key, seconds, is_busy=self.is_busy)
        return {"jupyter_kernel_id": self.report.jupyter_kernel_id, **saved}

    # Watch

    async def _watch(self, ref: str, kills_before: int, image: str, spec: KernelSpecFacts | None) -> None:
        assert self.process is not None
        code = await self._runtime.wait(self.process)
        if self._ended_by is None and await self._ends_with_container(ref):
            return
        reason = self._ended_by or await self._why(ref, code, kills_before, image, spec)
        self._set(JupyterKernelStatus.DEAD, exit_code=code, reason=reason)

    async def _why(self, ref: str, code: int, kills_before: int, image: str, spec: KernelSpecFacts | None) -> Reason:
        memory = await self._runtime.memory(ref)
        described = describe_exit(code)
        if memory is not None and memory.kills > kills_before:
            used, limit = format_size(memory.used_bytes), format_size(memory.limit_bytes)
            return Reason.of("oom-killed", process="the kernel", used=used, limit=limit)
        if self.report.status is not JupyterKernelStatus.STARTING:
            return Reason.of("kernel-died", code=described)
        if code in (126, 127) and spec is not None:
            return Reason.of("kernel-missing", image=image, argv0=spec.argv[0], spec=spec.name)
        line = folders.last_line(self._place.shared.parent, self._place.shared.name)
        return Reason.of("kernel-died-start", code=described, line=line)

    async def _ends_with_container(self, ref: str) -> bool:
        """Then nothing is said here: why the container ended is why this did, and the reconciler tells that of both."""
        try:
            return await self._runtime.is_ending(ref)
        except RuntimeFault:
            return False  # the engine is away, and what is to be told is that

    async def _oom_kills(self, ref: str) -> int:
        memory = await self._runtime.memory(ref)
        return memory.kills if memory else 0

    # Adopt, interrupt, end

    async def adopt(self, ref: str, process: Process | None, key: str, image: str, language: Language | None) -> bool:
        """Take over what an earlier agent left. False if it had not got as far as a process."""
        if self.report.status is JupyterKernelStatus.DEAD:
            await self._serve_tapes()
            return True
        if process is None:
            return False
        self.process, self._key, self.variables.language = process, key, language
        kills = await self._oom_kills(ref)
        watch = self._run(self._watch(ref, kills, image, None))
        if not await self.keeper.adopt():
            await self._record(watch)
        self._run(self._hear(watch))
        return True

    async def _serve_tapes(self) -> None:
        """A relay for reading only: the process has ended, its output may not all have been read."""
        if self._place.ours.exists() and not await self.keeper.adopt():
            with contextlib.suppress(RelayFailedError):
                await self.keeper.start({"limit_bytes": TAPE_LIMIT_BYTES, "descriptors": {}})

    @property
    def is_busy(self) -> bool:
        """As of its listener's last look."""
        return self.report.status is not JupyterKernelStatus.DEAD and self.listener.is_busy

    async def interrupt(self) -> None:
        if self.process is not None:
            await self._runtime.signal(self.process, signal.SIGINT)

    async def _end(self, why: Reason) -> None:
        """End the process, politely first. Returns when it is gone."""
        self._ended_by = self._ended_by or why
        if self.process is None:
            self._set(JupyterKernelStatus.DEAD, reason=why)
            return
        await self._runtime.signal(self.process, signal.SIGTERM)
        try:
            async with asyncio.timeout(_TERM_GRACE_S):
                await self._runtime.wait(self.process)
        except TimeoutError:
            await self._runtime.signal(self.process, signal.SIGKILL)
            await self._runtime.wait(self.process)

    async def end(self, why: Reason) -> None:
        if self.report.status is not JupyterKernelStatus.DEAD:
            await self._end(why)

    async def retire(self, after_s: float) -> None:
        """Stop answering readers, once they had time to read to the end; at once when cancelled."""
        try:
            await asyncio.sleep(after_s)
        finally:
            await self.close(stop_relay=True)

    async def close(self, *, stop_relay: bool) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await (self.keeper.stop() if stop_relay else self.keeper.leave())

    # Its own record

    def _run(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("launch %s failed", self._place.ours.name, exc_info=error)
            unknown = Reason.of("other", text=f"The agent failed: {error}")
            self._set(JupyterKernelStatus.DEAD, reason=folders.disk_full(self._place.shared.parent) or unknown)

    def _set(self, status: JupyterKernelStatus, *, exit_code: int | None = None, reason: Reason | None = None) -> None:
        if self.report.status is JupyterKernelStatus.DEAD:
            return
        self.report = JupyterKernelReport(
            self.report.jupyter_kernel_id, self.report.generation, status, exit_code, reason
        )
        self._save()
        self._changed()

    def _save(self) -> None:
        if not self._place.ours.is_dir():
            return
        saved = {
            "jupyter_kernel_id": self.report.jupyter_kernel_id,
            "generation": self.report.generation,
            "status": self.report.status,
            "exit_code": self.report.exit_code,
            "reason": self.report.reason.to_json() if self.report.reason else None,
            "process": asdict(self.process) if self.process else None,
            "key": self._key,
            "saves": self.variables.language and self.variables.language.name,
        }
        scratch = self._place.ours / "launch.tmp"
        try:
            scratch.touch(mode=0o600)
            scratch.write_text(json.dumps(saved))
            scratch.replace(self._place.ours / "launch.json")
        except OSError as error:  # a full disk; only an agent that starts before there is room will miss it
            log.warning("launch %s: its record cannot be written: %s", self._place.ours.name, error)


def _fill(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word
