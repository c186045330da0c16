"""The contract between the agent and whatever runs containers.

A runtime knows containers and processes inside them; it knows neither managers nor what is wanted. It keeps nothing in
memory that it cannot find again: every container carries our labels (or, in the process runtime, a marker in the
environment), so after kill -9 of the agent a new one finds all of it with ``list_ours``.

Paths. Inside a container ``INSIDE_RUN`` and ``INSIDE_HOME`` are the kernel's ``run/`` and ``scratch/`` folders; argv,
env and cwd given to ``exec`` speak of these. A runtime without mounts translates them. What goes into a *file* that a
process inside reads (a connection file) must be made with ``to_inside``.
"""

import hashlib
import json
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from bai_agent.devices.base import ContainerOptions
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.ids import KernelId, SessionId
from bai_jupyter.common.messages import ImageFacts, KernelWant, to_json
from bai_jupyter.common.reasons import Reason

INSIDE_RUN = "/run/bai"
INSIDE_HOME = "/home/work"
UNKNOWN_EXIT = -1
"""An exit code that nobody can tell any more (the process was not our child, or its container is gone)."""


class RuntimeFault(BaiError):
    """A runtime could not do what was asked; ``reason`` is fit for users."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.text)


@dataclass(frozen=True)
class Identity:
    """Who processes inside are on the host. Never root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Mount:
    """A folder of a volume, already checked to lie inside it. ``device`` and ``inode`` are those that were checked."""

    name: str
    source: Path
    target: str
    read_only: bool
    device: int
    inode: int


@dataclass(frozen=True)
class Folders:
    """The host folders of one kernel: ``run`` is seen as ``/run/bai``, ``scratch`` as ``/home/work``."""

    run: Path
    scratch: Path
    mounts: tuple[Mount, ...]
    identity: Identity


@dataclass(frozen=True)
class Size:
    """How much CPU (cores) and memory a container may use; ``cpus`` are the cores it is pinned to, if it is."""

    cpu: Decimal
    mem_bytes: int
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class ContainerState:
    """``started_at`` is ``None`` for a container that was created and never started. ``exit_code`` and ``ended_at``
    only if ended, and if anybody still knows; ``size`` only if this runtime sets limits."""

    running: bool
    exit_code: int | None
    oom: bool
    started_at: datetime | None
    ended_at: datetime | None = None
    size: Size | None = None
    paused: bool = False


@dataclass(frozen=True)
class FoundContainer:
    kernel_id: KernelId
    session_id: SessionId
    ref: str
    running: bool
    config_hash: str
    devices: dict[str, dict[str, str]] = field(default_factory=dict)  # as in KernelReport


@dataclass(frozen=True)
class Process:
    """A process that was started in a container, in its own process group. Plain values: keep it in a file.

    ``started`` is field 22 of ``/proc/<pid>/stat``: with it a reused pid is told from ours.
    """

    host_pid: int
    started: int
    exec_ref: str
    container_ref: str


OUTPUT, ERROR = 1, 2
"""Where a process wrote a piece. A terminal has ``OUTPUT`` only."""

Piece = tuple[int, bytes]
TerminalSize = tuple[int, int]
"""Rows and columns."""


class Attached(Protocol):
    """A process inside whose input and output are ours. It does not end by being let go of."""

    process: Process

    def output(self) -> AsyncGenerator[Piece, None]:
        """Until every end that writes is closed. Read no faster than it is asked for."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises ``OSError`` if nobody reads any more."""
        ...

    def end_input(self) -> None: ...

    async def resize(self, rows: int, columns: int) -> None: ...

    def close(self) -> None:
        """Let go."""
        ...


@dataclass(frozen=True)
class Memory:
    """``kills`` counts processes the kernel killed for memory in this container since it started."""

    kills: int
    used_bytes: int  # the highest use seen
    limit_bytes: int


@dataclass(frozen=True)
class MemoryLimit:
    """What the kernel does with a container's processes that want more than ``limit_bytes``: kill one of them, or let
    them wait (``kills`` false). ``is_reached``: some wait now."""

    limit_bytes: int
    kills: bool
    is_reached: bool = False


@dataclass(frozen=True)
class ContainerEvent:
    """Something happened to a container: ``kind`` is ``die``, ``oom``, or ``sync`` (events may have been missed)."""

    kind: str
    kernel_id: KernelId | None
    exit_code: int | None = None


@dataclass(frozen=True)
class CreateRequest:
    """Everything a container is made from. ``spare``: it is made ahead, for no kernel yet; ``want`` is made up."""

    want: KernelWant
    folders: Folders
    options: ContainerOptions = field(default_factory=ContainerOptions)
    devices: dict[str, dict[str, str]] = field(default_factory=dict)  # as in KernelReport; to be found again
    spare: bool = False


