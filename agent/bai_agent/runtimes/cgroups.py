"""What a container uses, read from the cgroup of its main process. Both cgroup versions; no engine is asked."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bai_agent.runtimes.base import Memory, MemoryLimit

_ROOT = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def usage(pid: int) -> dict[str, float]:
    """``cpu_used_s``, ``mem_used_bytes``, ``mem_limit_bytes``; empty if the process is gone."""
    found = memory(pid)
    cpu_s = _cpu_s(pid)
    if found is None or cpu_s is None:
        return {}
    return {"cpu_used_s": cpu_s, "mem_used_bytes": _in_use(pid), "mem_limit_bytes": float(found.limit_bytes)}


def is_in(pid: int, container: str) -> bool:
    """True if that process is in the container's cgroup: the number has not passed to somebody else."""
    try:
        return container in (_PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return False


def members(container: str) -> list[int]:
    """All processes of a container."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and is_in(int(name), container)]


@contextmanager
def namespace(pid: int | None, container: str, kind: str) -> Iterator[int]:
    """A descriptor of a namespace of a container's process, ``net`` or ``mnt``. Raises ``ProcessLookupError``."""
    opened = -1
    with suppress(FileNotFoundError, ProcessLookupError):
        opened = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # The number has not passed to somebody else before it was opened.
        if opened < 0 or pid is None or not is_in(pid, container):
            raise ProcessLookupError("the container has ended")
        yield opened
    finally:
        if opened >= 0:
            os.close(opened)


def memory(pid: int) -> Memory | None:
    """``None`` if the process is gone."""
    try:
        folder, v1 = _folder(pid, "memory")
        if v1:
            kills = _field(folder / "memory.oom_control", "oom_kill")
            used = _number(folder / "memory.max_usage_in_bytes")
            return Memory(kills, used, _number(folder / "memory.limit_in_bytes"))
        kills = _field(folder / "memory.events", "oom_kill")
        peak = folder / "memory.peak"  # Linux 5.19
        used = _number(peak if peak.exists() else folder / "memory.current")
        return Memory(kills, used, _number(folder / "memory.max"))
    except OSError:
        return None


def memory_limit(pid: int) -> MemoryLimit | None:
    """``None`` if the process is gone, or if this host cannot make processes wait: only version 1 can."""
    try:
        folder, v1 = _folder(pid, "memory")
        if not v1:
            return None
        control = folder / "memory.oom_control"
        return MemoryLimit(
            _number(folder / "memory.limit_in_bytes"),
            kills=not _field(control, "oom_kill_disable"),
            is_reached=bool(_field(control, "under_oom")),
        )
    except OSError:
        return None


def limit_memory(pid: int, limit: MemoryLimit) -> None:
    """Raises ``PermissionError`` if this agent may not; does nothing if the process is gone. A limit below what is used
    and cannot be given back is refused by the kernel, and the one before stays."""
    with suppress(FileNotFoundError):
        folder, _ = _folder(pid, "memory")
        memory, both = folder / "memory.limit_in_bytes", folder / "memory.memsw.limit_in_bytes"
        files = [file for file in (memory, both) if file.exists()]
        if limit.limit_bytes > _number(memory):  # that of both is never the lower
            files.reverse()
        (folder / "memory.oom_control").write_text("0" if limit.kills else "1")
        for file in files:
            _write_unless_busy(file, limit.limit_bytes)


def _write_unless_busy(path: Path, number: int) -> None:
    try:
        path.write_text(str(number))
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EINVAL):  # EINVAL: the other of the two was busy
            raise


def _cpu_s(pid: int) -> float | None:
    try:
        folder, v1 = _folder(pid, "cpuacct")
        return _number(folder / "cpuacct.usage") / 1e9 if v1 else _field(folder / "cpu.stat", "usage_usec") / 1e6
    except OSError:
        return None


def _in_use(pid: int) -> float:
    """Without page cache that the kernel would give back at once: what ``docker stats`` shows."""
    try:
        folder, v1 = _folder(pid, "memory")
        now = _number(folder / ("memory.usage_in_bytes" if v1 else "memory.current"))
        cache = _field(folder / "memory.stat", "total_inactive_file" if v1 else "inactive_file")
        return float(max(0, now - cache))
    except OSError:
        return 0.0


def _folder(pid: int, controller: str) -> tuple[Path, bool]:
    """The folder of that controller and whether it is of cgroup version 1. Raises ``OSError`` if there is none."""
    unified = None
    for line in (_PROC / str(pid) / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return _ROOT / controller / path.lstrip("/"), True
        if not controllers:
            unified = _ROOT / path.lstrip("/")
    if unified is None:
        raise FileNotFoundError(f"process {pid} has no {controller} cgroup")
    return unified, False


def _number(path: Path) -> int:
    text = path.read_text().strip()
    return 0 if text == "max" else int(text)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
