"""Processes of the host: is it still the one we started, tell it something, wait for its end.

A pid alone names a process only for a while. Each function here takes the start time as well and works on a pidfd, so
it never reaches a stranger that got the same number.
"""

import asyncio
import errno
import os
import select
import signal
from contextlib import suppress
from pathlib import Path

_PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2  # Linux 6.9
_PF_EXITING = 0x4


def start_time(pid: int) -> int | None:
    """Field 22 of ``/proc/<pid>/stat``; ``None`` if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(_fields(text)[19])


def is_ending(pid: int) -> bool:
    """True from the first moment of its end. The first process of a namespace takes the others along: when one of
    those is gone, this says whether that is why."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return bool(int(_fields(text)[6]) & _PF_EXITING)


def _fields(stat: str) -> list[str]:
    """From the third on: the second is the program's name, which may hold spaces and parentheses."""
    return stat.rpartition(")")[2].split()


def is_alive(pid: int, started: int) -> bool:
    """True while it runs. A zombie has ended."""
    pidfd = open_pidfd(pid, started)
    if pidfd is None:
        return False
    try:
        return not _has_ended(pidfd)
    finally:
        os.close(pidfd)


def has_children(pid: int) -> bool:
    """Children that have not ended. False also if it is gone, or this host does not tell."""
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any(not _is_zombie(child) for child in children)
    return False


def _is_zombie(pid: str) -> bool:
    try:
        return _fields(Path(f"/proc/{pid}/stat").read_text())[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def with_argument(argument: str) -> list[int]:
    """Pids whose command line holds this exact argument. Unguessable paths make it safe."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if argument.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def open_pidfd(pid: int, started: int) -> int | None:
    """A pidfd of just that process, or ``None`` if it is gone. The caller closes it."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a thread has this number now
            return None
        raise
    if start_time(pid) == started:
        return pidfd
    os.close(pidfd)
    return None


def send_signal(pidfd: int, pid: int, signum: int) -> None:
    """To the process and, if it leads one, its group. ``pidfd`` must be its own. Gone: does nothing."""
    with suppress(ProcessLookupError):
        if _group_of(pid) != pid:
            signal.pidfd_send_signal(pidfd, signum)
            return
        try:
            signal.pidfd_send_signal(pidfd, signum, None, _PIDFD_SIGNAL_PROCESS_GROUP)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            if not _has_ended(pidfd):  # older kernels: the leader lives, so the number is still its group's
                os.killpg(pid, signum)


async def wait_for_end(pid: int, started: int) -> None:
    """Return once it has ended. No polling."""
    pidfd = open_pidfd(pid, started)
    if pidfd is None:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def inside(pid: int) -> int:
    """The number that a process has in its container; its number here if it is gone."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].splitlines()[0].split()[-1])
    return pid