@dataclass(frozen=True)
class Recipe:
    """What of a container cannot be changed any more: one that was made ahead suits whoever wants exactly this.

    ``environ`` is that of a container without devices: an engine may give devices to one that lacks it.
    """

    image: str  # its digest
    identity: Identity
    mounts: tuple[Mount, ...]  # those that it is made with: ``Runtime.bound``
    shm_bytes: int
    environ: tuple[tuple[str, str], ...] = ()

    @property
    def options(self) -> ContainerOptions:
        return ContainerOptions(env=dict(self.environ))


Progress = Callable[[float, int, int], None]
"""Called with percent, bytes done and bytes in all while an image is pulled. On the event loop."""


class Runtime(Protocol):
    """One way to run containers. Blocking work is done off the loop; every call to an engine has a timeout.

    All methods may be called again after any crash; ``stop`` and ``remove`` of what is gone do nothing.
    Failures are ``RuntimeFault``.
    """

    name: str
    isolated: bool

    async def check(self) -> list[str]:
        """Make ready, or see that all is still as it was made. Called at the start and now and then.

        Returns what works less well than it should, as sentences; raises if it cannot work at all.
        """
        ...

    async def images(self) -> list[ImageFacts]: ...

    async def inspect_image(self, name: str) -> ImageFacts:
        """Look inside an image without starting anything from it; pulls it if it is not there."""
        ...

    async def ensure_image(self, name: str, digest: str, progress: Progress) -> None:
        """Make image ``digest`` present, pulling ``name`` if needed. An empty digest takes what ``name`` is."""
        ...

    async def commit(self, ref: str, name: str) -> ImageFacts:
        """Make an image of a container, without its mounts and without what we had given it."""
        ...

    async def remove_image(self, name: str) -> None:
        """Remove a name and, if nothing uses it, the image. One that is gone is no failure."""
        ...

    async def create(self, request: CreateRequest) -> str:
        """Make the container, not started, and return its ref. If it exists already, return that one's."""
        ...

    async def start(self, ref: str) -> None: ...

    async def inspect(self, ref: str) -> ContainerState | None:
        """``None`` if there is no such container."""
        ...

    async def main_pid(self, ref: str) -> int | None:
        """The host pid of the main process of a container that runs now; ``None`` otherwise."""
        ...

    async def is_ending(self, ref: str) -> bool:
        """True from the moment its main process begins to end, before an engine knows; also if it is gone."""
        ...

    async def stop(self, ref: str) -> None:
        """End all its processes; they get ``SIGTERM`` and a few seconds first."""
        ...

    async def resize(self, ref: str, size: Size) -> None:
        """Give a container that runs another size. What goes wrong leaves it as it was."""
        ...

    def bound(self, wanted: tuple[Mount, ...]) -> tuple[Mount, ...]:
        """Those of a container's folders that it is made with, and has each time that it starts; the others are given
        to it by ``change_mounts`` when it runs. All or none."""
        ...

    async def mounted(self, ref: str) -> dict[str, bool]:
        """``{target: whether it is read-only}`` of the folders that a container has now, whoever put them there."""
        ...

    async def sees(self, ref: str, mount: Mount) -> bool:
        """Whether what it has at that place is this folder, with this right to write."""
        ...

    async def change_mounts(
        self, ref: str, gone: Collection[str], new: Sequence[Mount], *, must_be_empty: bool
    ) -> dict[str, str]:
        """Take folders away from a container that runs and put others there; ``{target: why}`` of what cannot be there.

        What still uses a folder that is taken away is killed: who has not got a folder any more cannot reach it. With
        ``must_be_empty`` a folder is not put over files. Raises ``RuntimeFault`` if what goes cannot be taken away;
        with ``mounts-fixed`` where none of this is possible.
        """
        ...

    async def release(self, ref: str, target: str) -> list[str]:
        """Take a folder away if nothing uses it; else the names of what does, and nothing has changed."""
        ...

    async def pause(self, ref: str) -> None:
        """Freeze all its processes. One that is frozen must be thawed before anything is done to what runs in it."""
        ...

    async def unpause(self, ref: str) -> None:
        """Thaw them; does nothing if they are not frozen."""
        ...

    async def remove(self, ref: str) -> None: ...

    async def list_ours(self) -> list[FoundContainer]: ...

    async def logs(self, ref: str, tail: int) -> str: ...

    async def stats(self, ref: str) -> dict[str, float]:
        """``cpu_used_s``, ``mem_used_bytes`` and ``mem_limit_bytes`` as in ``Heartbeat``; empty if it is gone."""
        ...

    async def memory(self, ref: str) -> Memory | None:
        """For telling an out-of-memory kill; ``None`` if it is gone or this runtime sets no limit."""
        ...

    async def memory_limit(self, ref: str) -> MemoryLimit | None:
        """``None`` if it is gone, or where processes cannot be made to wait for memory."""
        ...

    async def limit_memory(self, ref: str, limit: MemoryLimit) -> None:
        """Set the limit that the kernel goes by, within the container's size, as far as what is used allows."""
        ...

    def events(self) -> AsyncIterator[ContainerEvent]:
        """Endless; reconnects by itself and yields ``sync`` each time it has."""
        ...

    async def exec(self, ref: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, log_path: Path) -> Process:
        """Start a process inside as the container's user, detached from us; it survives the agent.

        ``env`` is added to the container's. stdout and stderr are appended to ``log_path``, a host path in the kernel's
        ``run/`` folder: the user inside can write there, so open it with ``O_NOFOLLOW`` when reading. ``cwd`` must
        exist. A program that is not there makes a process that ends at once with code 127 (126: not executable).
        """
        ...

    async def attach(
        self, ref: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, terminal: TerminalSize | None
    ) -> Attached:
        """Start a process inside as the container's user, with its input and output in our hands.

        With ``terminal`` they are a terminal of that size, else three pipes. It does not survive the agent for long:
        its output has nowhere to go then. Otherwise as ``exec``.
        """
        ...

    async def connect(self, ref: str, port: int) -> socket.socket:
        """A TCP connection to a port inside, not blocking; what listens on the loopback address is reached as well.

        Raises ``RuntimeFault`` with ``port-closed`` if nothing listens.
        """
        ...

    async def open_ports(self, ref: str) -> list[int]:
        """The TCP ports that processes inside listen at and ``connect`` reaches; none if it is gone.

        Left out are programs' own: see ``runtimes.listening``.
        """
        ...

    async def exit_code(self, process: Process) -> int | None:
        """``None`` while it runs; 128+n after signal n; ``UNKNOWN_EXIT`` if nobody knows."""
        ...

    async def wait(self, process: Process) -> int:
        """Wait, without polling, until it ends; the same codes. Also works for a process of an earlier agent."""
        ...

    async def signal(self, process: Process, signum: int) -> None:
        """To the process and its group, through a pidfd, after checking that it is still ours. Gone: does nothing."""
        ...

    def to_inside(self, kernel_id: KernelId, host_path: Path) -> str:
        """How a process inside names a host path below the kernel's ``run/`` or ``scratch/`` folder.

        Short enough for sockets: a few bytes more than the part below ``run/``. Raises ``ValueError`` for other paths.
        """
        ...

    async def close(self) -> None:
        """Let go of everything; containers stay."""
        ...


