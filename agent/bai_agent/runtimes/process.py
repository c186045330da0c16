"""The runtime without isolation: a "container" is an idle process, and what runs in it are ordinary processes.

For machines without a container engine (Binder, a first try, tests). There is one image, ``local``: the agent's own
Python environment. Limits are not enforced, read-only folders can be written, users see each other: ``isolated`` is
false. As root, processes run as the kernel's own uid; cells never run as root.

What belongs to a kernel is told by a marker in the environment of its processes (``marked``), so that after kill -9 of
the agent nothing is lost and nothing is left behind.
"""

import asyncio
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bai_agent.runtimes import marked, pids
from bai_agent.runtimes.attached import LocalAttached, read_from, set_size, write_to
from bai_agent.runtimes.base import (
    ERROR,
    OUTPUT,
    UNKNOWN_EXIT,
    ContainerEvent,
    ContainerState,
    CreateRequest,
    FoundContainer,
    Identity,
    Memory,
    MemoryLimit,
    Mount,
    Process,
    Progress,
    RuntimeFault,
    Size,
    TerminalSize,
    base_environ,
    config_hash,
    entered,
    redirected,
)
from bai_agent.runtimes.local_kernelspecs import local_kernelspecs
from bai_agent.runtimes.marked import MARKER
from bai_agent.runtimes.ports import connect_to
from bai_agent.runtimes.process_paths import Translator, drop_alias, link, short_alias, unlink
from bai_jupyter.common.ids import KernelId, SessionId
from bai_jupyter.common.messages import ImageFacts
from bai_jupyter.common.reasons import Reason

IMAGE = "local"
_NO_FILES = (subprocess.DEVNULL,) * 3


@dataclass(frozen=True)
class _Record:
    """What is remembered of a container, in ``kernels/<id>/process.json``."""

    kernel_id: str
    session_id: str
    config_hash: str
    uid: int
    gid: int
    run: str  # as processes inside name it; a short alias where the real path is too long for sockets
    scratch: str
    targets: dict[str, str] = field(default_factory=dict)  # {path inside: host path}
    environ: dict[str, str] = field(default_factory=dict)
    devices: dict[str, dict[str, str]] = field(default_factory=dict)
    pid: int | None = None
    started: int = 0
    started_at: str = ""


