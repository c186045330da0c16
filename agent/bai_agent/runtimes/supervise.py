"""Starts processes in a container for the agent: that is quicker than by way of the engine.

Runs inside, beside the main process, as the session's user and with the image's own Python (3.7 or later). It holds no
secret and may nothing that the user may not. When it ends, processes go on, and the agent turns to the engine.

One connection to the socket is one call, a line of JSON each way:

- ``{"id", "argv", "env"}`` starts a process. The process itself answers ``{"pid"}`` just before it becomes the program,
  so the agent learns from the operating system which one that is.
- ``{"id"}`` → ``{"code"}``: how that one ended; null while it runs, -1 if it is not known.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any, NoReturn

CALL_TIMEOUT_S = 5.0
RESET = ("SIGINT", "SIGQUIT", "SIGTERM", "SIGPIPE", "SIGXFSZ", "SIGCHLD")  # of what a program expects to be as it was

ids: dict[int, str] = {}  # of processes that run, by pid
codes: dict[str | None, int] = {}  # of those that have ended, by id


def main() -> None:
    listener = listen(sys.argv[1])
    signal.signal(signal.SIGCHLD, lambda *_: reap())
    while True:
        caller = listener.accept()[0]
        caller.settimeout(CALL_TIMEOUT_S)
        try:
            answer(caller, json.loads(caller.makefile("r").readline()))
        except (OSError, ValueError, KeyError, TypeError):
            pass  # whoever it was can try again
        finally:
            caller.close()


def listen(path: str) -> socket.socket:
    if os.path.lexists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    return listener


def answer(caller: socket.socket, asked: dict[str, Any]) -> None:
    if "argv" in asked:
        start(caller, asked["id"], asked["argv"], asked["env"])
    else:
        running = asked["id"] in ids.values()
        say(caller, {"code": None if running else codes.get(asked["id"], -1)})


def start(caller: socket.socket, name: str, argv: list[str], env: dict[str, str]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # not heard of before it is known
    try:
        pid = os.fork()
        if pid == 0:
            become(caller, argv, env)
        ids[pid] = name
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def become(caller: socket.socket, argv: list[str], env: dict[str, str]) -> NoReturn:
    """The new process, which never returns."""
    try:
        os.setsid()
        for number in RESET:
            signal.signal(getattr(signal, number), signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.chdir("/")
        say(caller, {"pid": os.getpid()})
        os.execvpe(argv[0], argv, dict(os.environ, **env))  # noqa: S606 - the agent chose it, for this very user
    finally:
        os._exit(127)


def reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        codes[ids.pop(pid, None)] = code


def say(caller: socket.socket, words: dict[str, Any]) -> None:
    caller.sendall(json.dumps(words).encode() + b"\n")


if __name__ == "__main__":
    main()
