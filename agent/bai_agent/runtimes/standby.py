"""Waits in a container that was started ahead, with ipykernel imported, to be told which Jupyter kernel to become.

Runs inside, started by the supervisor, as the user whom the container is made for, before any session has it. It holds
no secret and may nothing that its user may not. It serves once: one connection, one line of JSON
``{"argv", "env", "cwd", "log"}``, answered with ``{"heard": true}``; then it is that kernel, under the same pid.

Where a fresh interpreter might import something else than it has, it becomes a fresh interpreter. Until it is told, it
runs no code but the image's: it is started with ``-s``, and packages in the user's home make it start afresh.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import runpy
import site
import socket
import sys
from typing import Any

MODULE = "ipykernel_launcher"
# All that a kernel imports while it starts. What an image lacks of it is left out.
AHEAD = (
    "ipykernel.kernelapp",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "faulthandler",
    "pydoc",
    "sqlite3",
    "tornado.platform.asyncio",
    "tornado.queues",
)
# Variables that an interpreter, or what is imported already, reads only once.
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "PATH", "TZ", "GLIBC_", "MALLOC_", "PYDEVD", "HOME", "VIRTUAL_ENV")


def main() -> None:
    path = sys.argv[1]
    del sys.path[0]  # this program's folder, which the user can write in
    places = packages()
    import_ahead()
    listener = listen(path)
    caller = listener.accept()[0]
    told: dict[str, Any] = json.loads(caller.makefile("r").readline())
    listener.close()
    os.unlink(path)
    is_fresh = packages() == places and modified(site.getusersitepackages()) is None and not differs(told["env"])
    enter(told)
    caller.sendall(b'{"heard": true}\n')
    caller.close()
    if is_fresh:
        become(told["argv"])
    else:
        os.execvp(told["argv"][0], told["argv"])  # noqa: S606 - the agent chose it, for this very user


def import_ahead() -> None:
    for name in AHEAD:
        with contextlib.suppress(ImportError):
            __import__(name)
    gc.collect()
    gc.freeze()  # what is there for good is not looked through again: that was half of what remained of a start


def listen(path: str) -> socket.socket:
    """Once the path is there, whoever connects is heard."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(1)
    os.rename(path + ".new", path)
    return listener


def packages() -> list[float | None]:
    """When packages were last put into, or taken out of, the folders that are searched; None: it is not there."""
    return [modified(path) for path in sys.path]


def modified(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def differs(env: dict[str, str]) -> bool:
    """A variable that is read only once is set to something else than what it was."""
    return any(name.startswith(READ_AT_START) and os.environ.get(name) != value for name, value in env.items())


def enter(told: dict[str, Any]) -> None:
    os.environ.update(told["env"])
    os.chdir(told["cwd"])
    log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


def become(argv: list[str]) -> None:
    """As ``python -m ipykernel_launcher …`` would be."""
    sys.path.insert(0, os.getcwd())
    sys.argv = argv[argv.index(MODULE) :]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
