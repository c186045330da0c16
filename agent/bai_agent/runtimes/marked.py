"""Processes of a kernel that has no container: those, of any depth, whose environment carries its marker."""

import os
import signal
import time
from pathlib import Path

from bai_agent.runtimes import listening, pids

MARKER = "BACKENDAI_KERNEL_ID"
_TERM_GRACE_S = 3.0
_KILL_PATIENCE_S = 10.0


def processes_of(kernel_id: str) -> list[int]:
    """Every process, of any depth, whose environment carries the kernel's marker. Zombies are gone already."""
    marker = f"{MARKER}={kernel_id}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                environ = Path(entry.path, "environ").read_bytes()
            except OSError:
                continue
            if marker in environ.split(b"\0"):
                found.append(int(entry.name))
    return found


def open_ports(kernel_id: str) -> list[int]:
    """All share the host's tables; whose a socket is, its holder's descriptors say."""
    inodes = {inode for pid in processes_of(kernel_id) for inode in listening.sockets_of(pid)}
    return listening.open_ports(listening.tables_of("self"), inodes)


def end_all(kernel_id: str) -> bool:
    """SIGTERM, a grace period, SIGKILL. Blocks. False if some are still there in the end."""
    for signum, patience_s in ((signal.SIGTERM, _TERM_GRACE_S), (signal.SIGKILL, _KILL_PATIENCE_S)):
        deadline = time.monotonic() + patience_s
        told: set[int] = set()
        while found := set(processes_of(kernel_id)):
            # Each pass also reaches those that were forked since the last one.
            for pid in found if signum == signal.SIGKILL else found - told:
                kill(pid, signum)
            told |= found
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        else:
            return True
    return False


def kill(pid: int, signum: int) -> None:
    started = pids.start_time(pid)
    pidfd = None if started is None else pids.open_pidfd(pid, started)
    if pidfd is not None:
        try:
            signal.pidfd_send_signal(pidfd, signum)
        except (ProcessLookupError, PermissionError):
            pass
        finally:
            os.close(pidfd)


def usage(kernel_id: str) -> dict[str, float]:
    ticks, pages = 0, 0
    for pid in processes_of(kernel_id):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
        ticks += int(stat[11]) + int(stat[12])
    if not pages:
        return {}
    return {
        "cpu_used_s": ticks / os.sysconf("SC_CLK_TCK"),
        "mem_used_bytes": float(pages * os.sysconf("SC_PAGE_SIZE")),
    }