class ProcessRuntime:
    """See the module docstring. ``state_dir`` is the agent's; records lie in its ``kernels/<id>/``.

    ``python`` is the interpreter that kernels get, by default our own.
    """

    name = "process"
    isolated = False

    def __init__(self, state_dir: Path, agent: str, python: str = sys.executable) -> None:
        self._state_dir = state_dir.absolute()
        self._agent = agent
        self._python = python
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._events: asyncio.Queue[ContainerEvent] = asyncio.Queue()
        self._watched: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._reachable: set[Identity] = set()

    # Images

    async def check(self) -> list[str]:
        said = ["The process runtime does not isolate users and enforces no limits: it is for one user."]
        if shutil.which("sleep") is None or not Path("/bin/sh").exists():
            raise RuntimeFault(self._engine_down("it needs sleep and /bin/sh"))
        return said

    async def images(self) -> list[ImageFacts]:
        specs = await asyncio.to_thread(local_kernelspecs, self._python)
        return [ImageFacts(IMAGE, IMAGE, platform.machine(), 0, {}, specs, builtin=True)]

    async def inspect_image(self, name: str) -> ImageFacts:
        await self.ensure_image(name, "", lambda *_: None)
        return (await self.images())[0]

    async def ensure_image(self, name: str, digest: str, progress: Progress) -> None:  # noqa: ARG002 - contract
        if name != IMAGE:
            raise RuntimeFault(Reason.of("image-unknown", image=name, names=IMAGE))

    async def commit(self, ref: str, name: str) -> ImageFacts:  # noqa: ARG002 - contract
        raise RuntimeFault(Reason.of("not-committable", agent=self._agent))

    async def remove_image(self, name: str) -> None:
        """There is only one, and it stays."""

    # Containers

    async def create(self, request: CreateRequest) -> str:
        want, place = request.want, request.folders
        kernel_id = want.kernel_id
        if self._read(kernel_id) is None:
            await self._check_reachable(place.identity, place.scratch)
            targets = {mount.target: str(mount.source) for mount in place.mounts}
            for target, source in targets.items():
                link(place.scratch, target, source, place.identity)
            self._write(
                _Record(
                    kernel_id=kernel_id,
                    session_id=want.session_id,
                    config_hash=config_hash(want),
                    uid=place.identity.uid,
                    gid=place.identity.gid,
                    run=short_alias(place.run),
                    scratch=str(place.scratch),
                    targets=targets,
                    environ={**base_environ(want), **want.environ, **request.options.env},
                    devices=request.devices,
                )
            )
        return kernel_id

    async def start(self, ref: str) -> None:
        record = self._known(ref)
        if record.pid is not None and pids.is_alive(record.pid, record.started):
            return
        # An agent that died between starting the process and writing that down has left one.
        for pid in await asyncio.to_thread(marked.processes_of, ref):
            marked.kill(pid, signal.SIGKILL)
        pid, started = await asyncio.to_thread(self._spawn, record, ["sleep", "infinity"], {})
        self._write(replace(record, pid=pid, started=started, started_at=datetime.now(UTC).isoformat()))
        self._watch(KernelId(ref), pid, started)

    async def inspect(self, ref: str) -> ContainerState | None:
        record = self._read(ref)
        if record is None:
            return None
        if record.pid is None:
            return ContainerState(running=False, exit_code=None, oom=False, started_at=None)
        code = self._exit_code(record.pid, record.started)
        return ContainerState(code is None, code, oom=False, started_at=datetime.fromisoformat(record.started_at))

    async def main_pid(self, ref: str) -> int | None:
        record = self._read(ref)
        is_alive = record is not None and record.pid is not None and pids.is_alive(record.pid, record.started)
        return record.pid if record is not None and is_alive else None

    async def is_ending(self, ref: str) -> bool:
        record = self._read(ref)
        return record is None or record.pid is None or not pids.is_alive(record.pid, record.started)

    async def stop(self, ref: str) -> None:
        if not await asyncio.to_thread(marked.end_all, ref):
            raise RuntimeFault(Reason.of("other", text=f"Processes of {ref} do not end; they may hang on a disk."))

    async def remove(self, ref: str) -> None:
        await self.stop(ref)
        record = self._read(ref)
        if record is not None:
            drop_alias(Path(record.run))
            self._path(ref).unlink(missing_ok=True)

    async def list_ours(self) -> list[FoundContainer]:
        found = []
        for path in sorted((self._state_dir / "kernels").glob("*/process.json")):
            record = self._read(path.parent.name)
            if record is None:
                continue
            running = record.pid is not None and pids.is_alive(record.pid, record.started)
            if running and record.pid is not None:
                self._watch(KernelId(record.kernel_id), record.pid, record.started)
            found.append(
                FoundContainer(
                    KernelId(record.kernel_id),
                    SessionId(record.session_id),
                    record.kernel_id,
                    running,
                    record.config_hash,
                    record.devices,
                )
            )
        return found

    async def resize(self, ref: str, size: Size) -> None:  # noqa: ARG002
        raise RuntimeFault(Reason.of("resize-runtime", agent=self._agent))

    def bound(self, wanted: tuple[Mount, ...]) -> tuple[Mount, ...]:
        return wanted

    async def mounted(self, ref: str) -> dict[str, bool]:
        return dict.fromkeys(self._known(ref).targets, False)

    async def sees(self, ref: str, mount: Mount) -> bool:
        return self._known(ref).targets.get(mount.target) == str(mount.source)  # all can be written here

    async def change_mounts(
        self,
        ref: str,
        gone: Collection[str],
        new: Sequence[Mount],
        *,
        must_be_empty: bool,  # noqa: ARG002 - a link never hides files
    ) -> dict[str, str]:
        """Links: what is open stays open, and nobody is kept from going where they led."""
        record = self._known(ref)
        kept = {target: source for target, source in record.targets.items() if target not in gone}
        for target in record.targets.keys() & set(gone):
            unlink(Path(record.scratch), target, record.targets[target])
        failed: dict[str, str] = {}
        for mount in new:
            try:
                link(Path(record.scratch), mount.target, str(mount.source), Identity(record.uid, record.gid))
            except OSError as error:
                failed[mount.target] = (error.strerror or str(error)).lower()
            else:
                kept[mount.target] = str(mount.source)
        self._write(replace(record, targets=kept))
        return failed

    async def release(self, ref: str, target: str) -> list[str]:
        await self.change_mounts(ref, [target], [], must_be_empty=False)
        return []

    async def pause(self, ref: str) -> None:  # noqa: ARG002
        raise RuntimeFault(Reason.of("suspend-runtime", agent=self._agent))

    async def unpause(self, ref: str) -> None:
        pass  # never frozen

    async def logs(self, ref: str, tail: int) -> str:  # noqa: ARG002 - the idle process prints nothing
        return ""

    async def stats(self, ref: str) -> dict[str, float]:
        return await asyncio.to_thread(marked.usage, ref)

    async def memory(self, ref: str) -> Memory | None:  # noqa: ARG002 - no limits here
        return None

    async def memory_limit(self, ref: str) -> MemoryLimit | None:  # noqa: ARG002 - no limits here
        return None

    async def limit_memory(self, ref: str, limit: MemoryLimit) -> None:
        pass

    async def events(self) -> AsyncIterator[ContainerEvent]:
        yield ContainerEvent("sync", None)
        while True:
            yield await self._events.get()

    # Processes

    async def exec(self, ref: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, log_path: Path) -> Process:
        record = self._known(ref)
        translate = self._translator(record)
        command = redirected(
            [translate(word) for word in argv], translate(cwd), self.to_inside(KernelId(ref), log_path)
        )
        given = {name: translate(value) for name, value in env.items()}
        pid, started = await asyncio.to_thread(self._spawn, record, command, given)
        return Process(pid, started, str(pid), ref)

    async def attach(
        self, ref: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, terminal: TerminalSize | None
    ) -> LocalAttached:
        record = self._known(ref)
        translate = self._translator(record)
        command = entered([translate(word) for word in argv], translate(cwd))
        given = {name: translate(value) for name, value in env.items()}
        with ExitStack() as theirs:
            ours, files = _terminal(terminal, record, theirs) if terminal else _pipes(theirs)
            if terminal:
                command = ["setsid", "--ctty", *command]  # it makes the session, and the terminal that session's
            pid, started = await asyncio.to_thread(
                self._spawn, record, command, given, files, new_session=terminal is None
            )
        readers = {where: await read_from(descriptor) for where, descriptor in ours.items() if where}
        screen = os.dup(ours[0]) if terminal else None
        return LocalAttached(Process(pid, started, str(pid), ref), readers, await write_to(ours[0]), screen)

    async def connect(self, ref: str, port: int) -> socket.socket:  # noqa: ARG002 - all share the host's ports
        return await connect_to("127.0.0.1", port)

    async def open_ports(self, ref: str) -> list[int]:
        return await asyncio.to_thread(marked.open_ports, ref)

    async def exit_code(self, process: Process) -> int | None:
        return self._exit_code(process.host_pid, process.started)

    async def wait(self, process: Process) -> int:
        await pids.wait_for_end(process.host_pid, process.started)
        code = self._exit_code(process.host_pid, process.started)
        return UNKNOWN_EXIT if code is None else code

    async def signal(self, process: Process, signum: int) -> None:
        pidfd = pids.open_pidfd(process.host_pid, process.started)
        if pidfd is None:
            return
        try:
            pids.send_signal(pidfd, process.host_pid, signum)
        finally:
            os.close(pidfd)

    def to_inside(self, kernel_id: KernelId, host_path: Path) -> str:
        record = self._known(kernel_id)
        path = host_path.absolute()
        run = self._state_dir / "kernels" / kernel_id / "run"
        if path.is_relative_to(run):
            return str(Path(record.run) / path.relative_to(run))
        if path.is_relative_to(record.scratch):
            return str(path)
        raise ValueError(f"{host_path} is not in the folders of kernel {kernel_id}")

    async def close(self) -> None:
        for task in self._watched.values():
            task.cancel()
        await asyncio.gather(*self._watched.values(), return_exceptions=True)
        for child in self._children.values():
            if child.poll() is None:
                child.returncode = UNKNOWN_EXIT  # it outlives us on purpose; without this, Popen complains

    # Inside

    def _spawn(
        self,
        record: _Record,
        argv: Sequence[str],
        env: Mapping[str, str],
        files: Sequence[int] = _NO_FILES,
        *,
        new_session: bool = True,
    ) -> tuple[int, int]:
        translate = self._translator(record)
        environ = {name: translate(value) for name, value in record.environ.items()}
        path = f"{Path(self._python).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        try:
            child = subprocess.Popen(
                argv,
                env={"PATH": path, **environ, **env, MARKER: record.kernel_id},
                cwd=record.scratch,
                stdin=files[0],
                stdout=files[1],
                stderr=files[2],
                start_new_session=new_session,
                **_as_user(Identity(record.uid, record.gid)),
            )
        except OSError as error:
            raise RuntimeFault(self._create_failed(f"cannot run {argv[0]} in {record.scratch}: {error}")) from error
        # Reaped only through ``_children``, so the entry in /proc is there even if it has ended already.
        started = pids.start_time(child.pid) or 0
        self._children[child.pid] = child
        return child.pid, started

    def _translator(self, record: _Record) -> Translator:
        return Translator(record.run, record.scratch, record.targets, self._state_dir)

    def _exit_code(self, pid: int, started: int) -> int | None:
        child = self._children.get(pid)
        if child is not None:
            code = child.poll()
            return 128 - code if code is not None and code < 0 else code
        return None if pids.is_alive(pid, started) else UNKNOWN_EXIT

    def _watch(self, kernel_id: KernelId, pid: int, started: int) -> None:
        if (pid, started) in self._watched:
            return

        async def watch() -> None:
            await pids.wait_for_end(pid, started)
            self._events.put_nowait(ContainerEvent("die", kernel_id, self._exit_code(pid, started)))

        self._watched[pid, started] = asyncio.create_task(watch())

    async def _check_reachable(self, identity: Identity, scratch: Path) -> None:
        """Refuse with a sentence where that user cannot run our interpreter or enter the folders."""
        if identity.uid == os.geteuid() or identity in self._reachable:
            return
        try:
            await asyncio.to_thread(_try_interpreter, self._python, identity, scratch)
        except (OSError, subprocess.SubprocessError) as error:
            cause = (
                f"user {identity.uid}, as whom kernels run here, cannot use {self._python} or enter {scratch} "
                f"({error}). Make both readable for it (chmod o+rx each folder on the way), "
                "start the agent as an ordinary user, or name another interpreter with --AgentApp.python"
            )
            raise RuntimeFault(self._create_failed(cause)) from error
        self._reachable.add(identity)

    def _path(self, ref: str) -> Path:
        return self._state_dir / "kernels" / ref / "process.json"

    def _read(self, ref: str) -> _Record | None:
        try:
            return _Record(**json.loads(self._path(ref).read_text()))
        except FileNotFoundError:
            return None

    def _known(self, ref: str) -> _Record:
        record = self._read(ref)
        if record is None:
            raise RuntimeFault(self._create_failed(f"there is no container {ref}"))
        return record

    def _write(self, record: _Record) -> None:
        path = self._path(record.kernel_id)
        scratch = path.with_suffix(".tmp")
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(asdict(record)))
        scratch.replace(path)

    def _create_failed(self, cause: str) -> Reason:
        return Reason.of("create-failed", agent=self._agent, cause=cause)

    def _engine_down(self, cause: str) -> Reason:
        return Reason.of("engine-down", agent=self._agent, cause=cause)


