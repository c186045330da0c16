"""What a hostile notebook tries. This file is sent into a session as text and runs there; it imports nothing of ours.

An attempt that raises ``OSError`` was refused. One that returns got something; its value says what.
"""

import contextlib
import ctypes
import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_SOMEWHERE = "/tmp"  # noqa: S108 - the session's own
_NEW_USER_NAMESPACE, _PTRACE_SEIZE = 0x10000000, 0x4206


def got(attempts: dict[str, Callable[[], object]]) -> dict[str, str]:
    """What was got, by the name of the attempt."""
    found = {}
    for name, attempt in attempts.items():
        with contextlib.suppress(OSError):
            found[name] = repr(attempt())
    return found


def refusals(attempts: dict[str, Callable[[], object]]) -> dict[str, str]:
    """Why each attempt was refused."""
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno or 0, str(error))
    return found


def ports(targets: Iterable[tuple[str, int]]) -> dict[str, Callable[[], object]]:
    def dial(address: str, port: int) -> str:
        with socket.create_connection((address, port), timeout=1) as connection:
            return f"connected to {connection.getpeername()}"

    return {f"{address}:{port}": lambda a=address, p=port: dial(a, p) for address, port in targets}


def paths(targets: Iterable[str]) -> dict[str, Callable[[], object]]:
    return {path: lambda path=path: os.stat(path) for path in targets}


def powers(stranger: int) -> dict[str, Callable[[], object]]:
    """``stranger`` is the host's number of a process in another session."""
    return {
        "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close(),
        "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
        "ptrace a stranger": lambda: _call("ptrace", _PTRACE_SEIZE, stranger, 0, 0),
        "signal a stranger": lambda: os.kill(stranger, 0),
        "mount": lambda: _call("mount", b"none", _SOMEWHERE.encode(), b"tmpfs", 0, None),
        "bind mount": lambda: _call("mount", b"/", _SOMEWHERE.encode(), None, 4096, None),
        "new user namespace": lambda: _call("unshare", _NEW_USER_NAMESPACE),
        "chroot": lambda: os.chroot(_SOMEWHERE),
        "setuid": lambda: os.setuid(0),
        "setgroups": lambda: os.setgroups([0]),
        "root by a setuid program": _become_root,
        "block device": lambda: os.mknod(f"{_SOMEWHERE}/disk", 0o60666, os.makedev(8, 0)),
        "memory of the host": lambda: open("/dev/mem", "rb").close(),
        "kernel log": lambda: open("/dev/kmsg", "rb").close(),
        "core pattern": lambda: _write("/proc/sys/kernel/core_pattern", f"|{_SOMEWHERE}/x"),
        "forwarding": lambda: _write("/proc/sys/net/ipv4/ip_forward", "1"),
        "sysrq": lambda: _write("/proc/sysrq-trigger", "h"),
        "own limits": lambda: [_write(str(path), "-1") for path in _limits()] or _refused(),
        "the host's clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
        "root of the first process": lambda: os.listdir(f"/proc/{stranger}/root"),
    }


def files_named(names: set[str]) -> list[str]:
    """All files of these names that can be found anywhere."""
    return [
        str(Path(folder) / name)
        for folder, folders, files in os.walk("/")
        if not _is_virtual(folder, folders)
        for name in names.intersection(files)
    ]


def fork_until_refused(most: int) -> int:
    """How many processes could be started before the system said no; ``most`` if it never did. None is left."""
    children: list[int] = []
    try:
        while len(children) < most:
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
    except OSError:
        pass
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return len(children)


def plant_links(folder: str, targets: dict[str, str]) -> int:
    """A process that puts symlinks where the next Jupyter kernel's sockets should be, as soon as it can, for ever."""
    pairs = [(f"{folder}/{name}", target) for name, target in targets.items()]
    script = (
        "import os\n"
        f"pairs = {pairs!r}\n"
        "print('at it', flush=True)\n"
        "while True:\n"
        "    for place, target in pairs:\n"
        "        try:\n"
        "            if not os.path.islink(place):\n"
        "                os.symlink(target, place + '~')\n"
        "                os.rename(place + '~', place)\n"
        "        except FileExistsError:\n"
        "            os.unlink(place + '~')\n"
        "        except OSError:\n"  # the folder is not there yet, or not ours yet
        "            pass\n"
    )
    planter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    planter.stdout.readline()
    return planter.pid


def ask_manager(method: str, path: str) -> object:
    """The JSON that the manager answers, by what this session finds in its environment."""
    connection = http.client.HTTPConnection("manager")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(os.environ["BAI_MANAGER_SOCKET"])
    token = Path(os.environ["BAI_TOKEN_FILE"]).read_text()
    connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def _call(name: str, *arguments: object) -> int:
    result = getattr(_LIBC, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return int(result)


def _write(path: str, text: str) -> str:
    with open(path, "w") as file:
        file.write(text)
    return path


def _become_root() -> str:
    """Whether a setuid program could: the system promises not when this is set and nothing is left to gain."""
    with open("/proc/self/status") as status:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    if fields["NoNewPrivs"] == "1" and int(fields["CapBnd"], 16) == 0:
        _refused()
    return f"NoNewPrivs {fields['NoNewPrivs']}, bounding set {fields['CapBnd']}"


def _limits() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    return [path for name in ("memory.limit_in_bytes", "pids.max", "memory.max") for path in root.rglob(name)]


def _refused() -> None:
    raise PermissionError(errno.EPERM, "refused")


def _is_virtual(folder: str, folders: list[str]) -> bool:
    if folder == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys")]
    return folder.startswith(("/proc", "/sys"))