def describe_exit(code: int | None) -> str:
    """An exit code for people: ``3``, ``137, SIGKILL``, ``unknown``."""
    if code is None or code == UNKNOWN_EXIT:
        return "unknown"
    try:
        return f"{code}, {signal.Signals(code - 128).name}"
    except ValueError:
        return str(code)


def config_hash(want: KernelWant) -> str:
    """A short hash of what a container is made from: equal hash, same container."""
    made_from = {
        "image": want.image_digest or want.image,
        "slots": want.slots.to_json(),
        "shm": want.shm_bytes,
        "environ": dict(want.environ),
        "mounts": [asdict(mount) for mount in want.mounts],
    }
    return hashlib.sha256(json.dumps(to_json(made_from), sort_keys=True).encode()).hexdigest()[:16]


def environ_of(request: CreateRequest) -> dict[str, str]:
    """What processes in a container find in their environment, beside what the image sets."""
    want = request.want
    return {**base_environ(want), **want.environ, **request.options.env}


def base_environ(want: KernelWant) -> dict[str, str]:
    """What every session finds in its environment; the session's own settings go on top."""
    return {
        "HOME": INSIDE_HOME,
        "USER": "work",
        "LOGNAME": "work",
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "BACKENDAI_KERNEL_ID": want.kernel_id,
        "BACKENDAI_SESSION_ID": want.session_id,
        "BACKENDAI_SESSION_NAME": want.session_name,
    }


def redirected(argv: Sequence[str], cwd: str, log: str) -> list[str]:
    """``argv`` with its output appended to ``log`` and ``cwd`` entered, done inside and with the user's own rights."""
    script = 'exec >>"$1" 2>&1 </dev/null; cd "$2" || exit 1; shift 2; exec "$@"'
    return ["/bin/sh", "-c", script, "bai", log, cwd, *argv]


def entered(argv: Sequence[str], cwd: str) -> list[str]:
    """``argv`` with ``cwd`` entered, done inside and with the user's own rights."""
    return ["/bin/sh", "-c", 'cd "$1" || exit 1; shift; exec "$@"', "bai", cwd, *argv]


def sized(argv: Sequence[str], terminal: TerminalSize) -> list[str]:
    """``argv`` at a terminal that has its size from the start: an engine gives it only to a process that runs."""
    rows, columns = terminal
    script = 'stty rows "$1" cols "$2" 2>/dev/null; shift 2; exec "$@"'
    return ["/bin/sh", "-c", script, "bai", str(rows), str(columns), *argv]