def _as_user(identity: Identity) -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": identity.uid, "group": identity.gid, "extra_groups": []}


def _pipes(theirs: ExitStack) -> tuple[dict[int, int], list[int]]:
    """Three pipes: our ends by number, and the process's, which ``theirs`` closes here."""
    (stdin, we_write), (we_read, stdout), (we_read_errors, stderr) = os.pipe(), os.pipe(), os.pipe()
    for descriptor in (stdin, stdout, stderr):
        theirs.callback(os.close, descriptor)
    return {0: we_write, OUTPUT: we_read, ERROR: we_read_errors}, [stdin, stdout, stderr]


def _terminal(size: TerminalSize, record: _Record, theirs: ExitStack) -> tuple[dict[int, int], list[int]]:
    """The same with a terminal in the place of all three."""
    ours, inside = os.openpty()
    theirs.callback(os.close, inside)
    set_size(ours, *size)
    if os.geteuid() == 0:
        os.fchown(inside, record.uid, record.gid)
    return {0: os.dup(ours), OUTPUT: ours}, [inside] * 3


def _try_interpreter(python: str, identity: Identity, cwd: Path) -> None:
    command = [python, "-c", ""]
    subprocess.run(
        command, cwd=cwd, env={"PATH": os.defpath}, check=True, capture_output=True, timeout=30, **_as_user(identity)
    )
